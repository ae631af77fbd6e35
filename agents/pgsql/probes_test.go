package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgrex/lib/ocf"
)

// The promotion of this node is held back while another one is probed of which the transition
// says nothing: its controller was started anew and knows nothing of the primary it has.
func TestNotifyAwaitsProbes(t *testing.T) {
	t.Parallel()
	const probe = 200 * time.Millisecond
	for _, tt := range []struct {
		name, promote, known string
		finds                string // what the probe answers after a while
		history              string // what is known at once
		gone                 bool
		longest              time.Duration
		waits                bool
		asks                 bool
		says                 string
	}{
		{name: "a primary is found", promote: "n1", finds: "monitor 8", longest: time.Second, waits: true, asks: true, says: "held back for a probe"},
		{name: "nothing is found", promote: "N1", finds: "monitor 7", longest: time.Second, waits: true, asks: true, says: "held back for a probe"},
		{name: "nobody probes", promote: "n1", longest: 3 * time.Second, waits: true, asks: true, says: "not probed all nodes before this promotion"},
		{name: "it was probed", promote: "n1", history: "monitor 7", longest: probe, asks: true},
		{name: "it is gone", promote: "n1", gone: true, longest: probe, asks: true},
		{name: "it is demoted in this transition", promote: "n1", known: "DEMOTE", longest: probe},
		{name: "it runs a standby", promote: "n1", known: "ACTIVE", longest: probe},
		{name: "the other node is promoted", promote: "n2", longest: probe},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFakeCluster("n1", "n1", "n2")
			if tt.history != "" {
				f.happened("n2", tt.history)
			}
			if tt.gone {
				f.lose("n2")
			}
			env := map[string]string{"OCF_RESKEY_CRM_meta_timeout": "3000",
				"OCF_RESKEY_CRM_meta_notify_type": "pre", "OCF_RESKEY_CRM_meta_notify_operation": "promote",
				"OCF_RESKEY_CRM_meta_notify_active_uname": "n1", "OCF_RESKEY_CRM_meta_notify_promote_uname": tt.promote}
			if tt.known != "" {
				env["OCF_RESKEY_CRM_meta_notify_"+strings.ToLower(tt.known)+"_uname"] = "n1 N2"
			}
			a, log := newTestAgent(t, f, "notify", env)
			if tt.finds != "" {
				time.AfterFunc(probe, func() {
					f.mu.Lock()
					defer f.mu.Unlock()
					f.happened("n2", tt.finds)
				})
			}
			began := time.Now()
			if err := a.notify(t.Context()); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); tt.waits && took < probe || took > tt.longest {
				t.Errorf("held back for %v", took)
			}
			if asked := len(f.commands()) > 0; asked != tt.asks {
				t.Errorf("asked %q", f.commands())
			}
			if tt.says == "" && log.String() != "" || !strings.Contains(log.String(), tt.says) {
				t.Errorf("said %q", log.String())
			}
		})
	}
}

// A primary whose cluster has forgotten its attributes, since its controller was killed, has them
// written again before the probe is answered: the cluster would else move the role away. A score
// that was written after the loss, by a promotion that the death found under way, does not hide it.
func TestProbeRecallsAttributes(t *testing.T) {
	t.Parallel()
	for _, kept := range []string{"", "master-pgsql"} {
		f, s := newPrimary(t)
		f.set("n1", "ping-status", "1", false)
		f.set("n1", featureSet, "3.16.1", false)
		f.set("n2", featureSet, "3.16.1", false)
		s.must(ocf.RunningPromoted, "monitor")
		if recalls(f) != 0 {
			t.Errorf("%d times asked for attributes that are there", recalls(f))
		}
		f.erase("n1", kept)
		s.must(ocf.RunningPromoted, "monitor")
		if got := s.attribute("master-pgsql") + " " + s.attribute("ping-status"); got != "1000 1" || recalls(f) != 1 {
			t.Errorf("%q kept: score and ping-status %q, asked %d times", kept, got, recalls(f))
		}
		s.must(ocf.RunningPromoted, "monitor")
		if recalls(f) != 1 {
			t.Errorf("%q kept: asked %d times", kept, recalls(f))
		}
	}
}

// recalls is how often a cluster was asked to write attributes again.
func recalls(f *fakeCluster) (n int) {
	for _, line := range f.commands() {
		if line == "attrd_updater --refresh" {
			n++
		}
	}
	return n
}

