package main

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"pgrex/lib/ocf"
	"pgrex/lib/pg"
)

// The actions that the table of handlers names, for an agent with a fake cluster.
func perform(ctx context.Context, a *agent) error {
	return map[string]func(*agent, context.Context) error{
		"start": (*agent).start, "stop": (*agent).stop, "monitor": (*agent).monitor, "status": (*agent).monitor, "promote": (*agent).promote,
		"demote": (*agent).demote, "notify": (*agent).notify, "reload-agent": (*agent).reload, "validate-all": (*agent).validate,
	}[a.call.Action](a, ctx)
}

func TestHandlers(t *testing.T) {
	t.Parallel()
	have := slices.Sorted(maps.Keys(handlers()))
	for _, act := range declaration().Actions {
		switch act.Name {
		case "meta-data", "methods": // lib/ocf answers them
			continue
		}
		if !slices.Contains(have, act.Name) {
			t.Errorf("no handler for %s", act.Name)
		}
	}
}

// What a node can lack, and what every action says to it when the server is not running. The codes
// decide what the cluster does: 5 and 4 keep the resource off this node, 6 off all, 7 is no fault.
func TestStoppedServer(t *testing.T) {
	t.Parallel()
	set := func(k, v string) func(*testing.T, map[string]string) {
		return func(_ *testing.T, env map[string]string) { env["OCF_RESKEY_"+k] = v }
	}
	type codes struct{ start, validate, promote, reload ocf.Code }
	for _, tt := range []struct {
		name   string
		change func(*testing.T, map[string]string)
		want   codes
		says   []string // of start
	}{
		{"data directory missing", func(t *testing.T, env map[string]string) { remove(t, env["OCF_RESKEY_pgdata"]) },
			codes{ocf.ErrInstalled, ocf.ErrInstalled, ocf.ErrGeneric, ocf.OK}, []string{"pgdata", "initdb or pg_basebackup"}},
		{"data directory is a file", func(t *testing.T, env map[string]string) {
			remove(t, env["OCF_RESKEY_pgdata"])
			put(t, env["OCF_RESKEY_pgdata"], "")
		}, codes{ocf.ErrInstalled, ocf.ErrInstalled, ocf.ErrGeneric, ocf.OK}, []string{"pgdata"}},
		{"data directory empty", func(t *testing.T, env map[string]string) { remove(t, env["OCF_RESKEY_pgdata"]+"/PG_VERSION") },
			codes{ocf.ErrInstalled, ocf.ErrInstalled, ocf.ErrGeneric, ocf.OK}, []string{"PG_VERSION", "initdb or pg_basebackup"}},
		{"too old", func(t *testing.T, env map[string]string) { put(t, env["OCF_RESKEY_pgdata"]+"/PG_VERSION", "12\n") },
			codes{ocf.ErrInstalled, ocf.ErrInstalled, ocf.ErrGeneric, ocf.OK}, []string{"PostgreSQL 12", "13 or newer"}},
		{"data directory not writable", func(t *testing.T, env map[string]string) { chmod(t, env["OCF_RESKEY_pgdata"], 0o500) },
			codes{ocf.ErrPerm, ocf.ErrPerm, ocf.ErrGeneric, ocf.OK}, []string{"not writable", "chmod 700"}},
		{"programs missing", set("pgctl", "/nowhere/pg_ctl"),
			codes{ocf.ErrInstalled, ocf.ErrInstalled, ocf.ErrGeneric, ocf.OK}, []string{"/nowhere/pg_ctl", "set pgctl"}},
		{"configuration file missing", set("config", "/nowhere/postgresql.conf"),
			codes{ocf.ErrInstalled, ocf.ErrInstalled, ocf.ErrGeneric, ocf.OK}, []string{"config=/nowhere/postgresql.conf"}},
		{"user missing", set("pgdba", "no-such-user"),
			codes{ocf.ErrInstalled, ocf.ErrInstalled, ocf.ErrGeneric, ocf.ErrInstalled}, []string{"pgdba=no-such-user"}},
		{"password without user", set("monitor_password", "geheim"),
			codes{ocf.ErrConfigured, ocf.ErrConfigured, ocf.ErrConfigured, ocf.ErrConfigured}, []string{"monitor_password"}},
		{"unknown mode", set("rep_mode", "semisync"),
			codes{ocf.ErrConfigured, ocf.ErrConfigured, ocf.ErrConfigured, ocf.ErrConfigured}, []string{"rep_mode"}},
		{"no nodes", set("node_list", ""),
			codes{ocf.ErrConfigured, ocf.ErrConfigured, ocf.ErrConfigured, ocf.ErrConfigured}, []string{"node_list"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, _ := newCall(t, "start", nil)
			env := environmentOf(c)
			tt.change(t, env)
			env["OCF_CHECK_LEVEL"] = "10"
			want := map[string]ocf.Code{
				"start": tt.want.start, "validate-all": tt.want.validate, "promote": tt.want.promote, "reload-agent": tt.want.reload,
				// A server that is not there is stopped, demoted and not running, whatever else is wrong.
				"stop": ocf.OK, "demote": ocf.OK, "notify": ocf.OK, "monitor": ocf.NotRunning, "status": ocf.NotRunning,
			}
			for _, action := range slices.Sorted(maps.Keys(want)) {
				f := newFakeCluster("n1", "n1", "n2")
				call, log := callOf(action, env)
				err := perform(t.Context(), agentOf(t, call, f))
				if got := ocf.CodeOf(err); got != want[action] {
					t.Errorf("%s: %d (%v), want %d", action, got, err, want[action])
				}
				if action == "start" && err != nil {
					says(t, err.Error(), tt.says...)
				}
				if err != nil && strings.Contains(err.Error(), "geheim") || strings.Contains(log.String(), "geheim") {
					t.Errorf("%s shows the password: %v, %s", action, err, log)
				}
			}
			probe := maps.Clone(env)
			probe["OCF_RESKEY_CRM_meta_interval"] = "0"
			call, _ := callOf("monitor", probe)
			if got := ocf.CodeOf(perform(t.Context(), agentOf(t, call, newFakeCluster("n1", "n1", "n2")))); got != ocf.NotRunning {
				t.Errorf("probe: %d", got)
			}
		})
	}
}

