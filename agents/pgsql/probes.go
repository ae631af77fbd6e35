package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"pgrex/lib/crm"
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

// recallLost is recall for a primary that is probed: its cluster has just lost its
// history, and may have lost the attributes with it. What they say must be there when
// the probe is answered, or the cluster moves the role away.
func (a *agent) recallLost(ctx context.Context) {
	snap, err := a.cluster.Local(ctx)
	if err != nil {
		return // whoever needs the copy next says so
	}
	if n, ok := snap.Node(a.self()); ok && n.Transient[crm.ScoreAttr(a.conf.resource)] == "" {
		a.recall(ctx)
	}
}
