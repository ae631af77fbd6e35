package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"pgrex/lib/crm"
	"pgrex/lib/replication"
)

const (
	record5 = "epoch=5 primary=n1 entitled=n1,n2 leaving= system=7 timeline=1 lsn=0/3000148"
	record6 = "epoch=6 primary=n1 entitled=n1 leaving=n2 system=7 timeline=1 lsn=0/3000148"
	record7 = "epoch=1006 primary=n2 entitled=n2 leaving= system=7 timeline=2 lsn=0/4000000"
)

func TestRemember(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		file    string
		cib     map[string]string // by node
		newest  string
		written string // in the file afterwards
	}{
		{name: "nothing anywhere"},
		{name: "our entry", cib: map[string]string{"n1": record5}, newest: record5, written: record5},
		{name: "a peer's entry", cib: map[string]string{"n2": record5}, newest: record5, written: record5},
		{name: "newest of several", cib: map[string]string{"n1": record5, "n2": record7, "n3": record6}, newest: record7, written: record7},
		{name: "the cluster's is newer", file: record5 + "\n", cib: map[string]string{"n2": record6}, newest: record6, written: record6},
		{name: "the file is newer", file: record6 + "\n", cib: map[string]string{"n1": record5, "n2": record5}, newest: record6, written: record6},
		{name: "the cluster's memory was lost", file: record6 + "\n", newest: record6, written: record6},
		{name: "numbers, not text", file: strings.Replace(record5, "epoch=5", "epoch=10", 1), cib: map[string]string{"n1": strings.Replace(record5, "epoch=5", "epoch=9", 1)},
			newest: strings.Replace(record5, "epoch=5", "epoch=10", 1), written: strings.Replace(record5, "epoch=5", "epoch=10", 1)},
		{name: "an empty file", file: "\n", cib: map[string]string{"n2": record5}, newest: record5, written: record5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFakeCluster("n1", "n1", "n2", "n3")
			for node, r := range tt.cib {
				f.set(node, "pgsql-record", r, true)
			}
			a, _ := newTestAgent(t, f, "monitor", nil)
			if tt.file != "" {
				put(t, a.conf.recordFile(), tt.file)
			}
			if err := a.remember(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := a.memory.newest.String(); got != tt.newest || a.memory.file.String() != tt.newest {
				t.Errorf("newest %q, file %q; want %q", got, a.memory.file, tt.newest)
			}
			if got := strings.TrimSpace(get(t, a.conf.recordFile())); got != tt.written {
				t.Errorf("the file holds %q, want %q", got, tt.written)
			}
			if w := f.writes(); len(w) != 0 {
				t.Errorf("remembering wrote %q to the cluster", w)
			}
		})
	}
}

// What cannot be understood is named with the command that mends it, and nothing is believed
// instead of it.
func TestRememberGarbage(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"yes", "epoch=x primary=n1", "epoch=5", "primary=n1 entitled=n1", "epoch=0 primary=n1", "epoch=18446744073709551616 primary=n1"} {
		f := newFakeCluster("n1", "n1", "n2")
		f.set("n1", "pgsql-record", record5, true)
		f.set("n2", "pgsql-record", bad, true)
		a, _ := newTestAgent(t, f, "monitor", nil)
		err := a.remember(t.Context())
		if err == nil {
			t.Fatalf("%q was understood", bad)
		}
		says(t, err.Error(), "pgsql-record", "of n2", bad, "crm_attribute --node n2 --name pgsql-record --lifetime forever --delete")
		if a.memory.newest.Exists() || get(t, a.conf.recordFile()) != "" {
			t.Errorf("%q: %v was believed instead", bad, a.memory.newest)
		}

		f.set("n2", "pgsql-record", "", true)
		put(t, a.conf.recordFile(), bad)
		if err = a.remember(t.Context()); err == nil {
			t.Fatalf("the file %q was understood", bad)
		}
		says(t, err.Error(), a.conf.recordFile(), bad, "crm_attribute --node NODE --name pgsql-record --query", "remove it")
		if get(t, a.conf.recordFile()) != bad {
			t.Error("the file was changed")
		}
	}
}

