package scenario

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/fault"
	"pgrex/tests/lab/network"
	"pgrex/tests/lab/writer"
)

func cuts() []Scenario {
	return []Scenario{
		{
			Name: "cut-interconnect",
			Text: "the nodes lose sight of each other, replication goes on: the primary survives, the standby is fenced",
			Play: func(ctx context.Context, r *Run) error {
				return r.primarySurvives(ctx, false, network.Interconnect)
			},
		},
		{
			Name: "cut-interconnect-replication",
			Text: "and replication is cut too: the primary survives, commits wait for the fencing of the standby",
			Play: func(ctx context.Context, r *Run) error {
				return r.primarySurvives(ctx, false, network.Interconnect, network.Replication)
			},
		},
		{
			Name: "cut-race-primary-wins",
			Text: "as before, and the standby cannot reach the BMCs: the primary wins the fencing, nothing is lost",
			Play: func(ctx context.Context, r *Run) error {
				return r.primarySurvives(ctx, true, network.Interconnect, network.Replication)
			},
		},
		{
			Name: "cut-race-standby-wins",
			Text: "as before, but it is the primary that cannot reach the BMCs: the standby wins the fencing while clients still reach the primary, nothing is lost",
			Play: func(ctx context.Context, r *Run) error {
				return r.standbyWins(ctx, network.Interconnect, network.Replication, network.Management)
			},
		},
		{
			Name: "cut-all",
			Text: "the primary is cut off from everything: the standby fences it and serves, the old primary acknowledged nothing after the cut",
			Play: func(ctx context.Context, r *Run) error {
				return r.standbyWins(ctx, network.LANs()...)
			},
		},
		{
			Name: "cut-service",
			Text: "clients cannot reach the primary: it moves to the other node without fencing",
			Play: cutService,
		},
		{
			Name: "cut-replication",
			Text: "the standby cannot stream: no fencing; it loses its right at its own node first, then commits resume",
			Play: cutReplication,
		},
		(&Race{Rounds: 4}).Scenario(),
	}
}

// cutUntilFenced cuts a node off on LANs and waits until that has cost it its
// power.
func (r *Run) cutUntilFenced(ctx context.Context, node string, lans ...network.LAN) (cut, gone fault.Evidence, err error) {
	was, err := r.Node(ctx, node)
	if err != nil {
		return cut, gone, err
	}
	cut, err = fault.CutOff(ctx, r.Site, node, lans...)
	if err := r.Must(cut, err); err != nil {
		return cut, gone, err
	}
	gone, err = fault.WaitGone(ctx, r.Site, node, was)
	if err == nil {
		r.Log("%s, %.3fs after the cut", gone, gone.At.Sub(cut.At).Seconds())
	}
	return cut, gone, err
}

// primarySurvives cuts the standby off on LANs and expects it to be fenced.
func (r *Run) primarySurvives(ctx context.Context, blind bool, lans ...network.LAN) error {
	p, s, err := r.Pair(ctx)
	if err != nil {
		return err
	}
	all := lans
	if blind {
		all = append(append([]network.LAN(nil), lans...), network.Management)
	}
	cut, gone, err := r.cutUntilFenced(ctx, s, all...)
	if err != nil {
		return err
	}
	if len(lans) > 1 {
		if err := r.silentBetween(cut.InForce, gone.At); err != nil {
			return err
		}
	}
	// It boots into the cut and must do no harm there.
	if err := r.WaitCommits(ctx, time.Minute); err != nil {
		return err
	}
	return r.stillPrimary(ctx, p)
}

// silentBetween shows that no commit asked for after the cut was acknowledged
// before the fencing: it would not be on the other node.
func (r *Run) silentBetween(cut, fenced time.Time) error {
	n := 0
	for _, row := range r.W.History().Rows {
		if row.Outcome == writer.Acknowledged && row.Begin.After(cut) && row.End.Before(fenced) {
			n++
		}
	}
	if n > 0 {
		return fmt.Errorf("%d commits were acknowledged between the cut and the fencing, without a standby", n)
	}
	return nil
}

// standbyWins cuts the primary off on LANs, among them the way to the BMCs, and
// expects the standby to fence it and to serve.
func (r *Run) standbyWins(ctx context.Context, lans ...network.LAN) error {
	p, s, err := r.Pair(ctx)
	if err != nil {
		return err
	}
	tl, err := r.timeline(ctx, p)
	if err != nil {
		return err
	}
	machine, err := r.Node(ctx, p)
	if err != nil {
		return err
	}
	// Its sockets must not keep the old namespace: it is opened for each.
	local, err := r.LocalWriter(ctx, p, fmt.Sprintf("/proc/%d/ns/net", machine.Pid))
	if err != nil {
		return err
	}
	defer func() { _ = local.Stop() }()
	if err := local.WaitAcknowledgedBy(ctx, time.Now(), 5*time.Second); err != nil {
		return fmt.Errorf("the client on the primary itself: %w", err)
	}
	cut, _, err := r.cutUntilFenced(ctx, p, lans...)
	if err != nil {
		return err
	}
	if err := local.Stop(); err != nil {
		return err
	}
	n, tried := 0, 0
	for _, row := range local.History().Rows {
		if row.Begin.After(cut.InForce) {
			tried++
			if row.Outcome == writer.Acknowledged {
				n++
			}
		}
	}
	r.Log("the old primary's own clients tried %d rows after the cut, %d were acknowledged", tried, n)
	if n > 0 {
		return fmt.Errorf("the old primary acknowledged %d commits after it was cut off", n)
	}
	if tried == 0 {
		return errors.New("nothing was tried on the old primary after the cut: nothing is shown")
	}
	return r.failover(ctx, s, tl, time.Minute)
}

func cutService(ctx context.Context, r *Run) error {
	was, err := r.before(ctx)
	if err != nil {
		return err
	}
	if err := r.Must(fault.Cut(ctx, r.Site, was.primary, network.Both, network.Service)); err != nil {
		return err
	}
	if err := r.failover(ctx, was.standby, was.timeline, time.Minute); err != nil {
		return err
	}
	return r.notFenced(ctx, was, was.primary)
}

func cutReplication(ctx context.Context, r *Run) error {
	was, err := r.before(ctx)
	if err != nil {
		return err
	}
	p, s := was.primary, was.standby
	cut, err := fault.CutOff(ctx, r.Site, s, network.Replication)
	if err := r.Must(cut, err); err != nil {
		return err
	}
	if err := r.WaitCommits(ctx, time.Minute); err != nil {
		return err
	}
	resumed := time.Time{}
	for _, row := range r.W.History().Rows {
		if row.Outcome == writer.Acknowledged && row.Begin.After(cut.InForce) && (resumed.IsZero() || row.End.Before(resumed)) {
			resumed = row.End
		}
	}
	withdrawn, err := r.WithdrawnAt(s, cut.At)
	if err != nil {
		return err
	}
	r.Log("%s lost its right at its own node %.3fs after the cut, commits resumed after %.3fs",
		s, withdrawn.Sub(cut.At).Seconds(), resumed.Sub(cut.At).Seconds())
	if !withdrawn.Before(resumed) {
		return fmt.Errorf("commits resumed %v before %s had lost its right to be promoted", withdrawn.Sub(resumed), s)
	}
	if err := r.notFenced(ctx, was, s); err != nil {
		return err
	}
	if err := r.stillPrimary(ctx, p); err != nil {
		return err
	}
	return r.Wait(ctx, "the address for reading to leave the standby", 30*time.Second, func(v cluster.View) bool {
		on := v.On(cluster.IPStandby, "Started")
		return len(on) == 1 && on[0] == p
	})
}
