package replication_test

import (
	"strings"
	"testing"

	r "pgrex/lib/replication"
)

func TestFork(t *testing.T) {
	for _, tt := range []struct {
		name, own, theirs string
		apart             bool
		want              string // "TIMELINE@LSN", "" for none
	}{
		{"left behind our end", "2@0/300 1@0/100", "3@0/900 1@0/100 2@0/200", false, "2@0/200"},
		{"we are part of it", "2@0/300 1@0/100", "3@0/900 1@0/100 2@0/400", false, "2@0/300"},
		{"first timeline", "1@0/300", "2@0/900 1@0/200", false, "1@0/200"},
		{"we went on to a timeline of our own", "4@0/500 1@0/100 2@0/200", "3@0/900 1@0/100 2@0/250", false, "2@0/200"},
		{"the same timeline, and we are ahead", "2@0/300 1@0/100", "2@0/200 1@0/100", false, "2@0/200"},
		{"the same number is not the same timeline", "3@0/300 1@0/100 2@0/200", "3@0/900 1@0/100 2@0/200", true, "2@0/200"},
		{"the same number, from different points", "3@0/300 1@0/100 2@0/250", "3@0/900 1@0/100 2@0/200", true, "1@0/100"},
		{"nothing known in common", "3@0/300", "3@0/900", true, ""},
		{"our history is lost", "3@0/300", "4@0/900 1@0/100 2@0/200 3@0/250", false, ""},
		{"another system", "2@0/300 1@0/100 system=1", "3@0/900 1@0/100 2@0/200", false, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			own, err := parsePosition(strings.Fields(tt.own))
			if err != nil {
				t.Fatal(err)
			}
			theirs, err := parsePosition(strings.Fields(tt.theirs))
			if err != nil {
				t.Fatal(err)
			}
			tl, at, ok := r.Fork(own, theirs, tt.apart)
			want, err := parsePosition(strings.Fields(tt.want + " x")[:1])
			if ok != (tt.want != "") || ok && (err != nil || tl != want.Timeline || at != want.LSN) {
				t.Errorf("%d@%s %v, want %s", tl, at, ok, tt.want)
			}
		})
	}
}

func TestMayBeAcknowledged(t *testing.T) {
	own := r.Record{Epoch: 1007, Primary: "n1", Entitled: []string{"n1", "n2"}}
	base := r.Observation{Self: "n1", Mode: r.Sync, Own: own, Record: r.Record{Epoch: 2007, Primary: "n2"}, Wal: r.Wal{WasPrimary: true}}
	for _, tt := range []struct {
		name   string
		change func(*r.Observation)
		maybe  bool
		why    string
	}{
		{"the standby was promoted by right", func(*r.Observation) {}, false, "commits waited for the standby"},
		{"two promotions by right", func(o *r.Observation) { o.Record.Epoch = 3007 }, false, "epoch 1007, now 3007"},
		{"loss accepted", func(o *r.Observation) { o.Record.Epoch = 1001007 }, true, "an operator has accepted a loss"},
		{"async", func(o *r.Observation) { o.Mode = r.Async }, true, "rep_mode is not sync"},
		{"no fencing", func(o *r.Observation) { o.NoFencing = true }, true, "stonith-enabled is false"},
		{"no record of ours", func(o *r.Observation) { o.Own = r.Record{} }, true, "is not known"},
		{"our last record names another", func(o *r.Observation) { o.Own.Primary = "n2" }, true, "is not known"},
		{"a standby", func(o *r.Observation) { o.Wal.WasPrimary, o.Own = false, r.Record{} }, false, "commits waited for the one that was promoted"},
		{"a standby without a record", func(o *r.Observation) { o.Wal.WasPrimary, o.Own, o.Record = false, r.Record{}, r.Record{} }, true, "no record is known"},
		// Its primary acknowledged what it holds.
		{"a standby, async", func(o *r.Observation) { o.Wal.WasPrimary, o.Mode = false, r.Async }, true, "rep_mode is not sync"},
		{"a standby, loss accepted", func(o *r.Observation) { o.Wal.WasPrimary, o.Record.Epoch = false, 1002007 }, true, "a loss was accepted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := base
			tt.change(&o)
			maybe, why := r.MayBeAcknowledged(o)
			if maybe != tt.maybe || !strings.Contains(why, tt.why) {
				t.Errorf("%v: %s", maybe, why)
			}
		})
	}
}
