package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"pgrex/lib/crm"
	"pgrex/lib/ocf"
	"pgrex/lib/pg"
)

const (
	// askLimit bounds the questions to the cluster after a death.
	askLimit = 5 * time.Second
	// restartPatience is how long a server that somebody stopped in order may take to
	// come back before it counts as stopped: pg_ctl restart, or a script.
	restartPatience = 2 * time.Second
	// ownPoll is how often the watcher asks whether the resource is still its own.
	ownPoll = time.Minute
	// badnessOfWatcher is the watcher's oom_score_adj: it is small, and worth more
	// than its memory when memory runs out.
	badnessOfWatcher = "-900"
)

// uptime is the clock of what is kept in the run directory.
func uptime() (time.Duration, error) { return crm.Uptime() }

// watch is the watcher: one process for each server, started and ended by the
// actions. It tells the cluster at once when the server ends without an order, and
// makes a primary look after its standbys at once when one comes or goes.
//
// Nothing rests on it. It may be killed at any moment; the next monitor starts
// another.
func (a *agent) watch(ctx context.Context) error {
	if a.cluster == nil {
		return ocf.Errorf(ocf.ErrGeneric, "there is no cluster to tell anything: the agent's actions start the watcher, nobody else")
	}
	f, err := tryLock(a.runFile(runWatcher))
	if errors.Is(err, errBusy) {
		return nil // there is one
	}
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // what it tells is for those who find it locked
	modest()
	a.call.Interval, a.call.Timeout, a.call.Probe = followPoll, roundTimeout, false
	for ctx.Err() == nil {
		ps, err := a.server.Processes()
		if err != nil {
			return fmt.Errorf("watch the server: %w", err)
		}
		pm, err := pg.IdentifyProcess(ps.Postmaster)
		if ps.Postmaster == 0 || err != nil {
			return nil // nothing to watch; the monitor finds that
		}
		if err := a.sayWatching(f, pm); err != nil {
			return fmt.Errorf("watch the server: %w", err)
		}
		a.log.Info("watching", "postmaster", pm.PID)
		if err := a.attend(ctx, pm); err != nil || !a.ended(ctx, pm) {
			return nil
		}
	}
	return nil
}

// modest keeps the process small and makes it a bad choice for the kernel when
// memory runs out. Both are best effort.
func modest() {
	debug.SetGCPercent(50)
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte(badnessOfWatcher), 0)
}

func (a *agent) sayWatching(f *os.File, pm pg.ProcessID) error {
	me, err := pg.IdentifyProcess(os.Getpid())
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(0), writeAt(f, watch{me, pm, a.watchParams()}.String()))
}

// attend waits for the postmaster's end and looks after its standbys meanwhile. The
// error is that of ctx.
func (a *agent) attend(ctx context.Context, pm pg.ProcessID) error {
	following, cancel := context.WithCancel(ctx)
	defer cancel()
	if a.conf.replicates() {
		go a.follow(following)
	}
	own := time.NewTicker(ownPoll)
	defer own.Stop()
	go func() { a.whileOurs(following, own.C); cancel() }()
	return pm.AwaitEnd(following)
}

// whileOurs returns when the cluster has said twice in a row that the resource is
// gone or another agent's: no action of ours will come to end the watcher then. A
// cluster that does not answer says nothing.
func (a *agent) whileOurs(ctx context.Context, ask <-chan time.Time) {
	for strange := 0; strange < 2; {
		select {
		case <-ctx.Done():
			return
		case <-ask:
		}
		asked, cancel := context.WithTimeout(ctx, askLimit)
		in, err := a.cluster.Instance(asked, a.call.Resource, a.nodeOf())
		cancel()
		switch {
		case err != nil, in.Agent == a.agentName():
			strange = 0
		default:
			strange++
		}
	}
	a.log.Info("the cluster does not have the server here by this agent any more; the watcher ends")
}

// agentName is the agent that this is, as the cluster calls it.
func (a *agent) agentName() string {
	return strings.Join([]string{"ocf", a.call.Getenv("OCF_RESOURCE_PROVIDER"), a.call.Getenv("OCF_RESOURCE_TYPE")}, ":")
}

