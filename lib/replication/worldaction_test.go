package replication_test

import (
	"slices"

	r "pgrex/lib/replication"
)

// action is one run of the agent on a node. It goes on in small steps, so that
// anything may happen between two of them, its own end included.
type action struct {
	kind  string // start, stop, monitor, notify, promote, demote
	phase int
	queue []func() // small steps still to be done
	// obs is what the agent knows: read at its last look, kept up to date with
	// what it wrote itself since.
	obs      r.Observation
	verdict  r.Verdict
	reason   string
	opened   bool
	waited   int
	finished bool
}

// waitLimit is how often an action asks again before its time is up.
const waitLimit = 3

// learn brings file and cluster memory to the newest record known: whoever
// learns a newer one makes it durable, and whoever finds that the cluster's
// memory was replaced by an older one tells it again.
func (w *world) learn(n *node) {
	cib := n.mem.newest()
	switch {
	case cib.Newer(n.file):
		n.file = cib
	case n.file.Newer(cib):
		w.writeRecord(n, n.file)
	}
}

// look is everything the agent reads at once.
func (w *world) look(n *node) r.Observation {
	own := n.mem.attrs[n.name]
	o := r.Observation{
		Self: n.name, Nodes: w.names(), Mode: w.mode, Record: r.Newest(n.file, n.mem.newest()),
		Peers: map[string]r.Peer{}, Score: own.score, Accept: own.accept, Accepted: own.accepted, AcceptName: "pgsql-accept-loss", Own: n.mem.records[n.name],
		Rejoin: w.rejoin, External: w.external, SyncStandbys: w.syncStandbys, Quorum: w.quorum, Voter: own.voter, Promoted: w.promotedIn(n),
	}
	for _, peer := range w.nodes {
		if peer != n {
			o.Peers[peer.name] = r.Peer{Presence: n.mem.view[peer.name], Position: n.mem.attrs[peer.name].position, Score: n.mem.attrs[peer.name].score, Voter: n.mem.attrs[peer.name].voter}
		}
	}
	w.lookAtServer(n, &o)
	return o
}

// lookAtServer reads what the server alone can tell.
func (w *world) lookAtServer(n *node, o *r.Observation) {
	s := &n.server
	o.Position = s.position()
	o.SyncNames, o.SyncCount = slices.Clone(s.names), s.count
	o.Wal = r.Wal{Position: s.position(), Clean: s.clean, WasPrimary: s.wasPrimary}
	for name, p := range o.Peers {
		p.Row = nil
		if l := s.senders[name]; l != nil && s.state == primary {
			row := r.Row{State: "catchup", SyncState: "async"}
			if l.caught {
				row.State = "streaming"
			}
			if slices.Contains(s.names, name) {
				row.SyncState = "sync"
				if s.count < len(s.names) {
					row.SyncState = "quorum"
				}
			}
			p.Row = &row
		}
		o.Peers[name] = p
	}
	for _, peer := range w.nodes {
		if s.state == stopped && peer.name == o.Promoted && peer.server.state == primary && w.linked(n, peer) {
			o.Upstream = &r.Upstream{Node: peer.name, Position: peer.server.position()}
		}
	}
}

func (w *world) promotedIn(n *node) string {
	for _, m := range w.members(n) {
		if m.promoted {
			return m.name
		}
	}
	return ""
}

func (w *world) begin(n *node, kind string) {
	if n.action == nil && n.stack {
		n.action = &action{kind: kind}
		w.logf("%s: %s begins", n.name, kind)
	}
}

// advance does one small step of a node's action.
func (w *world) advance(n *node) {
	a := n.action
	if a == nil {
		return
	}
	if len(a.queue) > 0 {
		f := a.queue[0]
		a.queue = a.queue[1:]
		f()
	} else {
		switch a.kind {
		case "start":
			w.stepStart(n, a)
		case "stop", "demote":
			w.stepDown(n, a)
		case "promote":
			w.stepPromote(n, a)
		default:
			w.stepMonitor(n, a)
		}
	}
	if a.finished && n.action == a {
		w.logf("%s: %s ends", n.name, a.kind)
		n.action = nil
	}
}

