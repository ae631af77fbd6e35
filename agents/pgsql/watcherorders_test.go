package main

import (
	"context"
	"fmt"
	"syscall"
	"testing"
	"time"

	"pgrex/lib/ocf"
	"pgrex/lib/pg"
	"pgrex/lib/proc"
)

// holdLock starts a process that holds the lock on a file, by flock with these
// arguments, and ends it after the test.
func holdLock(t *testing.T, path string, args ...string) pg.ProcessID {
	t.Helper()
	pid, err := proc.OS{}.Detach(proc.Cmd{Path: "flock", Args: args})
	if err != nil {
		t.Fatal(err)
	}
	id, err := pg.IdentifyProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = id.Signal(syscall.SIGKILL) })
	for began := time.Now(); ; <-time.After(5 * time.Millisecond) {
		f, err := tryLock(path)
		if err != nil {
			return id
		}
		_ = f.Close()
		if time.Since(began) > 10*time.Second {
			t.Fatal("nobody locks")
		}
	}
}

// playWatcher starts a process that holds the watcher's lock and is named in its file.
func playWatcher(t *testing.T, a *agent) pg.ProcessID {
	t.Helper()
	path := a.runFile(runWatcher)
	id := holdLock(t, path, "-F", path, "sleep", "100")
	put(t, path, watch{id, pg.ProcessID{PID: 1 << 30, Start: 1}, "p"}.String())
	return id
}

// Whatever may end the server ends the watcher first, and nothing else does.
func TestOrdersEndTheWatcher(t *testing.T) {
	t.Parallel()
	restart := map[string]string{"OCF_RESKEY_restart_on_promote": "true"}
	for _, tt := range []struct {
		action string
		env    map[string]string
		ends   bool
	}{
		{"stop", nil, true},
		{"demote", nil, true},
		{"start", nil, true},
		{"promote", restart, true},
		{"promote", nil, false}, // it only opens the server, and a death in it is told by it
		{"monitor", nil, false},
		{"monitor", map[string]string{interval: "9000"}, false},
		{"status", nil, false},
		{"notify", nil, false},
		{"reload-agent", nil, false},
		{"validate-all", nil, false},
	} {
		t.Run(fmt.Sprint(tt.action, tt.env), func(t *testing.T) {
			t.Parallel()
			a, log := newTestAgent(t, newFakeCluster("n1", "n1", "n2"), tt.action, tt.env)
			a.call.Timeout = 3 * time.Second // there is no server: what needs one fails
			id := playWatcher(t, a)
			ctx, cancel := context.WithTimeout(t.Context(), a.call.Timeout)
			defer cancel()
			err := works()[tt.action](a, ctx)
			if id.Alive() == tt.ends {
				t.Errorf("the watcher lives: %v; the action: %v\n%s", id.Alive(), err, log)
			}
			if !tt.ends {
				return
			}
			// It is gone before the action begins, and no other comes up during it.
			id = playWatcher(t, a)
			begun := false
			_ = quietly(func(a *agent, _ context.Context) error {
				begun = true
				if id.Alive() {
					t.Error("the action begins beside the watcher")
				}
				if _, err := tryLock(a.runFile(runWatcher)); err == nil {
					t.Error("another watcher may come up during the action")
				}
				return nil
			})(a, t.Context())
			if !begun {
				t.Error("the action does not begin")
			}
		})
	}
	if n := len(works()); n != 9 {
		t.Errorf("%d actions: is each of them above?", n)
	}
}

// There is one watcher for each server, with one session, which is in the way of no shutdown.
func TestWatcherSession(t *testing.T) {
	t.Parallel()
	_, s := newPrimary(t)
	provider(s)
	s.sql("CREATE DATABASE postgres")
	w := watch1(t, s)
	sessions := func() string {
		return s.sql("SELECT string_agg(concat_ws(' ', datname, pid), ', ') FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()")
	}
	var first string
	s.eventually("the watcher has its session", func() bool { first = sessions(); return first != "" })
	says(t, first, "postgres ")
	first = s.sql("SELECT pid FROM pg_stat_activity WHERE datname = 'postgres'")
	for range 5 {
		<-time.After(followPoll)
		// A round has one of its own, for a moment.
		if n := s.sql("SELECT pid FROM pg_stat_activity WHERE datname = 'postgres'"); n != first {
			t.Errorf("the session was %s and is %q", first, n)
		}
	}
	s.eventually("there is no other session", func() bool { return sessions() == "postgres "+first })

	was, _ := w.agent.readWatch()
	c, log := callOf(watchCommand, s.env)
	second, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := agentOf(t, c, w.sched).watch(second); err != nil || second.Err() != nil {
		t.Errorf("a second watcher: %v, %v\n%s", err, second.Err(), log)
	}
	if now, ok := w.agent.readWatch(); !ok || now != was {
		t.Errorf("the watcher was %v and is %v", was, now)
	}

	res, err := proc.OS{}.Run(t.Context(), proc.Cmd{Path: s.env["OCF_RESKEY_pgctl"], User: &s.user, Discard: true,
		Args: []string{"stop", "-D", s.data(), "-m", "smart", "-w", "-t", "20"}})
	if err != nil || res.ExitCode != 0 {
		t.Fatalf("a smart shutdown waits for the watcher: %v, %+v", err, res)
	}
	w.over()
	// A person has stopped what the cluster is to run, and has not started it again.
	if w.sched.reports() != 1 {
		t.Errorf("%d reports\n%s", w.sched.reports(), w.log)
	}
}

// The watcher changes nothing while an action, or somebody else, has the lock.
func TestWatcherTakesItsTurn(t *testing.T) {
	t.Parallel()
	n1, n2 := newPair(t)
	provider(n1)
	n1.sql("CREATE DATABASE postgres")
	w := watch1(t, n1)
	names := func() string { return n1.sql("SHOW synchronous_standby_names") }
	n1.eventually("n2 has the right", func() bool { return n2.attribute("master-pgsql") == "100" && names() == `"n2"` })
	f, err := awaitLock(t.Context(), w.agent.runFile(runLock), 20*time.Second, nil)
	if err != nil {
		t.Fatal(err)
	}
	n2.crash()
	n1.eventually("n2 is gone", func() bool { return n1.senders() == "0" })
	<-time.After(lossPatience + 5*followPoll)
	if names() != `"n2"` || n2.attribute("master-pgsql") != "100" {
		t.Errorf("it acts beside an action: commits wait for %s", names())
	}
	_ = f.Close()
	n1.eventually("commits do not wait for n2", func() bool { return names() == "" })
	if code, text := n1.do("monitor", interval, "9000"); code != ocf.RunningPromoted {
		t.Errorf("monitor: %d %s", code, text)
	}
	w.stop()
	w.over()
}
