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
	if !stop.killed[pid] {
		t.Errorf("a process that waits for its storage for %v was not killed", StallLimit)
	}

	// What waits on after SIGKILL is told, once everything else is gone.
	p, pulse := ps.Postmaster, stop.stalls[pid].pulse
	for name, tt := range map[string]struct {
		stop stopper
		want bool
	}{
		"killed and waits":         {stopper{killed: map[int]bool{p: true}, stalls: stalls{p: {pulse, -unkillablePatience}}}, true},
		"killed just now":          {stopper{killed: map[int]bool{p: true}, stalls: stalls{p: {pulse, time.Hour}}}, false},
		"not killed":               {stopper{stalls: stalls{p: {pulse, -unkillablePatience}}}, false},
		"killed, another one ends": {stopper{killed: map[int]bool{p: true, 7: true}, stalls: stalls{7: {pulse, -unkillablePatience}}}, false},
	} {
		tt.stop.began = time.Now()
		if got := tt.stop.unkillable(Processes{Postmaster: p}); got != tt.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// What a process waits for is asked of the server, for whoever may know it.
func TestOnStorage(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	startServer(t, s)
	c := connect(t, s)
	st := status(t, s)
	names, err := c.OnStorage(testContext(t), []int{st.CheckpointerID, int(c.pg.PID()), 1})
	if err != nil || len(names) != 1 || !strings.Contains(names[0], "(checkpointer") {
		t.Errorf("%q, %v: want the checkpointer alone", names, err)
	}
	sql(t, s, "CREATE ROLE blind LOGIN")
	blind := *s
	blind.DBUser = "blind"
	if names, err := connect(t, &blind).OnStorage(testContext(t), []int{st.CheckpointerID}); err != nil || names != nil {
		t.Errorf("%q, %v: a role that may see nothing takes nobody for stuck", names, err)
	}
}
