package scenario

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"pgrex/lib/life"
	fake "pgrex/tests/fakes/azure"
	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/fault"
	"pgrex/tests/lab/network"
	"pgrex/tests/lab/site"
)

// fencingInAzure are the scenarios in which the Resource Manager is needed for
// fencing, and is slow, refuses, or is out of reach.
func fencingInAzure() []Scenario {
	powerOff := func(f fake.Fault) fake.Fault {
		f.Service, f.Method, f.Path = fake.ARM, "POST", "/powerOff"
		return f
	}
	script := func(f fake.Fault) func(context.Context, *Run, before) error {
		return func(ctx context.Context, r *Run, _ before) error { return r.Cloud().Script(ctx, powerOff(f)) }
	}
	clear := func(ctx context.Context, r *Run, _ before) error { return r.Cloud().ClearFaults(ctx) }
	return []Scenario{
		{
			Name: "azure-fence-fails",
			Text: "in Azure: the primary's machine loses its power and the first order to switch it off fails after it was accepted: the next one succeeds",
			Play: func(ctx context.Context, r *Run) error {
				return r.whileFencing(ctx, 0, script(fake.Fault{Operation: &fake.OperationFault{Code: "InternalServerError", After: fake.Duration(time.Second)}}), clear)
			},
		},
		{
			Name: "azure-fence-throttled",
			Text: "in Azure: the primary's machine loses its power and no order is accepted for 30 s: nobody is promoted before, the standby serves after it",
			Play: func(ctx context.Context, r *Run) error {
				return r.whileFencing(ctx, 30*time.Second, script(fake.Fault{Status: 429, Code: "TooManyRequests", RetryAfter: "5", Times: -1}), clear)
			},
		},
		{
			Name: "azure-fence-slow",
			Text: "in Azure: the primary's machine loses its power and switching it off takes a minute: nobody is promoted before, the standby serves after it",
			Play: func(ctx context.Context, r *Run) error {
				return r.whileFencing(ctx, time.Minute, func(ctx context.Context, r *Run, _ before) error {
					return r.slowPowerOff(ctx, time.Minute)
				}, func(ctx context.Context, r *Run, _ before) error { return r.slowPowerOff(ctx, 0) })
			},
		},
		{
			Name: "azure-fence-unreachable",
			Text: "in Azure: the primary's machine loses its power and the standby does not reach the Resource Manager for 30 s: nobody is promoted before, the standby serves after it",
			Play: func(ctx context.Context, r *Run) error {
				return r.whileFencing(ctx, 30*time.Second,
					func(ctx context.Context, r *Run, was before) error { return r.Hide(ctx, was.standby, true) },
					func(ctx context.Context, r *Run, was before) error { return r.Hide(ctx, was.standby, false) })
			},
		},
		{
			Name: "azure-cut-standby-wins",
			Text: "in Azure: the nodes lose each other and the primary does not reach the Resource Manager: the standby fences it after its delay and serves; nothing was acknowledged meanwhile",
			Play: func(ctx context.Context, r *Run) error {
				return r.andMoved(ctx, func(ctx context.Context, r *Run) error {
					p, _, err := r.Pair(ctx)
					if err != nil {
						return err
					}
					if err := r.Hide(ctx, p, true); err != nil {
						return err
					}
					defer func() { _ = r.Hide(context.WithoutCancel(ctx), p, false) }()
					return r.standbyWins(ctx, network.Interconnect, network.Replication)
				})
			},
		},
		{
			Name: "azure-primary-frozen-60s",
			Text: "in Azure: the primary's machine is paused for 60 s and is off only after it has woken up: nobody is promoted before, nothing is lost",
			Play: frozenForAMinute,
		},
		(&Race{Rounds: 4, Azure: true}).Scenario(),
		{
			Name:      "azure-token",
			Text:      "in Azure, with the guide's times: a pause of the primary of 25 s is no failover; when the nodes lose each other the standby is fenced a minute later",
			Spoils:    true,
			Variables: map[string]string{"FENCING_DELAY": "30s"},
			Play:      guideToken,
		},
	}
}

