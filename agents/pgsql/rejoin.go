package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pgrex/lib/life"
	"pgrex/lib/ocf"
	"pgrex/lib/pg"
	"pgrex/lib/proc"
	"pgrex/lib/replication"
)

// This file is start's side of a return by pg_rewind or pg_basebackup: it asks the rules, starts
// the worker that does it (rejoinwork.go), waits a moment for it, and puts what it made in place.
//
// The worker is another process because a start that takes long holds up the whole cluster:
// Pacemaker begins nothing new, not even a failover, before the actions under way have ended. A
// start that finds the worker still busy fails, and says so; the next one finds what it has made.

const (
	// rejoinCommand is the hidden command that is the worker.
	rejoinCommand = "rejoin"
	// rejoinPoll is how often start looks for the end of the worker.
	rejoinPoll = 20 * time.Millisecond
	// workerPatience is how long a worker may take to come up.
	workerPatience = 5 * time.Second
	// settlePatience bounds the wait for a primary to flush what was read from it.
	settlePatience = 3 * time.Second
	// startReserve is kept of start's time for the server itself.
	startReserve = 10 * time.Second
	// recovering is what the worker says while it does what any start would: then start
	// waits for as long as it may.
	recovering = "crash recovery"
)

// comeBack brings the data directory into a state over which the server may be started, or says why
// not.
func (a *agent) comeBack(ctx context.Context) error { return notStarted(a.makeStartable(ctx)) }

// notStarted is an error of start's, unless it has a code already.
func notStarted(err error) error {
	var coded *ocf.Error
	if err == nil || errors.As(err, &coded) {
		return err
	}
	return ocf.Errorf(ocf.ErrGeneric, "not started: %w", err)
}

func (a *agent) makeStartable(ctx context.Context) error {
	patience := time.Now().Add(a.conf.rejoinWait)
	tried := map[string]bool{}
	barred := "" // why pg_rewind could not
	for {
		if err := a.awaitWorker(ctx, patience); err != nil {
			return err
		}
		m, err := a.readMark()
		if err != nil {
			return err
		}
		switch m.phase {
		case phaseRewound:
			err = a.finishRewind(ctx, m)
		case phaseSwapping:
			err = a.swap(ctx, m)
		case phaseFailed:
			if m.method == methodRewind {
				barred = m.reason
			} else if tried[methodClone] {
				return fmt.Errorf("check why it cannot be cloned from %s: %s", m.node, m.reason)
			}
			// It counts for this start. The next one tries again.
			err = a.forgetFailure(ctx, m)
		}
		if err != nil {
			return err
		}
		if m.phase == phaseRewound || m.phase == phaseSwapping || m.phase == phaseFailed {
			if m, err = a.readMark(); err != nil {
				return err
			}
		}
		o, d, err := a.decideStart(ctx, m, barred)
		if err != nil {
			return err
		}
		if d.Verdict == replication.Done {
			return a.mayReturn(ctx, m, o)
		}
		if d.Verdict != replication.Again || len(d.Steps) != 1 {
			if o.Broken != "" {
				return fmt.Errorf("%s; after rebuilding it remove %s", d.Reason, a.conf.markFile())
			}
			return errors.New(d.Reason)
		}
		if m.phase == phaseCopied && a.conf.rejoin == replication.Clone {
			switch fits, err := a.copyFits(ctx, *o.Upstream); {
			case err != nil:
				a.log.Warn("the copy beside the data directory is of no use", "error", err)
			case fits:
				if err := a.swap(ctx, m); err != nil {
					return err
				}
				continue
			}
		}
		method := methodRewind
		if d.Steps[0].Kind == replication.CloneData {
			method = methodClone
		}
		if tried[method] {
			return fmt.Errorf("check the log of this start: the %s ended, but %s", method, d.Reason)
		}
		tried[method] = true
		if err := a.beginRejoin(m, method, o, d); err != nil {
			return err
		}
	}
}

