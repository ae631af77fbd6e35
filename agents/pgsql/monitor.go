package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"pgrex/lib/ocf"
	"pgrex/lib/pg"
	"pgrex/lib/replication"
)

const (
	// startingLimit is how long a standby may take to accept connections before
	// monitor calls that a failure. It is the start timeout of PG-REX.
	startingLimit = 300 * time.Second
	// roundLimit bounds what one monitor or notification spends on bringing the
	// standbys' rights up to date; the next one goes on.
	roundLimit = 10 * time.Second
)

// monitor tells what runs here, and on a primary keeps the standbys' rights in
// step with the truth. It never starts a server.
func (a *agent) monitor(ctx context.Context) error {
	ps, err := a.server.Processes()
	if err != nil {
		return ocf.Errorf(ocf.ErrGeneric, "cannot look for the server's processes: %w", err)
	}
	if _, rewinding := a.inRecovery(); rewinding && ps.Postmaster != 0 {
		return ocf.Status(ocf.NotRunning) // nobody is served by it
	}
	if ps = a.awaitLaunch(ctx, ps); ps.Postmaster == 0 {
		return a.monitorDead(ctx, ps)
	}
	if err := a.conf.check(a.call); err != nil {
		return err
	}
	conn, err := a.connectPatiently(ctx, a.startingAsStandby)
	if err != nil {
		return a.monitorSilent(ctx, ps, err)
	}
	defer conn.Close()
	// Before the status: what is decided by it must be of now.
	if err := a.storageAnswers(ctx, conn, ps); err != nil {
		return err
	}
	// A server may come to a stand in the middle of an answer as well.
	asking, cancel := a.unlessHung(ctx)
	defer cancel()
	st, silent := a.status(asking, conn)
	var answer error
	if silent == nil {
		answer = a.monitorAnswering(asking, conn, st)
	}
	if errors.Is(context.Cause(asking), errHangs) {
		silent = errHangs
	}
	if silent != nil {
		return a.monitorSilent(ctx, ps, silent)
	}
	return answer
}

// monitorAnswering answers for a server that has told its status.
func (a *agent) monitorAnswering(ctx context.Context, conn *pg.Conn, st pg.Status) error {
	if !a.conf.replicates() {
		return a.monitorAlone(ctx, st)
	}
	if a.clustered() && !a.conf.listed(a.conf.self) {
		return unlisted(st)
	}
	if st.InRecovery {
		return a.monitorStandby(ctx, conn, st)
	}
	return a.monitorPrimary(ctx, conn, st)
}

// unlisted answers a probe that finds a server on a node that node_list does not
// name. It says what runs, so that the cluster ends it, and does nothing for it: the
// node takes no part in an election and grants no right.
func unlisted(st pg.Status) error {
	if st.InRecovery {
		return nil
	}
	return ocf.Status(ocf.RunningPromoted)
}

// monitorDead answers when no postmaster is there. Children that outlived it
// still hold the shared memory and may serve stale reads: that is not stopped.
func (a *agent) monitorDead(ctx context.Context, ps pg.Processes) error {
	if a.alreadyTold(ctx) {
		return a.lastKnown()
	}
	ps = a.lookAgain(ctx, ps)
	if ps.Running() {
		return ocf.Errorf(a.failed(), "the postmaster is gone but %s of %s still run: they are ended by stop", ps, a.conf.data)
	}
	if a.clustered() && a.call.Probe {
		a.recallLost(ctx, a.erased) // without them no server is started here
		a.revokeStopped(ctx)
	}
	return ocf.Status(ocf.NotRunning)
}

// launchPatience is how long a server that somebody starts right now may take to
// show its postmaster.
const launchPatience = 5 * time.Second

// awaitLaunch waits for the postmaster of a server that is being started: what is
// neither up nor down has not failed.
func (a *agent) awaitLaunch(ctx context.Context, ps pg.Processes) pg.Processes {
	return a.whileProcesses(ctx, launchPatience, ps, func(ps pg.Processes) bool {
		return ps.Postmaster == 0 && len(ps.Launching) > 0
	})
}

// dyingPatience is how long a process that was killed may still count as attached
// to shared memory while nothing else of it is left.
const dyingPatience = 300 * time.Millisecond

// lookAgain gives the kernel a moment to finish with processes that died just now.
func (a *agent) lookAgain(ctx context.Context, ps pg.Processes) pg.Processes {
	return a.whileProcesses(ctx, dyingPatience, ps, func(ps pg.Processes) bool {
		return ps.Unseen > 0 && len(ps.All()) == 0
	})
}

