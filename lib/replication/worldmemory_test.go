package replication_test

import (
	"maps"
	"slices"

	r "pgrex/lib/replication"
)

// memory is one node's own copy of the cluster's memory.
type memory struct {
	// version is Pacemaker's: of two copies the higher one replaces the other as
	// a whole. Durable writes count first, transient ones second.
	version [2]int
	records map[string]r.Record   // forever: one entry per node
	view    map[string]r.Presence // what this side knows of the nodes
	attrs   map[string]attrs      // transient, by owner
}

// attrs are one node's transient attributes.
type attrs struct {
	score    r.Score
	voter    uint64
	position *r.Published
	accept   uint64
	accepted bool
}

func newMemory(nodes []string) memory {
	m := memory{records: map[string]r.Record{}, view: map[string]r.Presence{}, attrs: map[string]attrs{}}
	for _, n := range nodes {
		m.attrs[n] = attrs{score: r.Unset}
	}
	return m
}

func (m memory) clone() memory {
	m.records, m.view, m.attrs = maps.Clone(m.records), maps.Clone(m.view), maps.Clone(m.attrs)
	return m
}

func (m memory) newest() r.Record {
	var best r.Record
	for _, k := range slices.Sorted(maps.Keys(m.records)) {
		best = r.Newest(best, m.records[k])
	}
	return best
}

// broadcast applies a write to the writer's own copy at once and sends it to the
// other members, where it arrives in order, maybe late.
func (w *world) broadcast(from *node, durable bool, write func(m *memory)) {
	if !from.stack {
		return
	}
	write(&from.mem)
	m := &message{from: from, durable: durable, write: write, arrived: map[*node]bool{}}
	for _, n := range w.members(from) {
		if n != from {
			n.waiting = append(n.waiting, m)
		}
	}
}

// message is an update on its way to the other members.
type message struct {
	from    *node
	durable bool // a record, not an attribute
	write   func(m *memory)
	arrived map[*node]bool
}

// arrive delivers up to count waiting updates.
func (n *node) arrive(count int) {
	for ; count > 0 && len(n.waiting) > 0; count-- {
		n.take(0)
	}
}

func (n *node) take(i int) {
	m := n.waiting[i]
	n.waiting = slices.Delete(slices.Clone(n.waiting), i, i+1)
	m.write(&n.mem)
	m.arrived[n] = true
}

// overtake delivers the next record before all attributes: they come by way of
// another daemon, so that only each kind keeps its order.
func (n *node) overtake() {
	if i := slices.IndexFunc(n.waiting, func(m *message) bool { return m.durable }); i >= 0 {
		n.take(i)
	}
}

// arrivesBefore reports whether a message still arrives at n although its sender
// is gone: corosync gives it to all that remain together, or to none.
func (w *world) arrivesBefore(n *node, m *message) bool {
	for _, other := range w.members(n) {
		if other == m.from || m.arrived[other] {
			return true
		}
	}
	return false
}

func (w *world) writeRecord(from *node, rec r.Record) {
	name := from.name
	w.broadcast(from, true, func(m *memory) {
		m.records[name] = rec
		m.version = [2]int{m.version[0] + 1, 0}
	})
}

func (w *world) writeAttrs(from *node, owner string, change func(a *attrs)) {
	w.broadcast(from, false, func(m *memory) {
		a := m.attrs[owner]
		change(&a)
		m.attrs[owner] = a
		m.version[1]++
	})
}

// members are the nodes in n's partition, n included.
func (w *world) members(n *node) []*node {
	var out []*node
	for _, m := range w.nodes {
		if m.stack && w.group[m.name] == w.group[n.name] {
			out = append(out, m)
		}
	}
	return out
}

// partitions are the sets of nodes that see each other.
func (w *world) partitions() [][]*node {
	var out [][]*node
	for _, n := range w.nodes {
		if m := w.members(n); n.stack && len(m) > 0 && m[0] == n {
			out = append(out, m)
		}
	}
	return out
}

// reform is a change of membership. What was under way arrives first or, from
// nodes that are gone, is lost; then the copies of all members become one.
func (w *world) reform(lose bool) {
	for _, n := range w.nodes {
		for len(n.waiting) > 0 {
			if lose && !w.arrivesBefore(n, n.waiting[0]) {
				n.waiting = n.waiting[1:]
				continue
			}
			n.arrive(1)
		}
	}
	for _, part := range w.partitions() {
		w.join(part)
	}
}

// join makes one memory of the copies of a partition's members: one copy wins as
// a whole, but each node knows its own transient attributes best, and nobody is
// taken for down while a member still misses it.
func (w *world) join(part []*node) {
	best := part[0]
	for _, n := range part[1:] {
		newer := slices.Compare(n.mem.version[:], best.mem.version[:]) > 0
		if newer != w.olderWins {
			best = n
		}
	}
	joined := best.mem.clone()
	for _, n := range w.nodes {
		joined.view[n.name] = w.judge(n, part)
		if slices.Contains(part, n) {
			joined.attrs[n.name] = n.mem.attrs[n.name]
		} else {
			joined.attrs[n.name] = attrs{score: r.Unset}
		}
	}
	for _, n := range part {
		n.mem = joined.clone()
		if len(part) == len(w.nodes) || n.quorumSeen {
			for _, m := range part {
				m.quorumSeen = true
			}
		}
	}
}

func (w *world) judge(n *node, part []*node) r.Presence {
	if slices.Contains(part, n) {
		return r.Online
	}
	verdict := r.Lost
	for _, m := range part {
		// A stack that has just started knows nothing yet and says nothing.
		if m.mem.view[m.name] != r.Online {
			continue
		}
		if m.mem.view[n.name] != r.Down {
			return r.Lost
		}
		verdict = r.Down
	}
	return verdict
}

// quorate reports whether a partition may act. Two nodes: two_node=1, which
// implies wait_for_all; anyPart is no-quorum-policy=ignore.
func (w *world) quorate(part []*node) bool {
	seen := false
	for _, n := range part {
		seen = seen || n.quorumSeen
	}
	return seen && (len(w.nodes) <= 2 || 2*len(part) > len(w.nodes) || w.anyPart)
}
