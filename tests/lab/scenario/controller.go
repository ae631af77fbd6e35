package scenario

import (
	"context"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/fault"
	"pgrex/tests/lab/host"
)

// Of a server that the cluster knows by a probe alone, Pacemaker 3.0 carries out the
// change of any parameter as a restart, where it reloads one that it has started: a lab
// with such a primary is of no use to a scenario that changes one.
func controllers() []Scenario {
	return []Scenario{
		{
			Name:      "controller-killed",
			Text:      "Pacemaker's controller is killed on the primary and forgets what runs there: nobody is promoted beside the primary",
			Variables: quickForget(),
			Spoils:    true,
			Play:      func(ctx context.Context, r *Run) error { return r.forgets(ctx, "controld") },
		},
		{
			Name:      "based-killed",
			Text:      "Pacemaker's keeper of the configuration is killed on the primary and takes the controller with it: nobody is promoted beside the primary",
			Variables: quickForget(),
			Spoils:    true,
			Play:      func(ctx context.Context, r *Run) error { return r.forgets(ctx, "based") },
		},
		{
			Name:      "executor-killed-in-failover",
			Text:      "the primary's server is killed, and Pacemaker's executor of the standby in the middle of the promotion: the standby's node attributes are back by themselves, and it serves, unless Pacemaker has its node fenced first",
			Variables: quickForget(),
			Spoils:    true,
			Play:      executorKilledInFailover,
		},
		{
			Name: "corosync-lost-on-both",
			Text: "the primary's corosync stands still, and the standby that has it fenced loses its own before it serves: nobody serves until a person starts that again, nothing is lost",
			Play: corosyncLostOnBoth,
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
	// The cluster may be about to tell the dead controller of a promotion: it waits for its
	// answer for as long as a notification may take, 60 s, before it looks again.
	probed, cancel := context.WithTimeout(ctx, 100*time.Second)
	defer cancel()
	fenced := false
	err = host.Poll(probed, "a probe of the primary", 100*time.Millisecond, func() (bool, error) {
		// A controller that is away for long has its node fenced: that is proof enough.
		if fenced = r.booted(ctx, was, was.primary); fenced {
			return true, nil
		}
		n, err := r.countLog(was.primary, "Result of probe operation for pgsql on "+was.primary+": promoted", since)
		return n > 0, err
	})
	if err != nil {
		return err
	}
	if fenced {
		err = r.failover(ctx, was.standby, was.timeline, time.Minute)
	} else {
		err = r.Wait(ctx, "a primary and a synchronous standby", time.Minute, func(v cluster.View) bool { return v.Healthy(r.NodeNames()) })
	}
	if err != nil {
		return err
	}
	return r.demotedBefore(was.primary, was.standby, since)
}

// demotedBefore shows that no promotion of a node began before the demotion of the
// primary had ended, or the primary was fenced.
func (r *Run) demotedBefore(primary, node string, since time.Time) error {
	events, err := r.Events(since)
	if err != nil {
		return err
	}
	demoted := false
	for _, e := range events {
		switch {
		case e.Text == "demote of pgsql on "+primary+": ok", strings.HasPrefix(e.Text, primary+" is fenced by "):
			demoted = true
		case e.Text == "promote of pgsql on "+node+" begins":
			if !demoted {
				return fmt.Errorf("the promotion of %s began at %s, beside the primary %s", node, e.At.Format("15:04:05.000"), primary)
			}
		}
	}
	r.Log("the primary was demoted or fenced: %v", demoted)
	return nil
}

// executorKilledInFailover has the promotion go on while the controller that ordered it
// dies with the executor: the score that it writes is there after the other attributes
// were erased, ping's among them, without which the cluster would stop the server.
func executorKilledInFailover(ctx context.Context, r *Run) error {
	was, err := r.before(ctx)
	if err != nil {
		return err
	}
	// Not when the promotion begins: one that has not settled yet finds its own right
	// erased, and fails.
	claimed, err := r.followLog(ctx, was.standby, "primary="+was.standby+" ")
	if err != nil {
		return err
	}
	if err := r.Kill(ctx, was.primary, "postmaster", fault.Postmaster); err != nil {
		return err
	}
	if err := claimed(time.Minute); err != nil {
		return err
	}
	erased, err := r.followLog(ctx, was.standby, "attributes are gone from the cluster's configuration")
	if err != nil {
		return err
	}
	if err := r.Kill(ctx, was.standby, "execd", fault.Daemon("pacemaker-execd")); err != nil {
		return err
	}
	// The controller needs some seconds to be one of the cluster again, the agent none.
	const within = 20 * time.Second
	fenced := false
	err = r.Wait(ctx, was.standby+" to be the primary with what ping has written, or to be fenced", within, func(v cluster.View) bool {
		fenced = fenced || r.booted(ctx, was, was.standby)
		return fenced || v.Primary() == was.standby && v.Attribute(was.standby, "ping-status") != ""
	})
	if err != nil {
		return err
	}
	if fenced {
		// Its controller was away when the cluster looked, by some 20 ms.
		r.Log("%s was fenced before its controller was back", was.standby)
		return r.Wait(ctx, "a primary and a synchronous standby", 2*time.Minute, func(v cluster.View) bool { return v.Healthy(r.NodeNames()) })
	}
	if err := r.WaitCommits(ctx, within); err != nil {
		return err
	}
	// That the cluster had erased them, without which nothing is shown.
	return erased(within)
}

// corosyncLostOnBoth is a second failure within a second of the first: who fences dies
// of it before it can promote, and the node that boots has no quorum to do anything.
func corosyncLostOnBoth(ctx context.Context, r *Run) error {
	was, err := r.before(ctx)
	if err != nil {
		return err
	}
	n, err := r.Node(ctx, was.primary)
	if err != nil {
		return err
	}
	corosync := fault.Daemon("corosync")
	if err := r.Must(fault.Signal(ctx, r.Site, was.primary, "corosync", corosync, unix.SIGSTOP)); err != nil {
		return err
	}
	short, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := r.Must(fault.WaitGone(short, r.Site, was.primary, n)); err != nil {
		return err
	}
	if err := r.Kill(ctx, was.standby, "corosync", corosync); err != nil {
		return err
	}
	err = host.Poll(short, was.primary+" to be without quorum", 200*time.Millisecond, func() (bool, error) {
		// Its exit status tells the same; before the boot is over there is no answer.
		out, _ := r.Sh(short, was.primary, "corosync-quorumtool -s; true")
		return strings.Contains(out, "Activity blocked"), nil
	})
	if err != nil {
		return err
	}
	if err := r.Stays(ctx, "no primary on "+was.primary, 10*time.Second, func(v cluster.View) bool { return v.Primary() != was.primary }); err != nil {
		return err
	}
	if _, err := r.Sh(ctx, was.standby, "corosync"); err != nil {
		return err
	}
	if err := r.Wait(ctx, "a primary and a synchronous standby", 2*time.Minute, func(v cluster.View) bool { return v.Healthy(r.NodeNames()) }); err != nil {
		return err
	}
	return r.WaitCommits(ctx, time.Minute)
}
