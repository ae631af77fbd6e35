package main

import (
	"testing"

	"pgrex/lib/ocf"
)

// A role of its own for the monitor: a right is neither taken away nor granted on what that role
// cannot see.
func TestMonitorUser(t *testing.T) {
	t.Parallel()
	n1, n2 := newPair(t)
	n1.sql("CREATE ROLE mon LOGIN; GRANT pg_monitor TO mon; CREATE ROLE blind LOGIN")
	for _, s := range []*site{n1, n2} {
		s.env["OCF_RESKEY_monitor_user"] = "mon"
		s.env["OCF_RESKEY_replication_slot_name"] = "slot"
	}
	n1.must(ocf.RunningPromoted, "monitor", interval, "0")
	n1.eventually("n2 knows the roles", func() bool { return n2.sql("SELECT count(*) FROM pg_roles WHERE rolname = 'blind'") == "1" })
	_, _, log := n1.perform("monitor", interval, "9000")
	if n2.attribute("pgsql-status") != "HS:sync" || n2.attribute("master-pgsql") != "100" {
		t.Errorf("n2 %q %q\n%s", n2.attribute("pgsql-status"), n2.attribute("master-pgsql"), log)
	}
	if n1.sql("SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'slot_n2'") != "1" {
		t.Error("no slot")
	}
	n2.must(ocf.OK, "monitor", interval, "9000")

	// Without pg_monitor.
	code, text := n1.do("monitor", interval, "9000", "OCF_RESKEY_monitor_user", "blind", "OCF_RESKEY_CRM_meta_timeout", "4000")
	if code != ocf.RunningPromoted {
		t.Errorf("%d %s", code, text)
	}
	if r := parseRecord(t, n1.attribute("pgsql-record")); !r.Entitles("n2") || n1.sql("SHOW synchronous_standby_names") != `"n2"` {
		t.Errorf("a right was withdrawn blindly: %v", r)
	}

	// The monitoring role promotes, too.
	n1.crash()
	n1.f.happened("n1", "demote 0", "stop 0")
	n2.done("promote")
	if n2.attribute("pgsql-status") != "PRI" || n2.sql("SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'slot_n1'") != "1" {
		t.Errorf("n2 %q", n2.attribute("pgsql-status"))
	}
}
