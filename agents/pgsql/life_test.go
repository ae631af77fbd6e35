package main

import (
	"maps"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"pgrex/lib/ocf"
	"pgrex/lib/pg/pgtest"
)

// One node through its whole life: start, election, promotion, monitors, demotion, stop.
func TestLifeOfOneNode(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("n1", "n1", "n2")
	s := newSite(t, f, "n1", nil)
	s.must(ocf.NotRunning, "monitor", interval, "0")

	// No record: everybody of node_list has to be there once.
	s.done("start")
	if s.attribute("pgsql-status") != "HS:alone" || s.attribute("master-pgsql") != "-INFINITY" || s.attribute("pgsql-position") == "" {
		t.Errorf("status %q, score %q, position %q", s.attribute("pgsql-status"), s.attribute("master-pgsql"), s.attribute("pgsql-position"))
	}
	s.must(ocf.OK, "start")
	code, text, log := s.perform("monitor", interval, "9000")
	if code != ocf.OK {
		t.Fatal(code, text)
	}
	says(t, log.String(), "waiting for the server of n2", "crm_attribute --node n1 --name pgsql-accept-loss --lifetime reboot --update 0")
	says(t, s.must(ocf.ErrGeneric, "promote"), "not promoted", "waiting for the server of n2")
	if s.attribute("pgsql-record") != "" || s.sql("SELECT pg_is_in_recovery()") != "t" {
		t.Fatal("a refused promotion left something")
	}

	// An operator goes on without the other.
	f.set("n1", "pgsql-accept-loss", "0", false)
	s.must(ocf.OK, "monitor", interval, "9000")
	if s.attribute("master-pgsql") != "1000" {
		t.Errorf("score %q", s.attribute("master-pgsql"))
	}
	s.done("promote")
	r := parseRecord(t, s.attribute("pgsql-record"))
	if r.Primary != "n1" || strings.Join(r.Entitled, " ") != "n1" || strings.TrimSpace(get(t, s.data()+".pgrex-record")) != r.String() {
		t.Errorf("record %v, file %q", r, get(t, s.data()+".pgrex-record"))
	}
	if s.attribute("pgsql-status") != "PRI" || s.attribute("master-pgsql") != "1000" || s.sql("SELECT pg_is_in_recovery()") != "f" {
		t.Errorf("status %q, score %q", s.attribute("pgsql-status"), s.attribute("master-pgsql"))
	}
	s.must(ocf.OK, "promote")
	says(t, s.must(ocf.ErrGeneric, "start"), "already runs as a primary")

	// What only people read, the first monitor writes. One that finds nothing new asks and writes nothing.
	s.must(ocf.RunningPromoted, "monitor", interval, "9000")
	if s.attribute("pgsql-data-status") != "LATEST" || s.attribute("pgsql-position") != "" {
		t.Errorf("data %q, position %q", s.attribute("pgsql-data-status"), s.attribute("pgsql-position"))
	}
	before := len(f.commands())
	s.must(ocf.RunningPromoted, "monitor", interval, "9000")
	if n := f.commands()[before:]; len(n) != 0 {
		t.Errorf("a steady monitor ran %q", n)
	}
	// A probe believes nothing of what was before.
	s.must(ocf.RunningPromoted, "monitor", interval, "0")
	if len(f.commands()) == before {
		t.Error("a probe did not read the cluster's memory")
	}
	s.sql("CREATE TABLE public.kept AS SELECT 42 AS answer")

	// The role returns to a standby by itself, and nothing is lost.
	s.done("demote")
	if s.attribute("master-pgsql") != "-INFINITY" || s.attribute("pgsql-record") == "" {
		t.Errorf("score %q", s.attribute("master-pgsql"))
	}
	s.eventually("the demoted server answers as standby", func() bool {
		code, _ := s.do("monitor", interval, "9000")
		return code == ocf.OK && s.server().WaitReady(t.Context()) == nil
	})
	if s.sql("SELECT answer FROM public.kept") != "42" || s.sql("SELECT pg_is_in_recovery()") != "t" {
		t.Error("the demoted server lost something")
	}

	// The record is a memory that entitles nobody else: it needs no one to go on.
	s.must(ocf.OK, "monitor", interval, "9000")
	if s.attribute("master-pgsql") != "1000" {
		t.Errorf("score %q", s.attribute("master-pgsql"))
	}
	s.done("stop")
	s.must(ocf.OK, "stop")
	s.must(ocf.NotRunning, "monitor", interval, "9000")
	if s.attribute("pgsql-status") != "STOP" || s.attribute("master-pgsql") != "-INFINITY" || get(t, s.dir+"/tmp/rep_mode.conf") != repModeConf("") {
		t.Errorf("status %q, score %q", s.attribute("pgsql-status"), s.attribute("master-pgsql"))
	}
}

