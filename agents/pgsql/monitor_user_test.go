package main

import (
	"os"
	"strings"
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

// A role for the monitor that the server does not let in is no failure of the server: its owner
// does the work, which is said once.
func TestMonitorUserBarred(t *testing.T) {
	t.Parallel()
	const secret, warning = "0nly-l00ks", "the server does not let monitor_user in"
	n1, n2 := newPair(t)
	n1.sql("CREATE ROLE watcher LOGIN PASSWORD '" + secret + "'; GRANT pg_monitor TO watcher")
	n1.eventually("n2 knows the role", func() bool { return n2.sql("SELECT count(*) FROM pg_roles WHERE rolname = 'watcher'") == "1" })
	for _, s := range []*site{n1, n2} {
		s.hba("local all watcher scram-sha-256")
		s.env["OCF_RESKEY_monitor_user"], s.env["OCF_RESKEY_monitor_password"] = "watcher", secret
		s.env["OCF_RESKEY_monitor_sql"] = "SELECT 1/count(*) FROM pg_roles WHERE rolname = current_user AND NOT rolsuper"
	}
	said := func(s *site, want ocf.Code, times int) {
		t.Helper()
		code, text, log := s.perform("monitor", interval, "9000")
		if warned := strings.Count(log.String(), "level=WARN msg=\""+warning); code != want || warned != times || strings.Contains(log.String()+text, secret) {
			t.Errorf("%s: %d %s, want %d; warned %d times, want %d\n%s", s.node, code, text, want, warned, times, log)
		}
	}
	n1.eventually("n2 has the right", func() bool {
		said(n1, ocf.RunningPromoted, 0)
		return n2.attribute("master-pgsql") == "100"
	})
	said(n2, ocf.OK, 0)

	for _, tt := range []struct{ bar, mend string }{
		{"ALTER ROLE watcher PASSWORD 'another'", "ALTER ROLE watcher PASSWORD '" + secret + "'"},
		{"ALTER ROLE watcher VALID UNTIL '2001-01-01'", "ALTER ROLE watcher VALID UNTIL 'infinity'"},
		{"ALTER ROLE watcher CONNECTION LIMIT 0", "ALTER ROLE watcher CONNECTION LIMIT -1"},
		{"REVOKE CONNECT ON DATABASE template1 FROM PUBLIC", "GRANT CONNECT ON DATABASE template1 TO PUBLIC"},
		{"ALTER ROLE watcher RENAME TO other", "ALTER ROLE other RENAME TO watcher; ALTER ROLE watcher PASSWORD '" + secret + "'"},
	} {
		// What is said once is said again when the reason changes, or after a minute.
		c, _ := callOf("monitor", n1.env)
		_ = os.Remove(agentOf(t, c, n1.tools()).runFile(runBarred))
		n1.sql(tt.bar)
		said(n1, ocf.RunningPromoted, 1)
		said(n1, ocf.RunningPromoted, 0)
		n1.sql(tt.mend)
		said(n1, ocf.RunningPromoted, 0)
	}
	// On the standby, too, which is promoted all the same.
	n2.env["OCF_RESKEY_monitor_password"] = "another"
	said(n2, ocf.OK, 1)
	n2.must(ocf.OK, "start")
	n1.must(ocf.OK, "demote", "OCF_RESKEY_monitor_password", "another")
	n1.must(ocf.OK, "stop")
	n1.f.happened("n1", "demote 0", "stop 0")
	n2.done("promote")
	said(n2, ocf.RunningPromoted, 0)
	if n2.attribute("pgsql-status") != "PRI" {
		t.Errorf("n2 %q", n2.attribute("pgsql-status"))
	}
	// Whoever lets nobody in does not serve.
	n2.hba("local all all reject")
	text := n2.must(ocf.FailedPromoted, "monitor", interval, "9000")
	says(t, text, "does not answer", `"watcher"`, "is refused too")
}

// A role without pg_monitor sees neither the state of standbys nor that of the receiver, nor
// primary_conninfo. The agent does.
func TestMonitorUserBlind(t *testing.T) {
	t.Parallel()
	f, n1, n2, n3 := threeNodes(t, map[string]string{"OCF_RESKEY_sync_quorum": "true"})
	n1.sql("CREATE ROLE blind LOGIN")
	for _, s := range []*site{n1, n2, n3} {
		s.eventually("the role is known", func() bool { return s.sql("SELECT count(*) FROM pg_roles WHERE rolname = 'blind'") == "1" })
		s.env["OCF_RESKEY_monitor_user"] = "blind"
	}
	n1.eventually("both vote", func() bool {
		n1.must(ocf.RunningPromoted, "monitor", interval, "9000", "OCF_RESKEY_CRM_meta_timeout", "8000")
		return n2.attribute("pgsql-status") == "HS:quorum" && n3.attribute("pgsql-status") == "HS:quorum"
	})
	before := get(t, n2.dir+"/tmp/recovery.conf")
	loaded := n2.sql("SELECT pg_conf_load_time()")
	for range 2 {
		_, _, log := n2.perform("monitor", interval, "9000")
		if strings.Contains(log.String(), "level=ERROR") || strings.Contains(log.String(), "does not stream") {
			t.Errorf("%s", log)
		}
	}
	if get(t, n2.dir+"/tmp/recovery.conf") != before || n2.sql("SELECT pg_conf_load_time()") != loaded {
		t.Error("a standby that streams was pointed to its primary anew")
	}
	n2.must(ocf.OK, "reload-agent")
	_, _, log := n1.perform("notify", "OCF_RESKEY_CRM_meta_notify_type", "post", "OCF_RESKEY_CRM_meta_notify_operation", "start", "OCF_RESKEY_CRM_meta_notify_start_uname", "n2")
	if strings.Contains(log.String(), "does not stream yet") {
		t.Errorf("the primary waited for a standby that streams:\n%s", log)
	}

	n1.crash()
	f.happened("n1", "demote 0", "stop 0")
	for _, s := range []*site{n2, n3, n2} {
		_, _, log := s.perform("monitor", interval, "9000")
		if s.attribute("pgsql-position") == "" {
			t.Errorf("%s has not told how far it got:\n%s", s.node, log)
		}
		if set := s.sql("SHOW primary_conninfo"); set != "" {
			t.Errorf("%s has told how far it got, and may go further: primary_conninfo %q", s.node, set)
		}
	}
	best := n2
	if n3.attribute("master-pgsql") == "1000" {
		best = n3
	}
	best.done("promote")
	best.must(ocf.RunningPromoted, "monitor", interval, "9000", "OCF_RESKEY_CRM_meta_timeout", "8000")
}

// hba puts a line before the others of pg_hba.conf, and waits until it is in force.
func (s *site) hba(line string) {
	s.t.Helper()
	file := s.data() + "/pg_hba.conf"
	put(s.t, file, line+"\n"+get(s.t, file))
	loaded := s.sql("SELECT pg_conf_load_time()")
	conn, err := s.server().Connect(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Exec(s.t.Context(), "SELECT pg_reload_conf()"); err != nil {
		s.t.Fatal(err)
	}
	// The postmaster reads pg_hba.conf before it passes the signal on.
	s.eventually("the reload", func() bool {
		rows, err := conn.Exec(s.t.Context(), "SELECT pg_conf_load_time()")
		return err == nil && rows[0][0] != loaded
	})
}
