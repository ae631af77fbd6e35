package scenario

import (
	"context"
	"fmt"
	"time"

	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/fault"
)

func threeNodes() []Scenario {
	return []Scenario{
		{
			Name:  "three-sync-then-primary",
			Text:  "three nodes: the synchronous standby dies, the other one takes over its part, then the primary dies: the other one serves",
			Nodes: 3,
			Play:  threeSyncThenPrimary,
		},
	}
}

func threeSyncThenPrimary(ctx context.Context, r *Run) error {
	p, standbys, err := r.Roles(ctx)
	if err != nil {
		return err
	}
	v, err := r.View(ctx)
	if err != nil {
		return err
	}
	sync := v.Sync()
	if len(sync) != 1 {
		return fmt.Errorf("want one synchronous standby of %v, have %v", standbys, sync)
	}
	other := standbys[0]
	if other == sync[0] {
		other = standbys[1]
	}
	tl, err := r.timeline(ctx, p)
	if err != nil {
		return err
	}
	if err := r.Kill(ctx, sync[0], "postmaster", fault.Postmaster); err != nil {
		return err
	}
	err = r.Wait(ctx, other+" to be the synchronous standby", time.Minute, func(v cluster.View) bool {
		return v.Status(other) == "HS:sync" && v.Score(other) == "100" && v.Score(sync[0]) != "100"
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
