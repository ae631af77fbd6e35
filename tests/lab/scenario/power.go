package scenario

import (
	"context"
	"fmt"
	"time"

	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/fault"
	"pgrex/tests/lab/site"
)

func power() []Scenario {
	return []Scenario{
		{
			Name:   "primary-power-loss",
			Text:   "the primary's node loses its power, and its disk what was not synced: fenced, the standby serves",
			OnDisk: true,
			Play:   primaryPowerLoss,
		},
		{
			Name:   "standby-power-loss",
			Text:   "the standby's node loses its power: commits wait for its fencing and resume",
			OnDisk: true,
			Play:   standbyPowerLoss,
		},
		{
			Name:   "both-power-loss",
			Text:   "both nodes lose their power at once and boot: nothing is lost",
			OnDisk: true,
			Play:   bothPowerLoss,
		},
		{
			Name:   "lab-disk-forgets",
			Text:   "of the lab itself: after a power loss what was synced is there and what was not is gone",
			OnDisk: true,
			Quiet:  true,
			Play:   diskForgets,
		},
		{
			Name: "primary-frozen",
			Text: "the primary's node is paused: fenced, the standby serves",
			Play: primaryFrozen,
		},
	}
}

// fenced waits until the cluster has fenced a node.
func (r *Run) fenced(ctx context.Context, was before, node string) error {
	return r.fencedWithin(ctx, was, node, time.Minute)
}

func (r *Run) fencedWithin(ctx context.Context, was before, node string, limit time.Duration) error {
	err := r.Wait(ctx, node+" to be fenced", limit, func(v cluster.View) bool {
		n, err := r.Node(ctx, node)
		if err != nil || n.Boots <= was.boots[node] {
			return false
		}
		for _, f := range v.Fencing {
			if f.Target == node && f.Status == "success" {
				return true
			}
		}
		return false
	})
	if err == nil {
		r.Log("%s was fenced", node)
	}
	return err
}

// notFenced shows that a node has run on all the time.
func (r *Run) notFenced(ctx context.Context, was before, node string) error {
	n, err := r.Node(ctx, node)
	if err == nil && n.Boots != was.boots[node] {
		err = fmt.Errorf("%s was fenced without need", node)
	}
	return err
}

// primaryFenced breaks the primary's node in a way that only fencing ends, and
// expects the standby to serve after it.
func (r *Run) primaryFenced(ctx context.Context, breaks func(context.Context, *site.Site, string) (fault.Evidence, error), limit time.Duration) error {
	was, err := r.before(ctx)
	if err != nil {
		return err
	}
	if err := r.Must(breaks(ctx, r.Site, was.primary)); err != nil {
		return err
	}
	if err := r.fencedWithin(ctx, was, was.primary, limit); err != nil {
		return err
	}
	return r.failover(ctx, was.standby, was.timeline, time.Minute)
}

func primaryPowerLoss(ctx context.Context, r *Run) error {
	return r.primaryFenced(ctx, fault.PowerOff, time.Minute)
}

func primaryFrozen(ctx context.Context, r *Run) error {
	return r.primaryFenced(ctx, fault.Freeze, time.Minute)
}

func standbyPowerLoss(ctx context.Context, r *Run) error {
	was, err := r.before(ctx)
	if err != nil {
		return err
	}
	if err := r.Must(fault.PowerOff(ctx, r.Site, was.standby)); err != nil {
		return err
	}
	if err := r.fenced(ctx, was, was.standby); err != nil {
		return err
	}
	if err := r.WaitCommits(ctx, time.Minute); err != nil {
		return err
	}
	return r.stillPrimary(ctx, was.primary)
}

func bothPowerLoss(ctx context.Context, r *Run) error {
	p, s, err := r.Pair(ctx)
	if err != nil {
		return err
	}
	type answer struct {
		e   fault.Evidence
		err error
	}
	answers := make(chan answer, 2)
	for _, n := range []string{p, s} {
		go func() {
			e, err := fault.PowerOff(ctx, r.Site, n)
			answers <- answer{e, err}
		}()
	}
	for range 2 {
		a := <-answers
		if err := r.Must(a.e, a.err); err != nil {
			return err
		}
	}
	for _, n := range []string{s, p} {
		if err := r.Must(fault.PowerOn(ctx, r.Site, n)); err != nil {
			return err
		}
	}
	return r.WaitHealthy(ctx, 2*time.Minute)
}

// diskForgets shows that --disk=loop is worth its name.
func diskForgets(ctx context.Context, r *Run) error {
	_, s, err := r.Pair(ctx)
	if err != nil {
		return err
	}
	const write = `cd /dbfp && echo kept >synced && sync -f . && echo lost >unsynced`
	if _, err := r.Sh(ctx, s, write); err != nil {
		return err
	}
	if err := r.Must(fault.PowerOff(ctx, r.Site, s)); err != nil {
		return err
	}
	if err := r.Must(fault.PowerOn(ctx, r.Site, s)); err != nil {
		return err
	}
	out, err := r.Sh(ctx, s, "cd /dbfp; cat synced; cat unsynced 2>/dev/null; true")
	if err != nil {
		return err
	}
	if out != "kept\n" {
		return fmt.Errorf("after the power loss the files hold %q: want the synced one and not the other", out)
	}
	return nil
}
