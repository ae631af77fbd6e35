package replication_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	r "pgrex/lib/replication"
)

// chooser draws the next number below n: from rapid, which shrinks, or from a
// seed, which is fast and repeatable.
type chooser interface{ pick(label string, n int) int }

type rapidChooser struct{ t *rapid.T }

func (c rapidChooser) pick(label string, n int) int { return rapid.IntRange(0, n-1).Draw(c.t, label) }

type seededChooser struct{ *rand.Rand }

func (c seededChooser) pick(_ string, n int) int { return c.IntN(n) }

// event is something that may happen next, and how often relative to others.
type event struct {
	name   string
	weight int
	fault  bool
	happen func(w *world, c chooser)
}

func anyNode(w *world, c chooser) *node { return w.nodes[c.pick("node", len(w.nodes))] }

// one picks a node for which the event means something, if there is one.
func one(w *world, c chooser, fits func(n *node) bool) *node {
	var some []*node
	for _, n := range w.nodes {
		if fits(n) {
			some = append(some, n)
		}
	}
	if len(some) == 0 {
		return w.nodes[0]
	}
	return some[c.pick("node", len(some))]
}

func isPrimary(n *node) bool  { return n.server.state == primary }
func isRunning(n *node) bool  { return n.server.state != stopped }
func acts(n *node) bool       { return n.action != nil }
func hasMail(n *node) bool    { return len(n.waiting) > 0 }
func idleServer(n *node) bool { return n.action == nil && n.probed && n.running && !n.failed }

