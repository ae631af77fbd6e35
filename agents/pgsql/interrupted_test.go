package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgrex/lib/ocf"
	"pgrex/lib/pg"
	"pgrex/lib/replication"
)

// dies makes every command from the nth on fail, as if the action had been killed there; late ones
// are still carried out.
func dies(n int, late bool) (func(string) *trouble, func() bool) {
	asked := 0
	return func(string) *trouble {
		asked++
		if asked < n {
			return nil
		}
		return &trouble{exit: 102, late: late && asked == n}
	}, func() bool { return asked >= n }
}

// A promotion that is killed at any point can be run again, and never has the server opened before
// the peer's own copy knows of it.
func TestPromotionInterrupted(t *testing.T) {
	t.Parallel()
	for _, late := range []bool{false, true} {
		for n := 1; ; n++ {
			if n > 40 {
				t.Fatal("the promotion never comes to its end")
			}
			f := newFakeCluster("n2", "n1", "n2", "n3")
			f.set("n1", "pgsql-record", "epoch=5 primary=n1 entitled=n1,n2 leaving= system=7 timeline=1 lsn=0/3000148", true)
			f.set("n1", "master-pgsql", "1000", false)
			f.set("n2", "master-pgsql", "100", false)
			f.set("n3", "master-pgsql", "-INFINITY", false)
			f.happened("n1", "promote 0", "demote 0")
			env := map[string]string{"OCF_RESKEY_CRM_meta_on_node": "n2", "OCF_RESKEY_node_list": "n1 n2 n3"}
			c, _ := newCall(t, "promote", env)
			again := environmentOf(c)
			promote := func() (replication.Decision, *round, error) {
				call, _ := callOf("promote", again)
				a := agentOf(t, call, f)
				r := &round{status: standbyStatus("")}
				if err := a.remember(t.Context()); err != nil {
					return replication.Decision{}, r, err
				}
				d, err := a.pursue(short(t, 5*time.Second), nil, r, replication.Promote)
				return d, r, err
			}
			odd, reached := dies(n, late)
			f.trouble = odd
			_, r, err := promote()
			if !reached() {
				if err != nil || !r.opened {
					t.Fatalf("undisturbed: %v, opened %v", err, r.opened)
				}
				break
			}
			check := func(r *round) {
				if !r.opened {
					return
				}
				got := parseRecord(t, f.record("n1", "n2"))
				if got.Primary != "n2" || !slices.Equal(got.Entitled, []string{"n2"}) {
					t.Errorf("killed at %d (late %v): opened, and the peer's copy says %v", n, late, got)
				}
			}
			check(r)
			f.trouble = nil
			d, r, err := promote()
			if err != nil || d.Verdict != replication.Done || !r.opened {
				t.Errorf("killed at %d (late %v), run again: %v, %v, opened %v", n, late, d, err, r.opened)
			}
			check(r)
		}
	}
}

// A release that is killed at any point: while the peer's own copy entitles it, commits wait for it.
func TestReleaseInterrupted(t *testing.T) {
	t.Parallel()
	f, s := newPrimary(t)
	base := s.attribute("pgsql-record")
	interrupted := func(n int, late bool) (whole bool) {
		// n2 was the synchronous standby and is gone; its node is there.
		f.trouble = nil
		entitled := strings.Replace(strings.Replace(base, "entitled=n1", "entitled=n1,n2", 1), "epoch=", fmt.Sprintf("epoch=%d", n), 1)
		remove(t, s.data()+".pgrex-record")
		f.set("n1", "pgsql-record", entitled, true)
		f.set("n2", "master-pgsql", "100", false)
		put(t, s.dir+"/tmp/rep_mode.conf", repModeConf(`"n2"`))
		s.sql("SELECT pg_reload_conf()")
		s.eventually("commits wait", func() bool { return s.sql("SHOW synchronous_standby_names") == `"n2"` })
		check := func() bool {
			released := s.sql("SHOW synchronous_standby_names") == ""
			if knows := parseRecord(t, f.record("n2", "n1")); released && knows.Entitles("n2") {
				t.Errorf("killed at %d (late %v): released though the peer's copy says %v", n, late, knows)
			}
			return released
		}
		odd, reached := dies(n, late)
		f.trouble = odd
		s.must(ocf.RunningPromoted, "monitor", interval, "9000", "OCF_RESKEY_CRM_meta_timeout", "2000")
		check()
		f.trouble = nil
		s.must(ocf.RunningPromoted, "monitor", interval, "9000")
		if !check() {
			t.Errorf("killed at %d (late %v): not released by the next monitor", n, late)
		}
		return !reached()
	}
	for _, late := range []bool{false, true} {
		n := 1
		for !interrupted(n, late) {
			if n++; n > 40 {
				t.Fatal("the release never comes to its end")
			}
		}
		if n < 5 {
			t.Errorf("only %d commands: this is no release", n)
		}
	}
}

