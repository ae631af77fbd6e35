package scenario

import (
	"context"
	"fmt"
	"strings"
	"time"

	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/fault"
	"pgrex/tests/lab/network"
	"pgrex/tests/lab/writer"
)

// Trial is a scenario that is played to be measured, with our agents and with
// the reference: it asks for nothing that only one of them promises.
type Trial struct {
	Scenario
	// Measures are the figures of the Result that are of interest.
	Measures []Measure
	// Tunable says that the intervals and waits that can be set matter for it.
	Tunable bool
	// Target is what our median of the first measure is to stay under, 0 for nothing.
	Target time.Duration
	// Floor says that a failover cannot be quicker than the floor of the bench.
	Floor bool
	// Reference and Ours are the seconds it takes with either agents, healing
	// included, about, for the person who waits.
	Reference, Ours int
}

// Measure is a time that a trial measures.
type Measure string

// The measures.
const (
	// Gap is the longest time without an acknowledged commit.
	Gap Measure = "gap"
	// Served is the time from the order to start until a commit is acknowledged.
	Served Measure = "first commit"
	// Redundant is the time from the order or the fault until a failover is
	// possible again.
	Redundant Measure = "redundancy restored"
)

// Time is one of a result's times, 0 if there is none.
func (res Result) Time(m Measure) time.Duration {
	if m == Gap {
		return res.Gap
	}
	return res.Times[m]
}

// Row names the row of the table that holds a measure.
func (t Trial) Row(m Measure) string {
	if m == t.Measures[0] {
		return t.Name
	}
	return t.Name + ", " + string(m)
}

// Waited is how long a measure is waited for, when service is there and the wait
// for the measure is in vain.
func (t Trial) Waited(m Measure) time.Duration {
	if m == Redundant && t.Measures[0] == Gap {
		return backLimit
	}
	return TrialLimit
}

// TrialLimit bounds the wait for service.
const TrialLimit = 90 * time.Second

// backLimit bounds the wait for the old primary after a switchover, which may not
// come at all.
const backLimit = 20 * time.Second

// Trials lists all trials in the order they are played. The server that hangs is
// last: the reference does not bear it, and its lab is of no use afterwards.
func Trials() []Trial {
	trial := func(name, text string, reference, ours int, play func(context.Context, *Run) error) Trial {
		return Trial{Scenario: Scenario{Name: name, Text: text, Play: play}, Measures: []Measure{Gap}, Reference: reference, Ours: ours}
	}
	tunable := func(t Trial) Trial {
		t.Tunable = true
		return t
	}
	measuring := func(t Trial, m ...Measure) Trial {
		t.Measures = m
		return t
	}
	killed := tunable(trial("postmaster-killed", "SIGKILL to the primary's postmaster", 25, 8, postmasterKilled))
	killed.Floor, killed.Target = true, time.Second
	postmasterHung := trial("postmaster-hung", "SIGSTOP to the primary's postmaster alone, as clients see it that open a session for each row", 100, 21,
		primaryHung("postmaster", fault.Postmaster))
	postmasterHung.NewSessions, postmasterHung.Target = true, 10*time.Second
	within := func(limit time.Duration, t Trial) Trial {
		t.Target = limit
		return t
	}
	return []Trial{
		killed,
		within(time.Second, tunable(measuring(trial("switchover", "the primary is moved to the other node", 38, 7, plannedSwitchover), Gap, Redundant))),
		within(2*time.Second, tunable(trial("standby-killed", "SIGKILL to the standby's postmaster; its node lives", 20, 7, standbyLost(func(ctx context.Context, r *Run, s string) error {
			return r.Kill(ctx, s, "postmaster", fault.Postmaster)
		})))),
		trial("cut-replication", "the standby is cut off from the replication LAN", 40, 27, standbyLost(func(ctx context.Context, r *Run, s string) error {
			return r.Must(fault.CutOff(ctx, r.Site, s, network.Replication))
		})),
		within(2*time.Second, tunable(measuring(trial("standby-back", "a standby that was put away comes back, until it may be promoted", 20, 10, standbyBack), Redundant))),
		within(4*time.Second, tunable(trial("primary-power-loss", "the primary's node loses its power", 29, 17, primaryPowerLoss))),
		trial("standby-power-loss", "the standby's node loses its power", 25, 15, standbyPowerLoss),
		trial("cut-interconnect", "cut i: the nodes lose sight of each other on the interconnect", 25, 16, func(ctx context.Context, r *Run) error {
			return r.primarySurvives(ctx, false, network.Interconnect)
		}),
		trial("cut-interconnect-replication", "cut ii: and replication is cut too", 25, 16, func(ctx context.Context, r *Run) error {
			return r.primarySurvives(ctx, false, network.Interconnect, network.Replication)
		}),
		within(5*time.Second, trial("cut-all", "cut iv: the primary is cut off from everything, the BMCs too", 35, 24, func(ctx context.Context, r *Run) error {
			return r.standbyWins(ctx, network.LANs()...)
		})),
		measuring(trial("cold-start", "both nodes are stopped, standby first, and started at once", 45, 21, bothStarted), Served, Redundant),
		postmasterHung,
		within(10*time.Second, trial("server-hung", "SIGSTOP to the primary's postmaster and all its processes", 125, 30, primaryHung("PostgreSQL", fault.Postgres))),
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
	r.events = true
	return r.one(ctx, t.Scenario)
}

// Drop takes the lab down, if there is one.
func (r *Runner) Drop() { r.drop() }

// primaryHung stops processes of the primary's server: with the postmaster alone,
// the sessions that are open go on committing.
func primaryHung(what string, match fault.Pattern) func(context.Context, *Run) error {
	return func(ctx context.Context, r *Run) error {
		was, err := r.before(ctx)
		if err != nil {
			return err
		}
		if err := r.Must(fault.Signal(ctx, r.Site, was.primary, what, match, sigstop)); err != nil {
			return err
		}
		return r.failover(ctx, was.standby, was.timeline, TrialLimit)
	}
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
		if err := r.WaitCommits(ctx, TrialLimit); err != nil {
			return err
		}
		return r.stillPrimary(ctx, p)
	}
}

