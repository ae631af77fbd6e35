package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pgrex/lib/crm"
	"pgrex/lib/meta"
	"pgrex/lib/ocf"
	"pgrex/lib/pg"
	"pgrex/lib/proc"
)

// This file is the actions' side of the watcher: they start it, end it, and settle
// with it who tells the cluster of a death. The watcher itself is watcher.go.

// watchCommand is the hidden command that is the watcher.
const watchCommand = "watch"

// lastPatience bounds the wait of stop and demote for others: after it they go on,
// because nothing may keep them from ending the server.
const lastPatience = 2 * time.Second

// quietly is how the actions that start or end the server are run: the watcher is
// gone before and started again after, if the server runs then. Nobody else changes
// anything meanwhile.
func quietly(f func(*agent, context.Context) error) func(*agent, context.Context) error {
	return func(a *agent, ctx context.Context) error {
		if a.call.Action == "promote" && !a.conf.restartOnPromote {
			return inTurn(f)(a, ctx)
		}
		ends := a.call.Action == "stop" || a.call.Action == "demote"
		patience := a.call.Timeout / 3
		if ends {
			patience = lastPatience
		}
		if ends {
			a.readAhead(ctx)
		}
		counted := a.countOnce(ctx, ends)
		allowed := a.silence(ctx)
		release, err := a.turn(ctx, patience)
		switch {
		case err != nil && !ends:
			allowed()
			return ocf.Errorf(ocf.ErrGeneric, "not done: %w", err)
		case err != nil:
			a.log.Warn("going on although somebody else is at work", "error", err)
		}
		err = f(a, ctx)
		counted()
		release()
		allowed()
		if err == nil && a.call.Action != "stop" {
			a.keepWatcher(ctx)
		}
		return err
	}
}

// inTurn is how the actions are run that change something else.
func inTurn(f func(*agent, context.Context) error) func(*agent, context.Context) error {
	return func(a *agent, ctx context.Context) error {
		release, err := a.turn(ctx, a.call.Timeout/3)
		defer release()
		if err != nil {
			return ocf.Errorf(ocf.ErrGeneric, "not done: %w", err)
		}
		err = f(a, ctx)
		if err == nil && a.call.Action == "promote" {
			a.keepWatcher(ctx)
		}
		return err
	}
}

// watched is how the recurring monitor is run: it finds a watcher that is missing.
func watched(f func(*agent, context.Context) error) func(*agent, context.Context) error {
	return func(a *agent, ctx context.Context) error {
		err := f(a, ctx)
		if code := ocf.CodeOf(err); a.call.Interval > 0 && (code == ocf.OK || code == ocf.RunningPromoted) {
			a.keepWatcher(ctx)
		}
		return err
	}
}

// watch is what the watcher tells of itself in the file that it holds.
type watch struct {
	watcher    pg.ProcessID
	postmaster pg.ProcessID
	params     string // what it was started with
}

func (w watch) String() string {
	return fmt.Sprintf("%s %s %s\n", w.watcher, w.postmaster, w.params)
}

// readWatch is what the last watcher told of itself; false when there is nothing to
// be believed.
func (a *agent) readWatch() (w watch, ok bool) {
	text, err := os.ReadFile(a.runFile(runWatcher))
	if err != nil {
		return w, false
	}
	f := strings.Fields(string(text))
	if len(f) != 3 {
		return w, false
	}
	var errs [2]error
	w.watcher, errs[0] = pg.ParseProcessID(f[0])
	w.postmaster, errs[1] = pg.ParseProcessID(f[1])
	w.params = f[2]
	return w, errors.Join(errs[:]...) == nil
}

// watchParams is one word for all that a watcher depends on: its parameters, its
// node and its program. It is a digest because there is a password among them.
func (a *agent) watchParams() string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(a.call.Params)) {
		_, _ = fmt.Fprintf(h, "%s=%q\n", name, a.call.Params[name])
	}
	_, _ = fmt.Fprintf(h, "%s %s", a.conf.self, meta.Version())
	return fmt.Sprintf("%x", h.Sum(nil)[:12])
}

