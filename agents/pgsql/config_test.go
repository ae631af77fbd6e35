package main

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgrex/lib/ocf"
	"pgrex/lib/replication"
)

// unset removes a variable of newCall's environment.
const unset = ""

func TestCheck(t *testing.T) {
	t.Parallel()
	p := func(name string) string { return "OCF_RESKEY_" + name }
	m := func(name string) string { return "OCF_RESKEY_CRM_meta_" + name }
	const noCluster = "OCF_RESKEY_crm_feature_set"
	for _, tt := range []struct {
		name   string
		action string
		env    map[string]string
		says   []string // nil: nothing is wrong
		code   ocf.Code // 0: ErrConfigured
	}{
		{name: "as documented"},
		{name: "async", env: map[string]string{p("rep_mode"): "async"}},
		{name: "names in another spelling", env: map[string]string{p("node_list"): " N1\tn2 ", m("on_node"): "N1"}},
		{name: "no roles", env: map[string]string{p("rep_mode"): "none", p("node_list"): unset, p("master_ip"): unset, m("promotable"): unset, m("promoted_max"): unset}},
		{name: "standby of a primary elsewhere", env: map[string]string{p("rep_mode"): "slave", p("node_list"): unset, m("promotable"): unset, m("promoted_max"): unset}},

		{name: "unknown mode", env: map[string]string{p("rep_mode"): "semisync"}, says: []string{"rep_mode", "semisync", "none, async, sync, slave"}},
		{name: "port is no number", env: map[string]string{p("pgport"): "x"}, says: []string{"pgport", "whole number"}},
		{name: "port out of range", env: map[string]string{p("pgport"): "70000"}, says: []string{"pgport", "65535"}},
		{name: "two faults at once", env: map[string]string{p("pgport"): "x", p("stop_escalate"): "soon"}, says: []string{"pgport", "stop_escalate"}},

		{name: "password without user", env: map[string]string{p("monitor_password"): "geheim"}, says: []string{"monitor_password", "monitor_user", "set both or none"}},
		{name: "user without password", env: map[string]string{p("monitor_user"): "mon"}},
		{name: "user and password", env: map[string]string{p("monitor_user"): "mon", p("monitor_password"): "geheim"}},

		{name: "external standbys", env: map[string]string{p("external_standby_node_list"): "dr1 dr2"}},
		{name: "external standbys, async", env: map[string]string{p("rep_mode"): "async", p("external_standby_node_list"): "dr"}, says: []string{"external_standby_node_list", "rep_mode=sync", "async"}},
		{name: "external standbys, no roles", env: map[string]string{p("rep_mode"): "none", p("external_standby_node_list"): "dr"}, says: []string{"external_standby_node_list", "rep_mode=sync"}},

		{name: "two synchronous standbys", env: map[string]string{p("node_list"): "n1 n2 n3", p("sync_standbys"): "2"}},
		{name: "more synchronous standbys than nodes", env: map[string]string{p("node_list"): "n1 n2 n3", p("sync_standbys"): "3"}, says: []string{"sync_standbys=3", "node_list", "only 2"}},
		{name: "synchronous standbys, async", env: map[string]string{p("rep_mode"): "async", p("node_list"): "n1 n2 n3", p("sync_standbys"): "2"}, says: []string{"sync_standbys", "rep_mode=sync", "async"}},
		{name: "quorum", env: map[string]string{p("node_list"): "n1 n2 n3", p("sync_quorum"): "true"}},
		{name: "quorum, async", env: map[string]string{p("rep_mode"): "async", p("sync_quorum"): "true"}, says: []string{"sync_quorum", "rep_mode=sync", "async"}},
		{name: "quorum with external standbys", env: map[string]string{p("sync_quorum"): "true", p("external_standby_node_list"): "dr"}, says: []string{"sync_quorum", "external_standby_node_list"}},
		{name: "no synchronous standby", env: map[string]string{p("sync_standbys"): "0"}, says: []string{"sync_standbys"}},

		{name: "slots", env: map[string]string{p("replication_slot_name"): "slot_1"}},
		{name: "slots of nodes with dots and dashes", env: map[string]string{p("replication_slot_name"): "s", p("node_list"): "n1 db-2.example"}},
		{name: "bad slot name", env: map[string]string{p("replication_slot_name"): "Slot-1"}, says: []string{"replication_slot_name", `"Slot-1"`, "a-z, 0-9 and _"}},
		{name: "bad slot name, no roles", env: map[string]string{p("rep_mode"): "none", p("replication_slot_name"): "Slot-1"}, says: []string{"replication_slot_name"}},
		{name: "node name no slot can have", env: map[string]string{p("replication_slot_name"): "s", p("node_list"): "n1 n@2"}, says: []string{"replication_slot_name", "n@2"}},
		{name: "slot name too long with the node's", env: map[string]string{p("replication_slot_name"): "s", p("node_list"): "n1 a123456789012345678901234567890123456789012345678901234567890123"}, says: []string{"replication_slot_name", "63"}},

		{name: "no address", env: map[string]string{p("master_ip"): unset}, says: []string{"master_ip", "rep_mode=sync", "address at which standbys reach the primary"}},
		{name: "no address, slave", env: map[string]string{p("rep_mode"): "slave", p("master_ip"): unset}, says: []string{"master_ip", "rep_mode=slave"}},
		{name: "no nodes", env: map[string]string{p("node_list"): unset}, says: []string{"node_list", "must name all nodes"}},
		{name: "blank nodes", env: map[string]string{p("node_list"): "  "}, says: []string{"node_list", "must name all nodes"}},
		{name: "this node is missing", env: map[string]string{p("node_list"): "n2 n3"}, says: []string{"node_list (n2 n3)", "n1"}, code: ocf.ErrInstalled},
		{name: "this node is missing, monitor", action: "monitor", env: map[string]string{p("node_list"): "n2 n3", m("interval"): "9000"}, says: []string{"node_list (n2 n3)", "n1"}, code: ocf.ErrInstalled},
		{name: "this node is missing, probe", action: "monitor", env: map[string]string{p("node_list"): "n2 n3", m("interval"): "0"}},
		{name: "this node is missing, no cluster", env: map[string]string{p("node_list"): "n2 n3", noCluster: unset}},

		{name: "slave in a promotable clone", env: map[string]string{p("rep_mode"): "slave"}, says: []string{"rep_mode=slave", "promotable clone"}},
		{name: "not a promotable clone", env: map[string]string{m("promotable"): unset, m("promoted_max"): unset}, says: []string{"rep_mode=sync", "promotable clone", "pcs resource create"}},
		{name: "older name of promoted-max", env: map[string]string{m("promotable"): unset, m("promoted_max"): unset, m("master_max"): "1"}},
		{name: "not yet a clone when validated", action: "validate-all", env: map[string]string{m("promotable"): unset, m("promoted_max"): unset}},
		{name: "not a clone, no cluster", env: map[string]string{m("promotable"): unset, m("promoted_max"): unset, noCluster: unset}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.action == "" {
				tt.action = "start"
			}
			c, _ := newCall(t, tt.action, tt.env)
			err := newConfig(c).check(c)
			if tt.says == nil {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if tt.code == 0 {
				tt.code = ocf.ErrConfigured
			}
			if err == nil || ocf.CodeOf(err) != tt.code {
				t.Fatalf("%v (code %d), want code %d", err, ocf.CodeOf(err), tt.code)
			}
			says(t, err.Error(), tt.says...)
		})
	}
}