func (r *Run) waitNoSync(ctx context.Context, standby string) error {
	return r.Wait(ctx, standby+" to lose its right to be promoted", TrialLimit, func(v cluster.View) bool {
		return v.Score(standby) != "100"
	})
}

// redundant measures how long it takes from a moment until a node may be promoted,
// if it comes to that within a limit.
func (r *Run) redundant(ctx context.Context, node string, since time.Time, within time.Duration) error {
	if err := r.WaitSync(ctx, node, within); err != nil {
		r.Log("%s does not come back by itself: %v", node, err)
		return ctx.Err()
	}
	r.times[Redundant] = time.Since(since)
	return nil
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
	if err := r.failover(ctx, was.standby, was.timeline, TrialLimit); err != nil {
		return err
	}
	if _, err := r.Cluster.Must(ctx, was.standby, append(move, "--clear")...); err != nil {
		return err
	}
	return r.redundant(ctx, was.primary, begin, backLimit)
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
	err = r.Wait(ctx, "no server on "+s, TrialLimit, func(v cluster.View) bool {
		return v.Score(s) != "100" && !contains(v.On(cluster.ResourcePgsql, ""), s)
	})
	if err != nil {
		return err
	}
	if err := r.WaitCommits(ctx, TrialLimit); err != nil {
		return err
	}
	begin := time.Now()
	if _, err := r.Cluster.Must(ctx, p, append(away, "--delete")...); err != nil {
		return err
	}
	if err := r.redundant(ctx, s, begin, TrialLimit); err != nil {
		return err
	}
	return r.stillPrimary(ctx, p)
}

// bothStarted stops both nodes in order and starts them at once.
func bothStarted(ctx context.Context, r *Run) error {
	p, s, err := r.Pair(ctx)
	if err != nil {
		return err
	}
	if err := r.stopAll(ctx, s, p); err != nil {
		return err
	}
	begin := time.Now()
	r.started = begin
	for _, n := range []string{p, s} {
		if err := r.StartNode(ctx, n); err != nil {
			return err
		}
	}
	if err := r.W.WaitAcknowledgedBy(ctx, begin, TrialLimit); err != nil {
		return fmt.Errorf("no commit is acknowledged after the start: %w", err)
	}
	r.times[Served] = firstAfter(r.W.History(), begin).Sub(begin)
	if err := r.Wait(ctx, "health", TrialLimit, func(v cluster.View) bool { return v.Healthy(r.NodeNames()) }); err != nil {
		r.Log("not healthy by itself: %v", err)
		return ctx.Err()
	}
	r.times[Redundant] = time.Since(begin)
	return r.stillPrimary(ctx, p)
}

// firstAfter is when the first row was acknowledged that was asked for after a
// moment; the zero time if none was.
func firstAfter(h *writer.History, t time.Time) time.Time {
	var first time.Time
	for _, row := range h.Rows {
		if row.Outcome == writer.Acknowledged && row.Begin.After(t) && (first.IsZero() || row.End.Before(first)) {
			first = row.End
		}
	}
	return first
}