// finish runs an action to its end, or until it only waits.
func (w *world) finish(n *node) {
	for i := 0; n.action != nil && i < 60; i++ {
		before := n.action.waited
		w.advance(n)
		if n.action != nil && n.action.waited > before {
			return
		}
	}
}

// kill ends an action between two steps. Pacemaker takes that for a failure of
// what was asked, but never hears of a notification.
func (w *world) kill(n *node) {
	a := n.action
	if a == nil {
		return
	}
	w.logf("%s: %s killed", n.name, a.kind)
	n.action = nil
	switch a.kind {
	case "start", "promote", "monitor":
		n.failed = true
	case "stop", "demote":
		// A node that cannot stop is fenced.
		for _, m := range w.members(n) {
			if m != n {
				w.fenced(m, n)
				return
			}
		}
	}
}

func (w *world) fail(n *node, a *action, reason string) {
	n.failed, n.reason, a.finished = true, reason, true
	w.logf("%s: %s fails: %s", n.name, a.kind, reason)
}

func (w *world) setScore(from *node, owner string, s r.Score) {
	w.logf("%s: score of %s = %q", from.name, owner, s)
	w.writeAttrs(from, owner, func(a *attrs) { a.score = s })
	if n := from; n.action != nil {
		o := &n.action.obs
		if owner == n.name {
			o.Score = s
		} else if p, ok := o.Peers[owner]; ok {
			p.Score = s
			o.Peers[owner] = p
		}
	}
}

func (w *world) stepStart(n *node, a *action) {
	s := &n.server
	switch a.phase {
	case 0:
		w.setScore(n, n.name, r.Never)
		w.writeAttrs(n, n.name, func(a *attrs) { a.position, a.voter = nil, 0 })
	case 1:
		if s.state != stopped {
			n.running, a.finished = true, true
			return
		}
		w.learn(n)
		o := w.look(n)
		d := w.rules.Start(o)
		w.logf("%s: start: %s", n.name, d)
		if d.Verdict == r.Again && len(d.Steps) == 1 && (d.Steps[0].Kind == r.RewindData || d.Steps[0].Kind == r.CloneData) {
			w.replace(n, o, d.Steps[0].Kind)
			return // and ask again
		}
		if d.Verdict != r.Done {
			w.fail(n, a, d.Reason)
			n.failed, n.banned = false, true
			return
		}
		w.checkStart(n, o)
		n.startStandby()
		n.running, n.failed, n.reason, a.finished = true, false, "", true
	}
	a.phase++
}

// replace makes a stopped server's data that of the primary, by pg_rewind or pg_basebackup, if nothing is
// lost by it that anybody was told of, everything that goes is kept, and the report of it is true.
func (w *world) replace(n *node, o r.Observation, how r.StepKind) {
	s, up := &n.server, w.node(o.Upstream.Node)
	common := 0
	for common < min(s.end(), up.server.end()) && s.wal[common].id == up.server.wal[common].id {
		common++
	}
	apart := o.Wal.WasPrimary && o.Upstream.Timeline <= o.Wal.Position.Timeline
	_, fork, ok := r.Fork(o.Wal.Position, o.Upstream.Position, apart)
	if !ok {
		w.logf("%s: not replaced: no fork is known", n.name)
		n.banned = true
		n.action.finished = true
		return
	}
	if fork > lsnAt(common) {
		w.violate("%s keeps its WAL from %s on, but differs from %s since %s", n.name, fork, up.name, lsnAt(common))
	}
	if how == r.RewindData && fork < lsnAt(common) && s.wal[common-1].timeline != up.server.wal[common-1].timeline {
		w.violate("%s is rewound to %s, whose fork pg_rewind does not find", n.name, up.name)
	}
	maybe, why := r.MayBeAcknowledged(o)
	for _, e := range s.wal[common:] {
		if e.commit == 0 || !w.acked[e.commit] {
			continue
		}
		if !maybe {
			w.violate("%s reports that no client was told of commit %d (%s)", n.name, e.commit, why)
		}
		if !w.accepted && w.mode != r.Async {
			w.violate("%s gives up commit %d, of which a client was told", n.name, e.commit)
		}
	}
	s.wal = slices.Clone(up.server.wal)
	s.flushed, s.clean, s.wasPrimary = s.end(), false, false
	w.logf("%s: has the data of %s", n.name, up.name)
}