// whileProcesses looks at the processes again and again while passing holds, for
// at most patience.
func (a *agent) whileProcesses(ctx context.Context, patience time.Duration, ps pg.Processes, passing func(pg.Processes) bool) pg.Processes {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for passing(ps) {
		select {
		case <-ctx.Done():
			return ps
		case <-tick.C:
		}
		now, err := a.server.Processes()
		if err != nil {
			return ps
		}
		ps = now
	}
	return ps
}

// failed is the code for a server that is there and broken: FailedPromoted when
// the control file says that it was a primary, so that it is demoted first.
func (a *agent) failed() ocf.Code {
	if !a.conf.replicates() || a.startingAsStandby() {
		return ocf.ErrGeneric
	}
	switch c, err := a.server.Control(); {
	case err != nil:
	case c.State == pg.StateInProduction, c.State == pg.StateInCrashRecovery, c.State == pg.StateShuttingDown:
		return ocf.FailedPromoted
	}
	return ocf.ErrGeneric
}

// startingAsStandby reports whether the running server is to be a standby: the
// server removes the file when it is promoted.
func (a *agent) startingAsStandby() bool {
	return exists(a.conf.signalFile())
}

// monitorSilent answers for a server whose postmaster lives but that does not
// answer. "Cannot connect" is not "not running".
func (a *agent) monitorSilent(ctx context.Context, ps pg.Processes, err error) error {
	now, perr := a.server.Processes()
	switch {
	case perr != nil || now.Postmaster == ps.Postmaster:
	case a.awaitLaunch(ctx, now).Postmaster != 0 && ctx.Err() == nil:
		// Somebody restarted it while we looked.
		return a.monitor(ctx)
	default:
		return a.monitorDead(ctx, now)
	}
	switch {
	case pg.IsTooMany(err):
		// It serves, it only has no room for us.
		a.log.Warn("the server has no connection to spare for the monitor; raise superuser_reserved_connections or max_connections", "error", err)
		return a.roleByFiles()
	case pg.IsStarting(err) && a.startingAsStandby():
		age, aerr := a.server.Age()
		if aerr == nil && age < startingLimit {
			return nil
		}
		return ocf.Errorf(ocf.ErrGeneric, "the standby has been starting for more than %v: look at the server's log", startingLimit)
	}
	return ocf.Errorf(a.failed(), "postmaster %d runs but does not answer: %w", ps.Postmaster, err)
}

// roleByFiles is the role of a living server that cannot be asked.
func (a *agent) roleByFiles() error {
	if a.conf.replicates() && a.failed() == ocf.FailedPromoted {
		return ocf.Status(ocf.RunningPromoted)
	}
	return nil
}

// monitorAlone answers for rep_mode none and slave.
func (a *agent) monitorAlone(ctx context.Context, st pg.Status) error {
	if a.conf.standbyOnly() && !st.InRecovery {
		return ocf.Errorf(ocf.ErrGeneric, "this server has become a primary, but rep_mode=slave keeps a standby of %s: rebuild it", a.conf.primaryIP)
	}
	if a.conf.standbyOnly() {
		return nil
	}
	return a.customCheck(ctx)
}

// customCheck runs monitor_sql. The default says no more than that the server
// answers, which is known by now. It runs in a session of its own, with the
// settings of the role.
func (a *agent) customCheck(ctx context.Context) error {
	if p, _ := declaration().Parameter("monitor_sql"); a.conf.monitorSQL == p.Default {
		return nil
	}
	if a.barred {
		return nil // it is not for its owner to run: names in it are looked up as the role is used to
	}
	err := a.server.Check(ctx, a.conf.monitorSQL)
	if a.conf.monitorApart() && (pg.IsAuth(err) || pg.IsTooMany(err)) {
		a.roleBarred(err) // since its first session
		return nil
	}
	if err != nil {
		return ocf.Errorf(a.failed(), "monitor_sql failed: %w", err)
	}
	return nil
}

