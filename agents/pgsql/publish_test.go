package main

import (
	"slices"
	"testing"

	"pgrex/lib/pg"
	"pgrex/lib/replication"
)

func TestStandbyState(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("n1", "n1", "n2", "n3")
	f.set("n1", "pgsql-record", record5, true) // entitles n1 and n2
	a, _ := remembered(t, f, "monitor", map[string]string{"OCF_RESKEY_node_list": "n1 n2 n3"})
	for _, tt := range []struct{ node, state, sync, status, data string }{
		{"n2", "streaming", "sync", "HS:sync", "STREAMING|SYNC"},
		{"n3", "streaming", "sync", "HS:async", "STREAMING|ASYNC"}, // no right yet
		{"n2", "streaming", "async", "HS:async", "STREAMING|ASYNC"},
		{"n2", "streaming", "potential", "HS:potential", "STREAMING|POTENTIAL"},
		{"n2", "streaming", "quorum", "HS:async", "STREAMING|ASYNC"},
		{"n2", "catchup", "async", "HS:connected", "CATCHUP|ASYNC"},
		{"n2", "startup", "sync", "HS:connected", "STARTUP|SYNC"},
		{"n2", "backup", "async", "HS:connected", "BACKUP|ASYNC"},
	} {
		status, data := a.standbyState(tt.node, sender(tt.node, tt.state, tt.sync))
		if status != tt.status || data != tt.data {
			t.Errorf("%s %s %s: %s %s, want %s %s", tt.node, tt.state, tt.sync, status, data, tt.status, tt.data)
		}
	}
}

func TestPrimaryWrites(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		env    map[string]string
		before func(*fakeCluster)
		rows   []pg.Sender
		want   []string
	}{
		{
			name: "a synchronous standby", rows: []pg.Sender{sender("n2", "streaming", "sync")},
			before: func(f *fakeCluster) { f.set("n2", "pgsql-status", "HS:alone", false) },
			want:   []string{"n1 pgsql-data-status=LATEST", "n1 pgsql-status=PRI", "n2 pgsql-data-status=STREAMING|SYNC", "n2 pgsql-status=HS:sync"},
		},
		{
			name: "no standby", before: func(f *fakeCluster) { f.set("n2", "pgsql-status", "HS:sync", false) },
			want: []string{"n1 pgsql-data-status=LATEST", "n1 pgsql-status=PRI", "n2 pgsql-data-status=DISCONNECT", "n2 pgsql-status=HS:alone"},
		},
		{
			name: "a stopped standby speaks for itself", before: func(f *fakeCluster) { f.set("n2", "pgsql-status", "STOP", false) },
			want: []string{"n1 pgsql-data-status=LATEST", "n1 pgsql-status=PRI", "n2 pgsql-data-status=DISCONNECT"},
		},
		{
			name: "unknown speaks for itself", before: func(f *fakeCluster) { f.set("n2", "pgsql-status", "UNKNOWN", false) }, rows: []pg.Sender{sender("n2", "streaming", "sync")},
			want: []string{"n1 pgsql-data-status=LATEST", "n1 pgsql-status=PRI", "n2 pgsql-data-status=STREAMING|SYNC"},
		},
		{
			name: "a lost node has no status", before: func(f *fakeCluster) { f.set("n2", "pgsql-status", "HS:sync", false); f.lose("n2") },
			want: []string{"n1 pgsql-data-status=LATEST", "n1 pgsql-status=PRI", "n2 pgsql-data-status=DISCONNECT"},
		},
		{
			name: "the connection of a fenced node has not noticed", before: func(f *fakeCluster) { f.fence("n2") }, rows: []pg.Sender{sender("n2", "streaming", "sync")},
			want: []string{"n1 pgsql-data-status=LATEST", "n1 pgsql-status=PRI", "n2 pgsql-data-status=DISCONNECT"},
		},
		{
			name: "what a standby leaves when it is promoted", before: func(f *fakeCluster) {
				f.set("n1", "pgsql-xlog-loc", "0000000003000148", false)
				f.set("n1", "pgsql-position", "epoch=5 timeline=1 lsn=0/3000148", false)
			},
			want: []string{"n1 pgsql-data-status=LATEST", "n1 pgsql-position deleted", "n1 pgsql-status=PRI", "n1 pgsql-xlog-loc deleted", "n2 pgsql-data-status=DISCONNECT"},
		},
		{
			name: "a node the cluster does not know", env: map[string]string{"OCF_RESKEY_node_list": "n1 n2 n9"}, rows: []pg.Sender{sender("n9", "streaming", "sync")},
			want: []string{"n1 pgsql-data-status=LATEST", "n1 pgsql-status=PRI", "n2 pgsql-data-status=DISCONNECT"},
		},
		{
			name: "the receiver's state", env: map[string]string{"OCF_RESKEY_check_wal_receiver": "true"},
			want: []string{"n1 pgsql-data-status=LATEST", "n1 pgsql-receiver-status=normal (master)", "n1 pgsql-status=PRI", "n2 pgsql-data-status=DISCONNECT"},
		},
		{
			name: "two connections, one of them dying", before: func(f *fakeCluster) { f.set("n2", "pgsql-status", "HS:sync", false) },
			rows: []pg.Sender{sender("n2", "catchup", "async"), sender("N2", "streaming", "sync")},
			want: []string{"n1 pgsql-data-status=LATEST", "n1 pgsql-status=PRI", "n2 pgsql-data-status=STREAMING|SYNC"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFakeCluster("n1", "n1", "n2")
			f.set("n1", "pgsql-record", record5, true)
			if tt.before != nil {
				tt.before(f)
			}
			a, _ := remembered(t, f, "monitor", tt.env)
			r := &round{status: primaryStatus(tt.rows...)}
			a.publishPrimary(t.Context(), r)
			got := f.writes()
			slices.Sort(got)
			if !slices.Equal(got, tt.want) {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
			// Nothing has changed, so nothing is written, neither by this action nor by the next.
			a.publishPrimary(t.Context(), r)
			b, _ := remembered(t, f, "monitor", tt.env)
			b.publishPrimary(t.Context(), r)
			if again := f.writes(); len(again) != len(got) {
				t.Errorf("wrote again: %q", again[len(got):])
			}
		})
	}
}

