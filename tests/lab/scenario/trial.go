package scenario

import (
	"context"
	"fmt"
	"strings"
	"time"

	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/fault"
	"pgrex/tests/lab/network"
)

// Trial is a scenario that is played to be measured, with our agents and with
// the reference: it asks for nothing that only one of them promises.
type Trial struct {
	Scenario
	// Stall and Back say which figures of the Result are of interest.
	Stall, Back bool
}

// trialLimit bounds the wait for service, and backLimit that for the old
// primary after a switchover, which may not come at all.
const (
	trialLimit = 3 * time.Minute
	backLimit  = 20 * time.Second
)

// Trials lists all trials in the order they are played.
func Trials() []Trial {
	trial := func(name, text string, play func(context.Context, *Run) error) Trial {
		return Trial{Scenario: Scenario{Name: name, Text: text, Play: play}, Stall: true}
	}
	switchover := trial("switchover", "the primary is moved to the other node", plannedSwitchover)
	switchover.Back = true
	back := trial("standby-back", "a standby that was put away comes back, until it may be promoted", standbyBack)
	back.Stall, back.Back = false, true
	return []Trial{
		trial("postmaster-killed", "SIGKILL to the primary's postmaster", postmasterKilled),
		trial("server-hung", "SIGSTOP to the primary's postmaster and all its processes", serverHung),
		trial("primary-power-loss", "the primary's node loses its power", primaryPowerLoss),
		trial("cut-interconnect", "cut i: the nodes lose sight of each other on the interconnect", func(ctx context.Context, r *Run) error {
			return r.primarySurvives(ctx, false, network.Interconnect)
		}),
		trial("cut-all", "cut iv: the primary is cut off from everything, the BMCs too", func(ctx context.Context, r *Run) error {
			return r.standbyWins(ctx, network.LANs()...)
		}),
		switchover,
		trial("standby-killed", "SIGKILL to the standby's postmaster; its node lives", standbyLost(func(ctx context.Context, r *Run, s string) error {
			return r.Kill(ctx, s, "postmaster", fault.Postmaster)
		})),
		trial("standby-power-loss", "the standby's node loses its power", standbyPowerLoss),
		trial("cut-replication", "the standby is cut off from the replication LAN", standbyLost(func(ctx context.Context, r *Run, s string) error {
			return r.Must(fault.CutOff(ctx, r.Site, s, network.Replication))
		})),
		back,
	}
}

// ParseTrials finds trials by their names, separated by commas; "" is all.
func ParseTrials(names string) ([]Trial, error) {
	all := Trials()
	if names == "" {
		return all, nil
	}
	var out []Trial
	var have []string
	for _, t := range all {
		have = append(have, t.Name)
	}
	for _, n := range strings.Split(names, ",") {
		i := -1
		for k, t := range all {
			if t.Name == n {
				i = k
			}
		}
		if i < 0 {
			return nil, fmt.Errorf("no fault %q to measure: %s", n, strings.Join(have, " "))
		}
		out = append(out, all[i])
	}
	return out, nil
}

// Measure plays a trial, in the lab of the last one if that is fit for it. See
// Drop.
func (r *Runner) Measure(ctx context.Context, t Trial) Result {
	t.OnDisk = r.Options.OnDisk
	return r.one(ctx, t.Scenario)
}

// Drop takes the lab down, if there is one.
func (r *Runner) Drop() { r.drop() }

// serverHung stops all processes: with the postmaster alone, the sessions that
// are open go on committing, and nothing is shown by them.
func serverHung(ctx context.Context, r *Run) error {
	was, err := r.before(ctx)
	if err != nil {
		return err
	}
	if err := r.Must(fault.Signal(ctx, r.Site, was.primary, "PostgreSQL", fault.Postgres, sigstop)); err != nil {
		return err
	}
	return r.failover(ctx, was.standby, was.timeline, trialLimit)
}

// standbyLost breaks the standby while its node lives, and waits until commits go
// on without it.
func standbyLost(breaks func(ctx context.Context, r *Run, standby string) error) func(context.Context, *Run) error {
	return func(ctx context.Context, r *Run) error {
		p, s, err := r.Pair(ctx)
		if err != nil {
			return err
		}
		if err := breaks(ctx, r, s); err != nil {
			return err
		}
		// A commit may slip through before it is felt: that is not the end of it.
		if err := r.waitNoSync(ctx, s); err != nil {
			return err
		}
		if err := r.WaitCommits(ctx, trialLimit); err != nil {
			return err
		}
		return r.stillPrimary(ctx, p)
	}
}

func (r *Run) waitNoSync(ctx context.Context, standby string) error {
	return r.Wait(ctx, standby+" to lose its right to be promoted", trialLimit, func(v cluster.View) bool {
		return v.Score(standby) != "100"
	})
}

// plannedSwitchover does what "pcs resource move" does, without the seconds of
// processor time that pcs takes from what is measured.
func plannedSwitchover(ctx context.Context, r *Run) error {
	was, err := r.before(ctx)
	if err != nil {
		return err
	}
	move := []string{"crm_resource", "--resource", cluster.ClonePgsql}
	r.Begin("move to " + was.standby)
	begin := time.Now()
	if _, err := r.Cluster.Must(ctx, was.standby, append(move, "--move", "--promoted", "--node", was.standby)...); err != nil {
		return err
	}
	if err := r.failover(ctx, was.standby, was.timeline, trialLimit); err != nil {
		return err
	}
	if _, err := r.Cluster.Must(ctx, was.standby, append(move, "--clear")...); err != nil {
		return err
	}
	if err := r.WaitSync(ctx, was.primary, backLimit); err != nil {
		r.Log("the old primary does not come back by itself: %v", err)
		return ctx.Err()
	}
	r.back = time.Since(begin)
	return nil
}

// standbyBack puts the standby's node away and takes it in again.
func standbyBack(ctx context.Context, r *Run) error {
	p, s, err := r.Pair(ctx)
	if err != nil {
		return err
	}
	away := []string{"crm_attribute", "--type", "nodes", "--node", s, "--name", "standby"}
	r.Begin("node standby " + s)
	if _, err := r.Cluster.Must(ctx, p, append(away, "--update", "on")...); err != nil {
		return err
	}
	err = r.Wait(ctx, "no server on "+s, trialLimit, func(v cluster.View) bool {
		return v.Score(s) != "100" && !contains(v.On(cluster.ResourcePgsql, ""), s)
	})
	if err != nil {
		return err
	}
	if err := r.WaitCommits(ctx, trialLimit); err != nil {
		return err
	}
	begin := time.Now()
	if _, err := r.Cluster.Must(ctx, p, append(away, "--delete")...); err != nil {
		return err
	}
	if err := r.WaitSync(ctx, s, trialLimit); err != nil {
		return err
	}
	r.back = time.Since(begin)
	return r.stillPrimary(ctx, p)
}