// environmentOf gives the environment that newCall made, for several actions on one server.
func environmentOf(c *ocf.Call) map[string]string {
	env := map[string]string{}
	for _, name := range []string{"OCF_RESOURCE_INSTANCE", "OCF_RESKEY_crm_feature_set", "OCF_RESKEY_CRM_meta_on_node", "OCF_RESKEY_CRM_meta_promotable",
		"OCF_RESKEY_CRM_meta_promoted_max", "OCF_RESKEY_CRM_meta_timeout", "OCF_RESKEY_CRM_meta_notify", "HA_RSCTMP"} {
		env[name] = c.Getenv(name)
	}
	for _, p := range declaration().Parameters {
		if v := c.Getenv("OCF_RESKEY_" + p.Name); v != "" {
			env["OCF_RESKEY_"+p.Name] = v
		}
	}
	return env
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

func chmod(t *testing.T, path string, mode os.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func TestRolesWithoutReplication(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"none", "slave"} {
		for _, action := range []string{"promote", "demote"} {
			a, _ := newTestAgent(t, newFakeCluster("n1", "n1", "n2"), action, map[string]string{
				"OCF_RESKEY_rep_mode": mode, "OCF_RESKEY_CRM_meta_promotable": unset, "OCF_RESKEY_CRM_meta_promoted_max": unset,
			})
			err := perform(t.Context(), a)
			if ocf.CodeOf(err) != ocf.ErrUnimplemented {
				t.Errorf("%s %s: %v", mode, action, err)
				continue
			}
			says(t, err.Error(), "rep_mode="+mode)
		}
	}
}

// A stop writes what the cluster must know, and leaves what must not be forgotten.
func TestStopWrites(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("n1", "n1", "n2")
	f.set("n1", "pgsql-record", record5, true)
	for name, value := range map[string]string{"pgsql-status": "HS:sync", "master-pgsql": "100", "pgsql-xlog-loc": "0000000003000148", "pgsql-position": "x",
		"pgsql-master-baseline": "0000000003000148", "pgsql-receiver-status": "normal"} {
		f.set("n1", name, value, false)
	}
	f.set("n1", "pgsql-data-status", "STREAMING|SYNC", true)
	f.set("n2", "master-pgsql", "1000", false)
	a, _ := newTestAgent(t, f, "stop", nil)
	put(t, a.conf.repModeFile(), repModeConf(`"n2"`))
	put(t, a.conf.recordFile(), record5)
	if err := a.stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if f.status("n1") != "STOP" || f.score("n1") != "-INFINITY" || f.score("n2") != "1000" {
		t.Errorf("status %q, scores %q %q", f.status("n1"), f.score("n1"), f.score("n2"))
	}
	for _, name := range []string{"pgsql-xlog-loc", "pgsql-position", "pgsql-master-baseline", "pgsql-receiver-status"} {
		if v := f.attribute("n1", "n1", name, false); v != "" {
			t.Errorf("%s is still %q", name, v)
		}
	}
	if f.record("n1", "n1") != record5 || get(t, a.conf.recordFile()) != record5 || f.attribute("n1", "n1", "pgsql-data-status", true) != "STREAMING|SYNC" {
		t.Error("the record or the data status was touched")
	}
	if got := get(t, a.conf.repModeFile()); got != repModeConf("") {
		t.Errorf("commits of the next start would wait: %s", got)
	}
}

// A right that is granted while its server is stopped does not outlive the stop.
func TestStopEndsALateRight(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("n1", "n1", "n2")
	f.set("n1", "master-pgsql", "-INFINITY", false)
	a, _ := newTestAgent(t, f, "stop", nil)
	a.readAhead(t.Context())
	if _, err := a.ahead(); err != nil {
		t.Fatal(err)
	}
	a.withdrawSelf(t.Context(), pg.Processes{Postmaster: 1 << 30})
	f.set("n1", "master-pgsql", "100", false)
	a.publishStopped(t.Context(), statusStop)
	if f.score("n1") != "-INFINITY" || f.status("n1") != "STOP" {
		t.Errorf("score %q, status %q", f.score("n1"), f.status("n1"))
	}
}

// A running server that has no score any more has lost what other resources go by too.
func TestStopRecallsAttributes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		score  string
		erased bool
		want   bool
	}{{"", false, true}, {"100", false, false}, {"100", true, true}, {"-INFINITY", true, true}} {
		f := newFakeCluster("n1", "n1", "n2")
		f.attrd["n1"]["ping-status"] = "1"
		f.attrd["n1"]["pgsql-voter"] = "5" // as lost as the rest, and of a server that ends
		if tt.score != "" {
			f.set("n1", "master-pgsql", tt.score, false)
		}
		if tt.erased {
			f.set("n2", featureSet, "3.16.1", false)
		}
		a, log := newTestAgent(t, f, "stop", nil)
		a.withdrawSelf(t.Context(), pg.Processes{Postmaster: 1 << 30})
		if got := f.attribute("n1", "n1", "ping-status", false) == "1"; got != tt.want || strings.Contains(log.String(), "written again") != tt.want {
			t.Errorf("%+v: written again: %v, said %q", tt, got, log.String())
		}
		if f.score("n1") != "-INFINITY" || f.attribute("n1", "n1", "pgsql-voter", false) != "" {
			t.Errorf("%+v: the score became %q, its vote %q", tt, f.score("n1"), f.attribute("n1", "n1", "pgsql-voter", false))
		}
	}
}

