package main

import (
	"net"
	"strings"
	"testing"
	"time"

	"pgrex/lib/ocf"
)

// A receiver goes on saying that it streams when its primary has lost power. Until the primary is
// proven down it is believed, because commits may still be acknowledged; then it is not.
func TestFollowing(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		receiver string
		happens  func(f *fakeCluster)
		want     bool
	}{
		{"a living primary", "streaming", func(*fakeCluster) {}, true},
		{"no receiver", "", func(*fakeCluster) {}, false},
		{"the primary is lost", "streaming", func(f *fakeCluster) { f.lose("n2") }, true},
		{"the primary was fenced", "streaming", func(f *fakeCluster) { f.fence("n2") }, false},
		{"another was promoted after it was fenced", "streaming", func(f *fakeCluster) { f.fence("n2"); f.happened("n3", "promote 0") }, true},
		{"a node that is no primary was fenced", "streaming", func(f *fakeCluster) { f.fence("n3") }, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFakeCluster("n1", "n1", "n2", "n3")
			f.set("n2", "pgsql-record", "epoch=5 primary=n2 entitled=n1,n2 leaving= system=7 timeline=1 lsn=0/3000148", true)
			f.happened("n2", "start 0", "promote 0")
			tt.happens(f)
			a, _ := remembered(t, f, "monitor", map[string]string{"OCF_RESKEY_node_list": "n1 n2 n3"})
			if got := a.following(standbyStatus(tt.receiver)); got != tt.want {
				t.Errorf("following is %v", got)
			}
		})
	}
}

// A primary whose address is not there yet holds up no monitor of a standby that was just started.
func TestMonitorDoesNotWaitForTheAddress(t *testing.T) {
	t.Parallel()
	n1, n2 := newPair(t)
	// Whoever connects here waits for an answer.
	hole, err := net.Listen("tcp", "127.0.0.3:0")
	if err != nil {
		t.Fatal(err)
	}
	defer hole.Close()
	n1.crash()
	_, port, err := net.SplitHostPort(hole.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	n2.env["OCF_RESKEY_primary_conninfo_opt"] = "port=" + port
	var took time.Duration
	n2.eventually("a monitor asks in vain", func() bool {
		began := time.Now()
		code, _, log := n2.perform("monitor", interval, "9000")
		took = time.Since(began)
		return code == ocf.OK && strings.Contains(log.String(), "does not answer at master_ip")
	})
	if took >= upstreamTimeout {
		t.Errorf("it took %v", took)
	}
}
