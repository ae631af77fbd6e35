package scenario

import (
	"context"
	"fmt"
	"time"

	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/fault"
	"pgrex/tests/lab/host"
)

func controllers() []Scenario {
	return []Scenario{
		{
			Name:      "controller-killed",
			Text:      "Pacemaker's controller is killed on the primary and forgets what runs there: nobody is promoted beside the primary",
			Variables: quickForget(),
			Play:      func(ctx context.Context, r *Run) error { return r.forgets(ctx, "controld") },
		},
		{
			Name:      "based-killed",
			Text:      "Pacemaker's keeper of the configuration is killed on the primary and takes the controller with it: nobody is promoted beside the primary",
			Variables: quickForget(),
			Play:      func(ctx context.Context, r *Run) error { return r.forgets(ctx, "based") },
		},
	}
}

// forgets kills a daemon after whose end the controller of the primary knows nothing of its
// resources, and shows that a promotion of the standby, which the cluster may choose
// while it knows nothing of the primary, waits for the probe and for what comes of it.
func (r *Run) forgets(ctx context.Context, daemon string) error {
	was, err := r.before(ctx)
	if err != nil {
		return err
	}
	since := time.Now()
	if err := r.Kill(ctx, was.primary, daemon, fault.Daemon("pacemaker-"+daemon)); err != nil {
		return err
	}
	probed, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	err = host.Poll(probed, "a probe of the primary", 100*time.Millisecond, func() (bool, error) {
		n, err := r.countLog(was.primary, "Result of probe operation for pgsql on "+was.primary+": promoted", since)
		return n > 0, err
	})
	if err != nil {
		return err
	}
	err = r.Wait(ctx, "a primary and a synchronous standby", time.Minute, func(v cluster.View) bool { return v.Healthy(r.NodeNames()) })
	if err != nil {
		return err
	}
	return r.demotedBefore(was.primary, was.standby, since)
}

// demotedBefore shows that no promotion of a node began before the demotion of the
// primary had ended.
func (r *Run) demotedBefore(primary, node string, since time.Time) error {
	events, err := r.Events(since)
	if err != nil {
		return err
	}
	demoted := false
	for _, e := range events {
		switch e.Text {
		case "demote of pgsql on " + primary + ": ok":
			demoted = true
		case "promote of pgsql on " + node + " begins":
			if !demoted {
				return fmt.Errorf("the promotion of %s began at %s, beside the primary %s", node, e.At.Format("15:04:05.000"), primary)
			}
		}
	}
	r.Log("the primary was demoted: %v", demoted)
	return nil
}
