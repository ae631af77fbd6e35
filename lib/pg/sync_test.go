package pg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// pair is a primary with a streaming standby named n2.
func pair(t *testing.T, conf ...string) (primary, standby *Server) {
	t.Helper()
	primary = newServer(t, conf...)
	startServer(t, primary)
	standby = newStandby(t, primary, "n2")
	startServer(t, standby)
	eventually(t, "the standby streams", func() bool {
		st := status(t, primary)
		w, ok := st.Sender("N2")
		return ok && w.State == "streaming"
	})
	return primary, standby
}

func setSync(t *testing.T, s *Server, names string) {
	t.Helper()
	path := filepath.Join(s.Data, "sync.conf")
	if err := WriteFile(path, []byte("synchronous_standby_names = "+QuoteConf(names)+"\n"), FileOptions{Mode: 0o600, UID: int(s.User.UID), GID: int(s.User.GID)}); err != nil {
		t.Fatal(err)
	}
	if _, err := EnsureIncludes(s.ConfigFile(), []string{path}); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	c := connect(t, s)
	got, err := c.WaitSetting(testContext(t), "synchronous_standby_names", names)
	if err != nil || got.File != path || got.Line != 1 {
		t.Fatalf("setting in force: %+v, %v", got, err)
	}
}

func TestConfirmCommitsWait(t *testing.T) {
	t.Parallel()
	primary, standby := pair(t)
	setSync(t, primary, `"n2"`)
	began := time.Now()
	proof, err := primary.ConfirmCommitsWait(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("proof in %v: %s", time.Since(began), proof)
	c := connect(t, primary)
	lsn, err := c.InsertLSN(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.WaitFlushed(testContext(t), "n2", lsn); err != nil {
		t.Fatal(err)
	}
	// The proof holds: with the standby frozen a commit does not return.
	for _, pid := range processes(t, standby).All() {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	defer func() {
		for _, pid := range processes(t, standby).All() {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
	}()
	done := make(chan error, 1)
	writer := connect(t, primary)
	go func() {
		_, err := writer.Exec(context.Background(), "SET synchronous_commit = on; CREATE TABLE public.acknowledged (i int)")
		done <- err
	}()
	eventually(t, "a backend waits", func() bool { st := status(t, primary); return st.SyncWaiters == 1 })
	select {
	case err := <-done:
		t.Errorf("a commit was acknowledged without its standby: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	// Nor does the standby reach what it cannot.
	lsn, err = c.InsertLSN(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if err := c.WaitFlushed(short, "n2", lsn); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a frozen standby flushed: %v", err)
	}
	setSync(t, primary, "")
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// A stopped checkpointer cannot have read anything: no proof while it sleeps
// through the switch, however long its settings have been in force elsewhere.
func TestConfirmNeedsCheckpointer(t *testing.T) {
	t.Parallel()
	primary, standby := pair(t)
	checkpointer := status(t, primary).CheckpointerID
	if err := syscall.Kill(checkpointer, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	setSync(t, primary, `"n2"`)
	// The danger is real: the standby counts as synchronous and is frozen, and
	// a commit is acknowledged nevertheless.
	eventually(t, "the standby counts as synchronous", func() bool {
		st := status(t, primary)
		w, _ := st.Sender("n2")
		return w.SyncState == "sync"
	})
	for _, pid := range processes(t, standby).All() {
		_ = syscall.Kill(pid, syscall.SIGSTOP)
	}
	writer := connect(t, primary)
	if _, err := writer.Exec(testContext(t), "SET synchronous_commit = on; CREATE TABLE public.unprotected (i int)"); err != nil {
		t.Fatalf("expected the commit not to wait: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	proof, err := primary.ConfirmCommitsWait(ctx)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("proof %q with the checkpointer stopped, %v", proof, err)
	}
	if !strings.Contains(err.Error(), "stopped") {
		t.Errorf("the reason does not say that the checkpointer is stopped: %v", err)
	}
	eventually(t, "no session waits for a checkpoint any more", func() bool {
		return sql(t, primary, "SELECT count(*) FROM pg_stat_activity WHERE query = 'CHECKPOINT' AND state = 'active'") == "0"
	})
	if err := syscall.Kill(checkpointer, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if _, err = primary.ConfirmCommitsWait(testContext(t)); err != nil {
		t.Errorf("no proof although the checkpointer runs: %v", err)
	}
	for _, pid := range processes(t, standby).All() {
		_ = syscall.Kill(pid, syscall.SIGCONT)
	}
}

// During a spread checkpoint the checkpointer reads the configuration between two
// writes, and it is seen to. What is proven is true: a writer waits.
func TestConfirmDuringCheckpoint(t *testing.T) {
	t.Parallel()
	s := newServer(t, "checkpoint_completion_target = 0.9", "checkpoint_timeout = 1h", "max_wal_size = 8MB", "wal_keep_size = 0", "bgwriter_lru_maxpages = 0")
	startServer(t, s)
	spread := func() bool {
		if testVersion(t) < 15 {
			return true // its pauses have no name; only the proofs are looked at
		}
		return strings.EqualFold(status(t, s).CheckpointWait, "CheckpointWriteDelay")
	}
	_ = sql(t, s, "CREATE TABLE public.filler (i int, x text)")
	_ = sql(t, s, "INSERT INTO public.filler SELECT i, repeat('x', 500) FROM generate_series(1, 8000) i")
	proofs, rows := 0, 0
	for i := range 5 {
		eventually(t, "a spread checkpoint runs", func() bool {
			if spread() {
				return true
			}
			// Little by little: a checkpoint that is behind does not pause.
			rows++
			_ = sql(t, s, fmt.Sprintf("UPDATE public.filler SET x = md5(x) || repeat('y', 470) WHERE i / 300 = %d", rows%26))
			return false
		})
		setSync(t, s, fmt.Sprintf(`"n%d"`, i))
		proof, err := s.ConfirmCommitsWait(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		if spread() && proof == ProofAsleep {
			proofs++
		}
		w := connect(t, s)
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _ = w.Exec(context.Background(), "SET synchronous_commit = on; CREATE TABLE public.t"+strconv.Itoa(i)+"()")
		}()
		eventually(t, "a backend waits", func() bool { return status(t, s).SyncWaiters > 0 })
		select {
		case <-done:
			t.Error("the commit did not wait")
		default:
		}
		setSync(t, s, "")
		<-done
	}
	if proofs == 0 && testVersion(t) >= 15 {
		t.Error("never proven beside a spread checkpoint: the test shows nothing")
	}
}

func TestSettingProblem(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	startServer(t, s)
	setSync(t, s, "")
	c := connect(t, s)
	path := filepath.Join(s.Data, "sync.conf")
	if p := c.SettingProblem(testContext(t), "synchronous_standby_names"); p != "" {
		t.Errorf("problem of a healthy setting: %s", p)
	}
	if err := os.WriteFile(path, []byte("synchronous_standby_names = 'a'\nno_such = 1\nwork_mem = nonsense\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if got, err := c.WaitSetting(short, "synchronous_standby_names", "a"); !errors.Is(err, context.DeadlineExceeded) || got.Value != "" {
		t.Errorf("a broken file took effect: %+v, %v", got, err)
	}
	c = connect(t, s)
	if p := c.SettingProblem(testContext(t), "synchronous_standby_names"); !strings.Contains(p, path+" line 2") {
		t.Errorf("problem: %s", p)
	}
	if st := status(t, s); len(st.Files) == 0 || st.Files[0].File != path {
		t.Errorf("file errors of the status: %+v", st.Files)
	}
	// ALTER SYSTEM beats every file.
	if err := os.WriteFile(path, []byte("synchronous_standby_names = ''\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = sql(t, s, "ALTER SYSTEM SET synchronous_standby_names = 'other'")
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	c = connect(t, s)
	if got, err := c.WaitSetting(testContext(t), "synchronous_standby_names", "other"); err != nil || filepath.Base(got.File) != "postgresql.auto.conf" {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestParseSleep(t *testing.T) {
	base := "Name:\tpostgres\nState:\tS (sleeping)\nSigPnd:\t%s\nShdPnd:\t%s\nvoluntary_ctxt_switches:\t5\nnonvoluntary_ctxt_switches:\t7\n"
	zero, hup := "0000000000000000", "0000000000000001"
	for _, tt := range []struct {
		text string
		want sleep
	}{
		{fmt.Sprintf(base, zero, zero), sleep{true, false, "5 7 ", "S (sleeping)"}},
		{fmt.Sprintf(base, zero, hup), sleep{true, true, "5 7 ", "S (sleeping)"}},
		{fmt.Sprintf(base, hup, zero), sleep{true, true, "5 7 ", "S (sleeping)"}},
		{"State:\tT (stopped)\n", sleep{false, true, "", "T (stopped)"}},
		{"", sleep{false, true, "", ""}},
	} {
		if got := parseSleep(tt.text); got != tt.want {
			t.Errorf("%q: %+v, want %+v", tt.text, got, tt.want)
		}
	}
}
