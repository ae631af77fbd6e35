package scenario

import (
	"strings"
	"testing"
	"time"
)

func TestParseBudget(t *testing.T) {
	b, err := ParseBudget("# why\nbudget make-test 45m\na test\nbudget pair-online 15s\n")
	if err != nil || b != (Budget{Whole: 45 * time.Minute, Online: 15 * time.Second}) {
		t.Errorf("got %+v, %v", b, err)
	}
	for _, bad := range []string{
		"", "budget make-test 45m", "budget make-test 45m\nbudget pair-online", "budget make-test 45m\nbudget pair-online soon",
		"budget make-test 45m\nbudget pair-online -1s", "budget make-test 45m\nbudget pair-online 1s\nbudget lunch 1h",
	} {
		if b, err := ParseBudget(bad); err == nil {
			t.Errorf("%q is no error but %+v", bad, b)
		}
	}
}

func TestBudgetReport(t *testing.T) {
	b := Budget{Whole: 45 * time.Minute, Online: 15 * time.Second}
	for name, c := range map[string]struct {
		s         spent
		says, err string
	}{
		"within": {spent{30 * time.Minute, []time.Duration{5 * time.Second, 14900 * time.Millisecond}}, "30m0s of the 45m0s", ""},
		"online": {spent{0, []time.Duration{5 * time.Second, 15100 * time.Millisecond}}, "15.1s of the 15s", "pair"},
		"whole":  {spent{46 * time.Minute, nil}, "46m0s of the 45m0s", "make test"},
		"both":   {spent{46 * time.Minute, []time.Duration{time.Minute}}, "1m0s of the 15s", "make test"},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			err := b.report(&out, c.s)
			if !strings.Contains(out.String(), c.says) {
				t.Errorf("said %q, want %q", out.String(), c.says)
			}
			if (err == nil) != (c.err == "") || err != nil && !(strings.Contains(err.Error(), c.err) && strings.Contains(err.Error(), "over budget")) {
				t.Errorf("got %v, want %q", err, c.err)
			}
		})
	}
	var out strings.Builder
	if err := (Budget{}).report(&out, spent{time.Hour, []time.Duration{time.Hour}}); err != nil || out.Len() > 0 {
		t.Errorf("without a budget: %v %q", err, out.String())
	}
}
