package main

import (
	"os"
	"strings"
	"testing"

	"pgrex/lib/pg"
)

func TestSteady(t *testing.T) {
	t.Parallel()
	base := func() pg.Status {
		st := primaryStatus(sender("n2", "streaming", "sync"), sender("n3", "streaming", "async"))
		st.Settings = map[string]pg.Setting{"synchronous_standby_names": {Value: `"n2"`, File: "/t/rep_mode.conf"}}
		return st
	}
	f := newFakeCluster("n1", "n1", "n2")
	f.set("n1", "pgsql-record", record5, true)
	a, _ := remembered(t, f, "monitor", map[string]string{"OCF_RESKEY_CRM_meta_interval": "9000"})
	if a.steady(base()) {
		t.Error("steady before anything was seen")
	}
	a.storeSteady(base())
	if !a.steady(base()) {
		t.Fatal("not steady though nothing changed")
	}
	// The order of the rows, and how far the WAL reaches, mean nothing.
	same := base()
	same.Walsenders[0], same.Walsenders[1] = same.Walsenders[1], same.Walsenders[0]
	same.FlushLSN, same.Walsenders[0].FlushLSN = 0x9000000, 0x9000000
	if !a.steady(same) {
		t.Error("the order of rows counts")
	}
	for name, change := range map[string]func(*pg.Status){
		"role":            func(st *pg.Status) { st.InRecovery = true },
		"timeline":        func(st *pg.Status) { st.Timeline = 2 },
		"a standby less":  func(st *pg.Status) { st.Walsenders = st.Walsenders[:1] },
		"state":           func(st *pg.Status) { st.Walsenders[0].State = "catchup" },
		"sync state":      func(st *pg.Status) { st.Walsenders[0].SyncState = "async" },
		"another standby": func(st *pg.Status) { st.Walsenders[0].Name = "n4" },
		"receiver":        func(st *pg.Status) { st.Receiver = &pg.Receiver{Status: "streaming"} },
		"a reload":        func(st *pg.Status) { st.Loaded = "2026-11-21T08:00:00+00:00" },
		"names":           func(st *pg.Status) { st.Settings["synchronous_standby_names"] = pg.Setting{File: "/t/rep_mode.conf"} },
		"their source": func(st *pg.Status) {
			st.Settings["synchronous_standby_names"] = pg.Setting{Value: `"n2"`, File: "/d/postgresql.auto.conf"}
		},
	} {
		st := base()
		change(&st)
		if a.steady(st) {
			t.Errorf("steady though it changed: %s", name)
		}
	}
	// The record is learnt by other actions too.
	put(t, a.conf.recordFile(), record6)
	if a.steady(base()) {
		t.Error("steady with another record")
	}
	put(t, a.conf.recordFile(), "garbage")
	a.storeSteady(base())
	if a.steady(base()) {
		t.Error("steady with a record that cannot be read")
	}
	put(t, a.conf.recordFile(), record5)
	a.storeSteady(base())
	a.call.Probe = true
	if a.steady(base()) {
		t.Error("a probe believes what an earlier stack wrote")
	}
	a.call.Probe = false

	// Whatever is written, and whatever could not be written, ends it.
	a.try(t.Context(), transient("n1", "pgsql-status", "PRI"))
	if a.steady(base()) {
		t.Error("steady after a write")
	}
	a.storeSteady(base())
	f.trouble = func(string) *trouble { return &trouble{exit: 102} }
	a.try(t.Context(), transient("n1", "pgsql-status", "STOP"))
	a.storeSteady(base())
	if a.steady(base()) {
		t.Error("a failed write is not tried again by the next monitor")
	}
}

// After a daemon was started again nothing that was written before is believed.
func TestSteadyEndsWithTheDaemons(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("n1", "n1", "n2")
	a, _ := remembered(t, f, "monitor", map[string]string{"OCF_RESKEY_CRM_meta_interval": "10000"})
	a.cluster.Proc = t.TempDir()
	if err := fakeDaemons(a.cluster.Proc); err != nil {
		t.Fatal(err)
	}
	a.storeSteady(primaryStatus())
	if !a.steady(primaryStatus()) {
		t.Fatal("not steady")
	}
	stat := a.cluster.Proc + "/101/stat"
	put(t, stat, strings.Replace(get(t, stat), "10100", "99900", 1))
	if a.steady(primaryStatus()) {
		t.Error("steady with another attribute manager")
	}
	if err := os.RemoveAll(a.cluster.Proc + "/102"); err != nil {
		t.Fatal(err)
	}
	b, log := remembered(t, f, "monitor", map[string]string{"OCF_RESKEY_CRM_meta_interval": "10000"})
	b.cluster.Proc = a.cluster.Proc
	b.storeSteady(primaryStatus())
	if b.steady(primaryStatus()) || !strings.Contains(log.String(), "every monitor will read") {
		t.Errorf("a daemon is missing: %s", log)
	}
}