func TestRememberFails(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		trouble trouble
		is      error
	}{
		{"daemons down", trouble{exit: 102, text: "Could not connect"}, crm.ErrNotConnected},
		{"daemons slow", trouble{exit: 124}, crm.ErrTimeout},
		{"daemons hang", trouble{hang: true}, context.DeadlineExceeded},
	} {
		f := newFakeCluster("n1", "n1", "n2")
		f.set("n2", "pgsql-record", record5, true)
		a, _ := newTestAgent(t, f, "monitor", nil)
		f.trouble = func(string) *trouble { return &tt.trouble }
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
		err := a.remember(ctx)
		cancel()
		if !errors.Is(err, tt.is) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	// A record that was learnt and cannot be kept is no ground to act on: the next look may find an
	// older one.
	f := newFakeCluster("n1", "n1", "n2")
	f.set("n2", "pgsql-record", record5, true)
	a, _ := newTestAgent(t, f, "monitor", nil)
	if err := os.Mkdir(a.conf.recordFile(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := a.remember(t.Context()); err == nil {
		t.Error("a record that cannot be read or kept is no error")
	}
}

// After the controller alone was killed the attribute manager has what the CIB lost.
func TestRememberRefreshes(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, interval, score string
		want                  bool
	}{
		{"a monitored node without a score", "10000", "", true},
		{"with one", "10000", "-INFINITY", false},
		{"a probe", "0", "", false},
		{"another action", "", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFakeCluster("n1", "n1", "n2")
			f.attrd["n1"]["master-pgsql"] = "100"
			a, log := newTestAgent(t, f, "monitor", map[string]string{"OCF_RESKEY_CRM_meta_interval": tt.interval})
			if tt.score != "" {
				f.set("n1", "master-pgsql", tt.score, false)
			}
			if err := a.remember(t.Context()); err != nil {
				t.Fatal(err)
			}
			asked := strings.Contains(strings.Join(f.commands(), "\n"), "attrd_updater --refresh")
			if asked != tt.want || asked && (f.score("n1") != "100" || !strings.Contains(log.String(), "written again")) {
				t.Errorf("refreshed: %v, score %q", asked, f.score("n1"))
			}
		})
	}
}

func TestSaveRecord(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("n1", "n1", "n2")
	a, log := remembered(t, f, "promote", nil)
	if err := a.saveRecord(t.Context(), parseRecord(t, record5)); err != nil {
		t.Fatal(err)
	}
	if get(t, a.conf.recordFile()) != record5+"\n" || f.record("n1", "n1") != record5 || f.record("n2", "n1") != record5 || a.memory.newest.String() != record5 {
		t.Errorf("file %q, entry %q, believed %v", get(t, a.conf.recordFile()), f.record("n1", "n1"), a.memory.newest)
	}
	if st, err := os.Stat(a.conf.recordFile()); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	says(t, log.String(), "epoch=5")

	// What the cluster did not take is an error, and our file has it all the same: it is newer than
	// anything a copy may show.
	f.trouble = func(line string) *trouble {
		if strings.HasPrefix(line, "crm_attribute") {
			return &trouble{exit: 102}
		}
		return nil
	}
	err := a.saveRecord(t.Context(), parseRecord(t, record6))
	if !errors.Is(err, crm.ErrNotConnected) {
		t.Fatal(err)
	}
	says(t, err.Error(), "record", "pgsql-record of node n1")
	if get(t, a.conf.recordFile()) != record6+"\n" || f.record("n1", "n1") != record5 {
		t.Errorf("file %q, entry %q", get(t, a.conf.recordFile()), f.record("n1", "n1"))
	}
	// The next action finds it there, and its own entry is mended.
	f.trouble = nil
	b, _ := newTestAgent(t, f, "monitor", nil)
	put(t, b.conf.recordFile(), record6)
	if err := b.remember(t.Context()); err != nil || b.memory.newest.String() != record6 {
		t.Fatal(b.memory.newest, err)
	}
	b.keepRecord(t.Context())
	if f.record("n1", "n1") != record6 {
		t.Errorf("our entry is %q", f.record("n1", "n1"))
	}
	before := len(f.writes())
	b.keepRecord(t.Context())
	if n := len(f.writes()); n != before {
		t.Errorf("%d writes though nothing changed", n-before)
	}
}