const (
	// termPatience is how long a watcher may take to end when it is told to.
	termPatience = 500 * time.Millisecond
	// silenceLimit bounds the whole. One that was sent SIGKILL does nothing more,
	// whether or not it has gone.
	silenceLimit = 1500 * time.Millisecond
)

// silence ends the watcher, waits until it is gone, and keeps any other from coming
// up until the function it returns is called: what is about to happen to the server
// was ordered. What the watcher told of itself is wiped out, so that nobody later
// takes the server's end for the one that it saw.
func (a *agent) silence(ctx context.Context) (allow func()) {
	// One that has come up just now has perhaps not put its own name over that of
	// the last one yet.
	var told pg.ProcessID
	f, err := awaitLock(ctx, a.runFile(runWatcher), silenceLimit, func(since time.Duration) {
		w, ok := a.readWatch()
		switch {
		case !ok:
		case since >= termPatience:
			_ = w.watcher.Signal(unix.SIGKILL)
		case told != w.watcher:
			told = w.watcher
			_ = w.watcher.Signal(unix.SIGTERM)
		}
	})
	if errors.Is(err, errBusy) {
		a.log.Warn("the watcher does not end", "error", err)
	}
	if err != nil {
		return func() {}
	}
	if err := f.Truncate(0); err != nil {
		a.log.Warn("what the watcher told of itself is still there", "error", err)
	}
	return func() { _ = f.Close() }
}

// keepWatcher sees to it that a watcher with the present parameters runs, or none
// if none is wanted.
func (a *agent) keepWatcher(ctx context.Context) {
	if a.spawn == nil || a.cluster == nil || a.call.ParamErr != nil {
		return
	}
	f, err := tryLock(a.runFile(runWatcher))
	switch {
	case err == nil:
		_ = f.Close()
	case errors.Is(err, errBusy):
		// One that has not said anything yet has just been started. One that somebody
		// has stopped watches nothing, and may hold the lock that all actions need.
		w, ok := a.readWatch()
		p, err := w.watcher.Pulse()
		if stopped := ok && err == nil && p.Stopped(); a.conf.watcher && !stopped && (!ok || w.params == a.watchParams()) {
			return
		}
		a.silence(ctx)()
	default:
		a.log.Warn("no watcher: the end of the server is noticed by the next monitor", "error", err)
		return
	}
	if pf, err := a.server.PidFile(); err != nil || !a.conf.watcher {
		return
	} else if _, err := pg.IdentifyProcess(pf.PID); err != nil {
		return
	}
	exe, err := os.Executable()
	if err == nil {
		_, err = a.spawn(proc.Cmd{Path: exe, Args: []string{watchCommand}, Env: watchEnv(os.Environ())})
	}
	if err != nil {
		a.log.Warn("no watcher: the end of the server is noticed by the next monitor", "error", err)
	}
}

// watchEnv is what a watcher gets of an action's environment: not what is true of
// that one action.
func watchEnv(env []string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return strings.HasPrefix(name, "OCF_RESKEY_CRM_meta_notify_") || strings.HasPrefix(name, "OCF_RESKEY_CRM_meta_interval") ||
			name == "OCF_RESKEY_CRM_meta_timeout" || name == "OCF_RESKEY_CRM_meta_name" || name == "OCF_CHECK_LEVEL" || name == "__OCF_ACTION"
	})
}

// death is who told the cluster of a postmaster's end, and when after boot.
type death struct {
	postmaster pg.ProcessID
	by         string
	at         time.Duration
	// failures are those that had been reported before this one.
	failures int
}

func (d death) String() string {
	return fmt.Sprintf("%s %s %d %d\n", d.postmaster, d.by, d.at, d.failures)
}

func parseDeath(text string) (d death, err error) {
	var id string
	if _, err := fmt.Sscan(text, &id, &d.by, (*int64)(&d.at), &d.failures); err != nil {
		return death{}, err
	}
	d.postmaster, err = pg.ParseProcessID(id)
	return d, err
}