// monitorPrimary keeps the standbys' rights in step.
func (a *agent) monitorPrimary(ctx context.Context, conn *pg.Conn, st pg.Status) error {
	if err := a.customCheck(ctx); err != nil {
		return err
	}
	if a.cluster == nil {
		return ocf.Status(ocf.RunningPromoted)
	}
	if a.call.Probe {
		// The probe is the first that a new cluster stack asks; nothing cached
		// before may answer it.
		a.cache.Drop()
		a.recallLost(ctx, a.forgotten)
	}
	full := a.fullSpell()
	if !a.steady(st) {
		if err := a.leadInTurn(ctx, conn, st, 0); ocf.CodeOf(err) != ocf.RunningPromoted {
			return err
		}
	}
	return a.giveWay(ctx, st, full)
}

// leadInTurn is lead for those who may meet another action or a round of the
// watcher. patience is how long they wait for it. The monitor has none: it would keep
// the cluster from acting meanwhile, and what it would do is being done.
func (a *agent) leadInTurn(ctx context.Context, conn *pg.Conn, st pg.Status, patience time.Duration) error {
	release, err := a.turn(ctx, 0)
	if err != nil && patience > 0 {
		release, err = a.turn(ctx, patience)
		if now, serr := conn.Status(ctx); serr == nil {
			st = now
		}
	}
	if err != nil {
		a.log.Info("the standbys were not looked after", "error", err)
		return ocf.Status(ocf.RunningPromoted)
	}
	defer release()
	switch {
	case st.InRecovery:
		return ocf.Errorf(ocf.ErrGeneric, "the server became a standby while it was looked at")
	case a.steady(st):
		return ocf.Status(ocf.RunningPromoted)
	}
	return a.lead(ctx, conn, st)
}

// lead is everything a primary does for its cluster: adopt itself if nobody
// announced it, end and grant rights, and publish what people and rules read.
func (a *agent) lead(ctx context.Context, conn *pg.Conn, st pg.Status) error {
	limited, cancel := context.WithTimeout(ctx, min(roundLimit, a.call.Timeout/2))
	defer cancel()
	if a.conf.monitorApart() {
		// The monitoring role may not see the standbys' state, and what it cannot
		// see must not look like a standby that is gone.
		owner, err := a.owner(limited)
		if err != nil {
			return a.leadFailed(err)
		}
		defer owner.Close()
		conn = owner
	}
	r := &round{status: st}
	if err := a.look(limited, conn, r); err != nil {
		return a.leadFailed(err)
	}
	if a.memory.newest.Primary != a.conf.self {
		if err := a.adopt(limited, conn, r); ocf.CodeOf(err) == ocf.FailedPromoted {
			return err
		} else if err != nil {
			return a.leadFailed(err)
		}
	}
	a.keepRecord(limited)
	if err := a.adoptFiles(); err != nil {
		return a.leadFailed(err)
	}
	if a.conf.mode == modeSync {
		if problem, err := a.commitDefault(limited); err == nil && problem != "" {
			r.names, r.count, r.unprotected = nil, 0, problem
		}
	}
	if err := a.endDoubles(limited, conn, r); err != nil {
		return a.leadFailed(err)
	}
	d, err := a.pursue(limited, conn, r, replication.Standbys)
	if err != nil {
		return a.leadFailed(err)
	}
	if d.Verdict == replication.No {
		return ocf.Errorf(ocf.FailedPromoted, "%s", d.Reason)
	}
	a.removeLock()
	a.publishPrimary(ctx, r)
	a.keepSlots(ctx, r)
	if d.Reason != "" {
		a.log.Warn(d.Reason)
	} else if d.Verdict == replication.Done && a.conf.monitorApart() {
		a.storeSteady(st)
	} else if d.Verdict == replication.Done {
		a.storeSteady(r.status)
	}
	return ocf.Status(ocf.RunningPromoted)
}

// leadFailed decides what a failure to look after the standbys means for the
// primary itself: it serves, so it is not taken down for it. Commits may wait
// meanwhile; none is released, which is what counts.
func (a *agent) leadFailed(err error) error {
	a.log.Error("the standbys' rights were not brought up to date; the next monitor tries again", "error", err)
	return ocf.Status(ocf.RunningPromoted)
}