func events() []event {
	return []event{
		{"advance", 30, false, func(w *world, c chooser) { w.advance(one(w, c, acts)) }},
		{"finish", 14, false, func(w *world, c chooser) { w.finish(one(w, c, acts)) }},
		{"tick", 24, false, func(w *world, c chooser) {
			if p := w.partitions(); len(p) > 0 {
				w.tick(p[c.pick("partition", len(p))])
			}
		}},
		{"monitor", 16, false, func(w *world, c chooser) {
			if n := one(w, c, idleServer); idleServer(n) {
				w.begin(n, [...]string{"monitor", "notify"}[c.pick("kind", 2)])
			}
		}},
		{"commit", 16, false, func(w *world, c chooser) { w.commit(one(w, c, isPrimary)) }},
		{"flush", 12, false, func(w *world, c chooser) { w.flush(one(w, c, isRunning)) }},
		{"stream", 12, false, func(w *world, c chooser) { w.stream(one(w, c, isPrimary), anyNode(w, c), 1+c.pick("entries", 3)) }},
		{"pump", 12, false, func(w *world, _ chooser) { w.pump() }},
		{"checkpointer", 3, false, func(w *world, c chooser) { w.checkpointer(one(w, c, isPrimary)) }},
		{"sender times out", 6, false, func(w *world, c chooser) { w.senderTimeout(one(w, c, isPrimary)) }},
		{"arrive", 12, false, func(w *world, c chooser) { n := one(w, c, hasMail); n.arrive(1 + c.pick("count", 4)) }},
		{"record overtakes", 4, true, func(w *world, c chooser) { one(w, c, hasMail).overtake() }},
		{"disk", 3, false, func(w *world, c chooser) { anyNode(w, c).saveDisk() }},
		{"settle", 7, false, func(w *world, c chooser) { w.settle(1 + c.pick("rounds", 8)) }},

		{"cut link", 4, true, func(w *world, c chooser) {
			w.cutLinks[link(anyNode(w, c).name, anyNode(w, c).name)] = true
			w.disconnect()
		}},
		{"mend link", 3, false, func(w *world, c chooser) { delete(w.cutLinks, link(anyNode(w, c).name, anyNode(w, c).name)) }},
		{"cut cluster", 2, true, func(w *world, c chooser) {
			g := map[string]int{}
			for _, n := range w.nodes {
				g[n.name] = c.pick("group", len(w.nodes))
			}
			w.cut(g, c.pick("lose", 2) == 1)
		}},
		// All networks of one node at once, the one to the fencing devices not.
		{"isolate", 2, true, func(w *world, c chooser) {
			n := anyNode(w, c)
			g := map[string]int{n.name: 1}
			for _, other := range w.nodes {
				if other != n {
					w.cutLinks[link(n.name, other.name)] = true
				}
			}
			w.disconnect()
			w.cut(g, c.pick("lose", 2) == 1)
		}},
		{"heal", 3, true, func(w *world, c chooser) { w.olderWins = c.pick("older wins", 2) == 1; w.heal(); w.olderWins = false }},
		{"fence", 6, true, func(w *world, c chooser) {
			if p := w.partitions(); len(p) > 0 {
				w.fence(p[c.pick("partition", len(p))], anyNode(w, c))
			}
		}},
		{"server crash", 3, true, func(w *world, c chooser) { one(w, c, isRunning).crash(c.pick("kept", 3)); w.hangUp() }},
		// Somebody restarts the server by hand: a primary stays one, with the names
		// it had, and nobody tells the cluster.
		{"restart by hand", 1, true, func(w *world, c chooser) { w.restart(one(w, c, isRunning)) }},
		{"power off", 2, true, func(w *world, c chooser) { w.powerOff(anyNode(w, c), c.pick("kept", 2), c.pick("lose", 2) == 1) }},
		{"power off amid action", 2, true, func(w *world, c chooser) {
			n := one(w, c, acts)
			if n.action == nil {
				return
			}
			for range c.pick("steps", 5) {
				w.advance(n)
			}
			w.powerOff(n, c.pick("kept", 2), c.pick("lose", 2) == 1)
		}},
		{"power off all", 1, true, func(w *world, c chooser) {
			for _, n := range w.nodes {
				w.powerOff(n, c.pick("kept", 2), true)
			}
		}},
		{"stack crash", 1, true, func(w *world, c chooser) { w.stackGone(anyNode(w, c), c.pick("lose", 2) == 1) }},
		{"leave", 2, true, func(w *world, c chooser) { n := anyNode(w, c); n.leaving = n.stack }},
		{"kill", 3, true, func(w *world, c chooser) { w.kill(one(w, c, acts)) }},
		{"boot", 6, false, func(w *world, c chooser) { one(w, c, func(n *node) bool { return !n.power }).power = true }},
		{"stack start", 8, false, func(w *world, c chooser) { w.stackStart(one(w, c, func(n *node) bool { return n.power && !n.stack })) }},
		{"unblock quorum", 1, true, func(w *world, c chooser) { n := anyNode(w, c); n.quorumSeen = n.stack }},
		// external_standby_node_list is set or unset: commits wait for all or for one.
		{"external standbys", 1, true, func(w *world, _ chooser) { w.external = !w.external }},
		{"failure timeout", 4, false, func(w *world, c chooser) { anyNode(w, c).banned = false }},
	}
}

// accept is an operator who accepts what a node waits for, in the terms of the
// moment, or takes it back by a restart of the stack.
func accept(w *world, c chooser) {
	n := anyNode(w, c)
	if !n.stack || n.waits == "" && n.reason == "" {
		return
	}
	w.acceptOn(n)
}

func (w *world) acceptOn(n *node) {
	epoch := r.Newest(n.file, n.mem.newest()).Epoch
	w.accepted = true
	n.banned = false
	w.logf("%s: an operator accepts loss for epoch %d", n.name, epoch)
	w.writeAttrs(n, n.name, func(a *attrs) { a.accept, a.accepted = epoch, true })
}

