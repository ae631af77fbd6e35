package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pgrex/lib/ocf"
	"pgrex/lib/pg"
)

const (
	// wantedPoll is how often the worker asks whether its work is still wanted.
	wantedPoll = 5 * time.Second
	// tellPoll is how often it says how far it is, in the log and as an attribute.
	tellPoll = 5 * time.Second
	// copyMargin is what must stay free beside a copy, in bytes: WAL that comes in
	// meanwhile.
	copyMargin = 256 << 20
)

// errUnwanted ends a worker whose resource is stopped, unmanaged or run by another
// agent now.
var errUnwanted = errors.New("not wanted any more")

// rejoin is the worker: one process that replaces the data of a server that does not run. What it
// is to do stands in the mark, which start has written, and what became of it stands there
// afterwards. It never starts a server that takes connections, and never lets a directory that is
// not complete be taken for a data directory. It may be killed at any moment.
func (a *agent) rejoin(ctx context.Context) error {
	if a.cluster == nil {
		return ocf.Errorf(ocf.ErrGeneric, "there is no cluster: start runs this, nobody else")
	}
	f, err := awaitLock(ctx, a.runFile(runRejoin), workerPatience, nil)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // what it tells is for those who find it locked
	w := &work{agent: a, file: f}
	w.say("beginning")
	m, err := a.readMark()
	if err != nil {
		return err
	}
	p, err := a.places()
	if err != nil {
		return err
	}
	if m.phase == phaseNone {
		return w.clear(p)
	}
	if m.phase != phaseBegun {
		return nil
	}
	doing, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go w.untilUnwanted(doing, cancel)
	quiet := w.tell(ctx) // not doing: a rewind that nobody wants any more goes on, and is shown
	defer quiet()
	err = w.do(doing, &m, p)
	quiet() // what became of it is the last word
	if err != nil {
		if cause := context.Cause(doing); cause != nil && !errors.Is(err, cause) {
			err = fmt.Errorf("%w (%w)", err, cause)
		}
		return w.failed(ctx, m, err)
	}
	w.attribute(ctx, m.method+" complete: waits for the next start, after failure-timeout or pcs resource cleanup "+w.conf.resource)
	return nil
}

// work is one run of the worker.
type work struct {
	*agent
	file *os.File
}

// say puts what is done now where start reads it.
func (w *work) say(text string) {
	me, err := pg.IdentifyProcess(os.Getpid())
	if err != nil {
		return
	}
	// Written over at once: who reads in between gets something whole or nothing.
	line := me.String() + " " + text + "\n"
	_ = errors.Join(writeAt(w.file, line), w.file.Truncate(int64(len(line))))
}

// do does what the mark says.
func (w *work) do(ctx context.Context, m *mark, p places) error {
	w.log.Info("replacing the data directory", "method", m.method, "primary", m.node, "fork", m.fork.String(), "end", m.end.String())
	ps, err := w.server.Processes()
	if err != nil {
		return err
	}
	if ps.Running() {
		return fmt.Errorf("the server runs (%v)", ps)
	}
	// Nothing runs: this takes away what a server that was killed has left, its
	// socket too, of which a copy would know nothing.
	if _, err := w.server.Stop(ctx, pg.StopOptions{Mode: pg.Immediate}); err != nil {
		return err
	}
	if m.kept != "" && m.found.LSN > m.end.LSN {
		// A recovery that was killed before a rewind has added to it; or somebody has
		// run the server.
		some := errors.New("there is one")
		err := w.server.Transactions(ctx, w.server.WALDir(), pg.Span{Timeline: m.end.Timeline, Start: m.end.LSN, End: m.found.LSN}, func(pg.Transaction) error { return some })
		if errors.Is(err, some) {
			m.kept, m.end = "", m.found
		} else if err != nil {
			return err
		}
	}
	if m.kept == "" {
		w.say("keeping the diverged WAL")
		if err := w.keep(ctx, m); err != nil {
			return err
		}
		if err := w.writeMark(*m); err != nil {
			return err
		}
		w.log.Warn("diverged WAL kept", "held", m.summary, "directory", m.kept)
	}
	if m.method == methodRewind {
		err := w.rewind(ctx, m, p)
		if err == nil || m.then != methodClone || ctx.Err() != nil {
			return err
		}
		w.log.Warn("the data directory cannot be rewound and is cloned", "reason", err)
		m.phase, m.method, m.then = phaseBegun, methodClone, ""
		if err := w.writeMark(*m); err != nil {
			return err
		}
	}
	return w.clone(ctx, m, p)
}

