package main

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"pgrex/lib/crm"
	"pgrex/lib/ocf"
	"pgrex/lib/pg"
	"pgrex/lib/replication"
)

// demote makes the primary a standby: a clean stop, then a start as standby. A
// server that is already dead is demoted; so is a standby.
//
// After an unclean stop the server stays down: whether its WAL may be replayed
// depends on what the others did, and start decides that.
func (a *agent) demote(ctx context.Context) error {
	ps, err := a.server.Processes()
	switch {
	case err != nil:
		return ocf.Errorf(ocf.ErrGeneric, "cannot look for the server's processes: %w", err)
	case a.call.ParamErr != nil && !ps.Running():
		// Whatever was meant: a server that does not run is no primary.
		return nil
	case a.call.ParamErr != nil:
		return a.call.ParamErr
	case !a.conf.replicates():
		return ocf.Errorf(ocf.ErrUnimplemented, "demote means nothing with rep_mode=%s", a.conf.mode)
	}
	stops := a.stopsNext()
	if ps.Postmaster != 0 || !stops {
		a.withdrawSelf(ctx, ps)
	}
	defer a.writeOwed(ctx)
	seen := a.glance(ctx, ps)
	if seen.standby && !a.ownsRecord() {
		return nil
	}
	seen.answers = seen.answers && !a.hangs(ctx, ps)
	a.checkpoint(ctx, seen)
	res, err := a.server.Stop(ctx, a.demoteStop(ctx, seen.answers))
	if err != nil {
		a.publishStopped(ctx, statusUnknown)
		return ocf.Errorf(ocf.ErrGeneric, "%w", err)
	}
	a.log.Info("stopped for demotion", "clean", res.Clean, "escalated", res.Escalated)
	switch {
	case stops:
		// The stop writes the same, and each change makes the cluster think again
		// while nobody serves.
		return nil
	case !res.WasRunning || !res.Clean:
		a.publishStopped(ctx, statusStop)
		return nil
	}
	if err := a.startDemoted(ctx); err != nil {
		// The demotion itself is done; the next monitor finds the server down and
		// the cluster starts it by the rules.
		a.log.Error("demoted, but the server did not come back as standby", "error", err)
		a.publishStopped(ctx, statusStop)
	}
	return nil
}

// shortCheckpoint is how long a checkpoint takes after which another one would find
// little to write.
const shortCheckpoint = 300 * time.Millisecond

// checkpoint writes out what the shutdown checkpoint would otherwise write while
// nobody serves: sessions go on meanwhile. What was changed during a long one, the
// second writes. It is worth a quarter of the action's time and no failure. Without
// room for pg_logical/replorigin_checkpoint it ends the server (PANIC) amid its
// sessions; the stop, which does the same, lets the standby have their last WAL first.
func (a *agent) checkpoint(ctx context.Context, seen sight) {
	if !seen.answers || seen.standby {
		return
	}
	if what := a.noRoom(); what != "" {
		a.log.Warn("no checkpoint before the stop: the volume of the data directory is full", "no", what)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, a.call.Timeout/4)
	defer cancel()
	conn, err := a.owner(ctx)
	if err != nil {
		a.log.Info("no checkpoint before the stop", "error", err)
		return
	}
	defer conn.Close()
	for range 2 {
		began := time.Now()
		if err := conn.Checkpoint(ctx); err != nil {
			a.log.Info("no checkpoint before the stop", "error", err)
			return
		}
		if time.Since(began) < shortCheckpoint {
			return
		}
	}
}

// demoteStop chooses how the server is stopped. A healthy one gets a clean stop
// whatever stop_escalate says: only that sends the standby the last of the WAL
// and lets this server come back by itself.
func (a *agent) demoteStop(ctx context.Context, healthy bool) pg.StopOptions {
	o := pg.StopOptions{Mode: pg.Fast, Escalate: a.conf.stopEscalate}
	if end, ok := ctx.Deadline(); ok && healthy {
		o.Escalate = max(o.Escalate, time.Until(end)*7/10)
	}
	if !healthy && a.conf.stopEscalate == 0 {
		o.Mode = pg.Immediate
	}
	return o
}