// schedule runs one random life of a cluster, then repairs everything and looks
// whether it comes back. It returns what went wrong.
func schedule(w *world, c chooser, length int, more ...event) string {
	list := append(events(), more...)
	total := 0
	for i := range list {
		// Each life has its own mixture of faults: what never happens leaves room
		// for what happens often, and rare combinations come up.
		if list[i].fault {
			list[i].weight *= [...]int{0, 1, 1, 2, 4}[c.pick("mixture", 5)]
		}
		total += list[i].weight
	}
	w.past(c)
	w.rejoin = [...]r.Rejoin{r.Follow, r.Rewind, r.Clone}[c.pick("rejoin", 3)]
	for _, n := range w.nodes {
		w.stackStart(n)
	}
	w.settle(12)
	for range length {
		at := c.pick("event", total)
		for _, e := range list {
			if at -= e.weight; at < 0 {
				w.logf("-- %s", e.name)
				e.happen(w, c)
				break
			}
		}
		w.acknowledge()
		if w.violation != "" {
			return w.violation
		}
	}
	w.repair()
	if w.accepted && w.violation == "" && !w.hasPrimary() {
		// Data that an operator let diverge are his to choose from again.
		w.acceptOn(w.nodes[0])
		w.repair()
	}
	if w.violation != "" {
		return w.violation
	}
	return w.stands()
}

func (w *world) hasPrimary() bool {
	for _, n := range w.nodes {
		if n.promoted && isPrimary(n) {
			return true
		}
	}
	return false
}

// past gives one of the servers commits from before there was a record.
func (w *world) past(c chooser) {
	n := anyNode(w, c)
	for range c.pick("past", 12) {
		w.commits++
		w.write(&n.server, w.commits)
		w.acked[w.commits] = true
	}
	n.server.flushed = n.server.end()
}

// repair mends all that is broken and lets the cluster work for a while.
func (w *world) repair() {
	w.logf("-- repair")
	for range 4 {
		w.heal()
		for _, n := range w.nodes {
			n.power, n.leaving, n.banned = true, false, false
			w.stackStart(n)
		}
		w.settle(12)
	}
}

// stands tells why the cluster does not serve; "" if it does.
func (w *world) stands() string {
	for _, n := range w.nodes {
		if n.server.state != primary || !n.promoted {
			continue
		}
		w.commit(n)
		last := w.commits
		w.settle(6)
		if w.violation != "" {
			return w.violation
		}
		if !w.acked[last] {
			return fmt.Sprintf("%s is primary but acknowledges nothing", n.name)
		}
		w.checkHolds(n)
		return w.violation
	}
	return "no primary though all is repaired"
}

// report is the end of the world's log, without what only repeats itself.
func report(w *world, problem string, tail int) string {
	var log []string
	seen := map[string]int{}
	for i, l := range w.log {
		if at, ok := seen[l]; ok && i-at < 40 {
			seen[l] = i
			continue
		}
		seen[l] = i
		log = append(log, l)
	}
	if len(log) > tail {
		log = log[len(log)-tail:]
	}
	return fmt.Sprintf("%s\n%s\n%s", strings.Join(log, "\n"), w, problem)
}

// scale multiplies the budget of the random tests: PGREX_RAPID=100 is a long run.
func scale(t *testing.T) int {
	v := os.Getenv("PGREX_RAPID")
	if v == "" {
		return 1
	}
	var n int
	if _, err := fmt.Sscanf(v, "%d", &n); err != nil || n < 1 {
		t.Fatalf("PGREX_RAPID=%q: want a factor of at least 1", v)
	}
	return n
}

func setChecks(t *testing.T, n int) {
	if err := flag.Set("rapid.checks", fmt.Sprint(n)); err != nil {
		t.Fatal(err)
	}
}

func TestNothingAcknowledgedIsLost(t *testing.T) {
	for _, count := range []int{2, 3} {
		t.Run(fmt.Sprintf("%d nodes", count), func(t *testing.T) {
			setChecks(t, 150*scale(t))
			rapid.Check(t, func(t *rapid.T) {
				w := newWorld(count, r.Sync)
				if problem := schedule(w, rapidChooser{t}, 120); problem != "" {
					t.Fatal(report(w, problem, 400))
				}
			})
		})
	}
}

