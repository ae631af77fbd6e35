package main

import (
	"context"
	"time"

	"pgrex/lib/crm"
	"pgrex/lib/ocf"
	"pgrex/lib/pg"
	"pgrex/lib/replication"
)

const (
	// obstaclePatience is how long replay may stand still behind the queries of
	// a standby before their sessions are ended. With max_standby_*_delay=-1 they
	// would hold up the promotion for as long as they please.
	obstaclePatience = 200 * time.Millisecond
	// afterPromotion is kept of the action's time for what follows the opening.
	afterPromotion = 2 * time.Second
)

// promote makes this node's standby the primary, if the rules prove that it
// holds every acknowledged commit and that no other node may still act.
func (a *agent) promote(ctx context.Context) error {
	if err := a.conf.check(a.call); err != nil {
		return err
	}
	if !a.conf.replicates() {
		return ocf.Errorf(ocf.ErrUnimplemented, "promote means nothing with rep_mode=%s", a.conf.mode)
	}
	a.readAhead(ctx)
	conn, err := a.connectPatiently(ctx, nil)
	if err != nil {
		return ocf.Errorf(ocf.ErrGeneric, "not promoted: the server does not answer: %w", err)
	}
	defer conn.Close()
	st, err := a.status(ctx, conn)
	if err != nil {
		return ocf.Errorf(ocf.ErrGeneric, "not promoted: %w", err)
	}
	if a.cluster == nil {
		return a.promoteAlone(ctx, conn, st)
	}
	a.cache.Drop()
	r := &round{status: st}
	if !st.InRecovery {
		return a.alreadyOpen(ctx, conn, r)
	}
	if err := a.rememberAhead(ctx); err != nil {
		return ocf.Errorf(ocf.ErrGeneric, "not promoted: %w", err)
	}
	a.readServer(r, st)
	a.awaitLast(ctx, conn, r)
	a.keepRecord(ctx)
	r.restart = a.keepsTimeline(r)
	waiting, cancel := reserve(ctx, afterPromotion)
	defer cancel()
	d, err := a.pursue(waiting, conn, r, replication.Promote)
	switch {
	case err != nil:
		return ocf.Errorf(ocf.ErrGeneric, "not promoted: %w", err)
	case d.Verdict != replication.Done || !r.opened:
		return ocf.Errorf(ocf.ErrGeneric, "%s", d.Reason)
	}
	announced := a.begin(ctx, append(a.announce(), a.baseline(r.status))...)
	err = a.open(ctx, conn, r)
	a.tried(announced)
	if err != nil {
		return ocf.Errorf(ocf.ErrGeneric, "promotion began but the server did not open: %w", err)
	}
	return a.finishPromotion(ctx, conn, r)
}

// announce is what other resources' rules and the scheduler read of a new primary.
// It is written while the server opens, which takes as long: the virtual address
// waits for both. Should the server not open, the demotion that follows writes
// otherwise. What only people read, the first monitor writes: a change of the
// configuration makes the cluster think again, and the address wait for that.
func (a *agent) announce() []crm.Write {
	return a.changed(append(a.receiverWrites(pg.Status{}), transient(a.self(), a.conf.attr(attrStatus), statusPrimary),
		a.scoreWrite(a.conf.self, replication.Primary)))
}

// handoverPatience bounds the wait for what a demoted primary wrote last.
const handoverPatience = 2 * time.Second

// awaitLast waits until this server has all that the demoted primary wrote, its
// shutdown checkpoint at the very end included. Every acknowledged commit is here
// without it, but that server could not follow us. A clean stop waits for it on its
// side, so there is seldom anything to be waited for; in vain when the connection
// broke before, and then that server is to be rebuilt.
func (a *agent) awaitLast(ctx context.Context, conn *pg.Conn, r *round) {
	last := a.handedOver()
	ours := a.position(r.status)
	if last == nil || last.Timeline != ours.Timeline || ours.Contains(last.Position) {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, min(handoverPatience, a.call.Timeout/10))
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !a.position(r.status).Contains(last.Position) {
		select {
		case <-ctx.Done():
			a.log.Warn("the demoted primary wrote something that this server has not got; no acknowledged commit, but it cannot follow",
				"primary", a.memory.newest.Primary, "its", last.Position.String(), "ours", a.position(r.status).String())
			return
		case <-tick.C:
		}
		if err := a.lookAtServer(ctx, conn, r); err != nil {
			return
		}
	}
}

// handedOver is where the last primary's server ended, if it told so when it was
// demoted; nil otherwise.
func (a *agent) handedOver() *replication.Published {
	p := a.observation().Peers[a.memory.newest.Primary].Position
	if p == nil || p.Epoch != a.memory.newest.Epoch {
		return nil
	}
	return p
}

