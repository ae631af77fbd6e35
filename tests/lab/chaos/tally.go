package chaos

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Tally counts what happened.
type Tally struct {
	// Rounds that passed all checks; Faults that happened, by kind; Missed are those
	// that found nothing to break.
	Rounds int
	Faults map[string]int
	Missed int
	// Failovers are rounds that ended on another timeline, Promotions those that the
	// cluster carried out.
	Failovers, Promotions int
	// Acknowledged and Lost count commits of all clients.
	Acknowledged, Lost int
	// Ops are operations on the register, Undecided the keys for whose check there
	// was no time, Answers those to the question who has the address.
	Ops, Undecided, Answers int
	// Acts are what an operator had to do, and how often.
	Acts map[string]int
	// Slowest is the longest time from healing to health, Gap the longest without an
	// acknowledged commit, faults that need a healing included.
	Slowest, Gap time.Duration
	// Took is how long all of it lasted.
	Took time.Duration
}

func (t *Tally) hit(kind string) {
	if t.Faults == nil {
		t.Faults = map[string]int{}
	}
	t.Faults[kind]++
}

func (t *Tally) add(converged, gap time.Duration, acts []string) {
	t.Rounds++
	t.Slowest, t.Gap = max(t.Slowest, converged), max(t.Gap, gap)
	for _, a := range acts {
		t.Acts[a]++
	}
}

// sum adds counts.
func sum(m map[string]int) (n int) {
	for _, x := range m {
		n += x
	}
	return n
}

// line is the tally in one line, as the table in docs/reliability.md has it.
func (t *Tally) line(p Plan) string {
	var acts []string
	for _, a := range slices.Sorted(maps.Keys(t.Acts)) {
		acts = append(acts, fmt.Sprintf("%s x%d", a, t.Acts[a]))
	}
	if len(acts) == 0 {
		acts = append(acts, "none")
	}
	return fmt.Sprintf("chaos: seed=%d %s took=%.0fs rounds=%d faults=%d missed=%d failovers=%d promotions=%d acknowledged=%d lost=%d register-ops=%d undecided=%d arp-answers=%d slowest-healing=%.0fs operator: %s",
		p.Seed, p.Shape, t.Took.Seconds(), t.Rounds, sum(t.Faults), t.Missed, t.Failovers, t.Promotions, t.Acknowledged, t.Lost,
		t.Ops, t.Undecided, t.Answers, t.Slowest.Seconds(), strings.Join(acts, ", "))
}
