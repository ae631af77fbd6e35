package scenario

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/fault"
	"pgrex/tests/lab/host"
	"pgrex/tests/lab/network"
)

func severalNodes() []Scenario {
	return []Scenario{
		{
			Name:  "three-sync-then-primary",
			Text:  "three nodes: the synchronous standby dies, the other one takes over its part, then the primary dies: the other one serves",
			Nodes: 3,
			Play:  threeSyncThenPrimary,
		},
		{
			Name:   "two-sync-one-serves",
			Text:   "sync_standbys=2: a standby's node loses its power and the primary's postmaster is killed at the same moment: the other standby serves",
			Nodes:  3,
			Spoils: true,
			Play:   twoSyncOneServes,
		},
		{
			Name:   "quorum-one-behind",
			Text:   "sync_quorum=true: one of two standbys is cut off, commits go on; then the primary loses its power: the standby that has them serves",
			Nodes:  3,
			Spoils: true,
			Play:   quorumOneBehind,
		},
		{
			Name:      "quorum-there-and-back",
			Text:      "sync_quorum=true: the primary's postmaster is killed, and when it is back as a voter that of its successor: a voter that was a primary before serves as soon",
			Nodes:     3,
			Variables: quickForget(),
			Play:      quorumThereAndBack,
		},
		{
			Name:  "four-nodes",
			Text:  "four nodes: the primary's postmaster is killed: the synchronous standby serves, the two others follow it, the killed server comes back",
			Nodes: 4,
			Play: func(ctx context.Context, r *Run) error {
				return r.crowdFollows(ctx, func(p string) error { return r.Kill(ctx, p, "postmaster", fault.Postmaster) })
			},
		},
		{
			Name:  "five-nodes",
			Text:  "five nodes: the primary's node loses its power: fenced, the synchronous standby serves, the three others follow it",
			Nodes: 5,
			Play: func(ctx context.Context, r *Run) error {
				return r.crowdFollows(ctx, func(p string) error { return r.Must(fault.PowerOff(ctx, r.Site, p)) })
			},
		},
	}
}

// crowd tells the one synchronous standby from the others.
func (r *Run) crowd(ctx context.Context) (primary, sync string, others []string, err error) {
	p, standbys, err := r.Roles(ctx)
	if err != nil {
		return "", "", nil, err
	}
	v, err := r.View(ctx)
	if err != nil {
		return "", "", nil, err
	}
	if s := v.Sync(); len(s) != 1 || len(standbys) < 2 {
		return "", "", nil, fmt.Errorf("want one synchronous standby of several, have %v of %v", s, standbys)
	}
	sync = v.Sync()[0]
	others = slices.DeleteFunc(standbys, func(n string) bool { return n == sync })
	return p, sync, others, nil
}

func threeSyncThenPrimary(ctx context.Context, r *Run) error {
	p, sync, others, err := r.crowd(ctx)
	if err != nil {
		return err
	}
	other := others[0]
	tl, err := r.timeline(ctx, p)
	if err != nil {
		return err
	}
	if err := r.Kill(ctx, sync, "postmaster", fault.Postmaster); err != nil {
		return err
	}
	err = r.Wait(ctx, other+" to be the synchronous standby", time.Minute, func(v cluster.View) bool {
		return v.Status(other) == "HS:sync" && v.Score(other) == "100" && v.Score(sync) != "100"
	})
	if err != nil {
		return err
	}
	if err := r.WaitCommits(ctx, 20*time.Second); err != nil {
		return err
	}
	if err := r.Kill(ctx, p, "postmaster", fault.Postmaster); err != nil {
		return err
	}
	return r.failover(ctx, other, tl, time.Minute)
}

// several sets a parameter of a cluster of three by which commits wait for both
// standbys, or for either, and waits until it is so.
func (r *Run) several(ctx context.Context, setting, status string) (primary, first, second, timeline string, err error) {
	primary, first, others, err := r.crowd(ctx)
	if err != nil {
		return "", "", "", "", err
	}
	second = others[0]
	if timeline, err = r.timeline(ctx, primary); err != nil {
		return "", "", "", "", err
	}
	if err := r.SetParams(ctx, primary, setting); err != nil {
		return "", "", "", "", err
	}
	err = r.Wait(ctx, setting+" to be in force", time.Minute, func(v cluster.View) bool {
		return len(v.Sync()) == 2 && v.Status(first) == status && v.Status(second) == status
	})
	return primary, first, second, timeline, err
}