// finishSwap ends an exchange of directories that was interrupted, before anybody
// misses the data directory. Outside of a cluster an unusable one is only refused.
func (a *agent) finishSwap(ctx context.Context) error {
	m, err := a.readMark()
	if err == nil && m.phase == phaseSwapping {
		err = a.swap(ctx, m)
		m.phase = phaseDone
	}
	if err == nil && (a.cluster == nil || !a.conf.replicates()) {
		if why := m.unusable(); why != "" {
			err = fmt.Errorf("rebuild it with pg_basebackup and remove %s: the data directory is unusable after %s", a.conf.markFile(), why)
		}
	}
	return notStarted(err)
}

// decideStart observes and asks the rules.
func (a *agent) decideStart(ctx context.Context, m mark, barred string) (replication.Observation, replication.Decision, error) {
	o := a.observation()
	o.Lock, o.Broken, o.NoRewind = exists(a.conf.lockFile()), m.unusable(), barred
	o.Own, _ = replication.ParseRecord(a.node(a.conf.self).Forever[a.conf.attr(attrRecord)])
	if o.Broken == "" {
		wal, err := a.wal(ctx)
		if err != nil {
			return o, replication.Decision{}, err
		}
		// A rewind's crash recovery looks like a shutdown, and is none: what has diverged
		// still waits for the primary that it is replaced from.
		if m.phase != phaseNone && m.phase != phaseDone && wal.WasPrimary {
			wal.Clean = false
		}
		o.Wal = wal
	}
	o.NoClone = a.cloneBar()
	if c, err := a.server.Control(); err == nil && o.NoRewind == "" && !c.WALLogHints && !c.DataChecksums {
		o.NoRewind = "pg_rewind needs data checksums or wal_log_hints=on"
	}
	if a.promoted() != "" {
		up, err := a.awaitUpstream(ctx)
		// What was rewound reaches as far as the primary had written, which may be
		// further than it had flushed.
		behind := func() bool {
			return m.phase == phaseDone && up.Timeline == o.Wal.Position.Timeline && up.LSN < o.Wal.Position.LSN
		}
		for begin := time.Now(); err == nil && behind() && time.Since(begin) < settlePatience; {
			if err = life.Pause(ctx, waitPoll); err == nil {
				up, err = a.awaitUpstream(ctx)
			}
		}
		if err != nil {
			a.log.Warn("the primary does not answer at master_ip", "promoted", o.Promoted, "master_ip", a.conf.primaryIP, "error", err)
		} else {
			up.Node = o.Promoted
			o.Upstream = &up
		}
	}
	d := replication.Start(o)
	a.log.Info("start decided", "position", o.Wal.Position.String(), "was_primary", o.Wal.WasPrimary, "clean", o.Wal.Clean, "decision", d.String())
	return o, d, nil
}

// cloneBar says what keeps this node's data directory from being replaced as a
// whole, "" for nothing.
func (a *agent) cloneBar() string {
	p, err := a.places()
	if err != nil {
		return err.Error()
	}
	for _, dir := range []string{p.data, p.wal} {
		if dir == "" {
			continue
		}
		mount, err := pg.IsMountPoint(dir)
		switch {
		case err != nil:
			return err.Error()
		case mount:
			return dir + " is a mount point, which cannot change places with a copy: use a directory below it"
		}
	}
	if links, err := os.ReadDir(filepath.Join(p.data, "pg_tblspc")); err == nil && len(links) > 0 {
		return fmt.Sprintf("it has %d tablespaces, which a copy beside them cannot have too", len(links))
	}
	return ""
}

// copyFits says whether the copy beside the data directory is a part of the
// primary's history: it may have been made from another one.
func (a *agent) copyFits(ctx context.Context, up replication.Upstream) (bool, error) {
	p, err := a.places()
	if err != nil {
		return false, err
	}
	b, server := *a, *a.server
	server.Data = p.clone
	b.server, b.conf.data = &server, p.clone
	wal, err := b.wal(ctx)
	return err == nil && up.Contains(wal.Position), err
}