// A file that cannot be written ends it: nothing may be in the cluster's memory alone.
func TestSaveRecordFileFirst(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("n1", "n1", "n2")
	a, _ := remembered(t, f, "promote", nil)
	if err := os.Mkdir(a.conf.recordFile(), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := a.saveRecord(t.Context(), parseRecord(t, record5)); err == nil || f.record("n1", "n1") != "" || a.memory.newest.Exists() {
		t.Errorf("%v, entry %q", err, f.record("n1", "n1"))
	}
}

// Whoever knows a newer record than the cluster's memory writes it there, as its own entry and
// whomever it names: a peer cannot confirm what it cannot see.
func TestKeepRecord(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, file, entry string // entry is n2's
		want              string // our entry afterwards
	}{
		{"nothing known", "", "", ""},
		{"the cluster knows", record7, record7, ""},
		{"the cluster knows better", record6, record7, ""},
		{"the file knows better", record7, record6, record7},
		{"only the file knows", record7, "", record7},
	} {
		f := newFakeCluster("n1", "n1", "n2")
		f.set("n2", "pgsql-record", tt.entry, true)
		a, _ := newTestAgent(t, f, "monitor", nil)
		put(t, a.conf.recordFile(), tt.file)
		if err := a.remember(t.Context()); err != nil {
			t.Fatal(err)
		}
		a.keepRecord(t.Context())
		if got := f.record("n2", "n1"); got != tt.want {
			t.Errorf("%s: our entry is %q, want %q", tt.name, got, tt.want)
		}
	}
}

// A record in a peer's copy that is newer than ours means that somebody else went on: from then on
// it is the record, and it is kept.
func TestReadCopyNewer(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("n1", "n1", "n2")
	f.set("n1", "pgsql-record", record6, true)
	a, _ := remembered(t, f, "promote", nil)
	f.copies["n2"].nodes["n2"].forever["pgsql-record"] = record7
	if err := a.readCopy(t.Context(), "n2"); err != nil {
		t.Fatal(err)
	}
	if o := a.observation(); o.Record.String() != record7 || strings.TrimSpace(get(t, a.conf.recordFile())) != record7 {
		t.Errorf("the record is %v, the file %q", o.Record, get(t, a.conf.recordFile()))
	}
}

