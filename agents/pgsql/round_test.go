package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"pgrex/lib/crm"
	"pgrex/lib/pg"
	"pgrex/lib/replication"
)

// short ends a test's action soon, as the end of its time would.
func short(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func setScore(node string, s replication.Score) replication.Step {
	return replication.Step{Kind: replication.SetScore, Node: node, Score: s}
}

func TestCarryOutOrder(t *testing.T) {
	t.Parallel()
	save := replication.Step{Kind: replication.SaveRecord, Record: parseRecord(t, record5)}
	for _, tt := range []struct {
		name  string
		steps []replication.Step
		want  [][]string // what is written, by groups: within one there is no order
	}{
		{"a right is recorded before it can be used", []replication.Step{save, setScore("n2", replication.Standby)},
			[][]string{{"n1 pgsql-record=" + record5}, {"n2 master-pgsql=100"}}},
		{"and withdrawn before it is recorded", []replication.Step{setScore("n2", replication.Never), save},
			[][]string{{"n2 master-pgsql=-INFINITY"}, {"n1 pgsql-record=" + record5}}},
		{"neighbours together", []replication.Step{setScore("n1", replication.Never), setScore("n2", replication.Never), save, setScore("n2", replication.Standby), setScore("n1", replication.Primary)},
			[][]string{{"n1 master-pgsql=-INFINITY", "n2 master-pgsql=-INFINITY"}, {"n1 pgsql-record=" + record5}, {"n1 master-pgsql=1000", "n2 master-pgsql=100"}}},
		{"nothing", nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFakeCluster("n1", "n1", "n2")
			a, _ := remembered(t, f, "monitor", nil)
			if err := a.carryOut(t.Context(), nil, &round{}, tt.steps); err != nil {
				t.Fatal(err)
			}
			got := f.writes()
			for _, group := range tt.want {
				n := min(len(group), len(got))
				part := slices.Clone(got[:n])
				slices.Sort(part)
				if !slices.Equal(part, group) {
					t.Errorf("wrote %q, want %q", part, group)
				}
				got = got[n:]
			}
			if len(got) != 0 {
				t.Errorf("and %q", got)
			}
		})
	}
}

// A step that fails ends it: what follows rests on it.
func TestCarryOutStops(t *testing.T) {
	t.Parallel()
	refuse := func(words ...string) func(string) *trouble {
		return func(line string) *trouble {
			for _, w := range words {
				if !strings.Contains(line, w) {
					return nil
				}
			}
			return &trouble{exit: 102}
		}
	}
	save := replication.Step{Kind: replication.SaveRecord, Record: parseRecord(t, record5)}
	open := replication.Step{Kind: replication.Open}
	for _, tt := range []struct {
		name    string
		action  string
		trouble func(string) *trouble
		steps   []replication.Step
		never   string // no write holds this
		file    bool   // the record file is written
	}{
		{"the record, then the score", "promote", refuse("pgsql-record"), []replication.Step{save, setScore("n2", replication.Standby), open}, "n2 master-pgsql", true},
		{"the score, then the record", "promote", refuse("--node=n2", "master-pgsql"), []replication.Step{setScore("n2", replication.Never), save, open}, "pgsql-record", false},
		{"the last score", "monitor", refuse("--node=n2", "master-pgsql"), []replication.Step{save, setScore("n2", replication.Never)}, "nothing", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFakeCluster("n1", "n1", "n2")
			a, _ := remembered(t, f, tt.action, nil)
			f.trouble = tt.trouble
			r := &round{}
			if err := a.carryOut(t.Context(), nil, r, tt.steps); !errors.Is(err, crm.ErrNotConnected) {
				t.Fatal(err)
			}
			if i := slices.IndexFunc(f.writes(), func(w string) bool { return strings.Contains(w, tt.never) }); i >= 0 {
				t.Errorf("wrote %q", f.writes())
			}
			if r.opened {
				t.Error("the server may open")
			}
			if got := get(t, a.conf.recordFile()) != ""; got != tt.file {
				t.Errorf("the record file: %q", get(t, a.conf.recordFile()))
			}
		})
	}
}

func TestCarryOutClaims(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("n1", "n1", "n2")
	a, _ := remembered(t, f, "promote", nil)
	r := &round{}
	if err := a.carryOut(t.Context(), nil, r, []replication.Step{{Kind: replication.SaveRecord, Record: parseRecord(t, record5)}, {Kind: replication.Open}}); err != nil {
		t.Fatal(err)
	}
	if r.claimed != 5 || !r.opened {
		t.Errorf("%+v", r)
	}
	// Another's record is no claim of ours.
	r = &round{}
	if err := a.carryOut(t.Context(), nil, r, []replication.Step{{Kind: replication.SaveRecord, Record: parseRecord(t, record7)}}); err != nil || r.claimed != 0 {
		t.Errorf("%+v, %v", r, err)
	}
}

