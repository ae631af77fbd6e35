package pg

import (
	"encoding/binary"
	"errors"
	"flag"
	"hash/crc32"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgrex/lib/pg/pgtest"
)

var update = flag.Bool("update", false, "rewrite testdata from this machine's servers")

// Each file in testdata is global/pg_control of a real server beside what its
// own pg_controldata said about it.
func TestParseControlGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/control/*.bin")
	if err != nil || len(files) < 5 {
		t.Fatalf("golden files are missing: %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			said, err := os.ReadFile(strings.TrimSuffix(file, ".bin") + ".txt")
			if err != nil {
				t.Fatal(err)
			}
			got, err := ParseControl(b)
			if err != nil {
				t.Fatal(err)
			}
			compareControl(t, got, string(said))
		})
	}
}

// compareControl compares with pg_controldata's words.
func compareControl(t *testing.T, got ControlData, said string) {
	t.Helper()
	want := map[string]string{}
	for line := range strings.Lines(said) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), ":")
		want[k] = strings.TrimSpace(v)
	}
	yes := func(b bool) string { return map[bool]string{true: "yes", false: "no"}[b] }
	on := func(b bool) string { return map[bool]string{true: "on", false: "off"}[b] }
	dec := func(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
	for _, x := range []struct{ name, got string }{
		{"pg_control version number", dec(got.ControlVersion)},
		{"Catalog version number", dec(got.CatalogVersion)},
		{"Database system identifier", strconv.FormatUint(got.SystemID, 10)},
		{"Database cluster state", got.State.String()},
		{"Latest checkpoint location", got.CheckpointLSN.String()},
		{"Latest checkpoint's REDO location", got.RedoLSN.String()},
		{"Latest checkpoint's TimeLineID", dec(uint32(got.Timeline))},
		{"Latest checkpoint's PrevTimeLineID", dec(uint32(got.PrevTimeline))},
		{"Minimum recovery ending location", got.MinRecoveryPoint.String()},
		{"Min recovery ending loc's timeline", dec(uint32(got.MinRecoveryTimeline))},
		{"Backup start location", got.BackupStartPoint.String()},
		{"Backup end location", got.BackupEndPoint.String()},
		{"End-of-backup record required", yes(got.BackupEndRequired)},
		{"wal_log_hints setting", on(got.WALLogHints)},
		{"Database block size", dec(got.BlockSize)},
		{"WAL block size", dec(got.WALBlockSize)},
		{"Bytes per WAL segment", dec(got.WALSegSize)},
	} {
		if w, ok := want[x.name]; !ok || w != x.got {
			t.Errorf("%s: %q, pg_controldata says %q", x.name, x.got, w)
		}
	}
	if sums := want["Data page checksum version"] != "0"; got.DataChecksums != sums {
		t.Errorf("checksums %v", got.DataChecksums)
	}
}

// Every state a server passes through, compared with this machine's
// pg_controldata; with -update they become the golden files.
func TestControlLive(t *testing.T) {
	t.Parallel()
	primary := newServer(t, "wal_log_hints = on")
	check := func(s *Server, name string) ControlData {
		t.Helper()
		got, err := s.Control()
		if err != nil {
			t.Fatal(err)
		}
		said := run(t, s, pgtest.Bin(t)+"/pg_controldata", s.Data)
		compareControl(t, got, said)
		if *update {
			b, err := os.ReadFile(filepath.Join(s.Data, "global", "pg_control"))
			if err != nil {
				t.Fatal(err)
			}
			base := filepath.Join("testdata", "control", strconv.Itoa(testVersion(t))+"-"+name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(base), 0o755), os.WriteFile(base+".bin", b[:512], 0o644), os.WriteFile(base+".txt", []byte(said), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		return got
	}
	if c := check(primary, "initdb"); c.State != StateShutDown || !c.DataChecksums || c.WALLogHints {
		t.Errorf("initdb: %v", c)
	}
	startServer(t, primary)
	if c := check(primary, "in-production"); c.State != StateInProduction || c.Timeline != 1 {
		t.Errorf("primary: %v", c)
	}
	standby := newStandby(t, primary, "n2")
	check(standby, "backup")
	startServer(t, standby)
	eventually(t, "the standby streams", func() bool { w, _ := ptr(status(t, primary)).Sender("n2"); return w.State == "streaming" })
	if c := check(standby, "standby"); c.State != StateInArchiveRecovery || c.MinRecoveryPoint == 0 {
		t.Errorf("standby: %v", c)
	}
	if _, err := standby.Stop(testContext(t), StopOptions{Mode: Fast, Escalate: 10 * time.Second}); err != nil {
		t.Fatal(err)
	}
	if c := check(standby, "standby-stopped"); c.State != StateShutDownInRecovery {
		t.Errorf("stopped standby: %v", c)
	}
	startServer(t, standby)
	crash(t, primary)
	if c := check(primary, "crashed"); c.State != StateInProduction {
		t.Errorf("crashed primary: %v", c)
	}
	promote(t, standby)
	if c := check(standby, "promoted"); c.State != StateInProduction || c.NewestTimeline() != 2 {
		t.Errorf("promoted: %v", c)
	}
	_ = sql(t, standby, "CHECKPOINT")
	if c := check(standby, "promoted-checkpoint"); c.Timeline != 2 {
		t.Errorf("promoted and checkpointed: %v", c)
	}
}

func ptr[T any](v T) *T { return &v }

func goldenControl(tb testing.TB) []byte {
	tb.Helper()
	b, err := os.ReadFile("testdata/control/15-in-production.bin")
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func reseal(b []byte) []byte {
	binary.LittleEndian.PutUint32(b[288:], crc32.Checksum(b[:288], castagnoli()))
	return b
}

func TestParseControlBad(t *testing.T) {
	edit := func(f func(b []byte)) []byte { b := append([]byte(nil), goldenControl(t)...); f(b); return b }
	for _, tt := range []struct {
		name string
		b    []byte
		want error
	}{
		{"empty", nil, ErrBadControl},
		{"short", goldenControl(t)[:200], ErrBadControl},
		{"flipped bit", edit(func(b []byte) { b[33] ^= 4 }), ErrBadControl},
		{"old version", edit(func(b []byte) { binary.LittleEndian.PutUint32(b[8:], 1201) }), ErrControlVersion},
		{"big endian", edit(func(b []byte) { binary.BigEndian.PutUint32(b[8:], 1300) }), ErrControlVersion},
		{"segment size 0", reseal(edit(func(b []byte) { binary.LittleEndian.PutUint32(b[228:], 0) })), ErrBadControl},
		{"segment size 3 MB", reseal(edit(func(b []byte) { binary.LittleEndian.PutUint32(b[228:], 3<<20) })), ErrBadControl},
		{"block size 1", reseal(edit(func(b []byte) { binary.LittleEndian.PutUint32(b[224:], 1) })), ErrBadControl},
	} {
		if c, err := ParseControl(tt.b); !errors.Is(err, tt.want) {
			t.Errorf("%s: %+v, %v", tt.name, c, err)
		}
	}
	if _, err := ReadControl(t.TempDir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no control file: %v", err)
	}
	if s := State(99).String(); s != "state 99" {
		t.Error(s)
	}
}

func FuzzParseControl(f *testing.F) {
	f.Add(goldenControl(f))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= 296 {
			// Get past the checksum, or nothing behind it is ever reached.
			binary.LittleEndian.PutUint32(b[8:], 1300)
			reseal(b)
		}
		c, err := ParseControl(b)
		if err == nil && (c.WALSegSize == 0 || c.WALBlockSize == 0) {
			t.Fatalf("%+v", c)
		}
	})
}
