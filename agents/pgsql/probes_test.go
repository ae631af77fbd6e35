package main

import (
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
// written again before the probe is answered: the cluster would else move the role away. Pacemaker
// sends no interval with a probe.
func TestProbeRecallsAttributes(t *testing.T) {
	t.Parallel()
	f, s := newPrimary(t)
	recalls := func() (n int) {
		for _, line := range f.commands() {
			if line == "attrd_updater --refresh" {
				n++
			}
		}
		return n
	}
	f.set("n1", "ping-status", "1", false)
	s.must(ocf.RunningPromoted, "monitor")
	if recalls() != 0 {
		t.Errorf("%d times asked for attributes that are there", recalls())
	}
	f.mu.Lock()
	for _, cib := range f.copies {
		cib.nodes["n1"].transient = map[string]string{}
	}
	f.mu.Unlock()
	s.must(ocf.RunningPromoted, "monitor")
	if got := s.attribute("master-pgsql") + " " + s.attribute("ping-status"); got != "1000 1" || recalls() != 1 {
		t.Errorf("score and ping-status %q, asked %d times", got, recalls())
	}
}