// A reason is shown to everybody who may look at the cluster's status.
func TestCheckKeepsThePassword(t *testing.T) {
	t.Parallel()
	for _, env := range []map[string]string{
		{"OCF_RESKEY_monitor_password": "geheim"},
		{"OCF_RESKEY_monitor_password": "geheim", "OCF_RESKEY_pgport": "x"},
		{"OCF_RESKEY_monitor_password": "geheim\x00", "OCF_RESKEY_monitor_user": "mon"},
	} {
		c, _ := newCall(t, "start", env)
		if err := newConfig(c).check(c); err == nil || strings.Contains(err.Error(), "geheim") {
			t.Errorf("%v", err)
		}
	}
}

func TestConfigDefaults(t *testing.T) {
	t.Parallel()
	c, _ := newCall(t, "start", map[string]string{
		"OCF_RESKEY_pgdata": unset, "OCF_RESKEY_tmpdir": unset, "OCF_RESKEY_pgctl": unset, "OCF_RESKEY_pgdba": unset, "OCF_RESKEY_rep_mode": unset,
		"OCF_RESKEY_node_list": unset, "OCF_RESKEY_master_ip": unset,
	})
	got := newConfig(c)
	want := config{
		resource: "pgsql", self: "n1", mode: "none", rejoin: replication.Follow,
		pgctl: "/usr/bin/pg_ctl", data: "/var/lib/pgsql/data", configFile: "/var/lib/pgsql/data/postgresql.conf", dba: "postgres",
		logFile: "/dev/null", libs: "/usr/lib", port: 5432, database: "template1", monitorSQL: "select now();",
		replicationUser: "postgres", syncStandbys: 1, rejoinKeep: 5, rejoinWait: 10 * time.Second, tmpdir: "/var/lib/pgsql/tmp",
		stopEscalate: 90 * time.Second, stopEscalateUnpromoted: 90 * time.Second, attrTimeout: 5 * time.Second,
		watcher: true,
	}
	if len(got.nodes)+len(got.external) != 0 {
		t.Errorf("nodes %q, external %q", got.nodes, got.external)
	}
	got.nodes, got.external = nil, nil
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got.recordFile() != "/var/lib/pgsql/data.pgrex-record" || got.lockFile() != "/var/lib/pgsql/tmp/PGSQL.lock" ||
		got.repModeFile() != "/var/lib/pgsql/tmp/rep_mode.conf" || got.recoveryFile() != "/var/lib/pgsql/tmp/recovery.conf" ||
		got.signalFile() != "/var/lib/pgsql/data/standby.signal" || got.attr(attrStatus) != "pgsql-status" {
		t.Errorf("files %s %s %s %s %s", got.recordFile(), got.lockFile(), got.repModeFile(), got.recoveryFile(), got.signalFile())
	}
}