func TestReadCopy(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("n1", "n1", "n2", "n3")
	f.set("n1", "pgsql-record", record5, true)
	a, _ := remembered(t, f, "monitor", map[string]string{"OCF_RESKEY_node_list": "n1 n2 n3"})
	f.behind["n2"] = true
	if err := a.saveRecord(t.Context(), parseRecord(t, record6)); err != nil {
		t.Fatal(err)
	}
	if o := a.observation(); o.Peers["n2"].CopyKnown || o.Peers["n3"].CopyKnown {
		t.Error("a copy is known that nobody has read")
	}
	for _, n := range []string{"n2", "n3"} {
		if err := a.readCopy(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	o := a.observation()
	if p := o.Peers["n2"]; !p.CopyKnown || p.Copy.String() != record5 {
		t.Errorf("n2 is behind, and its copy is read as %v", p.Copy)
	}
	if p := o.Peers["n3"]; !p.CopyKnown || p.Copy.String() != record6 {
		t.Errorf("n3 has it, and its copy is read as %v", p.Copy)
	}
	f.catchUp("n2")
	if err := a.readCopy(t.Context(), "n2"); err != nil || a.observation().Peers["n2"].Copy.String() != record6 {
		t.Error(err)
	}
	// A copy with nothing in it is known too: the node does not know our record.
	f.copies["n3"].nodes["n1"].forever = map[string]string{}
	if err := a.readCopy(t.Context(), "n3"); err != nil || !a.observation().Peers["n3"].CopyKnown || a.observation().Peers["n3"].Copy.Exists() {
		t.Error(err, a.observation().Peers["n3"])
	}
}

// A peer that cannot be read is one that is not proven: the copy stays unknown.
func TestReadCopyFails(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("n1", "n1", "n2", "n3")
	a, _ := remembered(t, f, "monitor", nil)
	f.cut["n2"] = true
	began := time.Now()
	err := a.readCopy(t.Context(), "n2")
	if !errors.Is(err, crm.ErrUnreachable) || a.observation().Peers["n2"].CopyKnown {
		t.Errorf("%v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	says(t, err.Error(), "n2")
	f.copies["n3"].nodes["n2"].forever["pgsql-record"] = "garbage"
	if err := a.readCopy(t.Context(), "n3"); err == nil || a.observation().Peers["n3"].CopyKnown {
		t.Errorf("garbage in a copy: %v", err)
	}
}

func TestPresence(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		change func(*fakeCluster)
		want   replication.Presence
	}{
		{"member", func(*fakeCluster) {}, replication.Online},
		{"lost", func(f *fakeCluster) { f.happened("n2", "start 0"); f.lose("n2") }, replication.Lost},
		{"lost as primary", func(f *fakeCluster) { f.happened("n2", "promote 0"); f.lose("n2") }, replication.Lost},
		{"fenced", func(f *fakeCluster) { f.happened("n2", "promote 0"); f.fence("n2") }, replication.Down},
		{"cleanly stopped", func(f *fakeCluster) { f.happened("n2", "start 0", "stop 0"); f.leave("n2") }, replication.Down},
		{"cleanly stopped, never ran it", func(f *fakeCluster) { f.leave("n2") }, replication.Down},
		{"cleanly stopped, a probe found nothing", func(f *fakeCluster) { f.happened("n2", "monitor 7"); f.leave("n2") }, replication.Down},
		{"cleanly stopped with an unmanaged standby running on", func(f *fakeCluster) { f.happened("n2", "start 0"); f.leave("n2") }, replication.Lost},
		{"cleanly stopped with an unmanaged primary running on", func(f *fakeCluster) { f.happened("n2", "monitor 8"); f.leave("n2") }, replication.Lost},
		{"coming up", func(f *fakeCluster) {
			n := f.here().nodes["n2"]
			n.join, n.expected = "down", "down"
		}, replication.Lost},
		{"joining", func(f *fakeCluster) { f.here().nodes["n2"].join = "pending" }, replication.Lost},
		{"not seen since we started", func(f *fakeCluster) { f.here().nodes["n2"].unseen = true }, replication.Lost},
		{"named in node_list alone", func(f *fakeCluster) { delete(f.here().nodes, "n2") }, replication.Lost},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFakeCluster("n1", "n1", "n2")
			tt.change(f)
			a, _ := remembered(t, f, "monitor", nil)
			if got := a.presence("n2"); got != tt.want {
				t.Errorf("%v, want %v", got, tt.want)
			}
		})
	}
}

func TestPromoted(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		record  string
		history map[string][]string
		want    string
	}{
		{name: "nobody"},
		{name: "another", history: map[string][]string{"n2": {"start 0", "promote 0"}}, want: "n2"},
		{name: "found by a probe", history: map[string][]string{"n2": {"monitor 8"}}, want: "n2"},
		{name: "sick", history: map[string][]string{"n2": {"promote 0", "monitor 9"}}, want: "n2"},
		{name: "demoted", history: map[string][]string{"n2": {"promote 0", "demote 0"}}},
		{name: "stopped", history: map[string][]string{"n2": {"promote 0", "stop 0"}}},
		{name: "promotion failed", history: map[string][]string{"n2": {"start 0", "promote 1"}}},
		{name: "demotion failed", history: map[string][]string{"n2": {"promote 0", "demote 1"}}, want: "n2"},
		{name: "two histories, the record decides", record: record7, history: map[string][]string{"n2": {"promote 0"}, "n3": {"promote 0"}}, want: "n2"},
		{name: "two histories, the record decides for the later", record: strings.Replace(record7, "primary=n2", "primary=n3", 1), history: map[string][]string{"n2": {"promote 0"}, "n3": {"promote 0"}}, want: "n3"},
		{name: "a node outside node_list", history: map[string][]string{"n4": {"promote 0"}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFakeCluster("n1", "n1", "n2", "n3", "n4")
			for n, ops := range tt.history {
				f.happened(n, ops...)
			}
			if tt.record != "" {
				f.set("n2", "pgsql-record", tt.record, true)
			}
			a, _ := remembered(t, f, "monitor", map[string]string{"OCF_RESKEY_node_list": "n1 n2 n3"})
			if got := a.promoted(); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// A primary that was lost counts until it is fenced; after that its history is gone.
func TestPromotedAfterFencing(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("n1", "n1", "n2")
	f.happened("n2", "promote 0")
	f.lose("n2")
	if a, _ := remembered(t, f, "monitor", nil); a.promoted() != "n2" {
		t.Errorf("lost: %q", a.promoted())
	}
	f.fence("n2")
	if a, _ := remembered(t, f, "monitor", nil); a.promoted() != "" {
		t.Errorf("fenced: %q", a.promoted())
	}
}

func TestScore(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]replication.Score{
		"": replication.Unset, "-INFINITY": replication.Never, "-1": replication.Never, "-1000000": replication.Never,
		"100": replication.Standby, "1000": replication.Primary, "INFINITY": replication.Primary, "2000": replication.Primary, "x": replication.Unset,
	} {
		f := newFakeCluster("n1", "n1", "n2")
		f.set("n2", "master-pgsql", value, false)
		a, _ := remembered(t, f, "monitor", nil)
		if got := a.score("n2"); got != want {
			t.Errorf("%q: %d, want %d", value, got, want)
		}
	}
	// Any other number is nobody's right.
	for _, value := range []string{"0", "1", "99", "101", "999"} {
		f := newFakeCluster("n1", "n1", "n2")
		f.set("n2", "master-pgsql", value, false)
		a, _ := remembered(t, f, "monitor", nil)
		if s := a.score("n2"); s == replication.Standby || s == replication.Primary || s == replication.Never || s == replication.Unset {
			t.Errorf("%q counts as %v", value, s)
		}
	}
}

func TestAccepted(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]string{
		"": "0 false", "2002": "2002 true", " 2002 ": "2002 true", "0": "0 true",
		"yes": "0 false warned", "-1": "0 false warned", "2002 please": "0 false warned", "0x7d2": "0 false warned", "18446744073709551616": "0 false warned", "true": "0 false warned",
	} {
		f := newFakeCluster("n1", "n1", "n2")
		f.set("n1", "pgsql-accept-loss", value, false)
		f.set("n2", "pgsql-accept-loss", "77", false) // an act on another node is none here
		a, log := remembered(t, f, "promote", nil)
		epoch, ok := a.accepted()
		got := fmt.Sprint(epoch, " ", ok)
		if strings.Contains(log.String(), "accept loss") {
			says(t, log.String(), "pgsql-accept-loss")
			got += " warned"
		}
		if got != want {
			t.Errorf("%q: %s, want %s", value, got, want)
		}
	}
	// An attribute that survives a restart of the node would accept again and again.
	f := newFakeCluster("n1", "n1", "n2")
	f.set("n1", "pgsql-accept-loss", "2002", true)
	a, _ := remembered(t, f, "promote", nil)
	if _, ok := a.accepted(); ok {
		t.Error("a forever attribute counts as an act")
	}
}

func TestObservation(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("N1", "N1", "N2", "n3")
	f.here().properties["stonith-enabled"] = "false"
	f.set("N2", "pgsql-record", record5, true)
	f.set("N1", "master-pgsql", "100", false)
	f.set("N2", "master-pgsql", "1000", false)
	f.set("N2", "pgsql-position", "epoch=5 system=7 timeline=2 lsn=0/5000000 history=1@0/3000000", false)
	f.set("n3", "pgsql-position", "somewhere", false)
	f.happened("N2", "promote 0")
	a, log := remembered(t, f, "monitor", map[string]string{
		"OCF_RESKEY_node_list": "n1 N2 n3", "OCF_RESKEY_CRM_meta_on_node": "N1", "OCF_RESKEY_external_standby_node_list": "dr", "OCF_RESKEY_rejoin": "refuse",
	})
	o := a.observation()
	if o.Self != "n1" || o.Mode != replication.Sync || o.Promoted != "n2" || !o.NoFencing || !o.External || o.Rejoin != replication.Refuse ||
		o.Score != replication.Standby || o.Record.String() != record5 || o.AcceptName != "pgsql-accept-loss" || o.Accepted {
		t.Errorf("%+v", o)
	}
	if len(o.Peers) != 2 || o.Peers["n2"].Score != replication.Primary || o.Peers["n2"].Presence != replication.Online || o.Peers["n2"].Row != nil {
		t.Errorf("peers %+v", o.Peers)
	}
	p := o.Peers["n2"].Position
	if p == nil || p.Epoch != 5 || p.Timeline != 2 || p.LSN != 0x5000000 || len(p.History) != 1 {
		t.Errorf("position %+v", p)
	}
	if o.Peers["n3"].Position != nil {
		t.Error("garbage counts as a position")
	}
	says(t, log.String(), "position cannot be understood", "n3", "somewhere")
}

// Fencing is on unless somebody has switched it off.
func TestNoFencing(t *testing.T) {
	t.Parallel()
	for value, want := range map[string]bool{"": false, "true": false, "false": true, "off": true, "0": true} {
		f := newFakeCluster("n1", "n1", "n2")
		if value != "" {
			f.here().properties["stonith-enabled"] = value
		}
		a, log := remembered(t, f, "start", nil)
		if got := a.observation().NoFencing; got != want {
			t.Errorf("%q: %v", value, got)
		}
		a.warnFencing(t.Context())
		if strings.Contains(log.String(), "stonith-enabled is false") != want {
			t.Errorf("%q: %s", value, log)
		}
	}
}

func TestNodeName(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("DB01", "DB01", "Db02")
	a, _ := remembered(t, f, "monitor", map[string]string{"OCF_RESKEY_node_list": "db01 db02", "OCF_RESKEY_CRM_meta_on_node": "DB01"})
	for _, n := range [][2]string{{"db01", "DB01"}, {"db02", "Db02"}, {"db03", "db03"}} {
		if got := a.nodeName(n[0]); got != n[1] {
			t.Errorf("%s: %s", n[0], got)
		}
	}
	// Before anything was read, the manager's own spelling.
	b, _ := newTestAgent(t, f, "stop", map[string]string{"OCF_RESKEY_CRM_meta_on_node": "DB01", "OCF_RESKEY_node_list": "db01 db02"})
	if b.self() != "DB01" {
		t.Error(b.self())
	}
	if err := a.readCopy(t.Context(), "db02"); err != nil {
		t.Errorf("a copy is asked for under a wrong name: %v", err)
	}
	if err := a.saveRecord(t.Context(), parseRecord(t, record5)); err != nil || f.record("Db02", "DB01") != record5 {
		t.Errorf("%v, %q", err, f.record("Db02", "DB01"))
	}
}
