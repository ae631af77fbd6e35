package scenario

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/fault"
)

// alone are scenarios in which one node comes back without the other.
func alone() []Scenario {
	return []Scenario{
		{
			Name: "wrong-node-alone",
			Text: "the standby is stopped, the primary writes on and is stopped; the standby starts alone: it waits for the other and says so",
			Play: wrongNodeAlone,
		},
		{
			Name:   "old-primary-alone",
			Text:   "the primary dies, the other one serves and dies, the first returns alone with its old memory: it waits for the other",
			OnDisk: true,
			Play:   oldPrimaryAlone,
		},
	}
}

// bootsWithCluster says whether a node starts the cluster when it boots. A node
// that was fenced comes back on; a test of a lone node wants it to stay away.
func (r *Run) bootsWithCluster(ctx context.Context, node string, yes bool) error {
	script := "rm -f /etc/lab/autostart"
	if yes {
		script = "touch /etc/lab/autostart"
	}
	_, err := r.Sh(ctx, node, script)
	return err
}

// startUnblocked starts the cluster on a lone node and tells it, as an operator
// would, that its peers are down for sure.
func (r *Run) startUnblocked(ctx context.Context, node string) error {
	if err := r.StartNode(ctx, node); err != nil {
		return err
	}
	err := r.Wait(ctx, "a cluster without quorum", 20*time.Second, func(v cluster.View) bool { return v.DC == node && !v.Quorate })
	if err != nil {
		return err
	}
	_, err = r.Sh(ctx, node, "corosync-cmapctl -s quorum.cancel_wait_for_all u8 1")
	return err
}

// startsAlone starts the cluster on a node without the others, and shows that
// it does not become primary.
func (r *Run) startsAlone(ctx context.Context, node, missing string) error {
	begin := time.Now()
	if err := r.startUnblocked(ctx, node); err != nil {
		return err
	}
	// A server whose WAL may have diverged is not even started.
	err := r.Wait(ctx, "its server to be a standby, or a reason not to", time.Minute, func(v cluster.View) bool {
		return v.Quorate && (contains(v.On(cluster.ResourcePgsql, "Unpromoted"), node) || len(v.Failures) > 0)
	})
	if err != nil {
		return err
	}
	err = r.Stays(ctx, node+" is not promoted alone", 15*time.Second, func(v cluster.View) bool {
		return v.Primary() == "" && v.Score(node) != "1000" && v.Score(node) != "100"
	})
	if err != nil {
		return err
	}
	// Whoever wonders why there is no primary must find out.
	lines, err := r.LogSince(node, begin)
	if err != nil {
		return err
	}
	said := ""
	for _, l := range lines {
		if strings.Contains(l.Text, "pgsql_") && strings.Contains(l.Text, "error output") && strings.Contains(l.Text, missing) &&
			(strings.Contains(l.Text, "wait") || strings.Contains(l.Text, "not started") || strings.Contains(l.Text, "not promot")) {
			said = l.Text
		}
	}
	if said == "" {
		return fmt.Errorf("%s waits for %s and does not say so in its log", node, missing)
	}
	r.Log("%s waits: %s", node, said)
	return nil
}

func wrongNodeAlone(ctx context.Context, r *Run) error {
	p, s, err := r.Pair(ctx)
	if err != nil {
		return err
	}
	r.Begin("stop of " + s)
	if err := r.StopNode(ctx, s); err != nil {
		return err
	}
	if err := r.WaitCommits(ctx, 30*time.Second); err != nil {
		return err
	}
	if err := r.bootsWithCluster(ctx, p, false); err != nil {
		return err
	}
	if err := r.StopNode(ctx, p); err != nil {
		return err
	}
	if err := r.startsAlone(ctx, s, p); err != nil {
		return err
	}
	if err := r.bootsWithCluster(ctx, p, true); err != nil {
		return err
	}
	if err := r.StartNode(ctx, p); err != nil {
		return err
	}
	return r.WaitPrimary(ctx, p, 90*time.Second)
}

func oldPrimaryAlone(ctx context.Context, r *Run) error {
	was, err := r.before(ctx)
	if err != nil {
		return err
	}
	p, s := was.primary, was.standby
	for _, n := range []string{p, s} {
		if err := r.bootsWithCluster(ctx, n, false); err != nil {
			return err
		}
	}
	if err := r.Must(fault.PowerOff(ctx, r.Site, p)); err != nil {
		return err
	}
	if err := r.fenced(ctx, was, p); err != nil {
		return err
	}
	if err := r.failover(ctx, s, was.timeline, time.Minute); err != nil {
		return err
	}
	if ps, err := fault.Find(r.Site, p, fault.Daemon("corosync")); err != nil || len(ps) != 0 {
		return errors.Join(err, fmt.Errorf("%s came back to the cluster: %v", p, ps))
	}
	if err := r.Must(fault.PowerOff(ctx, r.Site, s)); err != nil {
		return err
	}
	if err := r.startsAlone(ctx, p, s); err != nil {
		return err
	}
	// The lone node has fenced the other, which is on since then.
	for _, n := range []string{p, s} {
		if err := r.Power(ctx, n, true); err != nil {
			return err
		}
		if err := r.bootsWithCluster(ctx, n, true); err != nil {
			return err
		}
	}
	if err := r.StartNode(ctx, s); err != nil {
		return err
	}
	return r.WaitPrimary(ctx, s, 90*time.Second)
}
