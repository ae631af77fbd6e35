package pg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgrex/lib/pg/pgtest"
	"pgrex/lib/proc"
)

// crash kills every process of the server at once.
func crash(t *testing.T, s *Server) {
	t.Helper()
	pm := processes(t, s).Postmaster
	if err := syscall.Kill(pm, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Stop(testContext(t), StopOptions{Mode: Immediate}); err != nil {
		t.Fatal(err)
	}
}

// waldumpEnd is where pg_waldump finds no further record.
func waldumpEnd(t *testing.T, s *Server, from Position) LSN {
	t.Helper()
	res, err := proc.OS{}.Run(testContext(t), proc.Cmd{Path: pgtest.Bin(t) + "/pg_waldump", User: &s.User, Args: []string{
		"-q", "-p", s.WALDir(), "-t", fmt.Sprint(from.Timeline), "-s", from.LSN.String()}})
	if err != nil {
		t.Fatal(err)
	}
	// "error in WAL record at A/B: invalid record length at X/Y: wanted 24, got 0"
	m := regexp.MustCompile(`error in WAL record at ([0-9A-F/]+): .*?(?: at ([0-9A-F]+/[0-9A-F]+))?[:\n]`).FindStringSubmatch(string(res.Stderr) + "\n")
	if m == nil {
		t.Fatalf("pg_waldump: %s", res.Stderr)
	}
	lsn, err := ParseLSN(m[2])
	if err != nil {
		t.Fatalf("pg_waldump: %s", res.Stderr)
	}
	return lsn
}

func endOfWAL(t *testing.T, s *Server, fetch FetchSegment) WALEnd {
	t.Helper()
	end, err := s.EndOfWAL(testContext(t), fetch)
	if err != nil {
		t.Fatal(err)
	}
	return end
}

func TestEndOfWALCrashed(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	startServer(t, s)
	_ = sql(t, s, "CREATE TABLE public.t (i int, x text)")
	for i := range 5 {
		// Records over many pages, and a segment left in the middle.
		_ = sql(t, s, fmt.Sprintf("INSERT INTO public.t SELECT i, repeat(md5(i::text), 200) FROM generate_series(1, %d) i", 20+300*i))
		if i == 2 {
			_ = sql(t, s, "SELECT pg_switch_wal()")
		}
		if i == 3 {
			_ = sql(t, s, "CHECKPOINT")
		}
		acknowledged := connect(t, s)
		lsn, err := acknowledged.InsertLSN(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		ctl, err := s.Control()
		if err != nil {
			t.Fatal(err)
		}
		crash(t, s)
		began := time.Now()
		end := endOfWAL(t, s, nil)
		t.Logf("%+v in %v", end, time.Since(began))
		if end.LSN < lsn || end.Timeline != 1 || end.Clean || end.Records < 2 {
			t.Errorf("end %+v, acknowledged %s", end, lsn)
		}
		if want := waldumpEnd(t, s, Position{1, ctl.RedoLSN}); end.LSN != want {
			t.Errorf("end at %s, pg_waldump says %s", end.LSN, want)
		}
		startServer(t, s)
	}
	if res, err := s.Stop(testContext(t), StopOptions{Mode: Fast, Escalate: 20 * time.Second}); err != nil || !res.Clean {
		t.Fatalf("%+v, %v", res, err)
	}
	end := endOfWAL(t, s, nil)
	ctl, err := s.Control()
	if err != nil {
		t.Fatal(err)
	}
	if !end.Clean || end.Records != 1 || end.LastRecord != ctl.CheckpointLSN || end.Position != shutdownEnd(ctl) {
		t.Errorf("after a clean stop: %+v, computed %v", end, shutdownEnd(ctl))
	}
	// Without any WAL the control data suffices.
	if err := os.Rename(s.WALDir(), s.WALDir()+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(s.WALDir(), 0o700); err != nil {
		t.Fatal(err)
	}
	if bare := endOfWAL(t, s, nil); bare.Position != end.Position {
		t.Errorf("without WAL: %+v, with: %+v", bare, end)
	}
}

func TestEndOfWALMissing(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	startServer(t, s)
	crash(t, s)
	ctl, err := s.Control()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(s.WALDir(), SegmentName(1, ctl.RedoLSN, ctl.WALSegSize))); err != nil {
		t.Fatal(err)
	}
	if end, err := s.EndOfWAL(testContext(t), nil); !errors.Is(err, ErrWALMissing) {
		t.Errorf("%+v, %v", end, err)
	}
}

// A standby follows its primary's successor; everything about timelines shows
// on it, on the new primary, and on the old one that went on alone.
func TestTimelines(t *testing.T) {
	t.Parallel()
	primary, standby := pair(t)
	_ = sql(t, primary, "CREATE TABLE public.t (i int)")
	third := newStandby(t, primary, "n3")
	startServer(t, third)
	eventually(t, "n3 streams", func() bool {
		st := status(t, primary)
		w, ok := st.Sender("n3")
		return ok && w.State == "streaming" && w.FlushLSN == st.FlushLSN
	})
	if st := status(t, standby); !st.InRecovery || st.Timeline != 1 || st.Receiver == nil || st.Receiver.Status != "streaming" || st.Receiver.SenderPort != primary.Port {
		t.Errorf("standby: %+v, receiver %+v", st, st.Receiver)
	}
	// The old primary writes what nobody gets.
	stopWalsenders(t, primary)
	lost := connect(t, primary)
	if _, err := lost.Exec(testContext(t), "INSERT INTO public.t SELECT generate_series(1, 1000)"); err != nil {
		t.Fatal(err)
	}
	alone, err := lost.InsertLSN(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	crash(t, primary)
	old := endOfWAL(t, primary, nil)
	if old.Timeline != 1 || old.LSN < alone {
		t.Errorf("old primary: %+v, wrote %s", old, alone)
	}

	before := standby.Position(status(t, standby))
	if before.Timeline != 1 || before.LSN == 0 || before.LSN > alone {
		t.Errorf("standby before promotion: %v", before)
	}
	promote(t, standby)
	// The control data still says timeline 1; the server and we do not.
	st := status(t, standby)
	if st.InRecovery || st.Timeline != 2 || standby.Position(st).Timeline != 2 {
		t.Errorf("just promoted: timeline %d, %+v", st.Timeline, st)
	}
	if ctl, err := standby.Control(); err != nil || ctl.NewestTimeline() != 2 {
		t.Errorf("control data just after the promotion: %+v, %v", ctl, err)
	}
	h, err := ReadHistory(standby.WALDir(), 2)
	if err != nil || len(h.Ancestors) != 1 || h.Ancestors[0].Timeline != 1 || h.Begin() < before.LSN {
		t.Fatalf("history: %+v, %v; the standby was at %v", h, err, before)
	}
	if left, ok := h.Left(old.Timeline); !ok || old.LSN <= left {
		t.Errorf("the old primary at %v has diverged from %+v", old, h)
	}

	// n3 follows n2, then loses it: nothing but its files tells the timeline.
	follow(t, third, standby)
	_ = sql(t, standby, "INSERT INTO public.t SELECT generate_series(1, 10)")
	c := connect(t, standby)
	lsn, err := c.InsertLSN(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "n3 has it", func() bool { return third.Position(status(t, third)).LSN >= lsn })
	if p := third.Position(status(t, third)); p.Timeline != 2 {
		t.Errorf("n3 streaming: %v", p)
	}
	crash(t, standby)
	eventually(t, "n3 lost its primary", func() bool { return status(t, third).Receiver == nil })
	if p := third.Position(status(t, third)); p.Timeline != 2 || p.LSN < lsn {
		t.Errorf("n3 alone: %v, want timeline 2 at %s", p, lsn)
	}
	crash(t, third)
	end := endOfWAL(t, third, nil)
	if end.Timeline != 2 || end.LSN < lsn || len(end.Forks) != 0 {
		t.Errorf("n3 crashed: %+v, want timeline 2 at %s", end, lsn)
	}
	// Killed in the middle of its first life on timeline 2, no checkpoint yet.
	if e := endOfWAL(t, standby, nil); e.Timeline != 2 || e.LSN < lsn {
		t.Errorf("n2 crashed: %+v, want timeline 2 at %s", e, lsn)
	}

	// The old primary learns of timeline 2: its own end stays what it was.
	b, err := os.ReadFile(filepath.Join(standby.WALDir(), HistoryName(2)))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(primary.WALDir(), HistoryName(2)), b, 0o600); err != nil {
		t.Fatal(err)
	}
	again := endOfWAL(t, primary, nil)
	if again.Position != old.Position || len(again.Forks) != 1 || again.Forks[0] != (HistoryEntry{2, h.Begin()}) {
		t.Errorf("old primary with the new history: %+v", again)
	}
}

func stopWalsenders(t *testing.T, s *Server) {
	t.Helper()
	_ = sql(t, s, "ALTER SYSTEM SET max_wal_senders = 0")
	if _, err := s.Stop(testContext(t), StopOptions{Mode: Immediate}); err != nil {
		t.Fatal(err)
	}
	startServer(t, s)
}

func promote(t *testing.T, s *Server) {
	t.Helper()
	began := time.Now()
	if err := s.Promote(); err != nil {
		t.Fatal(err)
	}
	if err := s.WaitPromoted(testContext(t)); err != nil {
		t.Fatal(err)
	}
	t.Logf("promotion took %v", time.Since(began))
}

// follow makes a running standby stream from another server.
func follow(t *testing.T, s, upstream *Server) {
	t.Helper()
	_ = sql(t, s, "ALTER SYSTEM SET primary_conninfo = 'host=127.0.0.1 port="+fmt.Sprint(upstream.Port)+" user=postgres application_name=n3'")
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it streams", func() bool {
		st := status(t, s)
		return st.Receiver != nil && st.Receiver.Status == "streaming" && st.Receiver.SenderPort == upstream.Port
	})
}