// twoSyncOneServes takes two of the three that hold every commit at once: one by
// its power, and the primary by its server, so that the two nodes that are left
// have the cluster's quorum.
func twoSyncOneServes(ctx context.Context, r *Run) error {
	p, lost, other, tl, err := r.several(ctx, "sync_standbys=2", "HS:sync")
	if err != nil {
		return err
	}
	if err := r.Must(fault.PowerOff(ctx, r.Site, lost)); err != nil {
		return err
	}
	if err := r.Kill(ctx, p, "postmaster", fault.Postmaster); err != nil {
		return err
	}
	return r.failover(ctx, other, tl, time.Minute)
}

// quorumThereAndBack has a voter promoted that was the primary before: the cluster's
// history of it still tells of that time. No promotion fails on the way, which would cost
// the failure-timeout.
func quorumThereAndBack(ctx context.Context, r *Run) error {
	const within = 30 * time.Second
	primary, _, _, tl, err := r.several(ctx, "sync_quorum=true", "HS:quorum")
	if err != nil {
		return err
	}
	// What a killed primary alone has written may keep it from following, and a
	// cleanup, as after a rebuild by hand, empties the history.
	undo, err := r.allowRejoin(ctx, primary, "rejoin=rewind", "rejoin_user=rejoiner")
	if err != nil {
		return err
	}
	defer undo()
	for range 2 {
		was := primary
		if err := r.Kill(ctx, was, "postmaster", fault.Postmaster); err != nil {
			return err
		}
		var failed []string
		err := r.Wait(ctx, "a voter to be primary", within, func(v cluster.View) bool {
			failed = slices.DeleteFunc(slices.Clone(v.Failures), func(f string) bool {
				return !strings.Contains(f, cluster.ResourcePgsql+"_promote_")
			})
			primary = v.Primary()
			return len(failed) > 0 || primary != "" && primary != was
		})
		if err != nil {
			return err
		}
		if len(failed) > 0 {
			return fmt.Errorf("a promotion failed: %v", failed)
		}
		if err := r.failover(ctx, primary, tl, within); err != nil {
			return err
		}
		if tl, err = r.timeline(ctx, primary); err != nil {
			return err
		}
		err = r.Wait(ctx, "both others to be voters", 2*time.Minute, func(v cluster.View) bool {
			return len(v.Sync()) == 2 && v.Status(was) == "HS:quorum"
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// quorumOneBehind leaves one standby behind, so that the vote has something to
// decide: neither of the two may be promoted without the other's word. The primary
// loses its power, since the kernel of a living one would deliver what its dead
// server has sent.
func quorumOneBehind(ctx context.Context, r *Run) error {
	p, ahead, behind, tl, err := r.several(ctx, "sync_quorum=true", "HS:quorum")
	if err != nil {
		return err
	}
	cut, err := fault.CutOff(ctx, r.Site, behind, network.Replication)
	if err := r.Must(cut, err); err != nil {
		return err
	}
	if err := r.commitsSince(ctx, "commits while one standby is cut off", cut.InForce, 100); err != nil {
		return err
	}
	if err := r.Must(fault.PowerOff(ctx, r.Site, p)); err != nil {
		return err
	}
	if err := r.Site.Heal(ctx, behind, network.Replication); err != nil {
		return err
	}
	return r.failover(ctx, ahead, tl, time.Minute)
}

// crowdFollows breaks the primary of a cluster of many standbys and expects the
// synchronous one to serve and all others that live to stream from it.
func (r *Run) crowdFollows(ctx context.Context, breaks func(primary string) error) error {
	p, sync, others, err := r.crowd(ctx)
	if err != nil {
		return err
	}
	tl, err := r.timeline(ctx, p)
	if err != nil {
		return err
	}
	if err := breaks(p); err != nil {
		return err
	}
	if err := r.failover(ctx, sync, tl, time.Minute); err != nil {
		return err
	}
	follow, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err = host.Poll(follow, fmt.Sprintf("%v to stream from %s", others, sync), 200*time.Millisecond, func() (bool, error) {
		out, err := r.SQL(ctx, sync, "select application_name from pg_stat_replication where state = 'streaming'")
		streaming := strings.Fields(out)
		for _, n := range others {
			if !contains(streaming, n) {
				return false, err
			}
		}
		return true, err
	})
	if err != nil {
		return err
	}
	return r.Wait(ctx, "another synchronous standby", time.Minute, func(v cluster.View) bool {
		return len(v.Sync()) == 1 && v.Primary() == sync
	})
}