// ended deals with the end of the postmaster. Who gives orders ends the watcher
// first, so nobody of ours has ordered this one. It returns true if somebody has
// started the server again, which is then to be watched.
func (a *agent) ended(ctx context.Context, pm pg.ProcessID) (again bool) {
	log := a.log.With("postmaster", pm.PID)
	if a.restarted(ctx) {
		log.Info("somebody has restarted the server; nothing is reported")
		return true
	}
	failures, why := a.keepsQuiet(ctx)
	if why != "" {
		log.Info("the server has ended; nothing is reported", "because", why)
		return false
	}
	if a.restarted(ctx) {
		log.Info("somebody has restarted the server; nothing is reported")
		return true
	}
	now, err := uptime()
	if err != nil {
		log.Error("the server has ended; the next monitor will tell", "error", err)
		return false
	}
	switch d, err := a.tell(ctx, death{pm, byWatcher, now, failures}); {
	case err != nil:
		log.Error("the server has ended; the next monitor will tell", "error", err)
		return false
	case d.by != byWatcher:
		log.Info("the server has ended; the monitor has told the cluster")
		return false
	}
	ask, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	// Nothing is written beside it: a change that makes the cluster think while the
	// designated controller still waits for its own record of the failure makes it
	// sleep for a second.
	err = a.cluster.Fail(ask, a.call.Resource, a.nodeOf())
	switch {
	case errors.Is(err, crm.ErrTimeout):
		// It may have been taken. If not, the monitor finds no failure and tells.
		log.Warn("the server has ended; it is not known whether the cluster has taken the report", "error", err)
	case err != nil:
		a.untell()
		log.Warn("the server has ended and the cluster did not take the report; the next monitor will tell", "error", err)
	default:
		log.Error("the server has ended without an order; the cluster was told that it failed: look at the server's log for the reason")
	}
	return false
}

// restarted reports whether somebody is starting the server again. One that was
// stopped in order gets a moment for that: a script may do it in two steps.
func (a *agent) restarted(ctx context.Context) bool {
	ps, err := a.server.Processes()
	if err != nil {
		return false
	}
	ps = a.awaitLaunch(ctx, ps)
	if c, err := a.server.Control(); err == nil && (c.State == pg.StateShutDown || c.State == pg.StateShutDownInRecovery) {
		ps = a.whileProcesses(ctx, restartPatience, ps, func(ps pg.Processes) bool { return ps.Postmaster == 0 && len(ps.Launching) == 0 })
		ps = a.awaitLaunch(ctx, ps)
	}
	return ps.Postmaster != 0
}

// keepsQuiet says why a death is not to be reported, "" if it is, and how many
// reports there were before.
func (a *agent) keepsQuiet(ctx context.Context) (failures int, why string) {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	var restart bool
	var err error
	var asked sync.WaitGroup
	asked.Go(func() {
		var snap crm.Snapshot
		snap, restart, err = a.cluster.LocalMonitors(ctx, a.call.Resource)
		n, _ := snap.Node(a.nodeOf())
		failures, _ = crm.ParseScore(n.Transient[crm.ReportedFailures(a.call.Resource)])
	})
	in, why := a.notOurs(ctx)
	asked.Wait()
	switch {
	case why != "":
		return failures, why
	case err != nil:
		return failures, err.Error()
	case in.Pending != "":
		// It ended by what is done to it, or that action finds it dead and fails:
		// either way the cluster hears of it once already. This also holds where no
		// action has ended the watcher: a promotion, an older version of this agent.
		return failures, "the cluster is at work on it: " + in.Pending
	case !restart:
		return failures, "a monitor's on-fail asks for something else than a restart: the monitor will tell"
	case in.Threshold > 1 && in.Threshold < crm.Infinity:
		// crm.Client.Fail may count as two.
		return failures, fmt.Sprintf("migration-threshold is %d and a report may count as two failures: the monitor will tell", in.Threshold)
	}
	return failures, ""
}

// notOurs says why the server is not the watcher's to do anything about, "" if it
// is: the cluster runs it here, by this agent, and may act on it.
func (a *agent) notOurs(ctx context.Context) (in crm.Instance, why string) {
	in, err := a.cluster.Instance(ctx, a.call.Resource, a.nodeOf())
	switch {
	case err != nil:
		return in, err.Error()
	case !in.Active:
		return in, "the cluster does not have it started here"
	case !in.Managed:
		return in, "the cluster does not manage it now"
	case in.Agent != a.agentName():
		return in, "it is run by " + in.Agent + " now"
	case in.Blocked:
		return in, "the cluster has given up on it"
	case in.Failed:
		return in, "the cluster knows of a failure"
	case strings.EqualFold(in.TargetRole, "Stopped"):
		return in, "the cluster is to stop it"
	}
	return in, ""
}
