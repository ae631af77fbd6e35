package pg

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
)

// State is the cluster state in pg_control. It says what the server last wrote
// there, not whether one runs now.
type State uint32

// The states of PostgreSQL's DBState, in its order.
const (
	StateStartup            State = iota // never ran, or pg_resetwal
	StateShutDown                        // a primary that stopped cleanly
	StateShutDownInRecovery              // a standby that stopped cleanly
	StateShuttingDown                    // stopping, or died while it did
	StateInCrashRecovery
	StateInArchiveRecovery // a standby running, or died running
	StateInProduction      // a primary running, or died running
)

// String gives the words of pg_controldata.
func (s State) String() string {
	names := [...]string{"starting up", "shut down", "shut down in recovery", "shutting down",
		"in crash recovery", "in archive recovery", "in production"}
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("state %d", uint32(s))
}

// Errors of reading control data.
var (
	// ErrBadControl: pg_control is truncated, its checksum is wrong or it makes no sense.
	ErrBadControl = errors.New("bad control data")
	// ErrControlVersion: pg_control was written by a PostgreSQL this package does not know.
	ErrControlVersion = errors.New("unsupported control data version")
)

// ControlData is what global/pg_control says.
type ControlData struct {
	SystemID       uint64
	ControlVersion uint32 // 1300 for PostgreSQL 13 to 16, 1700 for 17, 1800 for 18
	CatalogVersion uint32
	State          State
	CheckpointLSN  LSN      // start of the last checkpoint record
	RedoLSN        LSN      // where recovery begins
	Timeline       Timeline // of the last checkpoint; it lags behind a promotion
	PrevTimeline   Timeline
	// MinRecoveryPoint is how far recovery must go; 0 outside recovery. A
	// promotion sets its timeline before the first checkpoint of the new one.
	MinRecoveryPoint    LSN
	MinRecoveryTimeline Timeline
	BackupStartPoint    LSN
	BackupEndPoint      LSN
	BackupEndRequired   bool
	WALLevel            uint32
	WALLogHints         bool
	DataChecksums       bool
	BlockSize           uint32
	WALBlockSize        uint32
	WALSegSize          uint32 // bytes
}

// NewestTimeline is the newest timeline the control data knows of: a promotion
// writes it to MinRecoveryTimeline first, a checkpoint to Timeline later.
func (c ControlData) NewestTimeline() Timeline { return max(c.Timeline, c.MinRecoveryTimeline) }

// offsets in ControlFileData that moved between the supported versions.
type controlLayout struct{ crc int }

func layoutOf(version uint32) (controlLayout, error) {
	switch version {
	case 1300, 1700:
		return controlLayout{crc: 288}, nil
	case 1800:
		// default_char_signedness came in before the nonce.
		return controlLayout{crc: 292}, nil
	}
	return controlLayout{}, fmt.Errorf("%w %d: PostgreSQL 13 to 18 are supported", ErrControlVersion, version)
}

// ParseControl decodes the content of global/pg_control as a little-endian
// 64-bit server wrote it (src/include/catalog/pg_control.h) and checks its
// CRC-32C.
func ParseControl(b []byte) (ControlData, error) {
	if len(b) < 296 {
		return ControlData{}, fmt.Errorf("%w: only %d bytes", ErrBadControl, len(b))
	}
	le := binary.LittleEndian
	u32 := func(off int) uint32 { return le.Uint32(b[off:]) }
	lsn := func(off int) LSN { return LSN(le.Uint64(b[off:])) }
	version := u32(8)
	if version%65536 == 0 && version/65536 > 0 {
		return ControlData{}, fmt.Errorf("%w: written with another byte order", ErrControlVersion)
	}
	layout, err := layoutOf(version)
	if err != nil {
		return ControlData{}, err
	}
	if sum := crc32.Checksum(b[:layout.crc], castagnoli()); sum != u32(layout.crc) {
		return ControlData{}, fmt.Errorf("%w: checksum is %08X, computed %08X", ErrBadControl, u32(layout.crc), sum)
	}
	c := ControlData{
		SystemID: le.Uint64(b), ControlVersion: version, CatalogVersion: u32(12), State: State(u32(16)),
		CheckpointLSN: lsn(32), RedoLSN: lsn(40), Timeline: Timeline(u32(48)), PrevTimeline: Timeline(u32(52)),
		MinRecoveryPoint: lsn(136), MinRecoveryTimeline: Timeline(u32(144)),
		BackupStartPoint: lsn(152), BackupEndPoint: lsn(160), BackupEndRequired: b[168] != 0,
		WALLevel: u32(172), WALLogHints: b[176] != 0,
		BlockSize: u32(216), WALBlockSize: u32(224), WALSegSize: u32(228), DataChecksums: u32(252) != 0,
	}
	// The rest of the package divides by these.
	if s := c.WALSegSize; s < 1<<20 || s > 1<<30 || s&(s-1) != 0 {
		return ControlData{}, fmt.Errorf("%w: WAL segment size %d", ErrBadControl, s)
	}
	if s := c.WALBlockSize; s < 1<<10 || s > 1<<16 || s&(s-1) != 0 {
		return ControlData{}, fmt.Errorf("%w: WAL block size %d", ErrBadControl, s)
	}
	return c, nil
}

// castagnoli is the table of CRC-32C, which PostgreSQL uses for pg_control and
// for WAL records. The standard library keeps one and computes in hardware.
func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// ReadControl reads the control data of a data directory. It is safe beside a
// running server: a read torn by a write is read again, up to ten times, as
// pg_controldata and the server's own functions do.
func ReadControl(data string) (ControlData, error) {
	path := filepath.Join(data, "global", "pg_control")
	var last error
	for range 10 {
		b, err := os.ReadFile(path)
		if err != nil {
			return ControlData{}, fmt.Errorf("control data: %w", err)
		}
		c, err := ParseControl(b)
		if err == nil {
			return c, nil
		}
		last = fmt.Errorf("%s: %w", path, err)
		if !errors.Is(err, ErrBadControl) {
			break
		}
	}
	return ControlData{}, last
}