// Who tells.
const (
	byMonitor = "monitor"
	byWatcher = "watcher"
)

// tell settles who reports the end of a postmaster: the first who asks. It returns
// what was settled, now or before.
func (a *agent) tell(ctx context.Context, mine death) (death, error) {
	f, err := awaitLock(ctx, a.runFile(runTold), time.Second, nil)
	if err != nil {
		return death{}, err
	}
	defer f.Close() //nolint:errcheck // a write that is lost makes two reports of one
	text, err := io.ReadAll(io.LimitReader(f, 1000))
	if err != nil {
		return death{}, err
	}
	if d, err := parseDeath(string(text)); err == nil && d.postmaster == mine.postmaster {
		return d, nil
	}
	return mine, errors.Join(f.Truncate(0), writeAt(f, mine.String()))
}

// countOnce makes the watcher's report count as one failure. Pacemaker counts some
// reports twice (crm.Client.Fail). Where that could matter the watcher does not
// report; the number that people see is put right by the action that follows the
// report, beside its own work: wait ends what it began.
func (a *agent) countOnce(ctx context.Context, ends bool) (wait func()) {
	w, ok := a.readWatch()
	text, err := os.ReadFile(a.runFile(runTold))
	if err != nil || !ok || !ends || a.cluster == nil {
		return func() {}
	}
	d, err := parseDeath(string(text))
	if err != nil || d.by != byWatcher || d.postmaster != w.postmaster {
		return func() {}
	}
	ctx, cancel := context.WithTimeout(ctx, a.stopWrites())
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer cancel()
		// Only a count that is too high: one that the cluster has lost, with its
		// designated controller perhaps, must not be made up. It would lack the time
		// of the failure, and never be forgotten.
		name := crm.ReportedFailures(a.call.Resource)
		snap, err := a.copyAtBegin(ctx)
		if err == nil {
			n, _ := snap.Node(a.nodeOf())
			if count, ok := crm.ParseScore(n.Transient[name]); !ok || count <= d.failures+1 {
				return
			}
			err = a.cluster.Apply(ctx, []crm.Write{transient(a.nodeOf(), name, strconv.Itoa(d.failures+1))})
		}
		if err != nil {
			a.log.Warn("one failure may be shown as two", "error", err)
		}
	}()
	return func() { <-done }
}

func writeAt(f *os.File, text string) error {
	_, err := f.WriteAt([]byte(text), 0)
	return err
}

// untell takes back what tell settled: the report was not taken.
func (a *agent) untell() { _ = os.Remove(a.runFile(runTold)) }

// toldPatience is how long a report that was taken may take to be seen in the
// cluster's state.
const toldPatience = 3 * time.Second

// alreadyTold reports whether the cluster knows of the server's end from the watcher
// and is dealing with it. Another failure for the same death would count against
// migration-threshold. Only the recurring monitor may be silent for that: who asks
// otherwise wants to know.
func (a *agent) alreadyTold(ctx context.Context) bool {
	w, ok := a.readWatch()
	if !ok || a.cluster == nil || a.call.Interval == 0 || w.postmaster.Alive() {
		return false
	}
	now, err := uptime()
	if err != nil {
		return false
	}
	d, err := a.tell(ctx, death{postmaster: w.postmaster, by: byMonitor, at: now})
	if err != nil || d.by != byWatcher {
		return false
	}
	if now-d.at < toldPatience {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, toldPatience)
	defer cancel()
	in, err := a.cluster.Instance(ctx, a.call.Resource, a.nodeOf())
	return err == nil && in.Failed && in.Managed && !in.Blocked
}

// lastKnown is the answer of a monitor whose failure the cluster knows already: what
// it answered before.
func (a *agent) lastKnown() error {
	a.log.Info("the server has ended; the watcher has told the cluster")
	if a.failed() == ocf.FailedPromoted {
		return ocf.Status(ocf.RunningPromoted)
	}
	return nil
}

// nodeOf is this node's name for the cluster's tools.
func (a *agent) nodeOf() string { return cmp.Or(a.call.Node, a.conf.self) }