func TestConfigNormalises(t *testing.T) {
	t.Parallel()
	c, _ := newCall(t, "start", map[string]string{
		"OCF_RESKEY_pgdata": "/dbfp//pgdata/data/", "OCF_RESKEY_tmpdir": "/var/lib/pgsql/tmp/", "OCF_RESKEY_node_list": " DB01  db02\tDb03 ",
		"OCF_RESKEY_CRM_meta_on_node": "DB01", "OCF_RESOURCE_INSTANCE": "pg-main:1", "OCF_RESKEY_crm_attr_timeout": "0",
		"OCF_RESKEY_stop_escalate": "0", "OCF_RESKEY_stop_escalate_in_slave": "2min", "OCF_RESKEY_external_standby_node_list": " DR1 dr2 ",
	})
	got := newConfig(c)
	if got.data != "/dbfp/pgdata/data" || got.recordFile() != "/dbfp/pgdata/data.pgrex-record" || got.tmpdir != "/var/lib/pgsql/tmp" {
		t.Errorf("data %s, record %s, tmpdir %s", got.data, got.recordFile(), got.tmpdir)
	}
	if got.self != "db01" || !slices.Equal(got.nodes, []string{"db01", "db02", "db03"}) || !slices.Equal(got.external, []string{"DR1", "dr2"}) {
		t.Errorf("self %s, nodes %q, external %q", got.self, got.nodes, got.external)
	}
	if got.attr(attrStatus) != "pg-main-status" {
		t.Error(got.attr(attrStatus))
	}
	// A bound of zero would make every write of an attribute fail.
	if got.stopEscalate != 0 || got.stopEscalateUnpromoted != 2*time.Minute || got.attrTimeout != time.Second {
		t.Errorf("stop_escalate %v, %v, crm_attr_timeout %v", got.stopEscalate, got.stopEscalateUnpromoted, got.attrTimeout)
	}
	for mode, want := range map[string][2]bool{"none": {}, "async": {true, false}, "sync": {true, false}, "slave": {false, true}} {
		if c := (config{mode: mode}); c.replicates() != want[0] || c.standbyOnly() != want[1] {
			t.Errorf("%s: %v %v", mode, c.replicates(), c.standbyOnly())
		}
	}
}

func TestSlot(t *testing.T) {
	t.Parallel()
	c := config{slotPrefix: "slot"}
	for node, want := range map[string]string{"n1": "slot_n1", "DB-2.Example": "slot_db_2_example", "n@1": ""} {
		if got := c.slot(node); got != want {
			t.Errorf("%s: %q, want %q", node, got, want)
		}
	}
	if got := (config{}).slot("n1"); got != "" {
		t.Errorf("without slots: %q", got)
	}
}

func TestStopOptions(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		env  map[string]string
		want time.Duration // 0: immediate
	}{
		{map[string]string{}, 20 * time.Second}, // ten of the thirty seconds are left for the immediate stop
		{map[string]string{"OCF_RESKEY_CRM_meta_timeout": "300000"}, 90 * time.Second},
		{map[string]string{"OCF_RESKEY_CRM_meta_timeout": "9000"}, 90 * time.Second}, // no room: the server's own plan cuts it
		{map[string]string{"OCF_RESKEY_stop_escalate_in_slave": "7"}, 7 * time.Second},
		{map[string]string{"OCF_RESKEY_stop_escalate": "7"}, 20 * time.Second}, // an instance is demoted before it is stopped
		{map[string]string{"OCF_RESKEY_stop_escalate_in_slave": "0"}, 0},
		{map[string]string{"OCF_RESKEY_rep_mode": "none", "OCF_RESKEY_stop_escalate": "7"}, 7 * time.Second},
		{map[string]string{"OCF_RESKEY_rep_mode": "none", "OCF_RESKEY_stop_escalate": "0"}, 0},
	} {
		a, _ := newTestAgent(t, newFakeCluster("n1", "n1", "n2"), "stop", tt.env)
		if o := a.stopOptions(); o.Escalate != tt.want || (o.Mode != 0) != (tt.want == 0) {
			t.Errorf("%v: %+v, want %v", tt.env, o, tt.want)
		}
	}
}
