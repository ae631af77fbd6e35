package scenario

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Budget is how long things may take. Nothing below it is judged: times of a
// loaded machine vary.
type Budget struct {
	// Whole is for the whole of make test, with all that comes before the suite.
	Whole time.Duration
	// Online is from the beginning of "up" until a pair of nodes is online.
	Online time.Duration
}

// budgetWord begins the lines of a budget in the list of scenarios.
const budgetWord = "budget"

// ParseBudget reads lines of "budget WHAT DURATION" and skips all others. Both
// parts must be there.
func ParseBudget(text string) (Budget, error) {
	var b Budget
	parts := map[string]*time.Duration{"make-test": &b.Whole, "pair-online": &b.Online}
	s := bufio.NewScanner(strings.NewReader(text))
	for n := 1; s.Scan(); n++ {
		f := strings.Fields(s.Text())
		if len(f) == 0 || f[0] != budgetWord {
			continue
		}
		if len(f) != 3 || parts[f[1]] == nil {
			return b, fmt.Errorf("line %d: want \"budget make-test DURATION\" or \"budget pair-online DURATION\", not %q", n, s.Text())
		}
		d, err := time.ParseDuration(f[2])
		if err != nil || d <= 0 {
			return b, fmt.Errorf("line %d: bad duration %q", n, f[2])
		}
		*parts[f[1]] = d
	}
	for what, d := range parts {
		if *d == 0 {
			return b, fmt.Errorf("no line \"budget %s DURATION\"", what)
		}
	}
	return b, s.Err()
}

// spent is what was used of a budget.
type spent struct {
	whole  time.Duration   // 0 if it is not counted
	online []time.Duration // of each pair that was built
}

// report tells what was spent and returns an error for each part that was too
// much.
func (b Budget) report(out io.Writer, s spent) error {
	var errs []error
	tell := func(what string, used, limit time.Duration) {
		_, _ = fmt.Fprintf(out, "%s took %v of the %v it may\n", what, used, limit)
		if used > limit {
			errs = append(errs, fmt.Errorf("over budget: %s took %v and may take %v", what, used, limit))
		}
	}
	if len(s.online) > 0 && b.Online > 0 {
		longest := time.Duration(0)
		for _, d := range s.online {
			longest = max(longest, d)
		}
		what := fmt.Sprintf("bringing a pair of nodes online, the slowest of %d times,", len(s.online))
		tell(what, longest.Round(100*time.Millisecond), b.Online)
	}
	if s.whole > 0 && b.Whole > 0 {
		tell("make test, up to the end of the scenarios,", s.whole.Round(time.Second), b.Whole)
	}
	return errors.Join(errs...)
}
