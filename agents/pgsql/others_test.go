package main

import (
	"context"
	"strconv"
	"testing"

	"pgrex/lib/ocf"
	"pgrex/lib/pg/pgtest"
	"pgrex/lib/proc"
)

// The connection of a standby that commits do not wait for is ended after each change of the
// names, not at each proof.
func TestOthersAreEndedOnce(t *testing.T) {
	t.Parallel()
	n1, _ := newPair(t)
	c, log := callOf("monitor", n1.env)
	a := agentOf(t, c, n1.tools())
	end := func() string {
		t.Helper()
		n1.eventually("n2 streams", func() bool { return n1.senders() == "1" })
		before := n1.sql("SELECT pid FROM pg_stat_replication")
		conn, err := a.owner(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		r := &round{names: []string{"n3"}}
		if r.status, err = conn.Status(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := a.endOthers(t.Context(), r); err != nil {
			t.Fatal(err)
		}
		return before
	}
	first := end()
	second := end()
	third := end()
	if first == second || second != third {
		t.Errorf("walsenders %s, %s, %s: want the first to be ended and the second to be left\n%s", first, second, third, log)
	}
	reload := func() {
		t.Helper()
		loaded := n1.sql("SELECT pg_conf_load_time()")
		n1.sql("SELECT pg_reload_conf()")
		n1.eventually("the reload", func() bool { return n1.sql("SELECT pg_conf_load_time()") != loaded })
	}
	reload()
	if fourth, fifth := end(), end(); fourth == fifth {
		t.Errorf("after a reload walsender %s was left", fifth)
	}
	// Commits may have waited for n2 until it left node_list.
	a.conf.nodes = []string{"n1", "n3"}
	if err := a.remember(t.Context()); err != nil {
		t.Fatal(err)
	}
	reload()
	if sixth, seventh := end(), end(); sixth == seventh {
		t.Errorf("walsender %s of a node that left node_list was left", seventh)
	}
}

// Somebody else streams under a standby's name: no right rests on that, and it is said.
func TestTwoUnderOneName(t *testing.T) {
	t.Parallel()
	n1, n2 := newPair(t)
	granted := func() bool {
		n1.must(ocf.RunningPromoted, "monitor", interval, "9000", "OCF_RESKEY_CRM_meta_timeout", "8000")
		return n2.attribute("master-pgsql") == "100"
	}
	n1.eventually("n2 has the right", granted)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = proc.OS{}.Run(ctx, proc.Cmd{Path: pgtest.Bin(t) + "/pg_receivewal", User: &n1.user, Args: []string{
			"-D", n1.dir, "-d", "host=127.0.0.3 user=postgres application_name=n2 port=" + strconv.Itoa(n1.port)}})
	}()
	n1.eventually("two stream as n2", func() bool { return n1.senders() == "2" })
	_, _, log := n1.perform("monitor", interval, "9000", "OCF_RESKEY_CRM_meta_timeout", "8000")
	says(t, log.String(), "several connections stream under the name of one node", "node=n2")
	cancel()
	<-ended
	n1.eventually("n2 has the right again", granted)
}