// severalEvents are changes of sync_standbys and sync_quorum while all goes on.
func severalEvents() []event {
	return []event{
		{"sync standbys", 1, true, func(w *world, c chooser) { w.syncStandbys = 1 + c.pick("sync standbys", len(w.nodes)-1) }},
		{"quorum", 1, true, func(w *world, _ chooser) { w.quorum = !w.quorum }},
		// A commit that reaches a few standbys only, and what then must not lose it.
		{"commit for some", 16, false, func(w *world, c chooser) {
			p := one(w, c, isPrimary)
			w.commit(p)
			w.flush(p)
			for range max(p.server.inForceCount, 1) {
				s := anyNode(w, c)
				w.stream(p, s, 1<<30)
				w.flush(s)
			}
		}},
		{"primary fenced", 3, true, func(w *world, c chooser) {
			p := one(w, c, isPrimary)
			w.powerOff(p, 0, false)
			for _, part := range w.partitions() {
				w.fence(part, p)
			}
		}},
		// Two that were fenced come back by themselves and fence the others.
		{"return apart", 1, true, func(w *world, c chooser) {
			back := map[string]int{}
			for range 2 {
				n := one(w, c, func(n *node) bool { return n.server.state == standby })
				w.powerOff(n, 0, true)
				back[n.name] = 1
			}
			w.settle(4)
			w.commit(one(w, c, isPrimary))
			w.settle(1)
			for a := range back {
				for _, b := range w.nodes {
					if back[b.name] == 0 {
						w.cutLinks[link(a, b.name)] = true
					}
				}
			}
			w.cut(back, false)
			for name := range back {
				n := w.node(name)
				n.power = true
				w.stackStart(n)
				n.quorumSeen = true
			}
			w.settle(8)
		}},
		{"standby crash", 3, true, func(w *world, c chooser) {
			one(w, c, func(n *node) bool { return n.server.state == standby }).crash(0)
			w.hangUp()
		}},
	}
}

// several begins a life in which commits wait for several standbys, or for any
// of them.
func several(w *world, c chooser) *world {
	w.syncStandbys, w.quorum, w.anyPart = 1+c.pick("sync standbys", 2), c.pick("quorum", 3) > 0, c.pick("any part", 3) == 0
	return w
}

// TestSeveralStandbysLoseNothing is the same with sync_standbys and sync_quorum.
func TestSeveralStandbysLoseNothing(t *testing.T) {
	for _, count := range []int{3, 4, 5} {
		t.Run(fmt.Sprintf("%d nodes", count), func(t *testing.T) {
			setChecks(t, 100*scale(t))
			rapid.Check(t, func(t *rapid.T) {
				w := several(newWorld(count, r.Sync), rapidChooser{t})
				if problem := schedule(w, rapidChooser{t}, 120, severalEvents()...); problem != "" {
					t.Fatal(report(w, problem, 400))
				}
			})
		})
	}
}

// TestAcceptedLossHasAnExit: whatever an operator accepts and when, the cluster
// comes back once everything is repaired, if need be by one more such act.
func TestAcceptedLossHasAnExit(t *testing.T) {
	seeded(t, 200, r.Sync, event{"accept", 4, false, accept})
}

// TestAsyncHasAnExit: in async mode commits may be lost, but not the service.
func TestAsyncHasAnExit(t *testing.T) {
	seeded(t, 150, r.Async)
}

func seeded(t *testing.T, seeds uint64, mode r.Mode, more ...event) {
	for _, count := range []int{2, 3} {
		for seed := range seeds * uint64(scale(t)) {
			w := newWorld(count, mode)
			if problem := schedule(w, seededChooser{rand.New(rand.NewPCG(seed, uint64(count)))}, 200, more...); problem != "" {
				t.Fatalf("%d nodes, seed %d:\n%s", count, seed, report(w, problem, 300))
			}
		}
	}
}

// TestSeededSchedules runs many more schedules than rapid can in the same time.
func TestSeededSchedules(t *testing.T) {
	seeded(t, 600, r.Sync)
}