// stalledDemotion is how long storage may give no answer before a clean stop, which
// writes a checkpoint, has no prospect. A monitor has mostly waited before.
const stalledDemotion = 20 * time.Second

// hangs says whether the server waits for storage that gives no answer.
func (a *agent) hangs(ctx context.Context, ps pg.Processes) bool {
	if len(ps.Waiting) == 0 {
		return false
	}
	conn, err := a.owner(ctx)
	if err != nil {
		return false // the stop finds out, see pg.StallLimit
	}
	defer conn.Close()
	return len(a.stalled(ctx, conn, ps.Waiting, min(stalledDemotion, a.call.Timeout/5)).PIDs) > 0
}

// answerLimit is how long a server may take to answer and still be healthy
// enough for a clean stop.
const answerLimit = 2 * time.Second

// sight is what one look at the server told.
type sight struct {
	answers bool // it takes part in a conversation
	standby bool // it is surely in recovery
}

// glance looks at the server once, not longer than a healthy one needs.
func (a *agent) glance(ctx context.Context, ps pg.Processes) sight {
	if _, p, ok := a.pulse(); ps.Postmaster == 0 || ok && p.Stopped() {
		return sight{}
	}
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	conn, err := a.server.Connect(ctx)
	if err != nil {
		return sight{
			answers: pg.IsTooMany(err) || pg.IsAuth(err),
			standby: pg.IsStarting(err) && a.startingAsStandby(),
		}
	}
	defer conn.Close()
	in, err := conn.InRecovery(ctx)
	return sight{answers: err == nil, standby: err == nil && in}
}

// ownsRecord reports whether this node is the primary by its own record. A
// standby that is may have been told to open by a promotion that was killed, and
// would do so after the demotion was reported.
func (a *agent) ownsRecord() bool {
	r, err := a.readRecordFile()
	return err != nil || r.Primary == a.conf.self
}

// stopsNext reports whether this transition stops the instance anyway. The lists
// come only with notify=true; without them the server comes back, and is stopped
// again if need be.
func (a *agent) stopsNext() bool {
	return listed(a.call.Notify.Stop, a.conf.self)
}

// startDemoted starts the server as standby and returns once the postmaster is
// there; monitor answers for a standby that is still starting.
func (a *agent) startDemoted(ctx context.Context) error {
	if err := a.prepareStandby(ctx); err != nil {
		return err
	}
	written := a.begin(ctx, append(a.lastPosition(ctx), transient(a.self(), a.conf.attr(attrStatus), statusAlone))...)
	err := a.server.Start(ctx)
	a.tried(written)
	return err
}

// lastPosition tells the node that is promoted now where this server ended: see
// awaitLast. The server has stopped in order.
func (a *agent) lastPosition(ctx context.Context) []crm.Write {
	if !a.clustered() {
		return nil
	}
	record, err := a.readRecordFile()
	wal, werr := a.wal(ctx)
	if err := errors.Join(err, werr); err != nil {
		a.log.Warn("where this server ended is not told", "error", err)
		return nil
	}
	p := replication.Published{Epoch: record.Epoch, Position: wal.Position}
	return []crm.Write{transient(a.self(), a.conf.attr(attrPosition), p.String())}
}

// withdrawSelf takes our own promotion score away. It is best effort: the record,
// not the score, is what proves a right, and a demotion must not hang on a slow
// cluster daemon. That of a server that is dead already is written with what follows.
func (a *agent) withdrawSelf(ctx context.Context, ps pg.Processes) {
	if a.cluster == nil {
		return
	}
	a.cache.Drop()
	a.owed = append(a.owed, a.scoreWrite(a.conf.self, replication.Never), a.noVote(),
		transient(a.self(), a.conf.attr(attrBaseline), ""),
		transient(a.self(), a.conf.attr(attrLocation), ""),
		transient(a.self(), a.conf.attr(attrPosition), ""))
	if ps.Postmaster != 0 {
		a.lived = true
		a.writeOwed(ctx)
	}
}

