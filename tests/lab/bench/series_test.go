package bench

import (
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
		{"one", seconds(3), Figures{3 * s, 3 * s, 3 * s}},
		{"odd, in no order", seconds(5, 1, 3), Figures{3 * s, 1 * s, 5 * s}},
		{"even", seconds(4, 1, 2, 9), Figures{3 * s, 1 * s, 9 * s}},
		{"a lost row takes the time away", append(seconds(1, 2), Run{Time: s / 10, Lost: 1}), Figures{2 * s, 1 * s, 0}},
		{"a failure too", append(seconds(1, 2), Run{Time: s / 10, Failure: "does not heal"}), Figures{2 * s, 1 * s, 0}},
		{"half of them without a time", seconds(1, 0), Figures{0, 1 * s, 0}},
		{"most without a time", seconds(1, 0, 0), Figures{0, 1 * s, 0}},
		{"all without a time", seconds(0, 0), Figures{}},
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