// A right that is being granted, killed at any point: whoever may be promoted by its score is
// entitled by the record, and commits wait for it.
func TestGrantInterrupted(t *testing.T) {
	t.Parallel()
	f, n1 := newPrimary(t)
	n1.done("stop")
	n2 := newSite(t, f, "n2", n1)
	n2.follow(n1)
	f.set("n1", "pgsql-accept-loss", parseEpoch(t, n1.attribute("pgsql-record")), false)
	n1.done("start")
	n1.done("promote")
	n2.done("start")
	n1.eventually("n2 streams", func() bool { return n1.senders() == "1" })
	base := n1.attribute("pgsql-record")
	interrupted := func(n int, late bool) (whole bool) {
		f.trouble = nil
		alone := strings.Replace(base, "epoch=", fmt.Sprintf("epoch=%d", n), 1)
		for _, s := range []*site{n1, n2} {
			remove(t, s.data()+".pgrex-record")
		}
		f.set("n1", "pgsql-record", alone, true)
		f.set("n2", "master-pgsql", "-INFINITY", false)
		put(t, n1.dir+"/tmp/rep_mode.conf", repModeConf(""))
		n1.sql("SELECT pg_reload_conf()")
		n1.eventually("commits do not wait", func() bool { return n1.sql("SHOW synchronous_standby_names") == "" })
		check := func() bool {
			granted := f.attribute("n2", "n2", "master-pgsql", false) == "100"
			r := parseRecord(t, f.record("n2", "n1"))
			if names := n1.sql("SHOW synchronous_standby_names"); (granted || r.Entitles("n2")) && names != `"n2"` || granted && !r.Entitles("n2") {
				t.Errorf("killed at %d (late %v): granted %v, record %v, commits wait for %q", n, late, granted, r, names)
			}
			return granted
		}
		odd, reached := dies(n, late)
		f.trouble = odd
		n1.must(ocf.RunningPromoted, "monitor", interval, "9000")
		check()
		f.trouble = nil
		n1.eventually("the right is granted", func() bool {
			n1.must(ocf.RunningPromoted, "monitor", interval, "9000")
			return check()
		})
		return !reached()
	}
	for _, late := range []bool{false, true} {
		n := 1
		for !interrupted(n, late) {
			if n++; n > 40 {
				t.Fatal("the grant never comes to its end")
			}
		}
		if n < 4 {
			t.Errorf("only %d commands: this is no grant", n)
		}
	}
}

func parseEpoch(t *testing.T, record string) string {
	t.Helper()
	return fmt.Sprint(parseRecord(t, record).Epoch)
}

// Three nodes and no primary: all choose alike, in whatever order they are asked.
func TestElectionOfThree(t *testing.T) {
	t.Parallel()
	record := "epoch=9 primary=n1 entitled=n1,n2,n3 leaving= system=7 timeline=1 lsn=0/3000000"
	for _, tt := range []struct {
		name string
		lsn  map[string]pg.LSN
		away string
		want string // who is to be promoted, or "" for nobody
	}{
		{"the newest", map[string]pg.LSN{"n1": 0x3000000, "n2": 0x3000200, "n3": 0x3000100}, "", "n2"},
		{"numbers, not text", map[string]pg.LSN{"n1": 0x9000000, "n2": 0x10000000, "n3": 0x3000100}, "", "n2"},
		{"alike: the last primary", map[string]pg.LSN{"n1": 0x3000000, "n2": 0x3000000, "n3": 0x3000000}, "", "n1"},
		{"one is away", map[string]pg.LSN{"n1": 0x3000000, "n2": 0x3000200}, "n3", ""},
	} {
		for _, order := range [][]string{{"n1", "n2", "n3"}, {"n3", "n2", "n1"}, {"n2", "n3", "n1"}} {
			f := newFakeCluster("n1", "n1", "n2", "n3")
			f.set("n1", "pgsql-record", record, true)
			if tt.away != "" {
				f.lose(tt.away)
			}
			for range 2 {
				for _, n := range order {
					if n == tt.away {
						continue
					}
					f.self = n
					a, _ := remembered(t, f, "monitor", map[string]string{"OCF_RESKEY_CRM_meta_on_node": n, "OCF_RESKEY_node_list": "n1 n2 n3"})
					st := standbyStatus("")
					st.ReceiveLSN, st.ReplayLSN = tt.lsn[n], 0
					if err := a.electAlone(t.Context(), nil, &round{status: st}); err != nil {
						t.Fatal(err)
					}
				}
			}
			for n := range tt.lsn {
				want := "-INFINITY"
				if n == tt.want {
					want = "1000"
				}
				if got := f.attribute(n, n, "master-pgsql", false); got != want {
					t.Errorf("%s, asked in the order %v: %s has %q, want %q", tt.name, order, n, got, want)
				}
			}
		}
	}
}