// writeOwed writes what is owed and more, as far as this node's copy did not show it
// when the action began: one look is cheaper than several writes that change nothing.
func (a *agent) writeOwed(ctx context.Context, more ...crm.Write) {
	writes := append(a.owed, more...)
	a.owed = nil
	if len(writes) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, a.stopWrites())
	defer cancel()
	forgotten := false
	if snap, err := a.copyAtBegin(ctx); err == nil {
		if forgotten = a.lived && a.forgotten(snap) || a.uncounted(snap); !forgotten {
			// What is not there to be deleted would come back with the rest.
			writes = slices.DeleteFunc(writes, snap.Has)
		}
	}
	if err := a.cluster.Apply(ctx, writes); err != nil {
		a.log.Warn("node attributes not written", "error", err)
	}
	if forgotten {
		a.recall(ctx)
	}
}

// recall has this node's attributes written again, as remember does. Its controller
// was killed then, and what is lost beside ours may be why we stop: without ping's
// attribute the documented configuration keeps the server away from the node, until
// the gateway comes or goes. Or the count of a failure is gone (uncounted).
func (a *agent) recall(ctx context.Context) {
	if err := a.refresh(ctx); err != nil {
		a.log.Warn("node attributes not written again; 'attrd_updater --refresh' on this node does it", "error", err)
	}
}

// refresh has this node's attribute daemon write all that it has, and says why.
func (a *agent) refresh(ctx context.Context) error {
	a.log.Warn("this node's attributes are gone from the cluster's configuration: asking for them to be written again")
	return a.cluster.Refresh(ctx)
}

// readAhead begins to read this node's copy of the cluster's memory for writeOwed
// and countOnce, beside what is done first.
func (a *agent) readAhead(ctx context.Context) {
	if a.cluster == nil {
		return
	}
	a.ahead = sync.OnceValues(func() (crm.Snapshot, error) {
		ctx, cancel := context.WithTimeout(ctx, a.stopWrites()/2)
		defer cancel()
		return a.cluster.Local(ctx)
	})
	go func() { _, _ = a.ahead() }()
}

// copyAtBegin is the copy of readAhead, or a new one.
func (a *agent) copyAtBegin(ctx context.Context) (crm.Snapshot, error) {
	if a.ahead != nil {
		return a.ahead()
	}
	ctx, cancel := context.WithTimeout(ctx, a.stopWrites()/2)
	defer cancel()
	return a.cluster.Local(ctx)
}

// stopWrites bounds what stop and demote spend on writing attributes, before and
// after: a tenth of their time, the cluster's daemons being possibly why we stop.
func (a *agent) stopWrites() time.Duration {
	return min(a.conf.attrTimeout, a.call.Timeout/10)
}

// publishStopped writes our status after a stop, in what is left of the action's
// time: a stop that is done must not fail for the sake of an attribute.
func (a *agent) publishStopped(ctx context.Context, status string) {
	if a.cluster == nil {
		return
	}
	a.cache.Drop()
	a.writeOwed(ctx, transient(a.self(), a.conf.attr(attrStatus), status),
		transient(a.self(), a.conf.attr(attrReceiver), ""),
		transient(a.self(), a.conf.attr(attrFull), ""))
	if a.lived {
		// A primary may have granted it a right while it was stopped: the copy by which
		// the writes were judged is older than that.
		limited, cancel := context.WithTimeout(ctx, a.stopWrites())
		defer cancel()
		if err := a.cluster.Apply(limited, []crm.Write{a.scoreWrite(a.conf.self, replication.Never)}); err != nil {
			a.log.Warn("node attributes not written", "error", err)
		}
	}
}
