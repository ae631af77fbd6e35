package main

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"pgrex/tests/lab/chaos"
	"pgrex/tests/lab/chaos/planted"
)

// TestPlantedLine shows that what the table says of a bug is what happened: a failure
// by another sign is not a bug that was found.
func TestPlantedLine(t *testing.T) {
	bug := planted.Bug{Name: "x", Text: "it is wrong", Signs: []string{"data is wrong"}}
	lost := fmt.Errorf("round 1: does not converge: %w", errors.Join(errors.New("out of time"), fmt.Errorf("%w: data is wrong: lost=7 (lost [1 2])", chaos.ErrViolation)))
	other := fmt.Errorf("round 1: %w: two machines have the address", chaos.ErrViolation)
	errMissed := errors.New("missed")
	for _, c := range []struct {
		name          string
		with, without error
		want          string
		found         bool
	}{
		{"found", lost, nil, "x: it is wrong\n    found in 61s, in round 2: data is wrong: lost=7\n    the same rounds without it: passed, 3 rounds in 90s\n", true},
		{"not found", nil, nil, "x: it is wrong\n    NOT found in 61s and 2 rounds, 0 of their faults missed\n    the same rounds without it: passed, 3 rounds in 90s\n", false},
		{"by another sign", other, nil, "x: it is wrong\n    NOT found in 61s and 2 rounds, but: round 1: violation: two machines have the address\n    the same rounds without it: passed, 3 rounds in 90s\n", false},
		{"no check said so", errors.New("data is wrong"), nil, "x: it is wrong\n    NOT found in 61s and 2 rounds, but: data is wrong\n    the same rounds without it: passed, 3 rounds in 90s\n", false},
		{"and without it", lost, other, "x: it is wrong\n    found in 61s, in round 2: data is wrong: lost=7\n    the same rounds without it: FAILED: round 1: violation: two machines have the address\n", true},
		{"a fault that did not happen", lost, errMissed, "x: it is wrong\n    found in 61s, in round 2: data is wrong: lost=7\n    the same rounds without it: SHOW NOTHING, 1 of their faults missed\n", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			with, without := trial{rounds: 2, took: 61 * time.Second, err: c.with}, trial{rounds: 3, took: 90 * time.Second, err: c.without}
			if errors.Is(c.without, errMissed) {
				without.missed, without.err = 1, nil
			}
			if got := line(bug, with, without); got != c.want {
				t.Errorf("the table says\n%swant\n%s", got, c.want)
			}
			if got := bug.Found(c.with); got != c.found {
				t.Errorf("found: %v", got)
			}
		})
	}
}
