// Package scenario holds what the lab plays through: each scenario breaks a
// healthy cluster in one way, shows that it is broken, and says what must come
// of it. Around every one of them the runner writes through the virtual address
// and checks that no acknowledged commit is lost, after the failover and again
// after everything is healed.
package scenario

import (
	"bufio"
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"
)

// Scenario is one thing that can happen.
type Scenario struct {
	// Name is what it is called on the command line and in the list.
	Name string
	// Text says in a line what happens and what must come of it.
	Text string
	// Nodes is how many nodes it needs, 0 for 2.
	Nodes int
	// OnDisk says that it is about what a power loss does to a disk.
	OnDisk bool
	// OwnWAL gives pg_wal a volume of its own; only with OnDisk.
	OwnWAL bool
	// SecondBMC gives each node another management controller.
	SecondBMC bool
	// Azure plays it in the lab's Azure, Sick begins it with a cluster that cannot
	// become healthy, and leaves it so.
	Azure, Sick bool
	// Fresh begins with machines of Debian that nobody has worked on, which have the
	// packages of this commit lying about. The scenario makes a cluster of them.
	Fresh bool
	// Unconfigured begins with a cluster that has servers' data and no resources.
	Unconfigured bool
	// After is the scenario that leaves what this one can begin with, "" for none.
	After string
	// Example is the configuration below docs/examples, "" for that of the place.
	Example string
	// Variables are those of the configuration it needs.
	Variables map[string]string
	// Reference starts with the reference agent.
	Reference bool
	// MaxGap is the longest allowed time without an acknowledged commit, 0
	// for no limit.
	MaxGap time.Duration
	// NewSessions has the writer open a session for each row.
	NewSessions bool
	// Quiet says that no writer runs: the scenario has its own.
	Quiet bool
	// Spoils says that it leaves a cluster that is of no use to another
	// scenario, though healthy.
	Spoils bool
	// Play plays it.
	Play func(ctx context.Context, r *Run) error
}

// All lists all scenarios in the order they are played.
func All() []Scenario {
	var all []Scenario
	for _, group := range [][]Scenario{
		basic(), switchovers(), power(), disks(), alone(), agentKills(), controllers(), syncs(), cuts(), upkeep(), watchers(), rejoins(), severalNodes(), dropIns(), addresses(), fencing(), modes(), inAzure(), mixed(), guides(),
	} {
		all = append(all, group...)
	}
	return all
}

// Find finds a scenario by name.
func Find(name string) (Scenario, error) {
	for _, s := range All() {
		if s.Name == name {
			return s, nil
		}
	}
	return Scenario{}, fmt.Errorf("no scenario %q (lab list shows all)", name)
}

// When says when a scenario is played.
type When string

// The values of When.
const (
	InTest When = "test" // by make test
	InFull When = "full" // only by make test-full
	InCore When = "core" // by make test, on the other release of Debian too
)

// List is the committed list of what runs when.
type List map[string]When

// ParseList reads lines of "name test", "name core" or "name full"; # begins a comment.
func ParseList(text string) (List, error) {
	l := List{}
	s := bufio.NewScanner(strings.NewReader(text))
	for n := 1; s.Scan(); n++ {
		line, _, _ := strings.Cut(s.Text(), "#")
		f := strings.Fields(line)
		if len(f) == 0 || f[0] == budgetWord {
			continue
		}
		if len(f) != 2 || !slices.Contains([]When{InTest, InFull, InCore}, When(f[1])) {
			return nil, fmt.Errorf("line %d: want \"name test\", \"name core\" or \"name full\", not %q", n, s.Text())
		}
		if l[f[0]] != "" {
			return nil, fmt.Errorf("line %d: %s is listed twice", n, f[0])
		}
		l[f[0]] = When(f[1])
	}
	return l, s.Err()
}

// Compare says where the list and the scenarios differ.
func (l List) Compare(all []Scenario) error {
	var bad []string
	have := map[string]bool{}
	for _, s := range all {
		if have[s.Name] {
			bad = append(bad, "two scenarios are called "+s.Name)
		}
		have[s.Name] = true
		if l[s.Name] == "" {
			bad = append(bad, s.Name+" is not in scenarios.txt")
		}
	}
	for name := range l {
		if !have[name] {
			bad = append(bad, "scenarios.txt lists "+name+", which is no scenario")
		}
	}
	if len(bad) == 0 {
		return nil
	}
	sort.Strings(bad)
	return fmt.Errorf("scenarios.txt and the code differ: %s", strings.Join(bad, "; "))
}