// Two nodes: a right is granted on proof, withdrawn before commits go on, and used.
func TestLifeOfTwoNodes(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("n1", "n1", "n2")
	n1 := newSite(t, f, "n1", nil)
	n2 := newSite(t, f, "n2", n1)
	n2.follow(n1)
	n1.env["OCF_RESKEY_replication_slot_name"], n2.env["OCF_RESKEY_replication_slot_name"] = "slot", "slot"

	// First bootstrap: both are there, the first of node_list is chosen.
	n1.done("start")
	n2.done("start")
	n1.must(ocf.OK, "monitor", interval, "9000")
	// Here n2 reaches n1 before it is the primary; until it is sent away there its receiver says, each
	// time for a moment, that it streams, and then a monitor tells no position.
	n2.eventually("n2 tells how far it reaches", func() bool {
		n2.must(ocf.OK, "monitor", interval, "9000")
		return n2.attribute("pgsql-position") != ""
	})
	if n1.attribute("master-pgsql") != "1000" || n2.attribute("master-pgsql") != "-INFINITY" {
		t.Fatalf("scores %q %q", n1.attribute("master-pgsql"), n2.attribute("master-pgsql"))
	}
	n1.done("promote")
	n2.must(ocf.OK, "notify", "OCF_RESKEY_CRM_meta_notify_type", "post", "OCF_RESKEY_CRM_meta_notify_operation", "promote", "OCF_RESKEY_CRM_meta_notify_promote_uname", "n1")
	n2.eventually("n2 streams", func() bool { return n1.senders() == "1" })
	n1.must(ocf.RunningPromoted, "monitor", interval, "9000")
	if n1.attribute("pgsql-status") != "PRI" || n2.attribute("pgsql-status") != "HS:sync" || n2.attribute("master-pgsql") != "100" || n2.attribute("pgsql-data-status") != "STREAMING|SYNC" {
		t.Errorf("n1 %q, n2 %q %q %q", n1.attribute("pgsql-status"), n2.attribute("pgsql-status"), n2.attribute("master-pgsql"), n2.attribute("pgsql-data-status"))
	}
	if r := parseRecord(t, n1.attribute("pgsql-record")); !r.Entitles("n2") {
		t.Errorf("record %v", r)
	}
	if names := n1.sql("SHOW synchronous_standby_names"); names != `"n2"` {
		t.Errorf("commits wait for %s", names)
	}
	if n1.sql("SELECT slot_name || active FROM pg_replication_slots") != "slot_n2true" {
		t.Errorf("slots: %s", n1.sql("SELECT slot_name || active FROM pg_replication_slots"))
	}
	n2.must(ocf.OK, "monitor", interval, "9000")
	// The grant has reloaded n1's settings, and after a reload a monitor looks at everything once more.
	n1.must(ocf.RunningPromoted, "monitor", interval, "9000")
	before := len(f.commands())
	n1.must(ocf.RunningPromoted, "monitor", interval, "9000")
	n2.must(ocf.OK, "monitor", interval, "9000")
	if ran := f.commands()[before:]; len(ran) != 0 {
		t.Errorf("steady monitors ran %q", ran)
	}
	n1.sql("CREATE TABLE public.kept (n int)")
	n1.sql("INSERT INTO public.kept VALUES (1)")

	// The standby dies and its node is cut off: its right must be proven gone before commits go on.
	n2.crash()
	f.cut["n2"] = true
	f.copies["n1"].nodes["n2"].crmd, f.copies["n1"].nodes["n2"].join = "offline", "down"
	n1.eventually("the connection is gone", func() bool { return n1.sql("SELECT count(*) FROM pg_stat_replication") == "0" })
	code, text, log := n1.perform("monitor", interval, "9000", "OCF_RESKEY_CRM_meta_timeout", "2000")
	if code != ocf.RunningPromoted {
		t.Fatalf("%d %s", code, text)
	}
	says(t, log.String(), "commits wait", "n2", "fencing")
	if names := n1.sql("SHOW synchronous_standby_names"); names != `"n2"` {
		t.Fatalf("commits were released without proof: %q", names)
	}
	if r := parseRecord(t, n1.attribute("pgsql-record")); r.Entitles("n2") || strings.Join(r.Leaving, " ") != "n2" {
		t.Errorf("record %v", r)
	}
	// Fencing is the proof.
	f.mu.Lock()
	f.fence("n2")
	f.mu.Unlock()
	n1.must(ocf.RunningPromoted, "monitor", interval, "9000")
	if names := n1.sql("SHOW synchronous_standby_names"); names != "" {
		t.Errorf("commits still wait for %s", names)
	}
	n1.sql("INSERT INTO public.kept VALUES (2)")

	// It returns; what it has is part of the primary's history.
	f.mu.Lock()
	f.cut["n2"] = false
	for _, cib := range f.copies {
		n := cib.nodes["n2"]
		n.crmd, n.join, n.expected = "", "", ""
		n.transient = map[string]string{}
		n.forever["pgsql-record"] = f.copies["n1"].nodes["n2"].forever["pgsql-record"]
		cib.nodes["n1"].forever["pgsql-record"] = f.copies["n1"].nodes["n1"].forever["pgsql-record"]
	}
	f.mu.Unlock()
	n2.done("start")
	n2.eventually("n2 streams again", func() bool {
		return n1.senders() == "1"
	})
	n1.must(ocf.OK, "notify", "OCF_RESKEY_CRM_meta_notify_type", "post", "OCF_RESKEY_CRM_meta_notify_operation", "start", "OCF_RESKEY_CRM_meta_notify_start_uname", "n2")
	if n2.attribute("pgsql-status") != "HS:sync" || n2.attribute("master-pgsql") != "100" {
		t.Errorf("n2 %q %q", n2.attribute("pgsql-status"), n2.attribute("master-pgsql"))
	}
	n1.sql("INSERT INTO public.kept VALUES (3)")

	// The primary dies with a row that nobody but itself has, which was never acknowledged.
	n2.must(ocf.OK, "monitor", interval, "9000")
	receiver := n2.sql("SELECT pid FROM pg_stat_wal_receiver")
	signal(t, receiver, syscall.SIGSTOP)
	n1.sql("SET synchronous_commit = local; INSERT INTO public.kept VALUES (4)")
	n1.crash()
	// It must not read what is already on its way.
	signal(t, receiver, syscall.SIGTERM)
	signal(t, receiver, syscall.SIGCONT)
	f.happened("n1", "demote 0", "stop 0")
	n1.follow(n2)
	n2.done("promote")
	if got := n2.sql("SELECT string_agg(n::text, ' ' ORDER BY n) FROM public.kept"); got != "1 2 3" {
		t.Errorf("the new primary has %q", got)
	}
	if n2.attribute("pgsql-status") != "PRI" || n2.attribute("master-pgsql") != "1000" || n1.attribute("master-pgsql") == "1000" || n1.attribute("master-pgsql") == "100" {
		t.Errorf("n2 %q %q, n1 %q", n2.attribute("pgsql-status"), n2.attribute("master-pgsql"), n1.attribute("master-pgsql"))
	}
	n2.must(ocf.RunningPromoted, "monitor", interval, "9000")

	// The old primary holds what the cluster went on without: it is not started, and not touched.
	reason := n1.must(ocf.ErrGeneric, "start")
	says(t, reason, "not started", "pg_basebackup")
	if _, err := os.Stat(n1.data() + "/standby.signal"); err == nil {
		t.Error("its files were made those of a standby")
	}
	n1.must(ocf.NotRunning, "monitor", interval, "9000")

	// Started over it by a person, it is a standby that can never follow, and that is said.
	put(t, n1.data()+"/standby.signal", "")
	if err := pgtest.GiveTo(n1.user, n1.data()+"/standby.signal"); err != nil {
		t.Fatal(err)
	}
	n1.byHand()
	n1.eventually("the standby is found out", func() bool {
		// For a moment the receiver may seem to stream.
		code, text := n1.do("monitor", interval, "10000")
		if code == ocf.ErrGeneric {
			says(t, text, "rebuild it with pg_basebackup", "timeline 2 at")
		}
		return code == ocf.ErrGeneric
	})
}