// checkStart: where the rules had a primary's history to judge by, the WAL that
// is allowed is a part of that primary's.
func (w *world) checkStart(n *node, o r.Observation) {
	if o.Upstream == nil || w.accepted || w.mode == r.Async {
		return // see stream
	}
	up := w.node(o.Upstream.Node)
	if up.server.state == primary && !isPrefix(n.server.wal, up.server.wal) {
		w.violate("%s may follow %s though its WAL differs", n.name, up.name)
	}
}

func (w *world) stepDown(n *node, a *action) {
	switch a.phase {
	case 0:
		w.setScore(n, n.name, r.Never)
		w.writeAttrs(n, n.name, func(a *attrs) { a.position, a.voter = nil, 0 })
	case 1:
		was := n.server.state
		if a.kind == "demote" {
			n.promoted, a.finished = false, true
			if was == primary {
				w.shutdown(n)
				n.running = false
				if !n.leaving && !n.failed {
					n.startStandby()
					n.running = true
				}
			}
			return
		}
		w.shutdown(n)
		n.running, n.promoted, n.failed, a.finished = false, false, false, true
	}
	a.phase++
}

func (w *world) stepMonitor(n *node, a *action) {
	s := &n.server
	if a.phase == 0 {
		a.phase = 1
		if s.state == stopped {
			a.finished = true
			if n.running && a.kind == "monitor" {
				w.fail(n, a, "the server is dead")
			}
			return
		}
		w.learn(n)
		a.obs = w.look(n)
	}
	if s.state == primary {
		w.pursue(n, a, w.rules.Standbys)
		if a.finished && a.verdict == r.No && a.kind == "monitor" {
			w.fail(n, a, a.reason)
		}
		n.waits = a.reason
		return
	}
	a.finished = true
	if w.streaming(n) {
		w.writeAttrs(n, n.name, func(a *attrs) { a.position = nil })
		return
	}
	if a.obs.Promoted != "" && a.obs.Promoted != n.name {
		return
	}
	pub := r.Published{Epoch: a.obs.Record.Epoch, Position: s.position()}
	w.writeAttrs(n, n.name, func(a *attrs) { a.position = &pub })
	d := w.rules.Elect(a.obs)
	w.logf("%s: elect: %s", n.name, d)
	n.waits = d.Reason
	a.finished = false
	w.carryOut(n, a, d.Steps)
	a.queue = append(a.queue, func() { a.finished = true })
}

// streaming reports whether a standby receives from a living primary.
func (w *world) streaming(n *node) bool {
	for _, p := range w.nodes {
		if l := p.server.senders[n.name]; p.server.state == primary && l != nil && l.alive {
			return true
		}
	}
	return false
}

func (w *world) stepPromote(n *node, a *action) {
	if n.server.state == stopped {
		w.fail(n, a, "the server died while it was promoted")
		return
	}
	if a.phase == 0 {
		a.phase = 1
		w.learn(n)
		a.obs = w.look(n)
	}
	if n.server.state == primary {
		w.setScore(n, n.name, r.Primary)
		w.writeAttrs(n, n.name, func(a *attrs) { a.position = nil })
		n.promoted, a.finished, n.waits = true, true, ""
		return
	}
	w.pursue(n, a, w.rules.Promote)
	n.waits = a.reason
	if !a.finished {
		return
	}
	if a.verdict != r.Done || !a.opened {
		w.fail(n, a, a.reason)
		return
	}
	a.finished = false
	a.queue = append(a.queue, func() {
		if n.server.state == standby {
			w.open(n)
		}
	})
}

