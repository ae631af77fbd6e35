package replication_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	r "pgrex/lib/replication"
)

// rules are the product's decisions; a planted bug replaces one of them.
type rules struct {
	Start, Elect, Promote, Standbys func(r.Observation) r.Decision
}

func productRules() rules {
	return rules{Start: r.Start, Elect: r.Elect, Promote: r.Promote, Standbys: r.Standbys}
}

// world is a small cluster: machines with disks and servers, a network that can
// be cut, copies of the cluster's memory, Pacemaker and clients. Everything in it
// but the rules is written for the tests and knows nothing of them.
type world struct {
	nodes []*node
	mode  r.Mode
	rules rules
	// faults of the interpreter, for planted bugs.
	bugs bugs

	rejoin   r.Rejoin
	external bool // rules are told that external standbys are configured
	// syncStandbys is the parameter sync_standbys; 0 as 1.
	syncStandbys int
	// quorum is the parameter sync_quorum.
	quorum bool
	// anyPart: a part of the cluster without its quorum acts too, after fencing.
	anyPart bool
	// group: nodes of one group see each other over the cluster's network.
	group map[string]int
	// cutLinks are the cut pairs of the replication network.
	cutLinks map[string]bool
	// olderWins: at the next join the copy with fewer writes wins.
	olderWins bool

	// The ghost: what no part of the system knows and the checks are made of.
	acked    map[int]bool // commits acknowledged to a client
	commits  int
	ids      int
	accepted bool // an operator has accepted loss at some time

	violation string
	log       []string
}

// bugs are faults that can be planted in the interpreter.
type bugs struct {
	localReadBack bool // ReadCopy reads our own copy
	blindProof    bool // Prove believes sync_state
}

func newWorld(count int, mode r.Mode) *world {
	w := &world{mode: mode, rules: productRules(), rejoin: r.Follow, group: map[string]int{}, cutLinks: map[string]bool{}, acked: map[int]bool{}}
	for i := range count {
		w.nodes = append(w.nodes, &node{name: fmt.Sprintf("n%d", i+1), power: true})
	}
	// All servers are copies of one: the standbys were made by pg_basebackup.
	w.ids = 1
	for _, n := range w.nodes {
		n.server.wal = []entry{{id: 1, timeline: 1}}
		n.server.flushed, n.server.clean = 1, true
		n.disk = newMemory(w.names())
	}
	return w
}

func (w *world) names() []string {
	var out []string
	for _, n := range w.nodes {
		out = append(out, n.name)
	}
	return out
}

func (w *world) node(name string) *node {
	for _, n := range w.nodes {
		if n.name == name {
			return n
		}
	}
	return nil
}

func (w *world) logf(format string, a ...any) {
	w.log = append(w.log, fmt.Sprintf(format, a...))
}

func (w *world) violate(format string, a ...any) {
	if w.violation == "" {
		w.violation = fmt.Sprintf(format, a...)
		w.logf("VIOLATION: %s", w.violation)
	}
}

func (w *world) write(s *server, commit int) {
	w.ids++
	s.wal = append(slices.Clip(s.wal), entry{id: w.ids, timeline: s.wal[s.end()-1].timeline, commit: commit})
}

// commit is a client's commit: written, not yet flushed anywhere.
func (w *world) commit(n *node) {
	if n.server.state != primary {
		return
	}
	w.commits++
	w.write(&n.server, w.commits)
	n.server.unacked = append(n.server.unacked, n.server.end()-1)
	w.logf("%s: commit %d written", n.name, w.commits)
}

func (w *world) flush(n *node) {
	if n.server.state != stopped {
		n.server.flushed = n.server.end()
		w.acknowledge()
	}
}

func link(a, b string) string {
	if a > b {
		a, b = b, a
	}
	return a + "-" + b
}

func (w *world) linked(a, b *node) bool { return !w.cutLinks[link(a.name, b.name)] }

// stream lets standby s receive up to count entries from primary p. Walsenders
// send only what p has flushed.
func (w *world) stream(p, s *node, count int) {
	if p.server.state != primary || s.server.state != standby || !w.linked(p, s) || !p.server.serves(s.server.wal) {
		return
	}
	if !isPrefix(s.server.wal, p.server.wal) {
		// Where losses were accepted, two lines may carry the same timeline number
		// and the same fork; PostgreSQL itself cannot tell them apart then.
		if !w.accepted && w.mode != r.Async {
			w.violate("%s follows %s though their WAL differs", s.name, p.name)
		}
		return
	}
	line := p.server.senders[s.name]
	if line == nil || !line.alive {
		for _, other := range w.nodes {
			if l := other.server.senders[s.name]; l != nil && other != p {
				l.alive = false
			}
		}
		line = &sender{alive: true}
		p.server.senders[s.name] = line
	}
	have := s.server.end()
	upto := min(p.server.flushed, have+count)
	if upto > have {
		s.server.wal = append(slices.Clone(s.server.wal), p.server.wal[have:upto]...)
	}
	line.caught = line.caught || s.server.end() >= p.server.flushed
}