// slowPowerOff lets it take so long until a machine that is switched off is off; 0 is
// what the lab has otherwise.
func (r *Run) slowPowerOff(ctx context.Context, d time.Duration) error {
	l := site.CloudLatency()
	if d > 0 {
		l.PowerOff = fake.Duration(d)
	}
	return r.Cloud().SetLatency(ctx, l)
}

// whileFencing takes the primary's power while fencing cannot be had, and gives that
// back after a while. Nobody is promoted and nothing is acknowledged before.
func (r *Run) whileFencing(ctx context.Context, lasts time.Duration, wrong, mend func(context.Context, *Run, before) error) error {
	was, err := r.before(ctx)
	if err != nil {
		return err
	}
	if err := wrong(ctx, r, was); err != nil {
		return err
	}
	defer func() { _ = mend(context.WithoutCancel(ctx), r, was) }()
	e, err := fault.PowerOff(ctx, r.Site, was.primary)
	if err := r.Must(e, err); err != nil {
		return err
	}
	if lasts > 0 {
		if err := r.unserved(ctx, was, e, lasts); err != nil {
			return err
		}
		if err := mend(ctx, r, was); err != nil {
			return err
		}
		r.Log("the cloud is itself again")
	}
	if err := r.fenced(ctx, was, was.primary); err != nil {
		return err
	}
	return r.servesAt(ctx, was)
}

// unserved shows for a while that a standby whose primary is lost and not fenced stays
// what it is.
func (r *Run) unserved(ctx context.Context, was before, e fault.Evidence, lasts time.Duration) error {
	err := r.Stays(ctx, "no primary before the other one is fenced", time.Until(e.At.Add(lasts)), func(v cluster.View) bool {
		return v.Primary() != was.standby
	})
	if err != nil {
		return err
	}
	for _, row := range r.W.History().Rows {
		if row.Outcome == 'A' && row.Begin.After(e.InForce) {
			return fmt.Errorf("row %d was acknowledged while nobody may serve", row.ID)
		}
	}
	asked := 0
	all, err := r.Cloud().Requests(ctx)
	for _, q := range all {
		if q.When.After(e.At) && strings.HasSuffix(strings.ToLower(q.Path), "/poweroff") {
			asked++
		}
	}
	r.Log("nobody was promoted for %v; the Resource Manager saw %d orders to switch off", lasts, asked)
	return err
}

// frozenForAMinute is the longest pause of a machine that has been reported. The order
// to switch it off takes effect when it has woken up: for some seconds an old primary
// that knows of nothing is there.
func frozenForAMinute(ctx context.Context, r *Run) error {
	const pause = time.Minute
	was, err := r.before(ctx)
	if err != nil {
		return err
	}
	machine, err := r.Node(ctx, was.primary)
	if err != nil {
		return err
	}
	local, err := r.LocalWriter(ctx, was.primary, fmt.Sprintf("/proc/%d/ns/net", machine.Pid))
	if err != nil {
		return err
	}
	defer func() { _ = local.Stop() }()
	if err := local.WaitAcknowledgedBy(ctx, time.Now(), 5*time.Second); err != nil {
		return fmt.Errorf("the client on the primary itself: %w", err)
	}
	if err := r.slowPowerOff(ctx, pause+8*time.Second); err != nil {
		return err
	}
	defer func() { _ = r.slowPowerOff(context.WithoutCancel(ctx), 0) }()
	e, err := fault.Freeze(ctx, r.Site, was.primary)
	if err := r.Must(e, err); err != nil {
		return err
	}
	e.InForce = time.Now()
	if err := r.unserved(ctx, was, e, pause); err != nil {
		return err
	}
	if n, err := r.Node(ctx, was.primary); err != nil || n.Pid != machine.Pid {
		return fmt.Errorf("%s was to sleep until now: %w", was.primary, errors.Join(err, errGone))
	}
	if err := r.Freeze(ctx, was.primary, false); err != nil {
		return err
	}
	woken := time.Now()
	r.Log("%s is awake after %.1fs", was.primary, woken.Sub(e.At).Seconds())
	gone, err := fault.WaitGone(ctx, r.Site, was.primary, machine)
	if err != nil {
		return err
	}
	r.Log("%s, %.1fs after it woke up", gone, gone.At.Sub(woken).Seconds())
	if err := local.Stop(); err != nil {
		return err
	}
	// It takes the orders of the sleeper as well.
	if err := r.slowPowerOff(ctx, 0); err != nil {
		return err
	}
	if err := r.servesAt(ctx, was); err != nil {
		return err
	}
	if err := r.promotedAfter(was.standby, e.At, gone.At); err != nil {
		return err
	}
	rep, err := local.Check(ctx, r.Target(network.VIPPrimary))
	if err != nil {
		return err
	}
	n := 0
	for _, row := range local.History().Rows {
		if row.Outcome == 'A' && row.End.After(woken) {
			n++
		}
	}
	r.Log("the old primary's own clients: %d rows were acknowledged after it woke up; of all: %v", n, rep)
	return rep.Err()
}