// beginRejoin starts the worker, with all it has to know in the mark.
func (a *agent) beginRejoin(m mark, method string, o replication.Observation, d replication.Decision) error {
	if a.spawn == nil {
		return errors.New("there is no worker: rejoin=rewind and clone need the agent as a program of its own")
	}
	next := mark{phase: phaseBegun, method: method, node: o.Upstream.Node, kept: m.kept, summary: m.summary, fork: m.fork, end: m.end, acknowledged: m.acknowledged}
	if o.Broken == "" {
		own := o.Wal.Position
		tli, at, ok := replication.Fork(own, o.Upstream.Position, o.Wal.WasPrimary && o.Upstream.Timeline <= own.Timeline)
		if !ok {
			return fmt.Errorf("rebuild it with pg_basebackup: where its WAL left the line of %s cannot be told, so nothing is overwritten", o.Upstream.Node)
		}
		fork, end := pg.Position{Timeline: pg.Timeline(tli), LSN: pg.LSN(at)}, pg.Position{Timeline: pg.Timeline(own.Timeline), LSN: pg.LSN(own.LSN)}
		next.found = end
		// What was kept before may be all of it still: the worker looks.
		if m.kept == "" || fork != m.fork || end.Timeline != m.end.Timeline || end.LSN < m.end.LSN {
			maybe, why := replication.MayBeAcknowledged(o)
			next.fork, next.end, next.kept, next.summary = fork, end, "", ""
			next.acknowledged = map[bool]string{true: "possibly: ", false: "no: "}[maybe] + why
		}
	} else if m.kept == "" {
		return fmt.Errorf("rebuild it with pg_basebackup: %s does not say where its WAL was kept, so nothing is overwritten", a.conf.markFile())
	}
	if method == methodRewind {
		vain := o
		vain.NoRewind = "it was in vain"
		if d := replication.Start(vain); len(d.Steps) == 1 && d.Steps[0].Kind == replication.CloneData {
			next.then = methodClone
		}
	}
	next.timeline = pg.Timeline(o.Upstream.Timeline)
	next.next = next.timeline
	for i := len(o.Upstream.History) - 1; i >= 0 && pg.Timeline(o.Upstream.History[i].Timeline) > next.fork.Timeline; i-- {
		next.next = pg.Timeline(o.Upstream.History[i].Timeline)
	}
	next.broken = m.broken // until the copy is in its place
	if err := a.writeMark(next); err != nil {
		return err
	}
	// What an earlier worker said is not this one's word.
	if f, err := tryLock(a.runFile(runRejoin)); err != nil {
		return err
	} else if err := errors.Join(f.Truncate(0), f.Close()); err != nil {
		return err
	}
	exe, err := os.Executable()
	if err == nil {
		_, err = a.spawn(proc.Cmd{Path: exe, Args: []string{rejoinCommand}, Env: watchEnv(os.Environ())})
	}
	if err != nil {
		return fmt.Errorf("cannot begin the %s: %w", method, err)
	}
	a.log.Warn("the data directory is to be replaced by that of the primary; what it holds alone is kept", "method", method, "primary", o.Upstream.Node,
		"because", d.Reason, "fork", next.fork.String(), "end", next.end.String())
	a.began = time.Now()
	return nil
}