// monitorStandby answers for a server in recovery.
func (a *agent) monitorStandby(ctx context.Context, conn *pg.Conn, st pg.Status) error {
	if a.cluster == nil {
		return nil
	}
	if a.call.Probe {
		a.cache.Drop()
		// First of all: what is only forgotten is no reason to end anything.
		a.recallLost(ctx, a.forgotten)
	}
	if a.streaming(st) && a.steady(st) {
		return nil
	}
	r := &round{status: st}
	if err := a.remember(ctx); err != nil {
		a.log.Error("the standby cannot read the cluster's memory; the next monitor tries again", "error", err)
		return nil
	}
	if a.call.Probe {
		a.revoke(ctx)
	}
	a.keepRecord(ctx)
	a.publishRunning(ctx)
	a.publishReceiver(ctx, st)
	a.publishRoom(ctx)
	switch {
	case a.following(st):
		a.forgetSpell() // the role is somebody else's
		a.forgetPosition(ctx)
		a.storeSteady(st)
		return nil
	case a.promoted() == "":
		if err := a.electAlone(ctx, conn, r); err != nil {
			// The standby is well; it is the cluster's memory that is not.
			a.log.Error("not taken part in the election; the next monitor tries again", "error", err)
		}
		return nil
	}
	return a.notStreaming(ctx, conn, st)
}

// streaming reports whether the standby receives WAL from a living primary, and
// not from itself by an address that was not recognised as its own.
func (a *agent) streaming(st pg.Status) bool {
	if _, self := st.Sender(a.conf.self); self && st.InRecovery {
		a.log.Error("this standby streams from itself: master_ip is an address of this node", "master_ip", a.conf.primaryIP)
		return false
	}
	return st.Receiver != nil && strings.EqualFold(st.Receiver.Status, "streaming")
}

// following reports whether the standby follows a primary that may be alive. A
// receiver says that it streams until wal_receiver_timeout has passed; from a
// primary that is proven down nothing more will come, and nobody took its place.
// The cluster's memory must have been read.
func (a *agent) following(st pg.Status) bool {
	last := a.memory.newest.Primary
	orphaned := a.promoted() == "" && last != "" && last != a.conf.self && a.presence(last) == replication.Down
	return a.streaming(st) && !orphaned
}

// electAlone is what a standby does while no primary lives: it publishes how far
// it reaches and asks the rules who is to be promoted.
func (a *agent) electAlone(ctx context.Context, conn *pg.Conn, r *round) error {
	limited, cancel := context.WithTimeout(ctx, a.conf.attrTimeout)
	defer cancel()
	if err := a.standStill(limited, conn, r); err != nil {
		return err
	}
	a.publishPosition(ctx, r.status)
	d := replication.Elect(a.observe(r))
	if err := a.carryOut(limited, conn, r, d.Steps); err != nil {
		return ocf.Errorf(ocf.ErrGeneric, "%w", err)
	}
	if d.Reason != "" {
		a.log.Warn(d.Reason)
	}
	return nil
}

// notStreaming looks into a standby that a primary has and that does not follow
// it. What will never mend itself is a failure with its reason; the rest is said
// in the log at each monitor.
func (a *agent) notStreaming(ctx context.Context, conn *pg.Conn, st pg.Status) error {
	if err := a.pointUpstream(ctx, conn, st); err != nil {
		a.log.Error("cannot point the standby to the primary", "error", err)
	}
	// Ours first: what a primary has sent lies before what it says afterwards.
	mine := a.position(st)
	limit := upstreamTimeout
	if a.young() {
		limit = upstreamGlance
	}
	up, err := a.upstream(ctx, limit)
	if err != nil {
		return a.lonely("the primary does not answer at master_ip=%s: %w", a.conf.primaryIP, err)
	}
	if up.Contains(mine) {
		return a.lonely("it ends on %s, %s is at %s: look at the server's log (is the WAL it needs still there?)", mine, up.Node, up.Position)
	}
	return ocf.Errorf(ocf.ErrGeneric, "rebuild it with pg_basebackup: its WAL ends on %s, outside the history of %s (%s); "+
		"it holds changes that the cluster went on without, keep what you need of them before", mine, up.Node, up.Position)
}

// streamLimit is how long a standby may have been up before one that does not
// stream is shown as degraded: after a failover the replication address moves.
const streamLimit = 60 * time.Second

// lonely answers for a standby that does not stream and could. It runs, so it is
// not restarted for it, but after a while people are to see why.
func (a *agent) lonely(format string, args ...any) error {
	err := ocf.Errorf(ocf.Degraded, "this standby does not stream: "+format, args...)
	a.log.Warn(err.Error())
	if a.young() {
		return nil
	}
	return err
}

// young says whether the server was started so short a time ago that its primary's address may
// still be on its way.
func (a *agent) young() bool {
	age, err := a.server.Age()
	return err != nil || age < streamLimit
}
