package main

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"pgrex/lib/ocf"
	"pgrex/lib/pg"
)

// monitored is how Pacemaker calls a recurring monitor.
func monitored(more map[string]string) map[string]string {
	env := map[string]string{interval: "3000", "OCF_RESOURCE_PROVIDER": "pgrex", "OCF_RESOURCE_TYPE": "pgsql"}
	maps.Copy(env, more)
	return env
}

// without makes the volume of an agent's data one that has run out of something.
func without(a *agent, what string) {
	a.exhausted = func(string) (string, error) { return what, nil }
}

// fullSince makes an agent remember that its primary's volume has been full for a while, and
// was so when it was looked at last.
func fullSince(t *testing.T, a *agent, long, last time.Duration) {
	t.Helper()
	now, err := uptime()
	if err != nil {
		t.Fatal(err)
	}
	a.keepSpell(spell{Since: now - long, Last: now - last})
}

// spellOf is the spell in the agent's file.
func spellOf(t *testing.T, a *agent) (s spell) {
	t.Helper()
	if err := json.Unmarshal([]byte(get(t, a.runFile(runFull))), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// A primary whose volume has been full for long gives way to a standby that may take over and
// has room, and to nobody else.
func TestGiveWay(t *testing.T) {
	t.Parallel()
	quorum := map[string]string{"OCF_RESKEY_node_list": "n1 n2 n3", "OCF_RESKEY_sync_quorum": "true"}
	const ofThree = "epoch=5 primary=n1 entitled=n1,n2,n3 quorum=1"
	for _, tt := range []struct {
		name       string
		env        map[string]string
		record     string
		long, last time.Duration
		before     func(*fakeCluster)
		probe      bool
		instance   string      // what the scheduler says of our server, if it is not all well
		rows       []pg.Sender // nil for streaming ones of all other nodes
		code       ocf.Code
		says       string // of the reason, or the log
	}{
		{name: "a standby has room", long: 25 * time.Second, last: 3 * time.Second, code: ocf.FailedPromoted, says: "n2 takes over"},
		{name: "not for long enough", long: 10 * time.Second, last: 3 * time.Second, code: ocf.RunningPromoted},
		{name: "nobody looked for a while", long: 25 * time.Minute, last: 24 * time.Minute, code: ocf.RunningPromoted},
		{name: "looked at by the way", probe: true, long: 25 * time.Second, last: 3 * time.Second, code: ocf.RunningPromoted},
		{name: "the standby is full too", long: 25 * time.Second, last: 3 * time.Second, code: ocf.RunningPromoted, says: "n2 has no room either",
			before: func(f *fakeCluster) { f.set("n2", "pgsql-full", "inodes", false) }},
		{name: "the standby has lost its right", long: 25 * time.Second, last: 3 * time.Second, code: ocf.RunningPromoted, says: "n2 has no right to be promoted",
			before: func(f *fakeCluster) { f.set("n2", "master-pgsql", "-INFINITY", false) }},
		{name: "it has the score and not the right", record: "epoch=5 primary=n1 entitled=n1", long: 25 * time.Second, last: 3 * time.Second, code: ocf.RunningPromoted,
			says: "n2 has no right to be promoted"},
		{name: "commits do not wait", env: map[string]string{"OCF_RESKEY_rep_mode": "async"}, long: 25 * time.Second, last: 3 * time.Second, code: ocf.RunningPromoted,
			says: "without rep_mode=sync"},
		{name: "the standby's node is in maintenance mode", long: 25 * time.Second, last: 3 * time.Second, code: ocf.RunningPromoted, says: "n2 is in maintenance mode",
			before: func(f *fakeCluster) { f.set("n2", "maintenance", "on", true) }},
		{name: "nobody would act on it", long: 25 * time.Second, last: 3 * time.Second, code: ocf.RunningPromoted, says: "does not manage it",
			instance: strings.Replace(healthyInstance, `managed="true"`, `managed="false"`, 1)},
		{name: "the standby has just died", rows: []pg.Sender{}, long: 25 * time.Second, last: 3 * time.Second, code: ocf.RunningPromoted, says: "n2 does not stream"},
		{name: "there is no standby", long: 25 * time.Second, last: 3 * time.Second, code: ocf.RunningPromoted, says: "n2 is not there",
			before: func(f *fakeCluster) { f.fence("n2") }},
		{name: "another one is the primary by now", record: "epoch=5 primary=n2 entitled=n1,n2", long: 25 * time.Second, last: 3 * time.Second, code: ocf.RunningPromoted},
		{name: "the cluster's memory cannot be read", long: 25 * time.Second, last: 3 * time.Second, code: ocf.RunningPromoted, says: "it is not known",
			before: func(f *fakeCluster) {
				f.trouble = func(line string) *trouble {
					if strings.HasPrefix(line, "cibadmin") {
						return &trouble{exit: 1}
					}
					return nil
				}
			}},
		{name: "one of two standbys has room", env: map[string]string{"OCF_RESKEY_node_list": "n1 n2 n3"}, record: "epoch=5 primary=n1 entitled=n1,n2", long: 25 * time.Second,
			last: 3 * time.Second, code: ocf.FailedPromoted, says: "n2 takes over"},
		{name: "voters with room", env: quorum, record: ofThree, long: 25 * time.Second, last: 3 * time.Second, code: ocf.FailedPromoted, says: "n2 or n3 takes over"},
		{name: "a voter is full", env: quorum, record: ofThree, long: 25 * time.Second, last: 3 * time.Second, code: ocf.RunningPromoted, says: "n3 has no room either",
			before: func(f *fakeCluster) { f.set("n3", "pgsql-full", "blocks", false) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFakeCluster("n1", "n1", "n2", "n3")
			record := "epoch=5 primary=n1 entitled=n1,n2"
			if tt.record != "" {
				record = tt.record
			}
			f.set("n1", "pgsql-record", record, true)
			f.set("n1", "master-pgsql", "1000", false)
			if strings.Contains(record, "quorum") {
				f.set("n2", "pgsql-voter", "5", false)
				f.set("n3", "pgsql-voter", "5", false)
			} else {
				f.set("n2", "master-pgsql", "100", false)
			}
			c, log := newCall(t, "monitor", monitored(tt.env))
			if tt.probe {
				c, log = newCall(t, "monitor", tt.env)
			}
			sched := newScheduler(f)
			if tt.instance != "" {
				sched.instance = tt.instance
			}
			a := agentOf(t, c, sched)
			if tt.rows == nil {
				tt.rows = []pg.Sender{sender("n2", "streaming", "sync"), sender("n3", "streaming", "potential")}
			}
			if tt.before != nil {
				tt.before(f)
			}
			without(a, "blocks")
			fullSince(t, a, tt.long, tt.last)
			monitor := func() error { return a.giveWay(t.Context(), primaryStatus(tt.rows...), a.fullSpell()) }
			err := monitor()
			if ocf.CodeOf(err) != tt.code {
				t.Fatalf("%v, want %d\n%s", err, tt.code, log)
			}
			if tt.code == ocf.FailedPromoted {
				says(t, err.Error(), a.conf.data, "full for 25s", "no blocks", "make room", tt.says)
				// The role is given up once, whatever the cluster makes of it.
				if err = monitor(); ocf.CodeOf(err) != ocf.RunningPromoted {
					t.Errorf("given up again: %v", err)
				}
				tt.says = "no other node became the primary"
			}
			says(t, log.String(), tt.says)
			n := strings.Count(log.String(), "level=WARN")
			if err = monitor(); ocf.CodeOf(err) != ocf.RunningPromoted {
				t.Errorf("then: %v", err)
			}
			if again := strings.Count(log.String(), "level=WARN") - n; again != 0 && f.trouble == nil {
				t.Errorf("warned again:\n%s", log)
			}
			without(a, "")
			// That there was room for a moment does not make it give its role up again.
			yielded := tt.code == ocf.FailedPromoted
			if err = monitor(); ocf.CodeOf(err) != ocf.RunningPromoted || !tt.probe && exists(a.runFile(runFull)) != yielded {
				t.Errorf("with room: %v, what was remembered is there: %v", err, exists(a.runFile(runFull)))
			}
			if yielded {
				without(a, "blocks")
				s := spellOf(t, a)
				s.Since, s.Last = s.Last-tt.long, s.Last-tt.last
				a.keepSpell(s)
				if err = monitor(); ocf.CodeOf(err) != ocf.RunningPromoted {
					t.Errorf("given up for another spell: %v", err)
				}
			}
		})
	}
}

// The monitor of a primary that finds nothing new looks at the volume nevertheless, and a file
// that says nothing begins a new spell.
func TestMonitorOfAFullPrimary(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("n1", "n1", "n2")
	f.set("n1", "pgsql-record", "epoch=5 primary=n1 entitled=n1,n2", true)
	f.set("n1", "master-pgsql", "1000", false)
	f.set("n2", "master-pgsql", "100", false)
	c, _ := newCall(t, "monitor", monitored(nil))
	a := agentOf(t, c, newScheduler(f))
	st := primaryStatus(sender("n2", "streaming", "sync"))
	a.storeSteady(st)
	if !a.steady(st) {
		t.Fatal("not steady")
	}
	without(a, "inodes")
	if a.steady(st) {
		t.Fatal("nobody would be told of it")
	}
	a.storeSteady(st)
	put(t, a.runFile(runFull), "{")
	if err := a.monitorPrimary(t.Context(), nil, st); ocf.CodeOf(err) != ocf.RunningPromoted {
		t.Fatalf("at once: %v", err)
	}
	if s := spellOf(t, a); s.Since == 0 || s.Since != s.Last {
		t.Errorf("%+v", s)
	}
	fullSince(t, a, time.Minute, time.Second)
	err := a.monitorPrimary(t.Context(), nil, st)
	if ocf.CodeOf(err) != ocf.FailedPromoted {
		t.Fatalf("after a minute: %v", err)
	}
	says(t, err.Error(), "no inodes", "n2 takes over")
}

// Each node says when its own volume is full, once, and takes it back when there is room, when
// its server ends, and before it starts.
func TestPublishRoom(t *testing.T) {
	t.Parallel()
	const name = "pgsql-full"
	f := newFakeCluster("n1", "n1", "n2")
	f.set("n2", "pgsql-record", record5, true)
	f.set("n1", "pgsql-status", "HS:sync", false)
	f.set("n1", "master-pgsql", "100", false)
	f.happened("n2", "promote 0")
	a, log := newTestAgent(t, f, "monitor", monitored(nil))
	monitor := func(what, want string) {
		t.Helper()
		without(a, what)
		if err := a.monitorStandby(t.Context(), nil, standbyStatus("streaming")); err != nil {
			t.Fatal(err)
		}
		if got := f.attribute("n1", "n1", name, false); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	monitor("", "")
	if n := len(f.writes()); n != 0 {
		t.Errorf("wrote %q", f.writes())
	}
	a.keepSpell(spell{Yielded: true})
	monitor("blocks", "blocks")
	if exists(a.runFile(runFull)) {
		t.Error("a standby of another primary has not forgotten that it gave its role up")
	}
	monitor("blocks", "blocks")
	monitor("inodes", "inodes")
	monitor("", "")
	monitor("", "")
	if want := []string{"n1 pgsql-full=blocks", "n1 pgsql-full=inodes", "n1 pgsql-full deleted"}; !slices.Equal(f.writes(), want) {
		t.Errorf("wrote %q, want %q", f.writes(), want)
	}
	if n := strings.Count(log.String(), "make room on it"); n != 2 {
		t.Errorf("warned %d times:\n%s", n, log)
	}
	a.exhausted = func(string) (string, error) { return "", errors.New("no such volume") }
	if what := a.noRoom(); what != "" {
		t.Errorf("full of %q", what)
	}
	without(a, "blocks")
	if err := a.forgetSelf(t.Context()); err != nil || f.attribute("n1", "n1", name, false) != "blocks" {
		t.Errorf("a start does not say it: %v", err)
	}
	// Of a server that does not run nobody knows whether there is still no room.
	b, _ := newTestAgent(t, f, "stop", nil)
	b.withdrawSelf(t.Context(), pg.Processes{})
	b.publishStopped(t.Context(), statusStop)
	if got := f.attribute("n1", "n1", name, false); got != "" {
		t.Errorf("after a stop: %q", got)
	}
}

// A checkpoint without room ends the server, so demote makes none beforehand.
func TestNoCheckpointWithoutRoom(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"", "blocks"} {
		a, log := newTestAgent(t, newFakeCluster("n1", "n1", "n2"), "demote", nil)
		without(a, what)
		a.checkpoint(t.Context(), sight{answers: true})
		// There is no server: who tries says so.
		if tried := strings.Contains(log.String(), "error="); tried != (what == "") {
			t.Errorf("full of %q, tried %v:\n%s", what, tried, log)
		}
	}
}
