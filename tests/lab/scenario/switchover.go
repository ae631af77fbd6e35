package scenario

import (
	"context"
	"fmt"
	"time"

	"pgrex/tests/lab/cluster"
)

func switchovers() []Scenario {
	return []Scenario{
		{
			Name: "switchover-move",
			Text: "pcs resource move to the standby and back: the old primary is a standby again by itself each time",
			Play: func(ctx context.Context, r *Run) error {
				p, s, err := r.Pair(ctx)
				if err != nil {
					return err
				}
				for _, to := range []string{s, p} {
					if err := r.moveTo(ctx, to); err != nil {
						return err
					}
				}
				return nil
			},
		},
		{
			Name: "switchover-standby",
			Text: "pcs node standby on the primary, unstandby, and the same on the other node",
			Play: func(ctx context.Context, r *Run) error {
				p, s, err := r.Pair(ctx)
				if err != nil {
					return err
				}
				for _, pair := range [][2]string{{p, s}, {s, p}} {
					if err := r.standbyAndBack(ctx, pair[0], pair[1]); err != nil {
						return err
					}
				}
				return nil
			},
		},
	}
}

// moveTo makes a node the primary as an operator would.
func (r *Run) moveTo(ctx context.Context, to string) error {
	v, err := r.View(ctx)
	if err != nil {
		return err
	}
	from := v.Primary()
	tl, err := r.timeline(ctx, from)
	if err != nil {
		return err
	}
	r.Begin("move to " + to)
	if err := r.Pcs(ctx, v.From, "resource", "move", cluster.ClonePgsql, to, "--promoted"); err != nil {
		return err
	}
	if err := r.failover(ctx, to, tl, time.Minute); err != nil {
		return err
	}
	if err := r.comesBack(ctx, from); err != nil {
		return err
	}
	return r.WaitHealthy(ctx, 20*time.Second)
}

func (r *Run) standbyAndBack(ctx context.Context, p, s string) error {
	tl, err := r.timeline(ctx, p)
	if err != nil {
		return err
	}
	r.Begin("node standby " + p)
	if err := r.Pcs(ctx, s, "node", "standby", p); err != nil {
		return err
	}
	if err := r.failover(ctx, s, tl, time.Minute); err != nil {
		return err
	}
	if err := r.Pcs(ctx, s, "node", "unstandby", p); err != nil {
		return err
	}
	if err := r.comesBack(ctx, p); err != nil {
		return err
	}
	return r.WaitHealthy(ctx, 20*time.Second)
}

// comesBack waits until an old primary is a synchronous standby by itself. In a
// planned switchover nothing may fail on the way.
func (r *Run) comesBack(ctx context.Context, node string) error {
	var failed []string
	err := r.Wait(ctx, node+" to be a synchronous standby", time.Minute, func(v cluster.View) bool {
		failed = v.Failures
		return len(failed) > 0 || v.Status(node) == "HS:sync" && v.Score(node) == "100"
	})
	if err != nil {
		return fmt.Errorf("the old primary does not come back by itself: %w", err)
	}
	if len(failed) > 0 {
		return fmt.Errorf("an action failed in a planned switchover: %v", failed)
	}
	return nil
}