// A proof that cannot be gained leaves the node unproven, which the rules know what to do with.
func TestCarryOutUnproven(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("n1", "n1", "n2")
	a, log := remembered(t, f, "monitor", nil)
	r := &round{}
	if err := a.carryOut(t.Context(), nil, r, []replication.Step{{Kind: replication.Prove, Node: "n2"}}); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(r.unproven, []string{"n2"}) || len(r.proofs) != 0 || !slices.Equal(a.observe(r).Unproven, []string{"n2"}) {
		t.Errorf("%+v", r)
	}
	says(t, log.String(), "not proven that commits wait", "n2")
}

func TestCarryOutReadCopy(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("n1", "n1", "n2", "n3")
	f.set("n3", "pgsql-record", record5, true)
	a, log := remembered(t, f, "promote", nil)
	f.cut["n2"] = true
	err := a.carryOut(t.Context(), nil, &round{}, []replication.Step{{Kind: replication.ReadCopy, Node: "n2"}, {Kind: replication.ReadCopy, Node: "n3"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, known := a.memory.copies["n2"]; known || a.memory.copies["n3"].String() != record5 {
		t.Errorf("copies %v", a.memory.copies)
	}
	says(t, log.String(), "cannot read a node's own copy", "n2")
}

func TestPursue(t *testing.T) {
	t.Parallel()
	t.Run("until done", func(t *testing.T) {
		f := newFakeCluster("n1", "n1", "n2")
		a, _ := remembered(t, f, "monitor", nil)
		asked := 0
		d, err := a.pursue(t.Context(), nil, &round{}, func(o replication.Observation) replication.Decision {
			asked++
			// Each answer sees what the one before brought about.
			if o.Score == replication.Primary {
				return replication.Decision{Verdict: replication.Done}
			}
			return replication.Decision{Verdict: replication.Again, Steps: []replication.Step{setScore("n1", replication.Primary)}}
		})
		if err != nil || d.Verdict != replication.Done || asked != 2 || f.score("n1") != "1000" {
			t.Errorf("%v, %v, asked %d times", d, err, asked)
		}
	})
	t.Run("a refusal is carried out and told", func(t *testing.T) {
		f := newFakeCluster("n1", "n1", "n2")
		a, _ := remembered(t, f, "monitor", nil)
		d, err := a.pursue(t.Context(), nil, &round{}, func(replication.Observation) replication.Decision {
			return replication.Decision{Verdict: replication.No, Reason: "because", Steps: []replication.Step{setScore("n1", replication.Never)}}
		})
		if err != nil || d.Verdict != replication.No || d.Reason != "because" || f.score("n1") != "-INFINITY" {
			t.Errorf("%v, %v", d, err)
		}
	})
	t.Run("a failed step ends it", func(t *testing.T) {
		f := newFakeCluster("n1", "n1", "n2")
		a, _ := remembered(t, f, "monitor", nil)
		f.trouble = func(string) *trouble { return &trouble{exit: 102} }
		asked := 0
		_, err := a.pursue(t.Context(), nil, &round{}, func(replication.Observation) replication.Decision {
			asked++
			return replication.Decision{Verdict: replication.Again, Steps: []replication.Step{setScore("n1", replication.Never)}}
		})
		if !errors.Is(err, crm.ErrNotConnected) || asked != 1 {
			t.Errorf("%v, asked %d times", err, asked)
		}
	})
	t.Run("time is up while it waits", func(t *testing.T) {
		f := newFakeCluster("n1", "n1", "n2")
		a, _ := remembered(t, f, "promote", nil)
		asked, began := 0, time.Now()
		d, err := a.pursue(short(t, 350*time.Millisecond), nil, &round{}, func(replication.Observation) replication.Decision {
			asked++
			return replication.Decision{Verdict: replication.Wait, Reason: "n2 is missing"}
		})
		if err != nil || d.Verdict != replication.Wait || !strings.Contains(d.Reason, "n2 is missing") || asked < 2 {
			t.Errorf("%v, %v, asked %d times", d, err, asked)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("it took %v", took)
		}
	})
	t.Run("time is up while the cluster is asked", func(t *testing.T) {
		f := newFakeCluster("n1", "n1", "n2")
		a, _ := remembered(t, f, "promote", nil)
		f.trouble = func(string) *trouble { return &trouble{hang: true} }
		d, err := a.pursue(short(t, 250*time.Millisecond), nil, &round{}, func(replication.Observation) replication.Decision {
			return replication.Decision{Verdict: replication.Wait, Reason: "n2 is missing"}
		})
		if err != nil || !strings.Contains(d.Reason, "n2 is missing") {
			t.Errorf("%v, %v", d, err)
		}
	})
	t.Run("the cluster goes away while it waits", func(t *testing.T) {
		f := newFakeCluster("n1", "n1", "n2")
		a, _ := remembered(t, f, "promote", nil)
		f.trouble = func(string) *trouble { return &trouble{exit: 102} }
		_, err := a.pursue(short(t, 5*time.Second), nil, &round{}, func(replication.Observation) replication.Decision {
			return replication.Decision{Verdict: replication.Wait, Reason: "n2 is missing"}
		})
		if !errors.Is(err, crm.ErrNotConnected) {
			t.Errorf("%v", err)
		}
	})
	t.Run("time is up between two steps", func(t *testing.T) {
		f := newFakeCluster("n1", "n1", "n2")
		a, _ := remembered(t, f, "promote", nil)
		ctx, cancel := context.WithCancel(t.Context())
		d, err := a.pursue(ctx, nil, &round{}, func(replication.Observation) replication.Decision {
			cancel()
			return replication.Decision{Verdict: replication.Again}
		})
		// A failure always says why.
		if err != nil || d.Verdict == replication.Done || d.Reason == "" {
			t.Errorf("%v, %v", d, err)
		}
	})
}

// The promotion of a node whose peer cannot be asked, then can: nothing opens before the peer's own
// copy shows that it knows.
func TestPursuePromotion(t *testing.T) {
	t.Parallel()
	prepare := func(t *testing.T) (*fakeCluster, *agent, *round) {
		f := newFakeCluster("n2", "n1", "n2")
		f.set("n1", "pgsql-record", record5, true)
		f.set("n2", "master-pgsql", "100", false)
		f.set("n1", "master-pgsql", "1000", false)
		f.happened("n1", "promote 0", "demote 0")
		a, _ := remembered(t, f, "promote", map[string]string{"OCF_RESKEY_CRM_meta_on_node": "n2"})
		return f, a, &round{status: standbyStatus("")}
	}
	t.Run("the peer is cut off", func(t *testing.T) {
		f, a, r := prepare(t)
		f.cut["n1"] = true
		d, err := a.pursue(short(t, 500*time.Millisecond), nil, r, replication.Promote)
		if err != nil || d.Verdict != replication.Wait || r.opened {
			t.Fatalf("%v, %v, opened %v", d, err, r.opened)
		}
		says(t, d.Reason, "n1", "fencing")
		if got := parseRecord(t, f.record("n2", "n2")); got.Primary != "n2" || !slices.Equal(got.Leaving, []string{"n1"}) {
			t.Errorf("claimed %v", got)
		}
	})
	t.Run("then it is fenced", func(t *testing.T) {
		f, a, r := prepare(t)
		f.cut["n1"] = true
		go func() {
			time.Sleep(200 * time.Millisecond)
			f.mu.Lock()
			defer f.mu.Unlock()
			f.fence("n1")
		}()
		d, err := a.pursue(short(t, 10*time.Second), nil, r, replication.Promote)
		if err != nil || d.Verdict != replication.Done || !r.opened {
			t.Errorf("%v, %v, opened %v", d, err, r.opened)
		}
	})
	t.Run("its copy is behind, then catches up", func(t *testing.T) {
		f, a, r := prepare(t)
		f.behind["n1"] = true
		d, err := a.pursue(short(t, 300*time.Millisecond), nil, r, replication.Promote)
		if err != nil || d.Verdict != replication.Wait || r.opened {
			t.Fatalf("%v, %v, opened %v", d, err, r.opened)
		}
		f.catchUp("n1")
		d, err = a.pursue(short(t, 10*time.Second), nil, r, replication.Promote)
		if err != nil || d.Verdict != replication.Done || !r.opened {
			t.Fatalf("%v, %v, opened %v", d, err, r.opened)
		}
		got := parseRecord(t, f.record("n1", "n2"))
		if got.Primary != "n2" || !slices.Equal(got.Entitled, []string{"n2"}) || len(got.Leaving) != 0 || got.Epoch < 1005 {
			t.Errorf("record %v", got)
		}
		if f.score("n1") != "-INFINITY" {
			t.Errorf("the other's score is %q", f.score("n1"))
		}
	})
	t.Run("its copy shows another's promotion", func(t *testing.T) {
		f, a, r := prepare(t)
		// The writes of the other side have reached n1 and not us.
		f.behind["n1"] = true
		f.copies["n1"].nodes["n1"].forever["pgsql-record"] = "epoch=9005 primary=n1 entitled=n1 leaving= system=7 timeline=2 lsn=0/5000000"
		d, err := a.pursue(short(t, 2*time.Second), nil, r, replication.Promote)
		if err != nil || d.Verdict == replication.Done || r.opened {
			t.Errorf("%v, %v, opened %v", d, err, r.opened)
		}
	})
	t.Run("the record cannot be written", func(t *testing.T) {
		f, a, r := prepare(t)
		f.trouble = func(line string) *trouble {
			if strings.Contains(line, "pgsql-record") {
				return &trouble{exit: 106}
			}
			return nil
		}
		_, err := a.pursue(short(t, 2*time.Second), nil, r, replication.Promote)
		if !errors.Is(err, crm.ErrNoQuorum) || r.opened {
			t.Errorf("%v, opened %v", err, r.opened)
		}
	})
}

// A cluster that takes no write of the record until the membership has changed costs a promotion time
// and nothing else, whether the attempts that were given up are carried out late or never.
func TestPromotionInsists(t *testing.T) {
	t.Parallel()
	const rival = "epoch=9005 primary=n1 entitled=n1 leaving= system=7 timeline=2 lsn=0/5000000"
	for _, tt := range []struct {
		name         string
		hang         int // attempts that are given up
		late, fenced bool
		scores       bool // the scores cannot be written
		rival        bool // meanwhile our copy learns of another's promotion
		opens        bool
		logged       string
	}{
		{name: "the other node is fenced meanwhile", hang: 2, opens: true, logged: "trying again"},
		{name: "carried out late", hang: 1, late: true, opens: true, logged: "trying again"},
		{name: "another was promoted meanwhile", hang: 1, fenced: true, rival: true, logged: "trying again"},
		{name: "until time is up", hang: 100, fenced: true, logged: "trying again"},
		{name: "the scores cannot be written", scores: true, opens: true, logged: "node attributes not written"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFakeCluster("n2", "n1", "n2")
			f.set("n1", "pgsql-record", record5, true)
			f.set("n2", "master-pgsql", "100", false)
			f.set("n1", "master-pgsql", "1000", false)
			f.happened("n1", "promote 0", "demote 0")
			switch {
			case tt.fenced:
				f.fence("n1")
			case !tt.scores:
				f.lose("n1")
			}
			a, log := remembered(t, f, "promote", map[string]string{"OCF_RESKEY_CRM_meta_on_node": "n2", "OCF_RESKEY_crm_attr_timeout": "1"})
			asked := 0
			f.trouble = func(line string) *trouble {
				switch {
				case tt.scores && strings.Contains(line, "--name=master-pgsql"):
					return &trouble{exit: 102}
				case !strings.Contains(line, "--name=pgsql-record") || asked == tt.hang:
					return nil
				}
				if asked++; asked == tt.hang && tt.rival {
					f.here().put("n1", "pgsql-record", rival, true)
				} else if asked == tt.hang {
					f.fence("n1")
				}
				return &trouble{hang: true, late: tt.late}
			}
			r := &round{status: standbyStatus("")}
			d, err := a.pursue(short(t, 3500*time.Millisecond), nil, r, replication.Promote)
			if tt.hang == 100 && !errors.Is(err, crm.ErrTimeout) || tt.hang < 100 && err != nil {
				t.Errorf("%v", err)
			}
			if r.opened != tt.opens || (d.Verdict == replication.Done) != tt.opens {
				t.Errorf("%v, opened %v: %s", d, r.opened, log)
			}
			if got := parseRecord(t, f.record("n2", "n2")); tt.opens && (got.Epoch < 1005 || !got.Equal(a.memory.file)) {
				t.Errorf("our entry is %v, our file %v", got, a.memory.file)
			}
			says(t, log.String(), tt.logged)
		})
	}
}

// Whoever looks after a primary gives a write of the record up at once: the next monitor tries it again.
func TestMonitorDoesNotInsist(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("n1", "n1", "n2")
	a, _ := remembered(t, f, "monitor", map[string]string{"OCF_RESKEY_crm_attr_timeout": "1"})
	f.trouble = func(string) *trouble { return &trouble{hang: true} }
	if err := a.saveRecord(short(t, 5*time.Second), parseRecord(t, record5)); !errors.Is(err, crm.ErrTimeout) || len(f.writes()) != 1 {
		t.Errorf("%v, wrote %q", err, f.writes())
	}
}

func TestNamesInForce(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("n1", "n1", "n2")
	a, _ := remembered(t, f, "monitor", nil)
	ours := a.conf.repModeFile()
	for _, tt := range []struct {
		name string
		set  pg.Setting
		want []string
		says []string // nil: no error
	}{
		{name: "ours, a quorum", set: pg.Setting{Value: `ANY 1 ("n2", "n3")`, File: ours}, want: []string{"n2", "n3"}},
		{name: "nothing", set: pg.Setting{Source: "default"}},
		{name: "ours", set: pg.Setting{Value: `"N2"`, File: ours, Source: "configuration file"}, want: []string{"n2"}},
		{name: "ours, several", set: pg.Setting{Value: `FIRST 2 ("n2", "DR")`, File: ours}, want: []string{"n2", "dr"}},
		{name: "our tmpdir as the parameter spells it", set: pg.Setting{Value: `"n2"`, File: a.conf.tmpdir + "//rep_mode.conf"}, want: []string{"n2"}},
		{name: "emptied elsewhere", set: pg.Setting{File: "/data/postgresql.auto.conf"}},
		{name: "its source may not be seen", set: pg.Setting{Value: `"n2"`}, want: []string{"n2"}},
		{name: "somebody else's", set: pg.Setting{Value: `"n2"`, File: "/data/postgresql.auto.conf", Line: 3}, says: []string{"postgresql.auto.conf line 3", "remove it there", ours}},
		{name: "a form that is not ours", set: pg.Setting{Value: `ANY 1 (n2, n3)`, File: ours}, says: []string{"ANY 1 (n2, n3)"}},
		{name: "anybody", set: pg.Setting{Value: "*", Source: "command line"}, says: []string{"*", "command line"}},
	} {
		names, _, err := a.namesInForce(pg.Status{Settings: map[string]pg.Setting{"synchronous_standby_names": tt.set}})
		if tt.says != nil {
			if err == nil {
				t.Errorf("%s: %q", tt.name, names)
				continue
			}
			says(t, err.Error(), tt.says...)
			continue
		}
		if err != nil || !slices.Equal(names, tt.want) {
			t.Errorf("%s: %q, %v", tt.name, names, err)
		}
	}
}

func TestObserve(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("n1", "n1", "n2", "n3")
	a, _ := remembered(t, f, "monitor", map[string]string{"OCF_RESKEY_node_list": "n1 N2 n3", "OCF_RESKEY_external_standby_node_list": "DR1 dr2 dr3"})
	r := &round{
		status: primaryStatus(sender("N2", "catchup", "async"), sender("n2", "streaming", "sync"), sender("n2", "startup", "async"), sender("dr2", "streaming", "async"),
			sender("dr1", "streaming", "async"), sender("Dr1", "streaming", "async"), sender("dr3", "catchup", "async"), sender("pg_basebackup", "backup", "async"), sender("n1", "streaming", "async")),
		names: []string{"n2"}, proofs: []replication.Proof{{Node: "n2"}}, unproven: []string{"n3"}, claimed: 9,
	}
	o := a.observe(r)
	if row := o.Peers["n2"].Row; row == nil || !row.Streaming() || row.SyncState != "sync" {
		t.Errorf("of several lines %+v was chosen", row)
	}
	if o.Peers["n3"].Row != nil {
		t.Error("a line for a node that is not connected")
	}
	r2 := &round{status: primaryStatus(sender("n2", "streaming", "sync"), sender("n2", "streaming", "potential"), sender("n2", "catchup", "async"))}
	if row := a.observe(r2).Peers["n2"].Row; row == nil || row.Streaming() {
		t.Errorf("two connections stream as one node: %+v", row)
	}
	if !slices.Equal(o.ExternalRows, []string{"dr1", "dr2"}) {
		t.Errorf("external %q", o.ExternalRows)
	}
	if !slices.Equal(o.SyncNames, r.names) || len(o.Proofs) != 1 || len(o.Unproven) != 1 || o.Claimed != 9 || o.Position.LSN != 0x3000148 || o.Position.System != 7 {
		t.Errorf("%+v", o)
	}
}
