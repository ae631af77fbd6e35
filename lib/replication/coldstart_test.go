package replication_test

import (
	"fmt"
	"slices"
	"testing"

	r "pgrex/lib/replication"
)

// orders are all orders of three.
func orders() [][3]int {
	return [][3]int{{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}}
}

// TestColdStartOfThree takes the power of three nodes in every order, with and
// without time for the others to act on it, and gives it back in every order. Whoever
// is promoted on the way has every acknowledged commit (the world looks at that by
// itself), nobody acts alone, and with all three there the cluster serves.
func TestColdStartOfThree(t *testing.T) {
	// What happens between two losses of power: nothing, too little to end anything,
	// enough for a failover and commits on the other side.
	between := []struct {
		name   string
		rounds int
		serves bool // commits are tried
		lonely bool // the primary has written what nobody else got, and nobody was told of
	}{{"at once", 0, false, false}, {"with WAL of its own, at once", 0, false, true},
		{"with WAL of its own, one after the other", 14, true, true}, {"one after the other", 14, true, false}}
	byTwo := map[bool]int{}
	for _, b := range between {
		for _, off := range orders() {
			for _, on := range orders() {
				name := fmt.Sprintf("%s off %v on %v", b.name, off, on)
				w := newWorld(3, r.Sync)
				for _, n := range w.nodes {
					w.stackStart(n)
				}
				w.settle(15)
				if !w.hasPrimary() {
					t.Fatalf("no primary to begin with:\n%s", report(w, "", 100))
				}
				w.commitSomewhere()
				if b.lonely {
					w.writeAlone()
				}
				for _, i := range off {
					w.powerOff(w.nodes[i], 0, true)
					w.settle(b.rounds)
					if b.serves {
						w.commitSomewhere()
					}
				}
				for at, i := range on {
					w.nodes[i].power = true
					w.stackStart(w.nodes[i])
					w.nodes[i].quorumSeen = true // three nodes have no wait_for_all
					w.settle(14)
					if at == 0 && w.hasPrimary() {
						t.Fatalf("%s: one of three serves alone:\n%s", name, report(w, "", 200))
					}
					if at == 1 {
						byTwo[w.hasPrimary()]++
						w.commitSomewhere()
					}
				}
				// What was refused while somebody was missing is tried again.
				for range 2 {
					for _, n := range w.nodes {
						n.banned = false
					}
					w.settle(14)
				}
				problem := w.violation
				if problem == "" {
					problem = w.stands()
				}
				if problem != "" {
					t.Fatalf("%s: %s", name, report(w, problem, 200))
				}
			}
		}
	}
	// Two of three serve where they can know that they hold everything, and wait
	// where they cannot: a story in which only one of both comes up shows little.
	t.Logf("of two that were back, %d pairs served and %d waited", byTwo[true], byTwo[false])
	if byTwo[true] == 0 || byTwo[false] == 0 {
		t.Errorf("two nodes serve before the third is back: %v", byTwo)
	}
}

// writeAlone has the primary flush two commits that are on their way to nobody.
func (w *world) writeAlone() {
	for _, n := range w.nodes {
		if n.promoted && isPrimary(n) {
			w.commit(n)
			w.commit(n)
			w.flush(n)
		}
	}
}

// commitSomewhere has one commit tried on the primary, if there is one, and delivered
// to whoever is connected.
func (w *world) commitSomewhere() {
	i := slices.IndexFunc(w.nodes, func(n *node) bool { return n.promoted && isPrimary(n) })
	if i >= 0 {
		w.commit(w.nodes[i])
		w.pump()
		w.acknowledge()
	}
}
