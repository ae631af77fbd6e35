package main

import (
	"slices"
	"testing"
	"time"

	"pgrex/lib/ocf"
	"pgrex/lib/replication"
)

// A server on a node that node_list does not name is ended there and nowhere else. Pacemaker takes
// a probe's code 5 for a server that does not run, and would promote another beside it.
func TestUnlisted(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("n1", "n1", "n2", "n3")
	s := newSite(t, f, "n1", nil)
	unlisted := func(want ocf.Code, action string, more ...string) string {
		t.Helper()
		return s.must(want, action, append(more, "OCF_RESKEY_node_list", "n2 n3")...)
	}
	probed := func(want ocf.Code) {
		t.Helper()
		before := len(f.writes())
		unlisted(want, "monitor", interval, "0")
		if w := f.writes()[before:]; len(w) != 0 {
			t.Errorf("the probe of a server that is not to run wrote %q", w)
		}
	}
	says(t, unlisted(ocf.ErrInstalled, "start"), "node_list (n2 n3)", "n1")
	probed(ocf.NotRunning)
	f.set("n1", "pgsql-accept-loss", "0", false)
	s.done("start")
	says(t, unlisted(ocf.ErrInstalled, "monitor", interval, "10000"), "node_list (n2 n3)", "n1")
	says(t, unlisted(ocf.ErrInstalled, "reload-agent"), "node_list (n2 n3)")
	says(t, unlisted(ocf.ErrInstalled, "promote"), "node_list (n2 n3)")
	probed(ocf.OK)
	s.done("promote")
	says(t, unlisted(ocf.ErrInstalled, "monitor", interval, "9000"), "node_list (n2 n3)", "n1")
	probed(ocf.RunningPromoted)
	unlisted(ocf.OK, "notify", "OCF_RESKEY_CRM_meta_notify_type", "post", "OCF_RESKEY_CRM_meta_notify_operation", "start", "OCF_RESKEY_CRM_meta_notify_start_uname", "n2")
	unlisted(ocf.OK, "demote")
	unlisted(ocf.OK, "stop")
}

// A node that has left node_list is looked at while the record concerns it, and is no candidate.
func TestUnlistedPeer(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("n1", "n1", "N2", "n3", "n4")
	f.set("n1", "pgsql-record", record5, true)
	for _, n := range []string{"N2", "n4"} {
		f.set(n, "pgsql-position", "epoch=5 system=7 timeline=1 lsn=0/5000000", false)
		f.set(n, "pgsql-voter", "5", false)
	}
	f.happened("N2", "promote 0")
	f.happened("n4", "promote 0")
	list := map[string]string{"OCF_RESKEY_node_list": "n1 n3", "OCF_RESKEY_external_standby_node_list": "n4"}
	a, _ := remembered(t, f, "monitor", list)
	r := &round{status: primaryStatus(sender("n2", "streaming", "sync"), sender("n3", "streaming", "async"), sender("n4", "streaming", "async"))}
	o := a.observe(r)
	if p := o.Peers["n2"]; p.Presence != replication.Online || p.Row != nil || p.Position != nil || p.Voter != 0 || p.CopyKnown {
		t.Errorf("n2: %+v", p)
	}
	if _, known := o.Peers["n4"]; known || len(o.Peers) != 2 || !slices.Equal(o.Nodes, []string{"n1", "n3"}) || !slices.Equal(o.ExternalRows, []string{"n4"}) {
		t.Errorf("%+v", o)
	}
	// While it serves nobody may act as if it had ended.
	if o.Promoted != "n2" {
		t.Errorf("promoted: %q", o.Promoted)
	}
	if err := a.readCopy(t.Context(), "n2"); err != nil || a.observation().Peers["n2"].Copy.String() != record5 {
		t.Error(err, a.observation().Peers["n2"])
	}
	f.lose("N2")
	f.fence("N2")
	b, _ := remembered(t, f, "monitor", list)
	if o := b.observation(); o.Peers["n2"].Presence != replication.Down || o.Promoted != "" {
		t.Errorf("fenced: %+v", o)
	}
}

// The right of a node that has left node_list ends like any other: where it is told, or where it is
// proven down. Until then commits wait for it, and then for nobody.
func TestUnlistedLosesItsRight(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(*fakeCluster)
		ends   bool
	}{
		{"a member", func(*fakeCluster) {}, true},
		{"a member that has not got the record", func(f *fakeCluster) { f.behind["n2"] = true }, false},
		{"fenced", func(f *fakeCluster) { f.lose("n2"); f.fence("n2") }, true},
		{"cleanly stopped", func(f *fakeCluster) { f.happened("n2", "start 0", "stop 0"); f.leave("n2") }, true},
		{"lost", func(f *fakeCluster) { f.lose("n2") }, false},
		{"not known to the cluster any more", func(f *fakeCluster) { delete(f.here().nodes, "n2") }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFakeCluster("n1", "n1", "n2", "n3")
			f.set("n1", "pgsql-record", record6, true) // n2 is leaving
			f.set("n1", "master-pgsql", "1000", false)
			tt.change(f)
			a, _ := remembered(t, f, "monitor", map[string]string{"OCF_RESKEY_node_list": "n1 n3"})
			// What n2's own copy has is what was written before it was behind.
			if f.behind["n2"] {
				f.copies["n2"].put("n1", "pgsql-record", record5, true)
			}
			r := &round{status: primaryStatus(sender("n2", "streaming", "sync")), names: []string{"n2"}, count: 1}
			var d replication.Decision
			for range 4 {
				if d = replication.Standbys(a.observe(r)); len(d.Steps) > 0 && d.Steps[0].Kind == replication.SetSync {
					break
				}
				if err := a.carryOut(t.Context(), nil, r, d.Steps); err != nil {
					t.Fatal(err)
				}
			}
			left := a.memory.newest.Leaving
			if tt.ends && (len(left) > 0 || len(d.Steps) != 1 || len(d.Steps[0].Nodes) > 0) {
				t.Errorf("leaving %q, at last: %s", left, d)
			}
			if !tt.ends && (!slices.Equal(left, []string{"n2"}) || d.Verdict != replication.Wait) {
				t.Errorf("leaving %q, at last: %s", left, d)
			}
		})
	}
}

// A promotion waits for a node that has left node_list only until that knows of it or is down.
func TestPromotionBesideUnlisted(t *testing.T) {
	t.Parallel()
	const record = "epoch=1002 primary=n1 entitled=n1,n3 leaving=n2 system=7 timeline=1 lsn=0/3000148"
	for _, fenced := range []bool{false, true} {
		f := newFakeCluster("n3", "n1", "n2", "n3")
		f.set("n1", "pgsql-record", record, true)
		f.set("n3", "master-pgsql", "100", false)
		f.happened("n1", "promote 0")
		f.lose("n1")
		f.fence("n1")
		if fenced {
			f.lose("n2")
			f.fence("n2")
		}
		a, _ := remembered(t, f, "promote", map[string]string{"OCF_RESKEY_CRM_meta_on_node": "n3", "OCF_RESKEY_node_list": "n1 n3"})
		r := &round{status: standbyStatus("")}
		d, err := a.pursue(short(t, 5*time.Second), nil, r, replication.Promote)
		if err != nil || d.Verdict != replication.Done || !r.opened || len(a.memory.newest.Leaving) > 0 {
			t.Errorf("fenced %v: %s, %v, record %v", fenced, d, err, a.memory.newest)
		}
	}
}
