package main

import (
	"strconv"
	"testing"

	"pgrex/lib/ocf"
)

// Commits wait for any one of two standbys. Neither may succeed alone; when the
// primary is gone they compare, and the newer is promoted.
func TestQuorum(t *testing.T) {
	t.Parallel()
	f, n1, n2, n3 := threeNodes(t, map[string]string{"OCF_RESKEY_sync_quorum": "true"})
	state := func(s *site) string { return s.attribute("pgsql-status") + " " + s.attribute("master-pgsql") }
	n1.eventually("both stream", func() bool { return n1.senders() == strconv.Itoa(2) })
	n1.eventually("both vote", func() bool {
		n1.must(ocf.RunningPromoted, "monitor", interval, "9000", "OCF_RESKEY_CRM_meta_timeout", "8000")
		return state(n2) == "HS:quorum -INFINITY" && state(n3) == "HS:quorum -INFINITY"
	})
	record := parseRecord(t, f.record("n2", "n1"))
	if names := n1.sql("SHOW synchronous_standby_names"); names != `ANY 1 ("n2", "n3")` || record.Quorum != 1 || !record.Entitles("n2") || !record.Entitles("n3") {
		t.Errorf("commits wait for %s, record %v", names, record)
	}
	if epoch := strconv.FormatUint(record.Epoch, 10); n2.attribute("pgsql-voter") != epoch || n3.attribute("pgsql-voter") != epoch {
		t.Errorf("n2 votes by %q, n3 by %q, the record is %v", n2.attribute("pgsql-voter"), n3.attribute("pgsql-voter"), record)
	}

	n1.crash()
	f.happened("n1", "demote 0", "stop 0")
	says(t, n2.must(ocf.ErrGeneric, "promote", "OCF_RESKEY_CRM_meta_timeout", "4000"), "not promoted", "n3")
	n2.must(ocf.OK, "monitor", interval, "9000")
	if n2.attribute("pgsql-position") == "" || n2.attribute("master-pgsql") != "-INFINITY" {
		t.Errorf("n2 is %s at %q", state(n2), n2.attribute("pgsql-position"))
	}
	n3.must(ocf.OK, "monitor", interval, "9000")
	n2.must(ocf.OK, "monitor", interval, "9000")
	best := n2
	if n3.attribute("master-pgsql") == "1000" {
		best = n3
	}
	best.done("promote")
	best.must(ocf.RunningPromoted, "monitor", interval, "9000", "OCF_RESKEY_CRM_meta_timeout", "8000")
	if state(best) != "PRI 1000" || best.attribute("pgsql-voter") != "" {
		t.Errorf("%s votes by %q", state(best), best.attribute("pgsql-voter"))
	}
}
