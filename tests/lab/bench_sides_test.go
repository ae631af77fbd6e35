package main

import (
	"slices"
	"testing"
	"time"

	"pgrex/tests/lab/bench"
	"pgrex/tests/lab/scenario"
)

func TestSides(t *testing.T) {
	some, err := scenario.ParseTrials("postmaster-killed,cut-all")
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		tuned, only string
		want        []string // names and how many faults; nil for an error
		faults      []int
	}{
		{"none", "", []string{"reference", "ours"}, []int{2, 2}},
		{"some", "", []string{"reference", "ours", "reference tuned", "ours tuned"}, []int{2, 2, 1, 1}},
		{"all", "ours tuned,reference", []string{"reference", "ours tuned"}, []int{2, 2}},
		{"some", "ours", []string{"ours"}, []int{2}},
		{"none", "ours tuned", nil, nil},
		{"some", "theirs", nil, nil},
		{"some", "ours,", nil, nil},
		{"few", "", nil, nil},
	}
	for _, tt := range tests {
		got, err := sides(tt.tuned, tt.only, some)
		var names []string
		var faults []int
		for _, s := range got {
			names, faults = append(names, s.name), append(faults, len(s.trials))
		}
		if !slices.Equal(names, tt.want) || !slices.Equal(faults, tt.faults) || (err != nil) != (tt.want == nil) {
			t.Errorf("%q, %q: %v %v, %v", tt.tuned, tt.only, names, faults, err)
		}
	}
}

// What a person sets holds for the tuned sides too.
func TestSideVariables(t *testing.T) {
	got := side{tuned: map[string]string{"MONITOR": "1s", "X": "y"}}.variables(map[string]string{"MONITOR": "3s"})
	if got["MONITOR"] != "3s" || got["X"] != "y" {
		t.Errorf("got %v", got)
	}
}

// Two runs in vain are enough, one is not, and neither are runs that failed in
// another way.
func TestHopeless(t *testing.T) {
	trial := scenario.Trials()[0]
	vain, failed := bench.Run{AtLeast: scenario.TrialLimit + time.Second, Failure: "x"}, bench.Run{Failure: "x"}
	for _, tt := range []struct {
		runs bench.Series
		want bool
	}{
		{nil, false},
		{bench.Series{vain}, false},
		{bench.Series{vain, vain}, true},
		{bench.Series{vain, failed}, false},
		{bench.Series{vain, {Time: time.Second}}, false},
	} {
		m := measurement{series: map[string]map[string]bench.Series{trial.Name: {"ours": tt.runs}}}
		if got := m.hopeless(trial, "ours"); got != tt.want {
			t.Errorf("%v: %v", tt.runs, got)
		}
	}
}
