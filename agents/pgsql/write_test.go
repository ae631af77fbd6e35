package main

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"pgrex/lib/crm"
	"pgrex/lib/replication"
)

func TestApply(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("n1", "n1", "n2")
	a, _ := remembered(t, f, "monitor", nil)
	err := a.apply(t.Context(), transient("n1", "pgsql-status", "PRI"), forever("n2", "pgsql-data-status", "DISCONNECT"), a.scoreWrite("n2", replication.Never))
	if err != nil {
		t.Fatal(err)
	}
	if f.status("n1") != "PRI" || f.attribute("n2", "n2", "pgsql-data-status", true) != "DISCONNECT" || f.score("n2") != "-INFINITY" {
		t.Errorf("wrote %q", f.writes())
	}
	// What was written is what is believed, without another look.
	if a.node("n1").Transient["pgsql-status"] != "PRI" || a.node("n2").Forever["pgsql-data-status"] != "DISCONNECT" || a.score("n2") != replication.Never {
		t.Errorf("believed %v %v", a.node("n1").Transient, a.node("n2"))
	}
	if err := a.apply(t.Context(), transient("n1", "pgsql-status", ""), a.scoreWrite("n2", replication.Unset)); err != nil {
		t.Fatal(err)
	}
	if f.status("n1") != "" || f.score("n2") != "" || a.score("n2") != replication.Unset {
		t.Error("a deletion left something")
	}
}

func TestApplyFails(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("n1", "n1", "n2")
	a, log := remembered(t, f, "monitor", map[string]string{"OCF_RESKEY_crm_attr_timeout": "1"})
	f.trouble = func(line string) *trouble {
		if strings.Contains(line, "--node=n2") {
			return &trouble{exit: 102, text: "Could not connect to the cluster"}
		}
		return nil
	}
	err := a.apply(t.Context(), transient("n1", "pgsql-status", "PRI"), transient("n2", "pgsql-status", "HS:sync"))
	if !errors.Is(err, crm.ErrNotConnected) {
		t.Fatal(err)
	}
	says(t, err.Error(), "pgsql-status of node n2")
	if a.node("n2").Transient["pgsql-status"] != "" {
		t.Error("a write that failed is believed")
	}
	// All were tried: one that fails does not keep the others back.
	if f.status("n1") != "PRI" {
		t.Error("the other write was not carried out")
	}
	a.try(t.Context(), transient("n2", "pgsql-status", "HS:sync"))
	if !a.unwritten || !strings.Contains(log.String(), "not written") {
		t.Error("the failure left no trace")
	}
	// A cluster that hangs costs crm_attr_timeout, not the action's time.
	f.trouble = func(string) *trouble { return &trouble{hang: true} }
	began := time.Now()
	if err := a.apply(t.Context(), transient("n1", "pgsql-status", "STOP")); !outOfTime(err) {
		t.Error(err)
	}
	if took := time.Since(began); took < 900*time.Millisecond || took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

// Without a cluster nothing is written, and that is no failure.
func TestApplyWithoutCluster(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("n1", "n1", "n2")
	a, _ := newTestAgent(t, f, "monitor", map[string]string{"OCF_RESKEY_crm_feature_set": unset})
	if err := a.apply(t.Context(), transient("n1", "pgsql-status", "PRI")); err != nil || len(f.commands()) != 0 {
		t.Errorf("%v, %q", err, f.commands())
	}
}

func TestChanged(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("n1", "n1", "n2")
	f.set("n1", "pgsql-status", "PRI", false)
	f.set("n1", "pgsql-data-status", "LATEST", true)
	f.set("n2", "pgsql-status", "HS:sync", false)
	a, _ := remembered(t, f, "monitor", nil)
	same := []crm.Write{
		transient("n1", "pgsql-status", "PRI"), forever("n1", "pgsql-data-status", "LATEST"), transient("n1", "pgsql-xlog-loc", ""),
		transient("N2", "pgsql-status", "HS:sync"), a.scoreWrite("n2", replication.Unset),
	}
	if got := a.changed(same); len(got) != 0 {
		t.Errorf("would write %v", got)
	}
	// The same name has another value in each lifetime.
	differ := []crm.Write{
		transient("n1", "pgsql-status", "STOP"), transient("n2", "pgsql-status", ""), transient("n1", "pgsql-data-status", "LATEST"),
		forever("n1", "pgsql-data-status", ""), a.scoreWrite("n1", replication.Never), transient("n9", "pgsql-status", ""),
	}
	if got := a.changed(differ); !slices.Equal(got, differ) {
		t.Errorf("left out something: %v", got)
	}
}

func TestScoreWrite(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("DB01", "DB01", "DB02")
	a, _ := remembered(t, f, "monitor", map[string]string{"OCF_RESKEY_node_list": "db01 db02", "OCF_RESOURCE_INSTANCE": "pg:1"})
	for s, want := range map[replication.Score]string{replication.Never: "-INFINITY", replication.Standby: "100", replication.Primary: "1000"} {
		if w := a.scoreWrite("db02", s); w.Value != want || w.Name != "master-pg" || w.Node != "DB02" || w.Delete || w.Lifetime != crm.Transient {
			t.Errorf("%+v", w)
		}
	}
	if w := a.scoreWrite("db02", replication.Unset); !w.Delete {
		t.Errorf("%+v", w)
	}
}
