package pg

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// extendTimeout bounds reading ahead of a standby's replay.
const extendTimeout = 2 * time.Second

// Position is how far the server's WAL reaches: a primary's flushed end, a
// standby's newest of written, flushed and replayed with the timeline that holds
// it.
//
// On a standby SQL tells the timeline only while the WAL receiver runs; the
// control data follows at the next restartpoint. The rest is read from pg_wal:
// the newest timeline whose segment has been filled up to that place, and, when
// no receiver streams, what was received before a restart and waits for replay.
// That is read for at most 2 s.
func (s *Server) Position(st Status) Position {
	if !st.InRecovery {
		return Position{st.Timeline, st.FlushLSN}
	}
	p := Position{st.Timeline, max(st.ReceiveLSN, st.ReplayLSN)}
	if r := st.Receiver; r != nil {
		p.LSN = max(p.LSN, r.FlushedLSN, r.WrittenLSN)
	}
	if p.LSN == 0 {
		return p
	}
	ctl, err := s.Control()
	if err != nil {
		return p
	}
	p.Timeline = max(p.Timeline, s.newestWith(p.LSN-1, ctl))
	// The receiver may have asked for a timeline of which nothing is here yet.
	if h, err := ReadHistory(s.WALDir(), p.Timeline); err == nil {
		p.Timeline = h.TimelineOf(p.LSN - 1)
	}
	if r := st.Receiver; r == nil || r.Status != "streaming" {
		ctx, cancel := context.WithTimeout(context.Background(), extendTimeout)
		defer cancel()
		p = s.extend(ctx, p, ctl)
	}
	return p
}

// newestWith is the newest timeline with a segment in pg_wal whose page at lsn
// has been written, 0 for none. Segments are filled from their beginning, and a
// recycled one still has the page addresses of its former life.
func (s *Server) newestWith(lsn LSN, ctl ControlData) Timeline {
	entries, err := os.ReadDir(s.WALDir())
	if err != nil {
		return 0
	}
	want := lsn - lsn%LSN(ctl.WALSegSize)
	var found []Timeline
	for _, e := range entries {
		if tli, start, ok := ParseSegmentName(e.Name(), ctl.WALSegSize); ok && start == want {
			found = append(found, tli)
		}
	}
	slices.Sort(found)
	for _, tli := range slices.Backward(found) {
		if s.hasPage(tli, lsn, ctl) {
			return tli
		}
	}
	return 0
}

func (s *Server) hasPage(tli Timeline, lsn LSN, ctl ControlData) bool {
	f, err := os.Open(filepath.Join(s.WALDir(), SegmentName(tli, lsn, ctl.WALSegSize)))
	if err != nil {
		return false
	}
	defer f.Close() //nolint:errcheck // read only
	page := lsn - lsn%LSN(ctl.WALBlockSize)
	head := make([]byte, 16)
	if _, err := f.ReadAt(head, int64(page%LSN(ctl.WALSegSize))); err != nil {
		return false
	}
	return head[1] == walMagicHigh && LSN(binary.LittleEndian.Uint64(head[8:])) == page
}

// walMagicHigh is the upper byte of every supported version's page magic
// (XLOG_PAGE_MAGIC, 0xD106 in PostgreSQL 13 to 0xD118 in 18).
const walMagicHigh = 0xD1

// Age is how long the running postmaster has been there, time in suspend
// included. The error wraps ErrNotRunning when there is none.
func (s *Server) Age() (time.Duration, error) {
	pid, err := s.postmaster()
	if err != nil {
		return 0, err
	}
	st, err := readStat(strconv.Itoa(pid))
	if err != nil {
		return 0, errors.Join(fmt.Errorf("%w: postmaster %d has ended", ErrNotRunning, pid), err)
	}
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return 0, os.NewSyscallError("clock_gettime", err)
	}
	// USER_HZ is 100 on every architecture Linux and PostgreSQL share.
	return time.Duration(now.Nano()) - time.Duration(st.start)*(time.Second/100), nil
}
