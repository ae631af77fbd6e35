package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/fault"
)

// Kind is one way to break something.
type Kind struct {
	// Name is what it is called; Group is what it belongs to, for a choice.
	Name, Group string
	// Roles are the nodes it may hit.
	Roles []Role
	// Longest is how long it may last, 0 for a blow.
	Longest time.Duration
	// Args chooses the rest, nil for nothing.
	Args func(*rand.Rand) string
	// Needs says whether a cluster has what it needs, nil for every cluster.
	Needs func(Shape) bool
	// Inject breaks it and shows that it is broken; Heal takes it back, and must
	// do no harm where it is back already.
	Inject func(context.Context, Target) (fault.Evidence, error)
	Heal   func(context.Context, Target) error
}

// Target is what a step of a round hits.
type Target struct {
	*cluster.Cluster
	Step
	// Node is the one that has the role, Peers are all others.
	Node  string
	Peers []string
	// Log tells a person.
	Log func(format string, args ...any)
}

// peer is a node to give orders from that are about another one.
func (t Target) peer() string { return t.Peers[0] }

// sh runs a shell script on the node.
func (t Target) sh(ctx context.Context, script string) (string, error) {
	return t.Must(ctx, t.Node, "sh", "-c", script)
}

// evidence is that of something that was done by an order which said yes.
func (t Target) evidence(detail string) fault.Evidence {
	name := t.Fault
	if t.Args != "" {
		name += " " + t.Args
	}
	return fault.Evidence{At: time.Now(), InForce: time.Now(), Fault: name + " on " + t.Node, Detail: detail}
}

// everybody and servers are roles that faults hit.
func everybody() []Role { return []Role{Primary, Standby, Primary, Standby, Other} }
func onPrimary() []Role { return []Role{Primary} }
func onStandby() []Role { return []Role{Standby, Standby, Other} }

// Kinds lists all kinds, in an order that does not change.
func Kinds() []Kind {
	return slices.Concat(processKinds(), agentKinds(), networkKinds(), machineKinds(), cloudKinds(), diskKinds(), insideKinds(), operatorKinds(), directedKinds())
}

// Choose gives the kinds that fit a cluster and a choice of names and groups
// separated by commas; the empty choice is all.
func Choose(shape Shape, choice string) ([]Kind, error) {
	words := strings.FieldsFunc(choice, func(r rune) bool { return r == ',' })
	used := map[string]bool{}
	var chosen []Kind
	for _, k := range Kinds() {
		named := len(words) == 0 && k.Group != directed
		for _, w := range words {
			if w == k.Name || w == k.Group {
				named, used[w] = true, true
			}
		}
		if named && (k.Needs == nil || k.Needs(shape)) {
			chosen = append(chosen, k)
		}
	}
	for _, w := range words {
		if !used[w] {
			return nil, fmt.Errorf("no fault and no group of faults is called %q", w)
		}
	}
	if len(chosen) == 0 {
		return nil, errors.New("no fault of that choice fits this cluster")
	}
	return chosen, nil
}

// Usage describes all kinds, one a line.
func Usage() string {
	var b strings.Builder
	for _, k := range Kinds() {
		hold := ""
		if k.Longest > 0 {
			hold = fmt.Sprintf("up to %v", k.Longest)
		}
		fmt.Fprintf(&b, "   %-20s %-10s %s\n", k.Name, k.Group, hold)
	}
	return b.String()
}

// oneOf chooses one of the words.
func oneOf(words ...string) func(*rand.Rand) string {
	return func(rng *rand.Rand) string { return words[rng.IntN(len(words))] }
}
