package replication

import "fmt"

// Start decides whether this node's stopped server may be started as a standby
// over the WAL it has. Done: start it. No: leave it down, for the reason given.
//
// A server that crashed as primary may hold commits that nobody else has, or WAL
// that the cluster went on without. Until the history of the new primary is
// known, nobody can tell which, so it is not touched.
//
// Again comes with a step that makes the data the primary's, where rejoin allows
// it: carry it out and ask again.
func Start(o Observation) Decision {
	if o.Broken != "" {
		return o.startBroken()
	}
	if o.Upstream != nil {
		return o.startBelow(*o.Upstream)
	}
	if o.Lock && o.Rejoin == Refuse {
		return no("PGSQL.lock of the former agent is present: compare this node's data with the other's, rebuild it if it is older, " +
			"and remove the file; this node was primary and did not stop last")
	}
	if !o.Wal.WasPrimary || o.Wal.Clean || o.accepted() {
		return done()
	}
	switch {
	case o.Promoted != "" && o.Promoted != o.Self:
		return no("check the replication address, the new primary %s does not answer there: this node crashed as primary and may not follow before the history of %s is known; the start is tried again after failure-timeout", o.Promoted, o.Promoted)
	case o.Record.Exists() && o.Record.Primary != o.Self:
		return o.startBeside(o.Record.Primary)
	}
	concerned := o.Record.Concerned()
	if !o.Record.Exists() {
		concerned = o.Nodes
	}
	missing := minus(concerned, o.reachable(concerned)...)
	if len(missing) > 0 {
		return no("start %s first: this node crashed as primary, and %s, which is away, may have been promoted since; or accept the loss of its commits: %s",
			list(missing), list(missing), o.acceptHint())
	}
	return done()
}

// startBelow judges the WAL we have by the living primary's line.
func (o Observation) startBelow(up Upstream) Decision {
	name := up.Node
	if name == "" {
		name = "the primary"
	}
	switch {
	case up.System != o.Wal.Position.System:
		return no("rebuild it with pg_basebackup: its data belongs to another database cluster (system identifier %d, %s has %d)",
			o.Wal.Position.System, name, up.System)
	case o.Rejoin == Refuse && o.wasDeposed():
		return no("check its data and rebuild it with pg_basebackup%s, or set rejoin=follow: this node was primary until %s took over, and rejoin=refuse",
			o.lockToo(), name)
	case o.Wal.WasPrimary && up.Timeline <= o.Wal.Position.Timeline:
		// Whoever is promoted over our WAL begins a timeline after ours. This one
		// began its own without having seen it, perhaps under the same number.
		return o.rebuild(up, false, fmt.Sprintf("it was primary on timeline %d itself, and %s (%s) was promoted without having seen that; keep what you need of its data before",
			o.Wal.Position.Timeline, name, up.Position))
	case up.Contains(o.Wal.Position):
		return done()
	}
	return o.rebuild(up, o.Wal.WasPrimary || o.Wal.Clean, diverged(o.Wal.Position, name, up.Position))
}

// wasDeposed: the server here last ran as primary, and by the record somebody
// else has been promoted since.
func (o Observation) wasDeposed() bool {
	return o.Lock || o.Wal.WasPrimary && o.Record.Exists() && o.Record.Primary != o.Self
}

func (o Observation) lockToo() string {
	if o.Lock {
		return " and remove PGSQL.lock"
	}
	return ""
}

// startBeside judges a crashed primary's WAL by that of the node that was
// promoted after it and is not primary now.
func (o Observation) startBeside(node string) Decision {
	p := o.position(node)
	switch {
	case !p.Known():
		return no("start %s first: it was promoted (epoch %d) after this node crashed as primary; the start is tried again after failure-timeout",
			node, o.Record.Epoch)
	case p.Contains(o.Wal.Position) || o.Wal.Position.Contains(p):
		return done()
	}
	if o.Rejoin == Rewind || o.Rejoin == Clone {
		return no("waiting for %s to be primary again: %s", node, diverged(o.Wal.Position, node, p))
	}
	return no("rebuild it with pg_basebackup: %s", diverged(o.Wal.Position, node, p))
}

// diverged is what is wrong with data that goes past the fork. What to do stands
// before it: Pacemaker keeps the first 128 characters of a reason.
func diverged(own Position, node string, theirs Position) string {
	return fmt.Sprintf("its WAL ends on %s, outside the history of %s (%s); it holds changes that the cluster went on without, keep what you need of them before",
		own, node, theirs)
}