// Segments that only an archive has count, and an archive's whole segment mends
// a torn one.
func TestEndOfWALArchive(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	startServer(t, s)
	for range 3 {
		_ = sql(t, s, "CREATE TABLE IF NOT EXISTS public.t (x text); INSERT INTO public.t SELECT repeat('x', 2000) FROM generate_series(1, 700)")
	}
	crash(t, s)
	whole := endOfWAL(t, s, nil)
	ctl, err := s.Control()
	if err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(filepath.Dir(s.Data), "archive")
	pgtest.CopyTree(t, s.WALDir(), archive)
	// Everything past the redo segment goes to the archive only.
	second := SegmentName(1, ctl.RedoLSN+LSN(ctl.WALSegSize), ctl.WALSegSize)
	entries, err := os.ReadDir(s.WALDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if len(e.Name()) == 24 && e.Name() >= second {
			if err := os.Remove(filepath.Join(s.WALDir(), e.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
	if short := endOfWAL(t, s, nil); short.LSN >= whole.LSN {
		t.Fatalf("nothing to show: %+v", short)
	}
	var asked []string
	fetch := func(_ context.Context, name string) (string, error) {
		asked = append(asked, name)
		path := filepath.Join(archive, name)
		if _, err := os.Stat(path); err != nil {
			return "", nil
		}
		return path, nil
	}
	if got := endOfWAL(t, s, fetch); got.Position != whole.Position {
		t.Errorf("with the archive: %+v, want %+v (asked for %v)", got, whole, asked)
	}
	tear(t, filepath.Join(s.WALDir(), SegmentName(1, ctl.RedoLSN, ctl.WALSegSize)), int64(ctl.RedoLSN%LSN(ctl.WALSegSize))+200000)
	if short := endOfWAL(t, s, nil); short.LSN >= whole.LSN {
		t.Fatalf("nothing to show: %+v", short)
	}
	if got := endOfWAL(t, s, fetch); got.Position != whole.Position {
		t.Errorf("torn, with the archive: %+v, want %+v", got, whole)
	}
	failing := func(context.Context, string) (string, error) { return "", io.ErrUnexpectedEOF }
	if _, err := s.EndOfWAL(testContext(t), failing); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a failing archive: %v", err)
	}
}

func tear(t *testing.T, path string, at int64) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte(strings.Repeat("\xEE", 64)), at); err != nil {
		t.Fatal(err)
	}
}

// A record cut by a crash in the middle of a page is given up by the server,
// which goes on in the next page; the reader goes on with it.
func TestEndOfWALOverwritten(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	startServer(t, s)
	_ = sql(t, s, "CREATE TABLE public.t (x text); CHECKPOINT")
	ctl, err := s.Control()
	if err != nil {
		t.Fatal(err)
	}
	// One record over several pages at the end of the log.
	_ = sql(t, s, "SELECT pg_logical_emit_message(true, 'big', repeat('x', 100000))")
	crash(t, s)
	end := endOfWAL(t, s, nil)
	r := &walReader{dir: s.WALDir(), control: ctl, history: History{Timeline: 1}, fetched: map[string]string{}}
	defer r.close()
	at, prev, cut := ctl.RedoLSN, LSN(0), LSN(0)
	for at < end.LSN {
		rec, err := r.next(testContext(t), at, prev)
		if err != nil {
			t.Fatal(err)
		}
		if rec.next-rec.start > 90000 {
			cut = rec.start
		}
		at, prev = rec.next, rec.start
	}
	if cut == 0 {
		t.Fatal("the big record was not found")
	}
	// The crash had written the first pages of it only.
	path := filepath.Join(s.WALDir(), SegmentName(1, cut, ctl.WALSegSize))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	from := (cut/8192 + 3) * 8192 % LSN(ctl.WALSegSize)
	if _, err := f.WriteAt(make([]byte, int64(ctl.WALSegSize)-int64(from)), int64(from)); err != nil {
		t.Fatal(err)
	}
	if torn := endOfWAL(t, s, nil); torn.LSN > cut+8192 || torn.LSN < cut-8192 {
		t.Errorf("torn at %s: %+v", cut, torn)
	}
	startServer(t, s)
	c := connect(t, s)
	lsn, err := c.InsertLSN(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	now, err := s.Control()
	if err != nil {
		t.Fatal(err)
	}
	crash(t, s)
	if got := endOfWAL(t, s, nil); got.LSN < lsn {
		t.Errorf("after the overwrite: %+v, wrote %s", got, lsn)
	}
	// From before the cut record the reader must get over it.
	long := WALEnd{}
	r2 := &walReader{dir: s.WALDir(), control: now, history: History{Timeline: 1}, fetched: map[string]string{}}
	defer r2.close()
	if why := r2.follow(testContext(t), ctl.RedoLSN, &long); !errors.Is(why, errWALEnd) || long.LSN < lsn {
		t.Errorf("over the overwritten record: %+v, %v; wrote %s", long, why, lsn)
	}
}

// What a standby received before its restart and has not replayed yet is its own
// all the same.
func TestPositionBeforeReplay(t *testing.T) {
	t.Parallel()
	primary := newServer(t)
	startServer(t, primary)
	_ = sql(t, primary, "CREATE TABLE public.t (i int)")
	standby := newStandby(t, primary, "n2", "recovery_min_apply_delay = '1h'")
	startServer(t, standby)
	eventually(t, "the standby streams", func() bool { _, ok := ptr(status(t, primary)).Sender("n2"); return ok })
	for range 3 {
		_ = sql(t, primary, "INSERT INTO public.t SELECT generate_series(1, 1000)")
	}
	lsn, err := connect(t, primary).InsertLSN(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the standby has it", func() bool { w, _ := ptr(status(t, primary)).Sender("n2"); return w.FlushLSN >= lsn })
	crash(t, primary)
	crash(t, standby)
	startServer(t, standby)
	st := status(t, standby)
	if st.ReplayLSN >= lsn || st.ReceiveLSN >= lsn {
		t.Fatalf("nothing to show: replayed %s, received %s", st.ReplayLSN, st.ReceiveLSN)
	}
	if p := standby.Position(st); p.Timeline != 1 || p.LSN < lsn {
		t.Errorf("position %v, want %s; replayed %s", p, lsn, st.ReplayLSN)
	}
}