// What a probe of a node without a server has written again: what was erased there, so that a
// server may be started, and nothing where nothing was. A right that comes back with it is taken.
func TestProbeOfAStoppedNodeRecalls(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name          string
		score         string
		here, there   bool // the nodes that have Pacemaker's own attribute
		refuse        bool
		recalls       int
		scored, wants string // the score and ping-status after it
		longest       time.Duration
	}{
		{name: "a node that has just joined", here: true, there: true, longest: time.Second},
		{name: "a Pacemaker without that attribute", longest: time.Second},
		{name: "erased", there: true, recalls: 1, wants: "1", longest: 3 * time.Second},
		{name: "erased under a primary that died", score: "1000", there: true, recalls: 1, scored: "-INFINITY", wants: "1", longest: 3 * time.Second},
		{name: "erased under a standby that died, whose right holds", score: "100", there: true, recalls: 1, scored: "100", wants: "1", longest: 3 * time.Second},
		{name: "the daemon refuses", score: "100", there: true, refuse: true, recalls: 1, longest: 3 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFakeCluster("n1", "n1", "n2")
			f.set("n2", "pgsql-record", record5, true)
			f.set("n1", "ping-status", "1", false)
			if tt.score != "" {
				f.set("n1", "master-pgsql", tt.score, false)
			}
			f.set("n1", featureSet, "3.16.1", false)
			f.erase("n1")
			if tt.here {
				f.here().put("n1", featureSet, "3.16.1", false)
			}
			if tt.there {
				f.set("n2", featureSet, "3.16.1", false)
			}
			f.happened("n2", "monitor 8")
			if tt.refuse {
				f.trouble = func(line string) *trouble {
					if strings.HasPrefix(line, "attrd_updater") {
						return &trouble{exit: 102}
					}
					return nil
				}
			}
			a, log := newTestAgent(t, f, "monitor", nil)
			began := time.Now()
			if err := a.monitor(t.Context()); ocf.CodeOf(err) != ocf.NotRunning {
				t.Fatalf("%v: %s", err, log)
			}
			if took := time.Since(began); took > tt.longest {
				t.Errorf("took %v", took)
			}
			got := f.attribute("n1", "n1", "ping-status", false)
			if recalls(f) != tt.recalls || f.score("n1") != tt.scored || got != tt.wants {
				t.Errorf("asked %d times, score %q, ping-status %q: %s", recalls(f), f.score("n1"), got, log)
			}
			if tt.refuse && !strings.Contains(log.String(), "attrd_updater --refresh") {
				t.Errorf("said %s", log)
			}
		})
	}
}

// The stop after a failed start brings back the count of that failure, without which the cluster would
// start the server again at once, and again.
func TestStopRecallsTheCount(t *testing.T) {
	t.Parallel()
	const count, last = "fail-count-pgsql#start_0", "last-failure-pgsql#start_0"
	for name, lost := range map[string]bool{"counted": false, "count lost": true} {
		t.Run(name, func(t *testing.T) {
			f := newFakeCluster("n1", "n1", "n2")
			f.set("n1", count, "INFINITY", false)
			f.set("n1", last, "1795316953", false)
			want := 0
			if lost {
				f.erase("n1")
				f.here().put("n1", last, "1795316974", false)
				want = 1
			}
			a, log := newTestAgent(t, f, "stop", nil)
			if err := a.stop(t.Context()); err != nil {
				t.Fatalf("%v: %s", err, log)
			}
			if got := f.attribute("n1", "n1", count, false); recalls(f) != want || got != "INFINITY" {
				t.Errorf("asked %d times, count %q: %s", recalls(f), got, log)
			}
		})
	}
}

// A standby that is probed recalls what was forgotten before it looks whether it may stay, and waits
// until the attribute daemon has written it.
func TestProbeOfAStandby(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, attrd, cib, want string
		writes                 bool
	}{
		{name: "its right is there", cib: "100", want: "100"},
		{name: "its right was forgotten", attrd: "100", want: "100"},
		{name: "nothing was forgotten, there was nothing"},
		{name: "a former primary's score was forgotten", attrd: "1000", want: "-INFINITY", writes: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFakeCluster("n1", "n1", "n2")
			f.set("n2", "pgsql-record", record5, true)
			f.set("n1", "pgsql-status", "HS:sync", false)
			f.happened("n2", "monitor 8")
			if tt.cib != "" {
				f.set("n1", "master-pgsql", tt.cib, false)
			}
			if tt.attrd != "" {
				f.attrd["n1"]["master-pgsql"] = tt.attrd
			}
			a, _ := newTestAgent(t, f, "monitor", nil)
			if !a.call.Probe {
				t.Fatal("not a probe")
			}
			if err := a.monitorStandby(t.Context(), nil, standbyStatus("streaming")); err != nil {
				t.Fatal(err)
			}
			if got := f.score("n1"); got != tt.want {
				t.Errorf("score %q, want %q", got, tt.want)
			}
			wrote := slices.ContainsFunc(f.writes(), func(w string) bool { return strings.HasPrefix(w, "n1 master-pgsql") })
			if wrote != tt.writes {
				t.Errorf("wrote %q", f.writes())
			}
		})
	}
}

