package main

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"pgrex/lib/life"
	"pgrex/lib/pg"
)

// connectPatiently connects to a server that is there, trying again while it is
// only busy with starting, for at most half of the action's time. enough, if not
// nil, ends that earlier: monitor need not wait for a standby to know what it is.
func (a *agent) connectPatiently(ctx context.Context, enough func() bool) (*pg.Conn, error) {
	ctx, cancel := reserve(ctx, a.call.Timeout/2)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := a.connectUnlessHung(ctx, a.server)
		if err == nil || pg.IsTooMany(err) || pg.IsAuth(err) || errors.Is(err, errHangs) {
			return conn, err
		}
		if pg.IsStarting(err) && enough != nil && enough() {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, err
		case <-tick.C:
		}
		// A server that dies while we wait is a dead one, not a silent one.
		if ps, perr := a.server.Processes(); perr == nil && ps.Postmaster == 0 {
			return nil, err
		}
	}
}

// hungPatience is how long a server may leave a connection waiting while its
// postmaster does nothing at all. One that is busy, waits for a disk or is starved of
// processors gets all the time there is: only a pulse that stands still says more
// than silence does.
const hungPatience = 3 * time.Second

// errHangs: the postmaster runs and does nothing.
var errHangs = errors.New("the postmaster stands still: it was stopped (SIGSTOP, a debugger) or hangs")

// connectUnlessHung connects, and gives up early on a postmaster that hangs.
func (a *agent) connectUnlessHung(ctx context.Context, server *pg.Server) (*pg.Conn, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if pm, before, ok := a.pulse(); ok {
		t := time.AfterFunc(hungPatience, func() {
			// Over a network silence may have other reasons than the postmaster.
			now, err := pm.Pulse()
			if err == nil && before.Hangs(now) && (now.Stopped() || a.conf.host == "") {
				cancel(errHangs)
			}
		})
		defer t.Stop()
	}
	conn, err := server.Connect(ctx)
	if err != nil && errors.Is(context.Cause(ctx), errHangs) {
		return nil, errHangs
	}
	return conn, err
}

// unlessHung is the context for what is asked of a server in a session that is open: it
// ends with errHangs when the postmaster is found to hang. That the session is silent
// says nothing of it, since a query may take long, but a new connection does.
func (a *agent) unlessHung(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		for life.Pause(ctx, hungPatience) == nil {
			conn, err := a.connectUnlessHung(ctx, a.server.AsOwner())
			switch {
			case err == nil:
				conn.Close()
			case errors.Is(err, errHangs):
				cancel(errHangs)
			}
		}
	}()
	return ctx, func() { cancel(nil) }
}

// pulse feels the postmaster's pulse; not ok if there is none to be felt.
func (a *agent) pulse() (pm pg.ProcessID, p pg.Pulse, ok bool) {
	pf, err := a.server.PidFile()
	if err != nil {
		return pm, p, false
	}
	if pm, err = pg.IdentifyProcess(pf.PID); err != nil {
		return pm, p, false
	}
	p, err = pm.Pulse()
	return pm, p, err == nil
}

// status asks the server about itself. Where the monitor's role does not see what is
// decided by, conn is its owner's session from then on.
func (a *agent) status(ctx context.Context, conn *pg.Conn) (pg.Status, error) {
	st, err := conn.Status(ctx)
	if !a.conf.monitorApart() || !st.Blind() && !pg.IsDenied(err) {
		return st, err
	}
	owner, oerr := a.owner(ctx)
	if oerr != nil {
		a.log.Warn("monitor_user does not see enough, and pgdba is refused: grant it pg_monitor", "monitor_user", a.conf.monitorUser, "error", oerr)
		return st, err
	}
	conn.Become(owner)
	return conn.Status(ctx)
}

// barredPause is how long a role that is not let in goes without being mentioned again.
const barredPause = time.Minute

// roleBarred notes that the server has not let the monitor's role in, but its owner: a
// password that was changed here or there alone, a line lost from pg_hba.conf. The server
// serves, so nothing fails for it, and a person is told, but not at each monitor.
func (a *agent) roleBarred(why error) {
	a.barred = true
	say := a.log.Warn
	if now, err := uptime(); err == nil {
		said, _ := os.ReadFile(a.runFile(runBarred))
		at, text, _ := strings.Cut(string(said), " ")
		if last, err := time.ParseDuration(at); err == nil && text == why.Error() && last <= now && now-last < barredPause {
			say = a.log.Debug
		} else if err := pg.WriteFile(a.runFile(runBarred), []byte(now.String()+" "+why.Error()), pg.FileOptions{Mode: 0o600, Replace: true}); err != nil {
			a.log.Debug("it will be said again at once that the monitor's role is not let in", "error", err)
		}
	}
	say("the server does not let monitor_user in, and pgdba asks instead (monitor_sql is not run): "+
		"mend its password here or there, its line in pg_hba.conf, or its rights and limits", "monitor_user", a.conf.monitorUser, "error", why)
}