// pursue asks a rule once and lines up the steps. Only a wait makes the agent
// look again; a promotion waits on, a monitor gives up after a few tries.
func (w *world) pursue(n *node, a *action, rule func(r.Observation) r.Decision) {
	d := rule(a.obs)
	w.logf("%s: %s: %s", n.name, a.kind, d)
	a.verdict, a.reason = d.Verdict, d.Reason
	w.carryOut(n, a, d.Steps)
	switch d.Verdict {
	case r.Done, r.No:
		if a.kind == "promote" {
			// stepPromote goes on after the last steps.
			for len(a.queue) > 0 {
				f := a.queue[0]
				a.queue = a.queue[1:]
				f()
			}
		}
		if len(a.queue) == 0 {
			a.finished = true
			return
		}
		a.queue = append(a.queue, func() { a.finished = true })
	case r.Wait:
		a.queue = append(a.queue, func() {
			a.waited++
			if a.waited > waitLimit && a.kind != "promote" {
				a.finished = true
				return
			}
			kept := a.obs
			w.learn(n)
			a.obs = w.look(n)
			a.obs.Proofs, a.obs.Unproven, a.obs.Claimed = kept.Proofs, kept.Unproven, kept.Claimed
			for name, p := range a.obs.Peers {
				p.Copy, p.CopyKnown = kept.Peers[name].Copy, kept.Peers[name].CopyKnown
				a.obs.Peers[name] = p
			}
		})
	}
}

// carryOut lines up the small steps of a decision's steps.
func (w *world) carryOut(n *node, a *action, steps []r.Step) {
	for _, st := range steps {
		switch st.Kind {
		case r.SetScore:
			a.queue = append(a.queue, func() { w.setScore(n, st.Node, st.Score) })
		case r.SaveRecord:
			a.queue = append(a.queue,
				func() {
					w.logf("%s: file: %s", n.name, st.Record)
					n.file = st.Record
				},
				func() {
					w.writeRecord(n, st.Record)
					a.obs.Record = st.Record
					if st.Record.Primary == n.name {
						a.obs.Claimed = st.Record.Epoch
					}
				})
		case r.SetSync:
			a.queue = append(a.queue, func() {
				n.server.names, n.server.count = slices.Clone(st.Nodes), st.Count
				w.lookAtServer(n, &a.obs)
				a.obs.Proofs, a.obs.Unproven = nil, nil
			})
		case r.SetVoter:
			a.queue = append(a.queue, func() { w.writeAttrs(n, st.Node, func(a *attrs) { a.voter = st.Epoch }) })
		case r.Prove:
			a.queue = append(a.queue, func() { w.prove(n, a, st.Node) })
		case r.ReadCopy:
			a.queue = append(a.queue, func() { w.readCopy(n, a, st.Node) })
		case r.Open:
			a.opened = true
		}
	}
}

// prove waits until backends wait by the names and the standby has flushed what
// was written until then.
func (w *world) prove(n *node, a *action, name string) {
	s, peer := &n.server, w.node(name)
	if w.bugs.blindProof {
		a.obs.Proofs = append(a.obs.Proofs, r.Proof{Node: name})
		return
	}
	w.checkpointer(n)
	w.flush(n)
	upto := s.end()
	w.stream(n, peer, 1<<30)
	w.flush(peer)
	if l := s.senders[name]; s.state != primary || l == nil || !l.alive || peer.server.flushed < upto {
		a.obs.Unproven = append(a.obs.Unproven, name)
		return
	}
	a.obs.Proofs = append(a.obs.Proofs, r.Proof{Node: name})
}

// readCopy asks a node for its own copy; one that cannot be reached leaves things
// as they are.
func (w *world) readCopy(n *node, a *action, name string) {
	peer := w.node(name)
	if w.bugs.localReadBack {
		peer = n
	}
	if !slices.Contains(w.members(n), peer) {
		return
	}
	p := a.obs.Peers[name]
	p.Copy, p.CopyKnown = peer.mem.newest(), true
	a.obs.Peers[name] = p
}
