package scenario

import (
	"slices"
	"testing"
	"time"

	"pgrex/tests/lab/writer"
)

func TestParseTrials(t *testing.T) {
	tests := []struct {
		names string
		want  []string // nil for an error
	}{
		{"switchover", []string{"switchover"}},
		{"switchover,postmaster-killed", []string{"switchover", "postmaster-killed"}},
		{"nothing", nil},
		{"switchover,", nil},
		{"switchover, cut-all", nil},
	}
	for _, tt := range tests {
		got, err := ParseTrials(tt.names)
		var names []string
		for _, x := range got {
			names = append(names, x.Name)
		}
		if (err != nil) != (tt.want == nil) || !slices.Equal(names, tt.want) {
			t.Errorf("%q: %q, %v: want %q", tt.names, names, err, tt.want)
		}
	}
}

// Each trial gives a figure, under a name of its own.
func TestTrials(t *testing.T) {
	all, err := ParseTrials("")
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]bool{}
	for _, x := range all {
		if have[x.Name] || x.Text == "" || x.Play == nil || len(x.Measures) == 0 || x.Reference == 0 || x.Ours == 0 {
			t.Errorf("trial %q is incomplete, gives no figure, or is there twice", x.Name)
		}
		have[x.Name] = true
	}
}

// The first measure has the trial's own name, the others say what they are.
func TestRow(t *testing.T) {
	one := Trial{Scenario: Scenario{Name: "x"}, Measures: []Measure{Redundant}}
	two := Trial{Scenario: Scenario{Name: "x"}, Measures: []Measure{Gap, Redundant}}
	for _, tt := range []struct {
		trial  Trial
		m      Measure
		row    string
		waited time.Duration
	}{
		{one, Redundant, "x", TrialLimit},
		{two, Gap, "x", TrialLimit},
		{two, Redundant, "x, redundancy restored", backLimit},
	} {
		if row, waited := tt.trial.Row(tt.m), tt.trial.Waited(tt.m); row != tt.row || waited != tt.waited {
			t.Errorf("%s of %v: %q, %v: want %q, %v", tt.m, tt.trial.Measures, row, waited, tt.row, tt.waited)
		}
	}
}

func TestFirstAfter(t *testing.T) {
	begin := time.Now()
	at := func(s int) time.Time { return begin.Add(time.Duration(s) * time.Second) }
	h := &writer.History{Rows: []writer.Row{
		{Begin: at(-2), End: at(1), Outcome: writer.Acknowledged}, // asked for before
		{Begin: at(1), End: at(2), Outcome: writer.Unknown},
		{Begin: at(2), End: at(5), Outcome: writer.Acknowledged},
		{Begin: at(3), End: at(4), Outcome: writer.Acknowledged},
	}}
	if got := firstAfter(h, begin); !got.Equal(at(4)) {
		t.Errorf("got %v after, want 4 s", got.Sub(begin))
	}
	if got := firstAfter(h, at(9)); !got.IsZero() {
		t.Errorf("got %v where there is none", got)
	}
}
