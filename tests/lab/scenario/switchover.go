package scenario

import (
	"context"
	"errors"
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
		{
			Name: "switchover-refused",
			Text: "a move to a standby that has no right to be promoted leaves the primary alone; it is made when the standby has caught up",
			Play: switchoverRefused,
		},
	}
}

// switchoverRefused takes the right of a living standby away by keeping it out of the
// primary, and then wants it promoted.
func switchoverRefused(ctx context.Context, r *Run) error {
	was, err := r.before(ctx)
	if err != nil {
		return err
	}
	p, s := was.primary, was.standby
	postmaster, err := r.postmaster(ctx, p)
	if err != nil {
		return err
	}
	for _, q := range []string{
		"alter role repuser nologin",
		"select pg_terminate_backend(pid) from pg_stat_replication",
	} {
		if _, err := r.SQL(ctx, p, q); err != nil {
			return err
		}
	}
	if err := r.waitNoSync(ctx, s); err != nil {
		return err
	}
	if err := r.WaitCommits(ctx, 20*time.Second); err != nil {
		return err
	}
	r.Begin("move to " + s)
	move := []string{"crm_resource", "--resource", cluster.ClonePgsql}
	if _, err := r.Cluster.Must(ctx, p, append(move, "--move", "--promoted", "--node", s)...); err != nil {
		return err
	}
	err = r.Stays(ctx, "the primary where it was", 4*time.Second, func(v cluster.View) bool { return v.Primary() == p })
	if err != nil {
		return err
	}
	now, err := r.postmaster(ctx, p)
	if err != nil || now.Pid != postmaster.Pid {
		return errors.Join(err, fmt.Errorf("the primary was touched: postmaster %v, then %v", postmaster, now))
	}
	if err := r.WaitCommits(ctx, 5*time.Second); err != nil {
		return err
	}
	if _, err := r.SQL(ctx, p, "alter role repuser login"); err != nil {
		return err
	}
	if err := r.failover(ctx, s, was.timeline, time.Minute); err != nil {
		return err
	}
	if _, err := r.Cluster.Must(ctx, s, append(move, "--clear")...); err != nil {
		return err
	}
	return r.comesBack(ctx, p)
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