// The lists of a transition come only with notify=true; absent means that nobody has told.
func TestStopsNext(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		list string // of nodes to be stopped
		want bool
	}{{"", false}, {" ", false}, {"n2", false}, {"n1", true}, {"n2 N1 n3", true}, {"n10", false}} {
		a, _ := newTestAgent(t, newFakeCluster("n1", "n1", "n2"), "demote", map[string]string{"OCF_RESKEY_CRM_meta_notify_stop_uname": tt.list})
		if got := a.stopsNext(); got != tt.want {
			t.Errorf("%q: %v", tt.list, got)
		}
	}
}

// Who may leave everything to a promotion of the same transition.
func TestPromotionSees(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		event, promote, demote, stop string
		restart                      string
		want                         bool
	}{
		{"post-demote", "", "n2", "", "false", false},
		{"post-demote", "n1", "n2", "", "false", true},
		{"post-demote", "N3", "n2", "", "false", true},
		{"post-stop", "n3", "n2", "n2", "false", true},
		{"post-demote", "n2", "n2", "n2", "false", false}, // in place: the others must have published how far they are
		{"post-stop", "n2", "", "n2", "false", false},
		{"post-demote", "n3", "n2", "", "true", false},
		{"post-demote", "n1", "n2", "", "true", true},
		{"post-promote", "n1", "", "", "false", true},
		{"post-promote", "n3", "", "", "false", false},
		{"post-start", "n1", "", "", "false", false},
	} {
		when, what, _ := strings.Cut(tt.event, "-")
		a, _ := newTestAgent(t, newFakeCluster("n1", "n1", "n2", "n3"), "notify", map[string]string{"OCF_RESKEY_node_list": "n1 n2 n3", "OCF_RESKEY_restart_on_promote": tt.restart,
			"OCF_RESKEY_CRM_meta_notify_type": when, "OCF_RESKEY_CRM_meta_notify_operation": what, "OCF_RESKEY_CRM_meta_notify_promote_uname": tt.promote,
			"OCF_RESKEY_CRM_meta_notify_demote_uname": tt.demote, "OCF_RESKEY_CRM_meta_notify_stop_uname": tt.stop})
		if got := a.promotionSees(); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
	}
}

