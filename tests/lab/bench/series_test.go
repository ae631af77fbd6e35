package bench

import (
	"slices"
	"testing"
	"time"
)

func seconds(ts ...float64) Series {
	var s Series
	for _, t := range ts {
		s = append(s, Run{Time: time.Duration(t * float64(time.Second))})
	}
	return s
}

func TestFigures(t *testing.T) {
	const s = time.Second
	tests := []struct {
		name string
		runs Series
		want Figures
	}{
		{"none", nil, Figures{}},
		{"one", seconds(3), Figures{3 * s, 3 * s, 3 * s, 0}},
		{"odd, in no order", seconds(5, 1, 3), Figures{3 * s, 1 * s, 5 * s, 0}},
		{"even", seconds(4, 1, 2, 9), Figures{3 * s, 1 * s, 9 * s, 0}},
		{"a lost row takes the time away", append(seconds(1, 2), Run{Time: s / 10, Lost: 1}), Figures{2 * s, 1 * s, 0, 0}},
		{"a failure too", append(seconds(1, 2), Run{Time: s / 10, Failure: "does not heal"}), Figures{2 * s, 1 * s, 0, 0}},
		{"half of them without a time", seconds(1, 0), Figures{0, 1 * s, 0, 0}},
		{"most without a time", seconds(1, 0, 0), Figures{0, 1 * s, 0, 0}},
		{"all without a time", seconds(0, 0), Figures{}},
		{"given up", Series{{AtLeast: 3 * s, Failure: "x"}, {AtLeast: 2 * s, Failure: "x"}}, Figures{0, 0, 0, 2 * s}},
		{"most given up", append(seconds(1), Run{AtLeast: 3 * s, Failure: "x"}, Run{AtLeast: 4 * s, Failure: "x"}), Figures{0, 1 * s, 0, 3 * s}},
		{"one failed otherwise", append(seconds(1), Run{AtLeast: 3 * s, Failure: "x"}, Run{Failure: "y"}), Figures{0, 1 * s, 0, 0}},
	}
	for _, tt := range tests {
		if got := tt.runs.Figures(); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestLost(t *testing.T) {
	s := append(seconds(1), Run{Time: time.Second, Lost: 2}, Run{Lost: 3, Failure: "data is wrong"})
	if s.Lost() != 5 || s.Untimed() != 2 {
		t.Errorf("lost %d, without a time %d: want 5 and 2", s.Lost(), s.Untimed())
	}
}

func TestMiddle(t *testing.T) {
	tests := []struct {
		runs Series
		want time.Duration // 0 for none
	}{
		{nil, 0},
		{seconds(0), 0},
		{seconds(5, 1, 3), 3 * time.Second},
		{seconds(4, 1, 2, 9), 4 * time.Second},
		{seconds(4, 0, 0), 4 * time.Second},
	}
	for _, tt := range tests {
		if r, ok := tt.runs.Middle(); r.Time != tt.want || ok != (tt.want > 0) {
			t.Errorf("%v: %v, %v: want %v", tt.runs, r.Time, ok, tt.want)
		}
	}
}

func TestTimeline(t *testing.T) {
	const s = time.Second
	got := Timeline([]Mark{{Promote, 3 * s}, {Noticed, 1 * s}, {Address, 9 * s}, {Demote, 2 * s}}, 5*s)
	if want := []Mark{{Noticed, 1 * s}, {Demote, 2 * s}, {Promote, 3 * s}}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
