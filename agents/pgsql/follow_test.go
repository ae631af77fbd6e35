package main

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgrex/lib/pg"
	"pgrex/lib/proc"
)

// When what is seen of the standbys is a reason to do something.
func TestChanges(t *testing.T) {
	t.Parallel()
	const (
		none  = "none"
		sync  = "10 streaming sync"
		back  = "11 streaming sync"
		async = "11 streaming async"
		begun = "11 startup async"
	)
	type look struct {
		at   int // milliseconds
		seen string
		due  bool
	}
	for _, tt := range []struct {
		name    string
		looks   []look
		unruly  bool // no round settles anything
		settled bool
	}{
		{name: "a standby comes", looks: []look{{200, none, true}, {400, none, false}, {600, begun, true}, {800, async, true}, {1000, sync, true}, {1200, sync, false}}},
		{name: "a standby goes", looks: []look{{200, sync, true}, {400, none, false}, {600, none, false}, {800, none, false}, {900, none, true}, {1100, none, false}}},
		{name: "a connection is reset", looks: []look{{200, sync, true}, {400, none, false}, {600, begun, false}, {800, back, true}, {1000, back, false}}},
		{name: "it is gone, back and gone: that is not one absence", looks: []look{{200, sync, true}, {400, none, false}, {800, sync, false}, {1000, none, false}, {1400, none, false}, {1500, none, true}}},
		{name: "of two one goes", looks: []look{{200, sync + ",12 streaming quorum", true}, {400, sync, false}, {1000, sync, true}}},
		{name: "a standby server", looks: []look{{200, "", false}, {400, "", false}}},
		{name: "it flaps", looks: []look{{200, none, true}, {400, begun, true}, {600, none, true}, {800, begun, true}, {1000, none, false}, {3000, begun, false}, {5800, none, true}, {6000, begun, false}, {10800, begun, true}}},
		{name: "what settles nothing is repeated once", unruly: true, looks: []look{{200, none, true}, {400, none, false}, {2100, none, false}, {2200, none, true}, {2400, none, false}, {9000, none, false}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var c changes
			for _, l := range tt.looks {
				now := time.Duration(l.at) * time.Millisecond
				due := c.due(now, l.seen)
				if due != l.due {
					t.Errorf("at %d ms, %q: %v", l.at, l.seen, due)
				}
				if due {
					c.begin(now, l.seen)
					c.done(now, !tt.unruly)
				}
			}
		})
	}
}

// The session is in the way of nobody where that can be had.
func TestFollowDatabases(t *testing.T) {
	t.Parallel()
	for database, want := range map[string]string{"template1": "postgres", "postgres": "postgres", "app": "postgres app", "templates": "postgres"} {
		if got := strings.Join((config{database: database}).followDatabases(), " "); got != want {
			t.Errorf("%s: %q", database, got)
		}
	}
}

// A watcher whose resource is gone, or run by another agent, ends; not because it cannot ask.
func TestWatcherWhoseResourceIsGone(t *testing.T) {
	t.Parallel()
	for name, set := range map[string]func(*scheduler){
		"another agent's": func(s *scheduler) { s.instance = strings.Replace(s.instance, "ocf:pgrex:", "ocf:heartbeat:", 1) },
		"orphaned":        func(s *scheduler) { s.instance += ` orphaned="true"` },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, log := newCall(t, watchCommand, map[string]string{"OCF_RESOURCE_PROVIDER": "pgrex", "OCF_RESOURCE_TYPE": "pgsql"})
			sched := newScheduler(newFakeCluster("n1", "n1", "n2"))
			a := agentOf(t, c, sched)
			ask, ended := make(chan time.Time), make(chan bool)
			go func() { a.whileOurs(t.Context(), ask); close(ended) }()
			questions := func() (n int) {
				sched.set(func(s *scheduler) { n = len(s.lines) })
				return n
			}
			tick := func(what string) {
				t.Helper()
				before := questions()
				defer func() {
					for deadline := time.Now().Add(5 * time.Second); questions() == before && time.Now().Before(deadline); {
						<-time.After(time.Millisecond)
					}
				}()
				select {
				case ask <- time.Time{}:
				case <-ended:
					t.Fatalf("ended: %s\n%s", what, log)
				case <-time.After(5 * time.Second):
					t.Fatalf("does not ask: %s", what)
				}
			}
			tick("it is ours")
			sched.set(set)
			tick("once strange")
			sched.set(func(s *scheduler) { s.exit["crm_mon"] = 102 })
			tick("Pacemaker is down")
			sched.set(func(s *scheduler) { s.exit["crm_mon"] = 0 })
			tick("strange")
			tick("strange again")
			select {
			case <-ended:
			case <-time.After(5 * time.Second):
				t.Error("it goes on")
			}
		})
	}
}