func TestReceiverWrites(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("n1", "n1", "n2")
	a, _ := remembered(t, f, "monitor", map[string]string{"OCF_RESKEY_check_wal_receiver": "true"})
	for _, tt := range []struct {
		status pg.Status
		want   string
	}{{primaryStatus(), "normal (master)"}, {standbyStatus("streaming"), "normal"}, {standbyStatus(""), "ERROR"}} {
		if w := a.receiverWrites(tt.status); len(w) != 1 || w[0].Value != tt.want || w[0].Name != "pgsql-receiver-status" {
			t.Errorf("%+v", w)
		}
	}
	a.conf.checkReceiver = false
	if w := a.receiverWrites(primaryStatus()); w != nil {
		t.Errorf("not asked for: %v", w)
	}
}

func TestPublishPosition(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("n1", "n1", "n2")
	f.set("n1", "pgsql-record", record5, true)
	f.set("n1", "pgsql-status", "HS:sync", false)
	a, _ := remembered(t, f, "monitor", nil)
	put(t, a.server.WALDir(), "") // no directory: no history to be had
	a.publishPosition(t.Context(), standbyStatus(""))
	p, err := replication.ParsePublished(f.attribute("n1", "n1", "pgsql-position", false))
	if err != nil || p.Epoch != 5 || p.System != 7 || p.Timeline != 1 || p.LSN != 0x3000148 {
		t.Errorf("%+v, %v", p, err)
	}
	if got := f.attribute("n1", "n1", "pgsql-xlog-loc", false); got != "0000000003000148" {
		t.Errorf("location %q", got)
	}
	if f.status("n1") != "HS:alone" {
		t.Errorf("status %q", f.status("n1"))
	}
	n := len(f.writes())
	a.publishPosition(t.Context(), standbyStatus(""))
	if len(f.writes()) != n {
		t.Errorf("written again: %q", f.writes()[n:])
	}
	// The stamp follows the record: a position from before the last change of rights is void.
	a.memory.newest = parseRecord(t, record6)
	a.publishPosition(t.Context(), standbyStatus(""))
	if p, err := replication.ParsePublished(f.attribute("n1", "n1", "pgsql-position", false)); err != nil || p.Epoch != 6 {
		t.Errorf("%+v, %v", p, err)
	}
	f.set("n1", "pgsql-master-baseline", "0000000003000148", false)
	if err := a.remember(t.Context()); err != nil {
		t.Fatal(err)
	}
	a.forgetPosition(t.Context())
	if left := f.attribute("n1", "n1", "pgsql-position", false) + f.attribute("n1", "n1", "pgsql-xlog-loc", false) + f.attribute("n1", "n1", "pgsql-master-baseline", false); left != "" {
		t.Errorf("left %q", left)
	}
}

func TestPublishRunning(t *testing.T) {
	t.Parallel()
	for before, want := range map[string]string{"": "HS:alone", "STOP": "HS:alone", "UNKNOWN": "HS:alone", "HS:sync": "HS:sync", "HS:async": "HS:async"} {
		f := newFakeCluster("n1", "n1", "n2")
		f.set("n1", "pgsql-status", before, false)
		a, _ := remembered(t, f, "monitor", nil)
		a.publishRunning(t.Context())
		if got := f.status("n1"); got != want {
			t.Errorf("%q became %q", before, got)
		}
	}
}