// awaitWorker waits until no worker is at work, at most until patience is over or
// the time of the action nearly so.
func (a *agent) awaitWorker(ctx context.Context, patience time.Time) error {
	ctx, cancel := reserve(ctx, min(startReserve, a.call.Timeout/4))
	defer cancel()
	tick := time.NewTicker(rejoinPoll)
	defer tick.Stop()
	for {
		busy, err := a.workerBusy()
		if err != nil || !busy {
			return notStarted(err)
		}
		w, _ := a.readWorker()
		if time.Now().After(patience) && w.says != recovering || ctx.Err() != nil {
			return ocf.Errorf(ocf.ErrGeneric, "not started yet: %s; it goes on, and a start after failure-timeout, or 'pcs resource cleanup %s', brings the node back when it is ready",
				w.says, a.conf.resource)
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// workerBusy reports whether a worker runs, or is about to.
func (a *agent) workerBusy() (bool, error) {
	f, err := tryLock(a.runFile(runRejoin))
	if errors.Is(err, errBusy) {
		return true, nil
	}
	if err != nil {
		// Without a directory for locks there is no worker either.
		if !exists(a.conf.markFile()) {
			return false, nil
		}
		return false, err
	}
	// While this holds the lock a worker that comes up waits for it.
	_ = f.Close()
	if a.began.IsZero() || time.Since(a.began) > workerPatience {
		return false, nil
	}
	m, err := a.readMark()
	if err != nil {
		return false, err
	}
	w, said := a.readWorker()
	ended := said && !w.id.Alive()
	return !ended && m.phase == phaseBegun, nil
}

// worker is what the worker says of itself in the file that it holds.
type worker struct {
	id   pg.ProcessID
	says string
}

func (a *agent) readWorker() (w worker, ok bool) {
	b, err := os.ReadFile(a.runFile(runRejoin))
	if err != nil {
		return worker{says: "the data directory is being replaced"}, false
	}
	id, says, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
	if w.id, err = pg.ParseProcessID(id); err != nil {
		return worker{says: "the data directory is being replaced"}, false
	}
	w.says = says
	return w, true
}

// inRecovery gives the worker, if it has a process of the server at work: the one
// that does crash recovery before a rewind, and takes no connections.
func (a *agent) inRecovery() (pg.ProcessID, bool) {
	w, ok := a.readWorker()
	return w.id, ok && w.says == recovering && w.id.Alive()
}

// endRecovery ends such a worker: a stop has to leave nothing behind. What else the
// worker does runs no server, and a stop, which follows every start that has
// failed, leaves it alone.
func (a *agent) endRecovery() {
	if id, ok := a.inRecovery(); ok {
		_ = id.Signal(unix.SIGTERM)
	}
}

// forgetFailure makes room for another attempt: the files that a rewind had set
// aside return, where the WAL was kept stays known.
func (a *agent) forgetFailure(ctx context.Context, m mark) error {
	p, err := a.places()
	if err != nil {
		return err
	}
	if exists(p.aside) && m.broken == "" {
		if err := errors.Join(moveLogs(p.aside, p.data), dropAside(p)); err != nil {
			return err
		}
	}
	m.phase, m.reason = phaseBegun, ""
	return a.writeMark(m)
}

// mayReturn clears away what a rejoin has left and says what became of it.
func (a *agent) mayReturn(ctx context.Context, m mark, o replication.Observation) error {
	switch {
	case o.Lock && o.Record.Exists():
		a.removeLock()
	case o.Lock:
		a.log.Warn("PGSQL.lock of the former agent is present: this node was primary and did not stop last; it is started because its WAL may be, and the newest of all nodes will be promoted", "file", a.conf.lockFile())
	}
	if m.phase == phaseNone {
		return nil
	}
	if m.phase == phaseBegun || m.phase == phaseCopied {
		// It is not needed any more: its own data goes on.
		if err := a.forgetFailure(ctx, m); err != nil {
			return err
		}
	} else {
		a.log.Warn("the data directory was replaced by that of the primary", "method", m.method, "primary", m.node, "held", m.summary, "kept", m.kept)
		a.try(ctx, transient(a.self(), a.conf.attr(attrRejoin), fmt.Sprintf("%s done; %s: %s", m.method, m.summary, m.kept)))
	}
	if err := pg.RemoveFile(a.conf.markFile()); err != nil {
		return err
	}
	return nil
}

// clearLeftovers has a worker remove what takes long to remove.
func (a *agent) clearLeftovers() {
	p, err := a.places()
	if err != nil || a.spawn == nil || a.cluster == nil {
		return
	}
	for _, dir := range p.leftovers() {
		if !exists(dir) {
			continue
		}
		exe, err := os.Executable()
		if err == nil {
			_, err = a.spawn(proc.Cmd{Path: exe, Args: []string{rejoinCommand}, Env: watchEnv(os.Environ())})
		}
		if err != nil {
			a.log.Warn("a former data directory is still there", "directory", dir, "error", err)
		}
		return
	}
}

// leftovers are the directories that nobody needs once there is no mark.
func (p places) leftovers() []string {
	all := []string{p.clone, p.old, p.aside + ".partial"}
	if p.wal != "" {
		all = append(all, p.cloneWAL, p.oldWAL)
	}
	return all
}