// A watcher that somebody has stopped is replaced by the monitor, with the locks that it holds.
func TestStoppedWatcherIsReplaced(t *testing.T) {
	t.Parallel()
	var started []proc.Cmd
	a, log := newTestAgent(t, newFakeCluster("n1", "n1", "n2"), "monitor", nil)
	a.spawn = func(c proc.Cmd) (int, error) { started = append(started, c); return 1, nil }
	id := holdLock(t, a.runFile(runLock), "-F", a.runFile(runWatcher), "flock", "-F", a.runFile(runLock), "sleep", "100")
	put(t, a.runFile(runWatcher), watch{id, id, a.watchParams()}.String())
	put(t, a.conf.data+"/postmaster.pid", get(t, "/proc/self/stat")[:strings.Index(get(t, "/proc/self/stat"), " ")]+"\n")
	a.keepWatcher(t.Context())
	if len(started) != 0 || !id.Alive() {
		t.Fatalf("a watcher that works is replaced: %v", started)
	}
	if err := id.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); ; <-time.After(5 * time.Millisecond) {
		if p, err := id.Pulse(); err != nil || p.Stopped() {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it is not stopped")
		}
	}
	a.keepWatcher(t.Context())
	if len(started) != 1 || id.Alive() || !slices.Equal(started[0].Args, []string{watchCommand}) {
		t.Errorf("started %v, the stopped one lives: %v\n%s", started, id.Alive(), log)
	}
	if _, err := a.turn(t.Context(), time.Second); err != nil {
		t.Errorf("the lock is still held: %v", err)
	}
}

// Wherever in its report the watcher is killed, the death is told, and not twice.
func TestWatcherKilledInReport(t *testing.T) {
	t.Parallel()
	pm := pg.ProcessID{PID: 1 << 30, Start: 1}
	for _, tt := range []struct {
		name         string
		told, known  bool // the watcher had settled that it tells; the cluster has heard of it
		atOnce, late bool // the monitor tells, at once and after a while
	}{
		{"before it began", false, false, true, true},
		{"when it had settled who tells", true, false, false, true},
		{"when the cluster had been told", true, true, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for late, want := range map[bool]bool{false: tt.atOnce, true: tt.late} {
				c, log := newCall(t, "monitor", map[string]string{interval: "1000", "OCF_RESOURCE_PROVIDER": "pgrex", "OCF_RESOURCE_TYPE": "pgsql"})
				sched := newScheduler(newFakeCluster("n1", "n1", "n2"))
				if tt.known {
					sched.instance = strings.Replace(sched.instance, `failed="false"`, `failed="true"`, 1)
				}
				a := agentOf(t, c, sched)
				put(t, a.runFile(runWatcher), watch{pg.ProcessID{PID: 1 << 30, Start: 2}, pm, "p"}.String())
				if tt.told {
					now, err := uptime()
					if err != nil {
						t.Fatal(err)
					}
					if late {
						now -= toldPatience
					}
					put(t, a.runFile(runTold), death{postmaster: pm, by: byWatcher, at: now}.String())
				}
				if silent := a.alreadyTold(t.Context()); silent == want {
					t.Errorf("late %v: the monitor is silent %v\n%s", late, silent, log)
				}
			}
		})
	}
}
