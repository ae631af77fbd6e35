package pg

import (
	"context"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgrex/lib/pg/pgtest"
)

func TestStalled(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	pid := pgtest.Waiter(t, data)
	s := &Server{Data: data}
	var ps Processes
	eventually(t, "a process that waits", func() bool {
		ps = processes(t, s)
		return slices.Contains(ps.Waiting, pid)
	})
	moving := sleeper(t)
	began := time.Now()
	got := Stalled(testContext(t), []int{moving.PID, os.Getpid(), pid, 1 << 22}, 300*time.Millisecond)
	if !slices.Equal(got, []int{pid}) || time.Since(began) < 300*time.Millisecond {
		t.Errorf("%v after %v, want %d after 300ms", got, time.Since(began), pid)
	}
	began = time.Now()
	if got := Stalled(testContext(t), []int{moving.PID, os.Getpid()}, time.Minute); got != nil || time.Since(began) > 10*time.Second {
		t.Errorf("%v after %v: nobody waits", got, time.Since(began))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if got := Stalled(ctx, []int{pid}, time.Minute); got != nil {
		t.Errorf("%v, though it was not watched for a minute", got)
	}

	// A stop asks once, and not for ever.
	stop := stopper{}
	stop.plan(testContext(t), StopOptions{Mode: Fast, Escalate: time.Hour})
	stop.stalls.look(ps.Waiting, -StallLimit)
	if stop.unkillable(ps) {
		t.Error("it was not killed yet")
	}
	s.step(&stop, ps)
	if _, killed := stop.killed[pid]; !killed {
		t.Errorf("a process that waits for its storage for %v was not killed", StallLimit)
	}
	if stop.unkillable(ps) {
		t.Error("what was killed just now may come back yet, however long it has waited")
	}

	// What waits on after SIGKILL is told, once everything else is gone.
	p, pulse := ps.Postmaster, stop.stalls[pid].pulse
	long := func(pids ...int) map[int]time.Duration {
		m := map[int]time.Duration{}
		for _, pid := range pids {
			m[pid] = -unkillablePatience
		}
		return m
	}
	for name, tt := range map[string]struct {
		stop stopper
		want bool
	}{
		"killed and waits":         {stopper{killed: long(p), stalls: stalls{p: {pulse, -unkillablePatience}}}, true},
		"waits, killed just now":   {stopper{killed: map[int]time.Duration{p: 0}, stalls: stalls{p: {pulse, -time.Hour}}}, false},
		"killed, waits anew":       {stopper{killed: long(p), stalls: stalls{p: {pulse, time.Hour}}}, false},
		"not killed":               {stopper{stalls: stalls{p: {pulse, -unkillablePatience}}}, false},
		"killed, another one ends": {stopper{killed: long(p, 7), stalls: stalls{7: {pulse, -unkillablePatience}}}, false},
	} {
		tt.stop.began = time.Now()
		if got := tt.stop.unkillable(Processes{Postmaster: p}); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// Two looks that are far apart are two moments: a machine that stood still has not waited.
func TestWatchCountsLooks(t *testing.T) {
	t.Parallel()
	w := watch{last: time.Now().Add(-time.Hour)}
	if got := w.now(); got != longestLook {
		t.Errorf("an hour without a look counts as %v, want %v", got, longestLook)
	}
	if got := w.now(); got < longestLook || got > 2*longestLook {
		t.Errorf("%v after another look at once", got)
	}
}

// What a process waits for is asked of the server, for whoever may know it.
func TestOnStorage(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	startServer(t, s)
	c := connect(t, s)
	st := status(t, s)
	pids := []int{st.CheckpointerID, int(c.pg.PID()), 1}
	w, err := c.OnStorage(testContext(t), pids)
	if err != nil || !slices.Equal(w.PIDs, pids[:1]) || len(w.Names) != 1 || !strings.Contains(w.Names[0], "(checkpointer") {
		t.Errorf("%+v, %v: want the checkpointer alone", w, err)
	}
	sql(t, s, "CREATE TABLE public.more AS SELECT 1")
	if after, err := c.OnStorage(testContext(t), nil); err != nil || after.PIDs != nil || after.InRecovery || after.Flushed <= w.Flushed {
		t.Errorf("%+v after %+v, %v: want WAL that moves, of a primary", after, w, err)
	}
	sql(t, s, "CREATE ROLE blind LOGIN")
	blind := *s
	blind.DBUser = "blind"
	if w, err := connect(t, &blind).OnStorage(testContext(t), pids); err != nil || w.PIDs != nil || w.Names != nil {
		t.Errorf("%+v, %v: a role that may see nothing takes nobody for stuck", w, err)
	}
}
