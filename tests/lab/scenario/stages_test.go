package scenario

import (
	"slices"
	"testing"
	"time"

	"pgrex/tests/lab/bench"
	"pgrex/tests/lab/cluster"
)

func TestMarks(t *testing.T) {
	fault := time.Now()
	at := func(ms int) time.Time { return fault.Add(time.Duration(ms) * time.Millisecond) }
	mark := func(s bench.Stage, ms int) bench.Mark {
		return bench.Mark{Stage: s, After: time.Duration(ms) * time.Millisecond}
	}
	event := func(ms int, text string) cluster.Event { return cluster.Event{At: at(ms), Text: text} }
	tests := []struct {
		name   string
		events []cluster.Event
		first  int // commit
		want   []bench.Mark
	}{
		{"server killed", []cluster.Event{
			event(20, "failure reported on n1"), event(40, "monitor on n1: not running"),
			event(60, "demote of pgsql on n1 begins"), event(300, "demote of pgsql on n1: ok"),
			event(310, "promote of pgsql on n2 begins"), event(700, "promote of pgsql on n2: ok"), event(720, "monitor on n2: promoted"),
			event(900, "start of ipaddr-primary on n2: ok"), event(1500, "start of ipaddr-replication on n2: ok"), event(3000, "demote of pgsql on n1: ok"),
		}, 1000, []bench.Mark{mark(bench.Noticed, 20), mark(bench.Demote, 300), mark(bench.Promote, 700), mark(bench.Address, 900), mark(bench.FirstCommit, 1000)}},
		{"node lost", []cluster.Event{
			event(2000, "n1 is lost from the cluster"), event(2100, "fencing of n1 is asked for"), event(3300, "n1 is fenced by n2"), event(3700, "promote of pgsql on n2: ok"),
		}, 4000, []bench.Mark{mark(bench.Membership, 2000), mark(bench.Fencing, 3300), mark(bench.Promote, 3700), mark(bench.FirstCommit, 4000)}},
		{"moved, and found down afterwards", []cluster.Event{
			event(300, "demote of pgsql on n1: ok"), event(700, "promote of pgsql on n2: ok"), event(800, "monitor on n1: not running"),
		}, 1000, []bench.Mark{mark(bench.Demote, 300), mark(bench.Promote, 700), mark(bench.FirstCommit, 1000)}},
		{"an action that failed is no stage", []cluster.Event{event(300, "demote of pgsql on n1: error")}, 1000, []bench.Mark{mark(bench.FirstCommit, 1000)}},
		{"service went on before it was noticed", []cluster.Event{event(300, "failure reported on n2")}, 100, []bench.Mark{mark(bench.FirstCommit, 100)}},
	}
	for _, tt := range tests {
		res := Result{Fault: fault, FirstCommit: at(tt.first), Events: tt.events}
		if got := res.Marks(); !slices.Equal(got, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
	if got := (Result{Fault: fault, Events: tests[0].events}).Marks(); got != nil {
		t.Errorf("without a commit there is no timeline, but %v", got)
	}
}