// threeNodes is a primary and two standbys, started with the parameters given.
func threeNodes(t *testing.T, params map[string]string) (f *fakeCluster, n1, n2, n3 *site) {
	f = newFakeCluster("n1", "n1", "n2", "n3")
	n1 = newSite(t, f, "n1", nil)
	n2, n3 = newSite(t, f, "n2", n1), newSite(t, f, "n3", n1)
	n2.follow(n1)
	n3.follow(n1)
	for _, s := range []*site{n1, n2, n3} {
		s.env["OCF_RESKEY_node_list"] = "n1 n2 n3"
		maps.Copy(s.env, params)
		s.done("start")
	}
	n1.must(ocf.OK, "monitor", interval, "9000")
	n1.done("promote")
	return f, n1, n2, n3
}

// Three nodes: one standby is synchronous. When it dies the other gets the right, and one that
// returns does not take it back.
func TestLifeOfThreeNodes(t *testing.T) {
	t.Parallel()
	f, n1, n2, n3 := threeNodes(t, nil)
	streaming := func(n int) func() bool {
		return func() bool {
			return n1.senders() == strconv.Itoa(n)
		}
	}
	state := func(s *site) string { return s.attribute("pgsql-status") + " " + s.attribute("master-pgsql") }
	lead := func() {
		n1.must(ocf.RunningPromoted, "monitor", interval, "9000", "OCF_RESKEY_CRM_meta_timeout", "4000")
	}
	n1.eventually("both stream", streaming(2))
	n1.eventually("one is synchronous, the other is not", func() bool {
		lead()
		return state(n2) == "HS:sync 100" && state(n3) == "HS:async -INFINITY"
	})

	n2.crash()
	n1.eventually("one is left", streaming(1))
	lead()
	if state(n3) != "HS:sync 100" || n1.sql("SHOW synchronous_standby_names") != `"n3"` {
		t.Errorf("n3 is %s, commits wait for %s", state(n3), n1.sql("SHOW synchronous_standby_names"))
	}
	if r := parseRecord(t, f.record("n3", "n1")); r.Entitles("n2") || !r.Entitles("n3") || len(r.Leaving) != 0 {
		t.Errorf("record %v", r)
	}
	if state(n2) != "HS:alone -INFINITY" {
		t.Errorf("n2 is %s", state(n2))
	}

	n2.done("start")
	n1.eventually("both stream again", streaming(2))
	n1.eventually("it is one that commits do not wait for", func() bool {
		lead()
		return state(n2) == "HS:async -INFINITY"
	})
	if state(n3) != "HS:sync 100" {
		t.Errorf("n3 is %s", state(n3))
	}

	// The primary dies: only who has the right may be promoted.
	n1.crash()
	f.happened("n1", "demote 0", "stop 0")
	says(t, n2.must(ocf.ErrGeneric, "promote", "OCF_RESKEY_CRM_meta_timeout", "4000"), "not promoted")
	n3.done("promote")
	if state(n3) != "PRI 1000" {
		t.Errorf("n3 is %s", state(n3))
	}
}