var errGone = errors.New("it has been switched off or has booted")

// promotedAfter shows that a node's promotion began after a moment.
func (r *Run) promotedAfter(node string, since, moment time.Time) error {
	events, err := r.Events(since)
	if err != nil {
		return err
	}
	for _, e := range events {
		if e.Text == "promote of pgsql on "+node+" begins" {
			r.Log("promotion of %s began %.3fs after the other one was off", node, e.At.Sub(moment).Seconds())
			if e.At.Before(moment) {
				return fmt.Errorf("%s was being promoted %v before the other one was off", node, moment.Sub(e.At))
			}
			return nil
		}
	}
	return fmt.Errorf("the logs show no promotion of %s", node)
}

// guideToken puts corosync's times of docs/azure.md in force.
func guideToken(ctx context.Context, r *Run) error {
	const token, consensus, pause = 30 * time.Second, 36 * time.Second, 25 * time.Second
	was, err := r.before(ctx)
	if err != nil {
		return err
	}
	for _, n := range r.NodeNames() {
		if _, err := r.Sh(ctx, n, fmt.Sprintf(`sed -i 's/token: .*/token: %d\n    consensus: %d/' /etc/corosync/corosync.conf`, token.Milliseconds(), consensus.Milliseconds())); err != nil {
			return err
		}
	}
	if _, err := r.Sh(ctx, was.primary, "corosync-cfgtool -R"); err != nil {
		return err
	}
	for _, n := range r.NodeNames() {
		out, err := r.Sh(ctx, n, "corosync-cmapctl -g runtime.config.totem.token; corosync-cmapctl -g runtime.config.totem.consensus")
		if err != nil || !strings.Contains(out, "= 30000") || !strings.Contains(out, "= 36000") {
			return fmt.Errorf("corosync's times are not in force on %s: %s (%w)", n, out, err)
		}
	}
	if err := r.Must(fault.Freeze(ctx, r.Site, was.primary)); err != nil {
		return err
	}
	frozen := time.Now()
	if err := life.Pause(ctx, pause); err != nil {
		return err
	}
	if err := r.Freeze(ctx, was.primary, false); err != nil {
		return err
	}
	if err := r.WaitCommits(ctx, time.Minute); err != nil {
		return err
	}
	if err := errors.Join(r.stillPrimary(ctx, was.primary), r.notFenced(ctx, was, was.primary), r.notFenced(ctx, was, was.standby)); err != nil {
		return err
	}
	r.Log("a pause of %v: nobody was fenced, commits went on %.1fs after it began", pause, time.Since(frozen).Seconds())
	if err := r.WaitHealthy(ctx, time.Minute); err != nil {
		return err
	}
	// The token that was lost on the way to the sleeper is sent again every token/4;
	// until then the time that counts began with the pause.
	if err := life.Pause(ctx, token/3); err != nil {
		return err
	}
	// How long it takes until a lost node is missed, and by how much the two sides
	// differ in that, shows when they lose each other.
	x := Race{}
	round, err := x.round(ctx, r, 0)
	r.Log("%s", round)
	if err != nil {
		return err
	}
	if err := round.wrong(); err != nil {
		return err
	}
	return r.stillPrimary(ctx, was.primary)
}
