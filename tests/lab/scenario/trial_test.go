package scenario

import (
	"slices"
	"testing"
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
