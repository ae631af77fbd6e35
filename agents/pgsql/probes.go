package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"pgrex/lib/crm"
	"pgrex/lib/replication"
)

// probePatience is how long a promotion is held back for the probe of a node of which
// the cluster knows nothing. The probe is sent together with the notification or not
// at all, and looks at a server that may not answer.
const probePatience = 3 * time.Second

// awaitProbes holds this node's promotion back while the cluster looks whether another
// node runs a server. The history of a node is gone after its controller was killed or
// somebody refreshed its resources, and Pacemaker promotes beside the probe. What the
// probe finds makes it think again before it goes on, if it is told while a
// notification is under way: a promotion that has begun can only fail by then.
func (a *agent) awaitProbes(ctx context.Context) {
	unseen := a.unaccounted()
	if len(unseen) == 0 || !listed(a.call.Notify.Promote, a.conf.self) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, min(probePatience, a.call.Timeout/3))
	defer cancel()
	began := time.Now()
	tick := time.NewTicker(waitPoll)
	defer tick.Stop()
	for waited := false; ; waited = true {
		snap, err := a.cluster.Local(ctx)
		if err != nil && ctx.Err() == nil {
			a.log.Warn("it is not known whether all nodes have been probed", "error", err)
			return
		}
		// Who joins from now on is probed by a transition to come, not by this one.
		unseen = slices.DeleteFunc(unseen, func(name string) bool {
			n, ok := snap.Node(name)
			return err == nil && (!ok || !n.Online || n.Probed[a.conf.resource])
		})
		if len(unseen) == 0 {
			if waited {
				a.log.Info("the promotion was held back for a probe", "took", time.Since(began))
			}
			return
		}
		select {
		case <-ctx.Done():
			a.log.Warn("the cluster has not probed all nodes before this promotion", "nodes", strings.Join(unseen, " "))
			return
		case <-tick.C:
		}
	}
}

// unaccounted are the other nodes of which the transition does not say what our
// resource does there.
func (a *agent) unaccounted() []string {
	n := a.call.Notify
	known := slices.Concat(n.Active, n.Promoted, n.Unpromoted, n.Promote, n.Demote, n.Start, n.Stop)
	return slices.DeleteFunc(slices.Clone(a.conf.nodes), func(name string) bool {
		return name == a.conf.self || listed(known, name)
	})
}

// recallPatience is how long attributes that are written again may take to be seen.
const recallPatience = time.Second

// featureSet is the attribute by which Pacemaker's controller tells its version when
// its node joins, since 2.1.5. Nobody changes it afterwards, so that a change is never
// what brings it back.
const featureSet = "#feature-set"

// recallLost has this node's attributes written again at a probe, if they are lost:
// the cluster has just lost its history, and may have lost them with it. What they say
// must be there when the probe is answered, or the cluster moves the role away. ping's
// are among them, without which the documented configuration runs no server here. It
// gives no right that was taken back: the attribute daemon has what was written last,
// that a score is no right anymore included, and promotion goes by the record, which
// is none of its attributes.
func (a *agent) recallLost(ctx context.Context, lost func(crm.Snapshot) bool) {
	ctx, cancel := a.probeLimit(ctx)
	defer cancel()
	now := func() bool {
		snap, err := a.cluster.Local(ctx)
		return err == nil && lost(snap) // whoever needs the copy next says so
	}
	if !now() {
		return
	}
	a.recall(ctx)
	// The attribute daemon answers before it has written.
	ctx, stop := context.WithTimeout(ctx, recallPatience)
	defer stop()
	tick := time.NewTicker(waitPoll)
	defer tick.Stop()
	for missing := true; missing; {
		missing = now()
		// Once more when nothing is missing: what is looked for need not be the last
		// that the daemon writes.
		select {
		case <-ctx.Done():
			return // there are none, or whoever needs them next sees them
		case <-tick.C:
		}
	}
}

// forgotten reports whether the cluster's configuration has lost attributes of this
// node, which had a server and so a score. A score that was changed since is there
// again, by itself: a promotion goes on while the controller that ordered it dies.
func (a *agent) forgotten(snap crm.Snapshot) bool {
	n, ok := snap.Node(a.self())
	return ok && n.Transient[crm.ScoreAttr(a.conf.resource)] == "" || a.erased(snap)
}

// erased reports whether this node's attributes were taken out of the cluster's
// configuration, by the one that Pacemaker gives each node. Where no node has it, this
// Pacemaker has none.
func (a *agent) erased(snap crm.Snapshot) bool {
	n, ok := snap.Node(a.self())
	if !ok || n.Transient[featureSet] != "" {
		return false
	}
	for _, other := range snap.Nodes {
		if other.Transient[featureSet] != "" {
			return true
		}
	}
	return false
}

// uncounted reports whether the cluster's configuration knows when an action of ours
// failed here and not how often. Both are written together, so the count was lost, as
// Pacemaker 3.0 does now and then when a node joins; its attribute daemon believes that
// it is there. Without it migration-threshold is never reached: a start that fails is
// tried again at once, for ever, and no promotion elsewhere gets its turn.
func (a *agent) uncounted(snap crm.Snapshot) bool {
	n, _ := snap.Node(a.self())
	for name := range n.Transient {
		if op, ok := strings.CutPrefix(name, "last-failure-"+a.conf.resource+"#"); ok && n.Transient["fail-count-"+a.conf.resource+"#"+op] == "" {
			return true
		}
	}
	return false
}

// probeLimit bounds what a probe asks of the cluster, which waits for its answer.
func (a *agent) probeLimit(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, min(probePatience, a.call.Timeout/3))
}

// revokeStopped is revoke where no server runs. Most probes are those of a node that
// has just joined: it has no score, so there is nothing to be read or written for.
func (a *agent) revokeStopped(ctx context.Context) {
	ctx, cancel := a.probeLimit(ctx)
	defer cancel()
	snap, err := a.cluster.Local(ctx)
	if err == nil {
		if n, ok := snap.Node(a.self()); !ok || n.Transient[crm.ScoreAttr(a.conf.resource)] == "" {
			return
		}
		err = a.takeOver(ctx, snap)
	}
	if err != nil {
		a.log.Warn("the cluster's memory was not read; a right to be promoted stays as it is, and promotion proves it", "error", err)
		return
	}
	if a.score(a.conf.self) == replication.Primary {
		// Of a server that has ended; whoever is elected runs.
		a.try(ctx, a.scoreWrite(a.conf.self, replication.Never))
		return
	}
	a.revoke(ctx)
}

// revoke ends, at a probe, a right that this node may not have: what is left over
// without the record behind it must not be acted on. No score is no right either, and
// the primary may be about to write one. While no primary lives it is the election
// that says who has which.
func (a *agent) revoke(ctx context.Context) {
	r := a.memory.newest
	switch score := a.score(a.conf.self); {
	case score == replication.Unset, score == replication.Never:
		return
	case score == replication.Standby && (!r.Exists() || r.Entitles(a.conf.self) && r.Quorum == 0):
		return
	case score == replication.Primary && a.promoted() == "":
		return
	}
	a.try(ctx, a.changed([]crm.Write{a.scoreWrite(a.conf.self, replication.Never)})...)
}
