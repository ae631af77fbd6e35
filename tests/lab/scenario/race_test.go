package scenario

import (
	"strings"
	"testing"
	"time"
)

// What a round counts as, and how it is summed up.
func TestRace(t *testing.T) {
	cut := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(ms int) time.Time { return cut.Add(time.Duration(ms) * time.Millisecond) }
	round := func(dc string, p, s int, gone int, died ...string) Round {
		r := Round{Primary: "n1", Standby: "n2", DC: dc, Died: died, Cut: cut, Gone: at(gone), Asked: map[string]time.Time{}}
		if p > 0 {
			r.Asked["n1"] = at(p)
		}
		if s > 0 {
			r.Asked["n2"] = at(s)
		}
		return r
	}
	for name, tt := range map[string]struct {
		r     Round
		lag   time.Duration
		seen  bool
		used  time.Duration
		wrong string
	}{
		"the primary was later": {round("n2", 3300, 2300, 3400, "n2"), time.Second, true, 1100 * time.Millisecond, ""},
		"the primary was first": {round("n1", 2200, 2300, 2350, "n2"), -100 * time.Millisecond, true, 50 * time.Millisecond, ""},
		"it killed before":      {round("n1", 2200, 0, 2300, "n2"), 0, false, 0, ""},
		"ordered while it died": {round("n1", 2200, 2310, 2300, "n2"), -110 * time.Millisecond, true, 0, ""},
		"both":                  {round("n1", 2200, 2200, 2300, "n1", "n2"), 0, true, 100 * time.Millisecond, "both nodes died"},
		"the primary":           {round("n1", 0, 2200, 2300, "n1"), 0, false, 100 * time.Millisecond, "the primary n1 died"},
	} {
		lag, seen := tt.r.Lag()
		if seen != tt.seen || seen && lag != tt.lag {
			t.Errorf("%s: lag %v, %v", name, lag, seen)
		}
		if got := tt.r.Used(); got != tt.used {
			t.Errorf("%s: used %v, want %v", name, got, tt.used)
		}
		err := tt.r.wrong()
		if (err == nil) != (tt.wrong == "") || err != nil && !strings.Contains(err.Error(), tt.wrong) {
			t.Errorf("%s: %v", name, err)
		}
	}
	x := Race{Log: []Round{
		round("n1", 3300, 2300, 3400, "n2"), round("n2", 2200, 2300, 2350, "n2"), round("n2", 2260, 2200, 2350, "n2"),
		round("n1", 2200, 2200, 2300, "n1", "n2"), round("n1", 0, 2200, 2300, "n1"),
	}}
	want := `5 cuts: 3 times the standby died, 1 times the primary, 1 times both
order on the primary's side after that on the standby's, DC there: min 0, median 1000, max 1000 ms, of 2
order on the primary's side after that on the standby's, DC with the standby: min -100, median 60, max 60 ms, of 2
from the standby's order to its end: min 50, median 100, max 1100 ms, of 5
`
	if got := x.Summary(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