// Whatever the cluster's daemons do, stop and demote of a dead server end soon and well.
func TestStopWithSickCluster(t *testing.T) {
	t.Parallel()
	for name, odd := range map[string]trouble{"down": {exit: 102}, "hanging": {hang: true}, "without quorum": {exit: 106}} {
		for _, action := range []string{"stop", "demote"} {
			t.Run(name+" "+action, func(t *testing.T) {
				f := newFakeCluster("n1", "n1", "n2")
				f.trouble = func(string) *trouble { return &odd }
				a, _ := newTestAgent(t, f, action, map[string]string{"OCF_RESKEY_CRM_meta_timeout": "4000"})
				ctx := short(t, 3600*time.Millisecond)
				began := time.Now()
				if err := perform(ctx, a); err != nil {
					t.Error(err)
				}
				if took := time.Since(began); took > 2500*time.Millisecond {
					t.Errorf("it took %v", took)
				}
			})
		}
	}
}

// A start that may not know what the cluster remembers leaves everything as it was.
func TestStartWithSickCluster(t *testing.T) {
	t.Parallel()
	for name, odd := range map[string]func(string) *trouble{
		"cannot read": func(line string) *trouble { return &trouble{exit: 102} },
		"cannot write": func(line string) *trouble {
			if strings.HasPrefix(line, "crm_attribute") {
				return &trouble{exit: 102}
			}
			return nil
		},
	} {
		f := newFakeCluster("n1", "n1", "n2")
		a, _ := newTestAgent(t, f, "start", nil)
		f.trouble = odd
		err := a.start(t.Context())
		if ocf.CodeOf(err) != ocf.ErrGeneric {
			t.Errorf("%s: %v", name, err)
			continue
		}
		says(t, err.Error(), "not started")
		if exists(a.conf.signalFile()) || exists(a.conf.recoveryFile()) || get(t, a.conf.configFile) != "# ours\n" {
			t.Errorf("%s: files were written", name)
		}
	}
}