// At a probe, what is left over without the record behind it is taken back, and nothing else: no right
// that holds, none that another node's word is to decide, and no score is nothing to be taken.
func TestRevoke(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, record, score, want, stopped, elected string }{
		{"no score", record5, "", "", "", ""},
		{"no score, no record", "", "", "", "", ""},
		{"entitled", record5, "100", "100", "100", "100"},
		{"entitled alone", record6, "100", "100", "100", "100"},
		{"another was promoted", record7, "100", "-INFINITY", "-INFINITY", "-INFINITY"},
		{"of a former primary, or elected", record5, "1000", "-INFINITY", "-INFINITY", "1000"},
		{"of a former primary, deposed", record7, "1000", "-INFINITY", "-INFINITY", "1000"},
		{"somebody's number", record5, "50", "-INFINITY", "-INFINITY", "-INFINITY"},
		{"none", record5, "-INFINITY", "-INFINITY", "-INFINITY", "-INFINITY"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for kind, want := range map[string]string{"beside a primary": tt.want, "stopped": tt.stopped, "without a primary": tt.elected} {
				f := newFakeCluster("n1", "n1", "n2")
				f.set("n2", "pgsql-record", tt.record, true)
				f.set("n1", "master-pgsql", tt.score, false)
				if kind == "beside a primary" {
					f.happened("n2", "monitor 8")
				}
				a, _ := newTestAgent(t, f, "monitor", nil)
				if kind == "stopped" {
					a.revokeStopped(t.Context())
				} else if err := a.remember(t.Context()); err != nil {
					t.Fatal(err)
				} else {
					a.revoke(t.Context())
				}
				if got := f.score("n1"); got != want {
					t.Errorf("%s: %q, want %q", kind, got, want)
				}
				for _, w := range f.writes() {
					if !strings.HasPrefix(w, "n1 master-pgsql") {
						t.Errorf("%s: wrote %q", kind, w)
					}
				}
			}
		})
	}
	// A cluster that does not answer: nothing happens, and that is said.
	f := newFakeCluster("n1", "n1", "n2")
	f.set("n1", "master-pgsql", "1000", false)
	f.trouble = func(string) *trouble { return &trouble{exit: 102} }
	a, log := newTestAgent(t, f, "monitor", nil)
	a.revokeStopped(t.Context())
	if len(f.writes()) != 0 || !strings.Contains(log.String(), "not read") {
		t.Errorf("wrote %q: %s", f.writes(), log)
	}
}

// A standby that was started and does not come is waited for, and then the primary goes on by the
// same connection; that is no error. One whose start failed is named to us all the same and not
// waited for.
func TestNotifyOfAStandbyThatDoesNotCome(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		history []string
		lost    bool
		hidden  bool // the cluster's memory cannot be read at first
		waits   bool
	}{
		{name: "started", history: []string{"monitor 7", "start 0"}, waits: true},
		{name: "not to be told", history: []string{"monitor 7", "start 1"}, hidden: true, waits: true},
		{name: "its start failed", history: []string{"monitor 7", "start 1"}},
		{name: "stopped after it", history: []string{"start 1", "stop 0"}},
		{name: "nothing is known of it"},
		{name: "gone since", history: []string{"start 0"}, lost: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f, s := newPrimary(t)
			f.happened("n2", tt.history...)
			if tt.lost {
				f.lose("n2")
			}
			if tt.hidden {
				asked := 0
				f.trouble = func(line string) *trouble {
					if asked++; asked == 1 && strings.HasPrefix(line, "cibadmin") {
						return &trouble{exit: 102}
					}
					return nil
				}
			}
			began := time.Now()
			code, text, log := s.perform("notify", "OCF_RESKEY_CRM_meta_notify_type", "post", "OCF_RESKEY_CRM_meta_notify_operation", "start",
				"OCF_RESKEY_CRM_meta_notify_start_uname", "N2")
			// What follows the wait takes its time too, and is the same for all.
			if took := time.Since(began); code != ocf.OK || tt.waits && took < joinPatience {
				t.Errorf("%d (%s) after %v", code, text, took)
			}
			said := log.String()
			if tt.waits != strings.Contains(said, "does not stream yet") || strings.Contains(said, "level=ERROR") || strings.Contains(said, "conn closed") {
				t.Errorf("said %s", said)
			}
		})
	}
}