// disconnect kills connections over links that do not carry any more. The lines
// on the primary stay until its sender times out.
func (w *world) disconnect() {
	for _, p := range w.nodes {
		for name, l := range p.server.senders {
			s := w.node(name)
			if s.server.state != standby || !w.linked(p, s) {
				l.alive = false
			}
		}
	}
}

// hangUp is disconnect after the end of a process: where the network carries, the
// other side hears of it at once.
func (w *world) hangUp() {
	w.disconnect()
	for _, p := range w.nodes {
		for name, l := range p.server.senders {
			if s := w.node(name); !l.alive && s.power && w.linked(p, s) {
				delete(p.server.senders, name)
			}
		}
	}
}

// senderTimeout removes the lines of dead connections.
func (w *world) senderTimeout(p *node) {
	for name, l := range p.server.senders {
		if !l.alive {
			delete(p.server.senders, name)
		}
	}
}

// acknowledge tells clients about commits that are flushed here and wherever the
// backends wait for.
func (w *world) acknowledge() {
	w.disconnect()
	for _, p := range w.nodes {
		s := &p.server
		if s.state != primary {
			continue
		}
		s.unacked = slices.DeleteFunc(s.unacked, func(i int) bool {
			if i >= s.flushed {
				return false
			}
			holds := 0
			for _, name := range s.inForce {
				l, peer := s.senders[name], w.node(name)
				if l != nil && l.alive && l.caught && peer.server.flushed > i {
					holds++
				}
			}
			if holds < s.inForceCount {
				return false
			}
			w.acked[s.wal[i].commit] = true
			w.logf("%s: commit %d acknowledged (waiting for %v)", p.name, s.wal[i].commit, s.inForce)
			w.checkOthers(p)
			w.checkRights(p, i)
			w.checkVoters(p, i)
			return true
		})
	}
}

// checkpointer reads the configuration: from now on backends wait by it.
func (w *world) checkpointer(n *node) {
	n.server.inForce, n.server.inForceCount = slices.Clone(n.server.names), n.server.count
	w.acknowledge()
}

// open lets a server leave recovery; the new timeline is durable before the first
// commit.
func (w *world) open(n *node) {
	s := &n.server
	w.ids++
	s.wal = append(slices.Clone(s.wal), entry{id: w.ids, timeline: s.wal[s.end()-1].timeline + 1})
	s.flushed = s.end()
	s.state = primary
	s.names, s.inForce, s.unacked, s.count, s.inForceCount = nil, nil, nil, 0, 0
	s.senders = map[string]*sender{}
	w.logf("%s: open as primary, %s", n.name, s.position())
	w.checkHolds(n)
	w.disconnect()
}

// checkHolds: whoever opens as primary holds every acknowledged commit.
func (w *world) checkHolds(n *node) {
	if w.accepted || w.mode == r.Async {
		return // the loss was accepted
	}
	have := map[int]bool{}
	for _, e := range n.server.wal {
		have[e.commit] = true
	}
	for _, c := range slices.Sorted(maps.Keys(w.acked)) {
		if !have[c] {
			w.violate("%s opened as primary without commit %d, which was acknowledged", n.name, c)
		}
	}
}

// checkOthers: when a commit is acknowledged, no other server is a primary that
// could acknowledge another line of commits. Another primary that holds none of
// the ghost's newest commit is one; it need not have clients right now.
func (w *world) checkOthers(n *node) {
	for _, other := range w.nodes {
		if other != n && other.server.state == primary && !w.stuck(other, n) {
			w.violate("%s acknowledges while %s can acknowledge too", n.name, other.name)
		}
	}
}

// checkRights: when a commit is acknowledged, whoever has the right to be promoted
// by what is written at its own place holds it. This finds a release that came
// too early even where nobody made use of it.
func (w *world) checkRights(p *node, i int) {
	if w.mode == r.Async {
		return
	}
	for _, n := range w.nodes {
		known := r.Newest(n.file, n.mem.newest())
		if n == p || !n.stack || n.mem.attrs[n.name].score != r.Standby || known.Quorum > 0 || !known.Entitles(n.name) {
			continue
		}
		if n.lacks(p, i) {
			w.violate("%s acknowledged commit %d, which %s lacks and yet may be promoted", p.name, p.server.wal[i].commit, n.name)
		}
	}
}

