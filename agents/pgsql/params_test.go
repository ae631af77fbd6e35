package main

import (
	"slices"
	"testing"
)

// referenceParameters are the parameters of ocf:heartbeat:pgsql with their defaults and types, as
// an existing configuration relies on them.
var referenceParameters = []struct{ name, kind, def string }{
	{"pgctl", "string", "/usr/bin/pg_ctl"},
	{"start_opt", "string", ""},
	{"ctl_opt", "string", ""},
	{"psql", "string", "/usr/bin/psql"},
	{"pgdata", "string", "/var/lib/pgsql/data"},
	{"pgdba", "string", "postgres"},
	{"pghost", "string", ""},
	{"pgport", "integer", "5432"},
	{"pglibs", "string", "/usr/lib"},
	{"monitor_user", "string", ""},
	{"monitor_password", "string", ""},
	{"monitor_sql", "string", "select now();"},
	{"config", "string", "/var/lib/pgsql/data/postgresql.conf"},
	{"pgdb", "string", "template1"},
	{"logfile", "string", "/dev/null"},
	{"socketdir", "string", ""},
	{"stop_escalate", "seconds", "90"},
	{"rep_mode", "select", "none"},
	{"node_list", "string", ""},
	{"restore_command", "string", ""},
	{"archive_cleanup_command", "string", ""},
	{"recovery_end_command", "string", ""},
	{"master_ip", "string", ""},
	{"repuser", "string", "postgres"},
	{"primary_conninfo_opt", "string", ""},
	{"restart_on_promote", "boolean", "false"},
	{"replication_slot_name", "string", ""},
	{"tmpdir", "string", "/var/lib/pgsql/tmp"},
	{"xlog_check_count", "integer", "3"},
	{"crm_attr_timeout", "seconds", "5"},
	{"stop_escalate_in_slave", "seconds", "90"},
	{"check_wal_receiver", "boolean", "false"},
	{"external_standby_node_list", "string", ""},
}

// ownParameters are those that the reference does not have.
var ownParameters = []string{"rejoin", "watcher", "sync_standbys", "sync_quorum", "rejoin_user", "rejoin_directory", "rejoin_keep", "rejoin_wait", "rejoin_rate"}

func TestDeclaration(t *testing.T) {
	a := declaration()
	if err := a.Check(); err != nil {
		t.Error(err)
	}
	if n := len(referenceParameters); n != 33 {
		t.Errorf("the reference has 33 parameters, the table %d", n)
	}
	for _, ref := range referenceParameters {
		p, ok := a.Parameter(ref.name)
		if !ok || string(p.Type) != ref.kind || p.Default != ref.def || p.Required || p.Unique {
			t.Errorf("%s: %+v differs from the reference", ref.name, p)
		}
	}
	if n := len(a.Parameters); n != len(referenceParameters)+len(ownParameters) {
		t.Errorf("%d parameters; those beyond the reference should be %q", n, ownParameters)
	}
	for _, name := range ownParameters {
		if _, ok := a.Parameter(name); !ok {
			t.Errorf("%s is missing", name)
		}
	}
	for _, name := range []string{"start", "stop", "monitor", "promote", "demote", "notify", "validate-all", "meta-data", "reload-agent", "status", "methods"} {
		if !slices.Contains(a.ActionNames(), name) {
			t.Errorf("action %s is missing", name)
		}
	}
}

func TestConfigFollowsPgdata(t *testing.T) {
	v, errs := declaration().Parse(func(name string) (string, bool) {
		return map[string]string{"pgdata": "/dbfp/pgdata/data"}[name], true
	})
	if len(errs) > 0 || v.String("config") != "/dbfp/pgdata/data/postgresql.conf" || v.Int("stop_escalate") != 90 {
		t.Errorf("%v, %v", v, errs)
	}
}

// PG-REX's own configuration must come through without a complaint.
func TestParsePGREX(t *testing.T) {
	env := map[string]string{
		"pgctl": "/usr/pgsql-17/bin/pg_ctl", "psql": "/usr/pgsql-17/bin/psql", "pgdata": "/dbfp/pgdata/data", "pgdba": "postgres",
		"pgport": "5432", "pgdb": "template1", "rep_mode": "sync", "node_list": "db01 db02", "master_ip": "192.168.2.3",
		"restore_command": "/bin/cp /dbfp/pgarch/arc1/%f %p", "repuser": "repuser", "stop_escalate": "0", "xlog_check_count": "0",
		"primary_conninfo_opt": "keepalives_idle=60 keepalives_interval=5 keepalives_count=5",
	}
	v, errs := declaration().Parse(func(name string) (string, bool) { s, ok := env[name]; return s, ok })
	if len(errs) > 0 || v.Duration("stop_escalate") != 0 || v.Int("stop_escalate") != 0 || v.String("rejoin") != "follow" {
		t.Errorf("%v, %v", v, errs)
	}
}
