package main

import (
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgrex/lib/ocf"
	"pgrex/lib/replication"
)

// A switchover under load: whatever was acknowledged is on the new primary, and the old one follows
// it by itself.
func TestSwitchover(t *testing.T) {
	t.Parallel()
	n1, n2 := newPair(t)
	n1.env["OCF_RESKEY_stop_escalate"] = "0"
	n1.must(ocf.RunningPromoted, "monitor", interval, "9000")
	n1.sql("CREATE TABLE public.acknowledged (n int)")

	var acknowledged atomic.Int64
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c, err := n1.server().Connect(t.Context())
		if err != nil {
			return
		}
		defer c.Close()
		if _, err := c.Exec(t.Context(), "SET synchronous_commit = on; SET statement_timeout = 0"); err != nil {
			return
		}
		for i := int64(1); ; i++ {
			if _, err := c.Exec(t.Context(), "INSERT INTO public.acknowledged VALUES ("+strconv.FormatInt(i, 10)+")"); err != nil {
				return
			}
			acknowledged.Store(i)
		}
	}()
	n1.eventually("commits are acknowledged", func() bool { return acknowledged.Load() > 50 })
	// No node follows another before there is a primary: its address is nowhere then.
	n1.follow(n2)
	n1.done("demote")
	<-ended
	// It tells where it ended, and the standby has that.
	if p, err := replication.ParsePublished(n1.attribute("pgsql-position")); err != nil || !p.Known() {
		t.Errorf("told %+v, %v", p, err)
	}
	_, _, log := n2.perform("promote")
	n2.f.happened("n2", "promote 0")
	if strings.Contains(log.String(), "cannot follow") {
		t.Errorf("promoted without the end of the old primary's WAL\n%s", log)
	}
	last, err := strconv.ParseInt(n2.sql("SELECT max(n) FROM public.acknowledged"), 10, 64)
	if err != nil || last < acknowledged.Load() {
		t.Errorf("acknowledged %d rows, the new primary has %d (%v)", acknowledged.Load(), last, err)
	}
	if n := n2.sql("SELECT count(*) FROM public.acknowledged"); n != strconv.FormatInt(last, 10) {
		t.Errorf("%s of %d rows", n, last)
	}
	n1.must(ocf.OK, "notify", "OCF_RESKEY_CRM_meta_notify_type", "post", "OCF_RESKEY_CRM_meta_notify_operation", "promote", "OCF_RESKEY_CRM_meta_notify_promote_uname", "n2")
	n2.eventually("the old primary follows", func() bool {
		return n2.senders() == "1"
	})
	n2.must(ocf.RunningPromoted, "monitor", interval, "9000")
	n1.must(ocf.OK, "monitor", interval, "9000")
	if n1.attribute("pgsql-status") != "HS:sync" || n1.attribute("master-pgsql") != "100" {
		t.Errorf("n1 is %q %q", n1.attribute("pgsql-status"), n1.attribute("master-pgsql"))
	}
	if r := parseRecord(t, n2.attribute("pgsql-record")); r.Primary != "n2" || strings.Join(r.Entitled, " ") != "n1 n2" {
		t.Errorf("record %v", r)
	}
}

// A promotion waits for the end of the demoted primary's WAL, if it is told of one that it lacks,
// and not for ever.
func TestHandedOver(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, told string
		waits      bool
	}{
		{"nothing is told", "", false},
		{"it has all", "epoch=5 system=7 timeline=1 lsn=0/3000148 history=", false},
		{"it lacks the end", "epoch=5 system=7 timeline=1 lsn=0/30001C0 history=", true},
		{"what is told belongs to another record", "epoch=4 system=7 timeline=1 lsn=0/30001C0 history=", false},
		{"another timeline, which it could not get", "epoch=5 system=7 timeline=2 lsn=0/30001C0 history=1@0/3000100", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFakeCluster("n2", "n1", "n2")
			f.set("n1", "pgsql-record", record5, true)
			f.set("n1", "pgsql-position", tt.told, false)
			a, log := newTestAgent(t, f, "promote", map[string]string{"OCF_RESKEY_CRM_meta_on_node": "n2", "OCF_RESKEY_CRM_meta_timeout": "2000"})
			if err := a.remember(t.Context()); err != nil {
				t.Fatal(err)
			}
			put(t, a.server.WALDir(), "") // no directory: no history to be had
			r := &round{status: standbyStatus("")}
			began := time.Now()
			a.awaitLast(t.Context(), nil, r)
			waited := strings.Contains(log.String(), "cannot follow")
			if took := time.Since(began); waited != tt.waits || took > 2*time.Second || tt.waits && took < 200*time.Millisecond {
				t.Errorf("waited %v, for %v\n%s", waited, took, log)
			}
		})
	}
}