// rewind runs pg_rewind. From the moment it may have changed something it is not
// ended any more, because what it leaves half-way is of no use.
func (w *work) rewind(ctx context.Context, m *mark, p places) error {
	c, err := w.server.Control()
	if err != nil {
		return err
	}
	if c.State != pg.StateShutDown && c.State != pg.StateShutDownInRecovery {
		w.say(recovering)
		if err := w.server.Settle(ctx); err != nil {
			return err
		}
	}
	w.say("rewind: waiting for the first checkpoint of the new primary")
	source := pg.Source{Conninfo: w.conf.conninfo(), User: w.conf.rejoinUser}
	if err := w.server.AwaitCheckpoint(ctx, source, w.conf.followDatabase(), m.timeline, pg.Position{Timeline: m.next, LSN: m.fork.LSN}); err != nil {
		return err
	}
	w.say("rewind: looking at what differs")
	opts := pg.RewindOptions{
		Source: source, Database: w.conf.followDatabase(), DryRun: true,
		Progress: func(line string) { w.log.Debug("pg_rewind", "says", line) },
	}
	if w.conf.restoreCommand != "" {
		opts.ConfigFile = filepath.Join(w.conf.tmpdir, "pgrex-rewind.conf")
		if err := w.writeFile(opts.ConfigFile, "restore_command = "+pg.QuoteConf(w.conf.restoreCommand)+"\n"); err != nil {
			return err
		}
		defer os.Remove(opts.ConfigFile) //nolint:errcheck // the next one writes it anew
	}
	if err := w.server.Rewind(ctx, opts); err != nil {
		return err
	}
	if err := w.setAside(ctx, p); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	m.phase, m.broken = phaseOverwriting, "a rewind that was interrupted"
	if err := w.writeMark(*m); err != nil {
		return err
	}
	w.say("rewind: copying")
	opts.DryRun, opts.Progress = false, func(line string) {
		if strings.Contains(line, " kB (") {
			w.say("rewind: copied " + line)
		} else {
			w.log.Info("pg_rewind", "says", strings.TrimPrefix(line, "pg_rewind: "))
		}
	}
	ctx = context.WithoutCancel(ctx)
	if err := w.server.Rewind(ctx, opts); err != nil {
		m.broken = "a rewind that failed half-way: " + err.Error()
		return err
	}
	m.phase = phaseRewound
	if err := w.writeMark(*m); err != nil {
		return err
	}
	return w.finishRewind(ctx, *m)
}

// clone runs pg_basebackup into a directory beside the data directory.
func (w *work) clone(ctx context.Context, m *mark, p places) error {
	w.say("clone: making room")
	if err := w.clear(p); err != nil {
		return err
	}
	part := p.clone + ".partial"
	for _, dir := range []string{part, p.cloneWAL} {
		if dir == "" {
			continue
		}
		if err := errors.Join(os.RemoveAll(dir), w.makeDirectory(dir, 0o700)); err != nil {
			return err
		}
	}
	opts := pg.CopyOptions{
		Source: pg.Source{Conninfo: w.conf.conninfo()}, To: part, WAL: p.cloneWAL, Rate: w.conf.rejoinRate,
		Slot: w.conf.slotOrNone(), Progress: w.cloneProgress(p),
	}
	w.say("clone: waiting for a checkpoint of the primary")
	err := w.server.Copy(ctx, opts)
	if err != nil && opts.Slot != "" && strings.Contains(err.Error(), "replication slot") {
		// The primary has not made it yet.
		w.log.Warn("cloning without the replication slot", "slot", opts.Slot, "error", err)
		opts.Slot = ""
		err = w.server.Copy(ctx, opts)
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(part), removeIf(p.cloneWAL))
	}
	if err := w.renameDurably(part, p.clone); err != nil {
		return err
	}
	m.phase = phaseCopied
	if err := w.writeMark(*m); err != nil {
		return err
	}
	w.say("clone: complete")
	w.log.Warn("the copy of the primary is complete; the next start puts it in place", "directory", p.clone)
	return nil
}