// checkVoters: when a commit is acknowledged, those who vote by one record and lack
// it are too few to choose a primary.
func (w *world) checkVoters(p *node, i int) {
	lacking := map[uint64]int{}
	for _, n := range w.nodes {
		known := r.Newest(n.file, n.mem.newest())
		if n == p || !n.stack || known.Quorum == 0 || n.mem.attrs[n.name].voter != known.Epoch || !known.Entitles(n.name) || !n.lacks(p, i) {
			continue
		}
		lacking[known.Epoch]++
		if lacking[known.Epoch] >= len(known.Entitled)-1-known.Quorum+1 {
			w.violate("%s acknowledged commit %d, which %d voters of epoch %d lack", p.name, p.server.wal[i].commit, lacking[known.Epoch], known.Epoch)
		}
	}
}

// lacks reports whether n does not have the entry of p's WAL on its disk.
func (n *node) lacks(p *node, i int) bool {
	return n.server.flushed <= i || n.server.wal[i].id != p.server.wal[i].id
}

// stuck: all commits of p wait for somebody who does not answer it.
func (w *world) stuck(p, now *node) bool {
	answering := 0
	for _, name := range p.server.inForce {
		if l := p.server.senders[name]; name != now.name && l != nil && l.alive {
			answering++
		}
	}
	return answering < p.server.inForceCount
}

// shutdown is a clean stop: the standbys that are connected get all there is.
func (w *world) shutdown(n *node) {
	s := &n.server
	if s.state == stopped {
		return
	}
	if s.state == primary {
		w.write(s, 0)
		s.flushed = s.end()
		for _, peer := range w.nodes {
			if l := s.senders[peer.name]; l != nil && l.alive {
				w.stream(n, peer, 1<<30)
			}
		}
	}
	s.flushed = s.end()
	s.wasPrimary, s.clean = s.state == primary, true
	s.state = stopped
	s.unacked, s.senders = nil, nil
	w.hangUp()
	w.logf("%s: server stopped cleanly", n.name)
}

// restart is a restart of the server by hand, without the agent.
func (w *world) restart(n *node) {
	s := &n.server
	state, names, count := s.state, s.names, s.count
	if state == stopped {
		return
	}
	w.logf("%s: server restarted by hand", n.name)
	w.shutdown(n)
	n.startStandby()
	s.state, s.names, s.inForce, s.count, s.inForceCount = state, names, slices.Clone(names), count, count
	w.disconnect()
}

// powerOff takes a machine's power: its server and its stack are gone at once.
func (w *world) powerOff(n *node, keep int, lose bool) {
	if !n.power {
		return
	}
	w.logf("%s: power off", n.name)
	n.crash(keep)
	n.power = false
	w.stackGone(n, lose)
	w.disconnect()
}

// stackGone ends the cluster stack of a node, its transient attributes with it.
// The server, if it runs, goes on.
func (w *world) stackGone(n *node, lose bool) {
	n.action = nil
	n.leaving = false
	if !n.stack {
		return
	}
	if !lose {
		n.disk = n.mem.clone()
	}
	n.stack, n.quorumSeen = false, false
	n.probed, n.running, n.promoted, n.failed, n.banned = false, false, false, false, false
	n.mem, n.waiting = memory{}, nil
	w.reform(lose)
}

// stackStart starts the cluster stack from what its disk says.
func (w *world) stackStart(n *node) {
	if !n.power || n.stack {
		return
	}
	w.logf("%s: cluster stack starts", n.name)
	n.stack = true
	n.mem = newMemory(w.names())
	n.mem.version = n.disk.version
	n.mem.version[1] = 0
	n.mem.records = maps.Clone(n.disk.records)
	w.reform(false)
}

// saveDisks brings cib.xml up to date.
func (n *node) saveDisk() {
	if n.stack {
		n.disk = n.mem.clone()
	}
}

func (w *world) String() string {
	var b strings.Builder
	for _, n := range w.nodes {
		fmt.Fprintf(&b, "%s file{%s} ", n, n.file)
		if n.stack {
			fmt.Fprintf(&b, "cib{%s} score=%s view=%v", n.mem.newest(), n.mem.attrs[n.name].score, n.mem.view)
		}
		fmt.Fprintf(&b, " names=%v/%v run=%v prom=%v fail=%v ban=%v wait=%q reason=%q\n", n.server.names, n.server.inForce, n.running, n.promoted, n.failed, n.banned, n.waits, n.reason)
	}
	return b.String()
}