// A standby outside the cluster is waited for while it streams, and never promoted; that it comes
// or goes takes nobody's right away.
func TestExternalStandby(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("n1", "n1", "n2")
	n1 := newSite(t, f, "n1", nil)
	n2 := newSite(t, f, "n2", n1)
	dr := newSite(t, f, "dr", n1)
	n2.follow(n1)
	n1.env["OCF_RESKEY_external_standby_node_list"], n2.env["OCF_RESKEY_external_standby_node_list"] = "DR other", "DR other"
	n1.done("start")
	n2.done("start")
	n1.must(ocf.OK, "monitor", interval, "9000")
	n1.done("promote")
	rows := func(n int) func() bool {
		return func() bool {
			return n1.senders() == strconv.Itoa(n)
		}
	}
	names := func() string { return n1.sql("SHOW synchronous_standby_names") }
	lead := func() {
		n1.must(ocf.RunningPromoted, "monitor", interval, "9000", "OCF_RESKEY_CRM_meta_timeout", "6000")
	}
	n1.eventually("n2 streams", rows(1))
	lead()
	if names() != `"n2"` || n2.attribute("pgsql-status") != "HS:sync" {
		t.Errorf("commits wait for %s, n2 is %s", names(), n2.attribute("pgsql-status"))
	}

	dr.configure("primary_conninfo = 'host=127.0.0.3 port=" + strconv.Itoa(n1.port) + " user=postgres application_name=dr'")
	put(t, dr.data()+"/standby.signal", "")
	if err := pgtest.GiveTo(dr.user, dr.data()+"/standby.signal"); err != nil {
		t.Fatal(err)
	}
	dr.byHand()
	n1.eventually("dr streams", rows(2))
	lead()
	if names() != `FIRST 2 ("n2", "dr")` || n2.attribute("pgsql-status") != "HS:sync" || n2.attribute("master-pgsql") != "100" {
		t.Errorf("commits wait for %s, n2 is %s", names(), n2.attribute("pgsql-status"))
	}
	before := parseRecord(t, n1.attribute("pgsql-record"))

	dr.crash()
	n1.eventually("dr is gone", rows(1))
	lead()
	if after := parseRecord(t, n1.attribute("pgsql-record")); names() != `"n2"` || !after.Entitles("n2") || !before.Entitles("n2") || n2.attribute("master-pgsql") != "100" {
		t.Errorf("commits wait for %s, record %v then %v", names(), before, after)
	}
	if strings.Contains(strings.Join(f.writes(), "\n"), "dr ") {
		t.Errorf("attributes of a node outside the cluster: %q", f.writes())
	}
}