// keepsTimeline reports whether the promotion may stay on the server's timeline, as
// restart_on_promote asks: only if nobody can have gone further on it. A former
// primary that was demoted may hold the last of its WAL unsent and be a standby now.
func (a *agent) keepsTimeline(r *round) bool {
	if !a.conf.restartOnPromote {
		return false
	}
	ahead := replication.Ahead(a.observe(r))
	if len(ahead) > 0 {
		a.log.Warn("promoted to a new timeline in spite of restart_on_promote: these nodes have not shown that they hold no more of the present one", "nodes", ahead)
	}
	return len(ahead) == 0
}

// promoteAlone is promotion without a cluster's memory (a shell, ocf-tester):
// only where it cannot hurt anybody.
func (a *agent) promoteAlone(ctx context.Context, conn *pg.Conn, st pg.Status) error {
	if !st.InRecovery {
		return nil
	}
	record, err := a.readRecordFile()
	switch {
	case err != nil:
		return ocf.Errorf(ocf.ErrGeneric, "not promoted: %w", err)
	case record.Exists():
		return ocf.Errorf(ocf.ErrGeneric, "not promoted: use the cluster's tools: no cluster is behind this call, and this server belongs to one (%s exists)", a.conf.recordFile())
	case a.streaming(st):
		return ocf.Errorf(ocf.ErrGeneric, "not promoted: this standby streams from a living primary and no cluster is behind this call")
	}
	if err := a.open(ctx, conn, &round{status: st, restart: a.conf.restartOnPromote}); err != nil {
		return ocf.Errorf(ocf.ErrGeneric, "the server did not open: %w", err)
	}
	return nil
}

// open lets the server leave recovery and waits until it takes writes.
func (a *agent) open(ctx context.Context, conn *pg.Conn, r *round) error {
	// Commits must not wait for names left over from an earlier life.
	if len(r.names) > 0 {
		if err := a.setSync(ctx, conn, nil, 0); err != nil {
			return err
		}
		r.names, r.count = nil, 0
	}
	if r.restart {
		return a.openByRestart(ctx)
	}
	if err := a.server.Promote(); err != nil {
		return err
	}
	patience, cancel := context.WithTimeout(ctx, obstaclePatience)
	err := a.server.WaitPromoted(patience)
	cancel()
	if err == nil || !outOfTime(err) || ctx.Err() != nil {
		return err
	}
	a.clearObstacles(ctx)
	return a.server.WaitPromoted(ctx)
}

// clearObstacles ends the sessions whose snapshots or locks keep replay from
// going on. They run on a standby that is about to become the primary; their
// clients connect again.
func (a *agent) clearObstacles(ctx context.Context) {
	conn, err := a.owner(ctx)
	if err != nil {
		a.log.Warn("sessions that may hold up the promotion were not ended", "error", err)
		return
	}
	defer conn.Close()
	rows, err := conn.Exec(ctx, `SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND (backend_xmin IS NOT NULL OR xact_start IS NOT NULL)`)
	if err != nil {
		a.log.Warn("sessions that may hold up the promotion were not ended", "error", err)
		return
	}
	if len(rows) > 0 {
		a.log.Warn("ended sessions on the standby that may have held up the promotion", "sessions", len(rows))
	}
}

// openByRestart is restart_on_promote: the server comes back without the mark of
// a standby and keeps its timeline.
func (a *agent) openByRestart(ctx context.Context) error {
	_, err := a.server.Stop(ctx, pg.StopOptions{Mode: pg.Fast, Escalate: a.conf.stopEscalateUnpromoted})
	if err != nil {
		return err
	}
	if err := pg.RemoveFile(a.conf.signalFile()); err != nil {
		return err
	}
	if err := a.server.Start(ctx); err != nil {
		return err
	}
	return a.server.WaitReady(ctx)
}

// alreadyOpen ends a promotion that an earlier, killed action had already carried
// through: the record was written before the server opened.
func (a *agent) alreadyOpen(ctx context.Context, conn *pg.Conn, r *round) error {
	if err := a.look(ctx, conn, r); err != nil {
		return ocf.Errorf(ocf.ErrGeneric, "%w", err)
	}
	if a.memory.newest.Primary != a.conf.self {
		if err := a.adopt(ctx, conn, r); err != nil {
			return ocf.Errorf(ocf.ErrGeneric, "%w", err)
		}
	}
	return a.finishPromotion(ctx, conn, r)
}

// finishPromotion tells the cluster. The server already takes writes and the
// virtual address waits for this action's end, so nothing here fails it.
func (a *agent) finishPromotion(ctx context.Context, conn *pg.Conn, r *round) error {
	if r.restart {
		// The restart ended the session.
		if fresh, err := a.server.Connect(ctx); err == nil {
			defer fresh.Close()
			conn = fresh
		}
	}
	if err := a.lookAtServer(ctx, conn, r); err != nil {
		a.log.Warn("the new primary was not looked at", "error", err)
	}
	// Again, as far as it was not written while the server opened.
	a.try(ctx, a.announce()...)
	a.removeLock()
	a.makeSlots(ctx)
	a.log.Info("promoted", "position", a.position(r.status).String())
	return nil
}