// A right of a server that was down is none: start takes it back before anything else.
func TestStartForgets(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("n1", "n1", "n2")
	f.set("n1", "master-pgsql", "100", false)
	f.set("n1", "pgsql-position", "epoch=5 timeline=1 lsn=0/3000148", false)
	f.set("n1", "pgsql-xlog-loc", "0000000003000148", false)
	a, _ := newTestAgent(t, f, "start", nil)
	if err := a.start(t.Context()); err == nil {
		t.Fatal("it started without a server")
	}
	if f.score("n1") != "-INFINITY" || f.status("n1") != "STOP" || f.attribute("n1", "n1", "pgsql-position", false)+f.attribute("n1", "n1", "pgsql-xlog-loc", false) != "" {
		t.Errorf("score %q, status %q", f.score("n1"), f.status("n1"))
	}
}

func TestPromoteStopped(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("n1", "n1", "n2")
	f.set("n1", "pgsql-record", record5, true)
	f.set("n1", "master-pgsql", "1000", false)
	a, _ := newTestAgent(t, f, "promote", nil)
	err := a.promote(t.Context())
	if ocf.CodeOf(err) != ocf.ErrGeneric || f.record("n1", "n1") != record5 {
		t.Errorf("%v, record %q", err, f.record("n1", "n1"))
	}
	says(t, err.Error(), "not promoted")
}

// Notifications before an event, and all on a stopped server, ask nothing of anybody.
func TestNotifyStopped(t *testing.T) {
	t.Parallel()
	for _, event := range []string{"pre start", "post start", "pre stop", "post stop", "pre promote", "post promote", "pre demote", "post demote"} {
		when, what, _ := strings.Cut(event, " ")
		f := newFakeCluster("n1", "n1", "n2")
		a, _ := newTestAgent(t, f, "notify", map[string]string{"OCF_RESKEY_CRM_meta_notify_type": when, "OCF_RESKEY_CRM_meta_notify_operation": what})
		if err := a.notify(t.Context()); err != nil || len(f.commands()) != 0 {
			t.Errorf("%s: %v, %q", event, err, f.commands())
		}
	}
}

// Without a cluster there is nobody to ask, and nothing is asked.
func TestStoppedWithoutCluster(t *testing.T) {
	t.Parallel()
	for action, want := range map[string]ocf.Code{"stop": ocf.OK, "demote": ocf.OK, "notify": ocf.OK, "monitor": ocf.NotRunning, "validate-all": ocf.OK, "promote": ocf.ErrGeneric, "reload-agent": ocf.OK} {
		f := newFakeCluster("n1", "n1", "n2")
		a, _ := newTestAgent(t, f, action, map[string]string{"OCF_RESKEY_crm_feature_set": unset, "OCF_RESKEY_CRM_meta_on_node": unset})
		if err := perform(t.Context(), a); ocf.CodeOf(err) != want || len(f.commands()) != 0 {
			t.Errorf("%s: %v, %q", action, err, f.commands())
		}
	}
}

// validate-all looks and writes nothing.
func TestValidateWritesNothing(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("n1", "n1", "n2")
	f.set("n2", "pgsql-record", record5, true)
	f.here().properties["stonith-enabled"] = "false"
	a, log := newTestAgent(t, f, "validate-all", map[string]string{"OCF_CHECK_LEVEL": "10"})
	if err := a.validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(f.writes()) != 0 || exists(a.conf.recordFile()) || exists(a.conf.recoveryFile()) {
		t.Errorf("wrote %q", f.writes())
	}
	says(t, log.String(), "stonith-enabled is false")
}

// control puts one of lib/pg's control files, made by real servers, into the data directory.
func control(t *testing.T, data, name string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("../../lib/pg/testdata/control", name+".bin"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(data, "global"), 0o700); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(data, "global", "pg_control"), string(b))
}

