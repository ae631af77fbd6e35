package replication_test

import r "pgrex/lib/replication"

// tick lets Pacemaker start one action in a partition; false when it has nothing
// to do there.
func (w *world) tick(part []*node) bool {
	for _, n := range part {
		if n.action != nil && n.action.kind != "monitor" && n.action.kind != "notify" {
			return false // one transition at a time
		}
	}
	for _, n := range part {
		if !n.probed && n.action == nil {
			w.probe(n)
			return true
		}
	}
	if !w.quorate(part) {
		return w.stopAll(part) // no-quorum-policy=stop
	}
	for _, n := range w.nodes {
		if part[0].mem.view[n.name] == r.Lost {
			return false // everything waits for the fencing
		}
	}
	for _, step := range []func([]*node) bool{w.recover, w.leave, w.startAll, w.promoteBest} {
		if step(part) {
			return true
		}
	}
	return false
}

func (w *world) probe(n *node) {
	n.probed = true
	n.running = n.server.state != stopped
	n.promoted = n.server.state == primary
	if !n.promoted {
		w.setScore(n, n.name, r.Never)
	}
	w.logf("%s: probed: running=%v promoted=%v", n.name, n.running, n.promoted)
}

// stopAll stops what runs in a partition without quorum.
func (w *world) stopAll(part []*node) bool {
	for _, n := range part {
		if n.action == nil && w.takeDown(n) {
			return true
		}
	}
	return false
}

// takeDown begins the next action on the way to a stopped resource.
func (w *world) takeDown(n *node) bool {
	switch {
	case n.promoted || n.failed && n.server.state == primary:
		n.promoted = n.promoted || n.server.state == primary
		w.begin(n, "demote")
	case n.running || n.failed:
		w.begin(n, "stop")
	default:
		return false
	}
	return true
}

func (w *world) recover(part []*node) bool {
	for _, n := range part {
		if n.failed && n.action == nil && w.takeDown(n) {
			return true
		}
	}
	return false
}

// leave carries out the orderly stop of nodes.
func (w *world) leave(part []*node) bool {
	for _, n := range part {
		if !n.leaving || n.action != nil {
			continue
		}
		if w.takeDown(n) {
			return true
		}
		w.logf("%s: cluster stack stopped cleanly", n.name)
		for _, m := range part {
			if m != n {
				m.mem.view[n.name] = r.Down
			}
		}
		w.stackGone(n, false)
		return true
	}
	return false
}

func (w *world) startAll(part []*node) bool {
	for _, n := range part {
		if n.probed && !n.running && !n.banned && !n.leaving && n.action == nil {
			w.begin(n, "start")
			return true
		}
	}
	return false
}

// promoteBest promotes the node with the highest positive score where nobody is
// promoted.
func (w *world) promoteBest(part []*node) bool {
	var best *node
	for _, n := range part {
		if n.promoted || n.failed {
			return false
		}
		score := part[0].mem.attrs[n.name].score
		if n.running && !n.leaving && score > 0 && (best == nil || score > part[0].mem.attrs[best.name].score) {
			best = n
		}
	}
	if best == nil || best.action != nil {
		return false
	}
	w.begin(best, "promote")
	return true
}

// fence lets a partition try to fence one lost node.
func (w *world) fence(part []*node, target *node) bool {
	if !w.quorate(part) || part[0].mem.view[target.name] != r.Lost {
		return false
	}
	w.fenced(part[0], target)
	return true
}

// fenced is a fencing that succeeded: the target is off and the partition knows.
func (w *world) fenced(by, target *node) {
	w.logf("%s: fenced by %s", target.name, by.name)
	w.powerOff(target, 0, true)
	name := target.name
	w.broadcast(by, false, func(m *memory) {
		m.view[name] = r.Down
		m.version[1]++
	})
	for _, n := range w.members(by) {
		n.arrive(len(n.waiting))
	}
}

// cut divides the cluster's network into groups.
func (w *world) cut(groups map[string]int, lose bool) {
	w.group = groups
	w.logf("cluster network: %v", groups)
	w.reform(lose)
}

// heal repairs everything but the nodes: networks and links.
func (w *world) heal() {
	w.group, w.cutLinks = map[string]int{}, map[string]bool{}
	w.logf("networks healed")
	w.reform(false)
}

// pump lets all WAL flow that can.
func (w *world) pump() {
	for _, p := range w.nodes {
		if p.server.state != primary {
			continue
		}
		w.flush(p)
		for _, s := range w.nodes {
			if s != p {
				w.stream(p, s, 1<<30)
				w.flush(s)
			}
		}
	}
	w.disconnect()
	w.acknowledge()
}

// settle lets the cluster work for some rounds without further faults. Fencing
// succeeds, updates arrive, timeouts pass.
func (w *world) settle(rounds int) {
	for range rounds {
		for _, n := range w.nodes {
			n.arrive(len(n.waiting))
			w.senderTimeout(n)
			n.saveDisk()
			if n.server.state == primary {
				w.checkpointer(n)
			}
		}
		w.pump()
		for _, part := range w.partitions() {
			for _, n := range w.nodes {
				if part[0].stack && w.fence(w.members(part[0]), n) {
					break
				}
			}
		}
		for _, part := range w.partitions() {
			w.tick(part)
		}
		for _, n := range w.nodes {
			if n.action == nil && n.probed && n.running && !n.failed {
				w.begin(n, "monitor")
			}
			w.finish(n)
			n.arrive(len(n.waiting))
			for _, m := range w.nodes {
				m.arrive(len(m.waiting))
			}
		}
	}
}