// cloneProgress says how far a copy is, and ends one that there is no room for.
func (w *work) cloneProgress(p places) func(done, total int64) error {
	checked := false
	return func(done, total int64) error {
		if !checked && total > 0 {
			checked = true
			free, err := pg.FreeSpace(filepath.Dir(p.data))
			if need := (total-done)<<10 + copyMargin; err != nil || free < need {
				return errors.Join(err, fmt.Errorf("no room beside %s for a copy of the primary: %s are needed, %s are free; make room, or rebuild the node by hand", p.data, size(need), size(free)))
			}
		}
		percent := int64(0)
		if total > 0 {
			percent = min(done*100/total, 100)
		}
		w.say(fmt.Sprintf("clone: %d%% of %s", percent, size(total<<10)))
		return nil
	}
}

// clear removes what former copies have left.
func (w *work) clear(p places) error {
	w.say("removing a former copy")
	var errs []error
	for _, dir := range append(p.leftovers(), p.clone+".partial") {
		if err := os.RemoveAll(dir); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// failed writes down that it was in vain.
func (w *work) failed(ctx context.Context, m mark, why error) error {
	m.reason = ocf.Errorf(ocf.ErrGeneric, "%w", why).Error()
	if m.phase == phaseBegun || m.phase == phaseOverwriting {
		m.phase = phaseFailed
	}
	err := w.writeMark(m)
	w.say(m.method + " failed: " + m.reason)
	w.attribute(ctx, m.method+" failed: "+m.reason)
	return errors.Join(fmt.Errorf("the data directory was not replaced by a %s: %w", m.method, why), err)
}

// attribute shows something in the cluster's state. Nothing rests on it.
func (w *work) attribute(ctx context.Context, text string) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.conf.attrTimeout)
	defer cancel()
	if err := w.apply(ctx, transient(w.nodeOf(), w.conf.attr(attrRejoin), text)); err != nil {
		w.log.Warn("the state of the rejoin is not shown", "error", err)
	}
}

// tell says in the log and in the cluster's state how far the work is, until quiet is
// called, which returns when nothing more is said.
func (w *work) tell(ctx context.Context) (quiet func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.telling(ctx)
	}()
	return func() {
		cancel()
		<-done
	}
}

func (w *work) telling(ctx context.Context) {
	tick := time.NewTicker(tellPoll)
	defer tick.Stop()
	last := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now, ok := w.readWorker()
		if !ok || now.says == last {
			continue
		}
		last = now.says
		w.log.Info(last)
		w.attribute(ctx, last)
	}
}

// untilUnwanted ends the work when an operator stops the resource, takes it out of
// the cluster's hands or forbids this: somebody may be about to do it by hand.
func (w *work) untilUnwanted(ctx context.Context, end context.CancelCauseFunc) {
	tick := time.NewTicker(wantedPoll)
	defer tick.Stop()
	silent := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		ask, cancel := context.WithTimeout(ctx, askLimit)
		role, err := w.cluster.TargetRole(ask, w.call.Resource)
		cancel()
		switch {
		case err != nil:
			// Perhaps it is only slow.
			if silent++; silent >= 3 {
				end(fmt.Errorf("%w: the cluster does not answer: %w", errUnwanted, err))
				return
			}
		case strings.EqualFold(role, "Stopped"):
			end(fmt.Errorf("%w: the resource is to be stopped", errUnwanted))
			return
		default:
			silent = 0
		}
	}
}

// slotOrNone is this node's replication slot on the primary, if slots are used.
func (c config) slotOrNone() string {
	if c.slotPrefix == "" {
		return ""
	}
	return c.slot(c.self)
}
