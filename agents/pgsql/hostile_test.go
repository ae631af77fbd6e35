package main

import (
	"fmt"
	"strings"
	"testing"

	"pgrex/lib/ocf"
)

// traps are objects that anybody may make who may create anything in a schema: functions,
// operators and tables with the names of those that the agent asks, each of which says so
// when it is used.
func traps(schema string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "CREATE SCHEMA IF NOT EXISTS %[1]s; GRANT ALL ON SCHEMA %[1]s TO PUBLIC;\n", schema)
	for _, f := range []string{
		"pg_is_in_recovery() RETURNS boolean", "pg_stat_get_activity(integer) RETURNS integer", "pg_stat_get_wal_senders() RETURNS integer",
		"pg_stat_get_wal_receiver() RETURNS integer", "pg_control_system() RETURNS integer", "pg_control_checkpoint() RETURNS integer",
		"pg_control_recovery() RETURNS integer", "pg_get_replication_slots() RETURNS integer", "pg_show_all_settings() RETURNS integer",
		"pg_show_all_file_settings() RETURNS integer", "pg_conf_load_time() RETURNS integer", "pg_current_wal_insert_lsn() RETURNS pg_lsn",
		"pg_current_wal_flush_lsn() RETURNS pg_lsn", "pg_last_wal_receive_lsn() RETURNS pg_lsn", "pg_last_wal_replay_lsn() RETURNS pg_lsn",
		"pg_walfile_name(pg_lsn) RETURNS text", "current_setting(text) RETURNS text", "substr(text, integer, integer) RETURNS text",
		"pg_get_userbyid(oid) RETURNS text", "host(inet) RETURNS text", "pg_reload_conf() RETURNS boolean", "pg_promote(boolean, integer) RETURNS boolean",
		"pg_create_physical_replication_slot(name, boolean) RETURNS text", "pg_drop_replication_slot(name) RETURNS text",
		"pg_terminate_backend(integer) RETURNS boolean", "pg_wal_replay_pause() RETURNS boolean", "pg_wal_replay_resume() RETURNS boolean",
		"now() RETURNS text", "clock_timestamp() RETURNS text", "max(integer) RETURNS integer", "count(integer) RETURNS bigint", "equal(text, text) RETURNS boolean",
		"join(text, text) RETURNS text", "equal(integer, integer) RETURNS boolean", "equal(oid, oid) RETURNS boolean",
	} {
		fmt.Fprintf(&b, "CREATE FUNCTION %s.%s LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'caught in %s by %s'; END$$;\n", schema, f, schema, f)
	}
	for _, o := range []string{"= (leftarg=text, rightarg=text, function=%[1]s.equal)", "= (leftarg=integer, rightarg=integer, function=%[1]s.equal)",
		"= (leftarg=oid, rightarg=oid, function=%[1]s.equal)", "|| (leftarg=text, rightarg=text, function=%[1]s.join)"} {
		fmt.Fprintf(&b, "CREATE OPERATOR %[1]s."+o+";\n", schema)
	}
	for _, v := range []string{"pg_stat_replication", "pg_stat_activity", "pg_settings", "pg_file_settings", "pg_replication_slots", "pg_stat_wal_receiver", "pg_database", "pg_roles"} {
		fmt.Fprintf(&b, "CREATE VIEW %s.%s AS SELECT %s.pg_is_in_recovery() AS rec;\n", schema, v, schema)
	}
	return b.String()
}

// Whoever may create objects in a schema cannot have them used by the agent, which works as
// a superuser or as its monitoring role, wherever their search_path leads. What the
// administrator asks by monitor_sql is looked up as that role is used to: names with their
// schema are what is meant by them.
func TestHostileSchema(t *testing.T) {
	t.Parallel()
	n1, n2 := newPair(t)
	n1.sql("CREATE ROLE mon LOGIN; GRANT pg_monitor TO mon")
	n1.sql(traps("public") + traps("mon") + traps("postgres") + `
ALTER ROLE mon SET search_path = "$user", public, pg_catalog; ALTER ROLE postgres SET search_path = "$user", public, pg_catalog;
ALTER DATABASE template1 SET search_path = public, pg_catalog;`)
	n1.eventually("n2 has the traps", func() bool { return n2.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'mon'") == "1" })
	both := []*site{n1, n2}
	for _, s := range both {
		for _, user := range []string{"mon", "postgres"} {
			// They work.
			server := s.server()
			server.DBUser = user
			if err := server.Check(t.Context(), "SELECT pg_is_in_recovery()"); err == nil || !strings.Contains(err.Error(), "caught in "+user) {
				t.Fatalf("no trap for %s: %v", user, err)
			}
		}
		s.env["OCF_RESKEY_replication_slot_name"] = "slot"
		put(t, s.dir+"/log", "")
	}
	for _, user := range []string{"postgres", "mon"} {
		for _, s := range both {
			s.env["OCF_RESKEY_monitor_user"] = user
			s.env["OCF_RESKEY_monitor_sql"] = "SELECT 1 FROM pg_catalog.pg_stat_database WHERE datname OPERATOR(pg_catalog.=) 'template1'"
		}
		n1.must(ocf.RunningPromoted, "monitor", interval, "0")
		n1.must(ocf.RunningPromoted, "monitor", interval, "9000")
		n2.must(ocf.OK, "monitor", interval, "0")
		n2.must(ocf.OK, "monitor", interval, "9000")
		n1.must(ocf.OK, "validate-all", "OCF_CHECK_LEVEL", "10")
		if n2.attribute("pgsql-status") != "HS:sync" || n2.attribute("master-pgsql") != "100" {
			t.Errorf("as %s: n2 %q %q", user, n2.attribute("pgsql-status"), n2.attribute("master-pgsql"))
		}
	}
	// A demotion in order, a promotion, and a return.
	n1.done("demote")
	n1.done("stop")
	n2.done("promote")
	n2.must(ocf.RunningPromoted, "monitor", interval, "9000")
	for _, s := range both {
		if log := get(t, s.dir+"/log"); strings.Contains(log, "caught in ") {
			t.Errorf("%s: a trap was used:\n%s", s.node, log)
		}
	}
}