// A broken server that was a primary is demoted before it is stopped.
func TestFailedCode(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		control, mode string
		signal        bool
		want          ocf.Code
	}{
		{"15-in-production", "sync", false, ocf.FailedPromoted},
		{"15-crashed", "async", false, ocf.FailedPromoted},
		{"15-standby", "sync", true, ocf.ErrGeneric},
		{"15-standby", "sync", false, ocf.ErrGeneric},
		{"15-in-production", "none", false, ocf.ErrGeneric},
		{"15-in-production", "sync", true, ocf.ErrGeneric}, // a copy of a primary, on its way to be a standby
		{"", "sync", false, ocf.ErrGeneric},
	} {
		a, _ := newTestAgent(t, newFakeCluster("n1", "n1", "n2"), "monitor", map[string]string{"OCF_RESKEY_rep_mode": tt.mode})
		if tt.control != "" {
			control(t, a.conf.data, tt.control)
		}
		if tt.signal {
			put(t, a.conf.signalFile(), "")
		}
		if got := a.failed(); got != tt.want {
			t.Errorf("%+v: %v", tt, got)
		}
		role := ocf.OK
		if tt.want == ocf.FailedPromoted {
			role = ocf.RunningPromoted
		}
		if got := ocf.CodeOf(a.roleByFiles()); got != role {
			t.Errorf("%+v: role %v", tt, got)
		}
	}
}

// What a stopped server's files say about its WAL. A copy made by pg_basebackup carries the state
// of the primary it was made from; a primary that crashed under an exclusive backup, which there
// was before PostgreSQL 15, has a label too and is none.
func TestWal(t *testing.T) {
	t.Parallel()
	const streamed = "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\nCHECKPOINT LOCATION: 0/2000060\nBACKUP METHOD: streamed\n" +
		"BACKUP FROM: primary\nSTART TIME: 2026-01-01 00:00:00 UTC\nLABEL: pg_basebackup base backup\nSTART TIMELINE: 1\n"
	exclusive := strings.Replace(streamed, "streamed", "pg_start_backup", 1)
	for _, tt := range []struct {
		name, control, version, label string
		wasPrimary, clean             bool
		says                          string // of an error
	}{
		{name: "fresh", control: "15-initdb", version: "15", wasPrimary: true, clean: true},
		{name: "standby, stopped", control: "15-standby-stopped", version: "15", clean: true},
		{name: "standby, crashed", control: "15-standby", version: "15"},
		{name: "primary, crashed, WAL gone", control: "15-crashed", version: "15", says: "end of the WAL"},
		{name: "copy of a primary", control: "15-in-production", version: "15", label: streamed},
		{name: "copy of a primary, 13", control: "13-in-production", version: "13", label: streamed},
		{name: "primary crashed in an exclusive backup", control: "13-in-production", version: "13", label: exclusive, says: "end of the WAL"},
		{name: "no control file", version: "15", says: "pg_control"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, _ := newTestAgent(t, newFakeCluster("n1", "n1", "n2"), "start", nil)
			put(t, filepath.Join(a.conf.data, "PG_VERSION"), tt.version)
			if err := os.Mkdir(a.server.WALDir(), 0o700); err != nil {
				t.Fatal(err)
			}
			if tt.control != "" {
				control(t, a.conf.data, tt.control)
			}
			if tt.label != "" {
				put(t, filepath.Join(a.conf.data, "backup_label"), tt.label)
			}
			w, err := a.wal(t.Context())
			if tt.says != "" {
				if err == nil {
					t.Fatalf("%+v", w)
				}
				says(t, err.Error(), tt.says)
				return
			}
			c, cerr := pg.ReadControl(a.conf.data)
			if err != nil || cerr != nil || w.WasPrimary != tt.wasPrimary || w.Clean != tt.clean || w.Position.System != c.SystemID || w.Position.Timeline == 0 || w.Position.LSN == 0 {
				t.Errorf("%+v, %v, %v", w, err, cerr)
			}
		})
	}
}
