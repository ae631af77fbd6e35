package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"pgrex/lib/ocf"
	"pgrex/lib/pg"
)

// This file is the watcher's look at the standbys.

const (
	// followPoll is how often the primary is asked for its standbys.
	followPoll = 200 * time.Millisecond
	// followRetry is how long the watcher waits after a connection that failed.
	followRetry = 2 * time.Second
	// lossPatience is how long a standby that commits wait for may be away before that
	// is acted upon: a connection that is reset and comes back is no reason to make a
	// failover impossible until everything is proven anew.
	lossPatience = 500 * time.Millisecond
	// busyRounds in busyWindow are as many as there may be; then one in each
	// busyPause: a standby that comes and goes for ever must not keep the cluster busy.
	busyRounds = 4
	busyWindow = 10 * time.Second
	busyPause  = 5 * time.Second
	// roundTimeout stands for the monitor's timeout in a round of the watcher.
	roundTimeout = 30 * time.Second
)

// changes decides when what is seen of the standbys is a reason for a round. Times
// are those of one clock, whichever.
type changes struct {
	acted  string          // what was seen when the last round began
	lost   time.Duration   // when a standby was first seen missing, 0 for none
	again  time.Duration   // a round that has settled nothing is repeated then, once; 0 for none
	rounds []time.Duration // when the last rounds began
}

// due reports whether a round is to be made of what is seen now.
func (c *changes) due(now time.Duration, seen string) bool {
	if seen == c.acted {
		c.lost = 0
		return c.again != 0 && now >= c.again && c.free(now)
	}
	if synced(seen) >= synced(c.acted) {
		c.lost = 0
		return c.free(now)
	}
	if c.lost == 0 {
		c.lost = now
	}
	return now-c.lost >= lossPatience && c.free(now)
}

// free reports whether there have not been too many rounds of late.
func (c *changes) free(now time.Duration) bool {
	c.rounds = slices.DeleteFunc(c.rounds, func(t time.Duration) bool { return now-t >= busyWindow })
	return len(c.rounds) < busyRounds || now-c.rounds[len(c.rounds)-1] >= busyPause
}

// begin notes that a round begins, and done how it ended.
func (c *changes) begin(now time.Duration, seen string) {
	c.rounds = append(c.rounds, now)
	c.lost = 0
	if seen == c.acted && c.again != 0 {
		c.again = -1 // what this one leaves undone is left to the monitor
		return
	}
	c.acted, c.again = seen, 0
}

func (c *changes) done(now time.Duration, settled bool) {
	if !settled && c.again == 0 {
		c.again = now + followRetry
		return
	}
	c.again = 0
}

// synced counts the standbys that commits wait for in the answer of pg.Conn.Standbys.
func synced(seen string) int {
	return strings.Count(seen, " streaming sync") + strings.Count(seen, " streaming quorum")
}

// followDatabase is the database of a session that lasts: in a template, as pgdb is
// by default, it would be in the way of CREATE DATABASE.
func (c config) followDatabase() string {
	if strings.HasPrefix(c.database, "template") {
		return "postgres"
	}
	return c.database
}

// followDatabases are where the watcher may have its session. In a user's database
// it would be in the way of what its owner does with it, so that comes last.
func (c config) followDatabases() []string {
	return slices.Compact([]string{"postgres", c.followDatabase()})
}

// unlogged keeps the session's queries out of the server's log.
const unlogged = `SET log_statement = none; SET log_duration = off; SET log_min_duration_statement = -1; SET log_min_duration_sample = -1;
SET log_transaction_sample_rate = 0; SET log_statement_stats = off`

// connectToFollow opens the watcher's session.
func (a *agent) connectToFollow(ctx context.Context) (conn *pg.Conn, err error) {
	for _, database := range a.conf.followDatabases() {
		server := a.asOwner()
		server.Database = database
		if conn, err = server.Connect(ctx); !pg.IsNoDatabase(err) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	// Five queries a second are not what an administrator logs statements for.
	// Without the right to say so there is nothing to be done.
	_, _ = conn.Exec(ctx, unlogged)
	return conn, nil
}

// follow makes the primary look after its standbys whenever one comes, goes or
// changes its state. It keeps one session, and ends with ctx, or when the server
// does not let it in.
func (a *agent) follow(ctx context.Context) {
	var conn *pg.Conn
	leave := func() {
		if conn != nil {
			conn.Close()
			conn = nil
		}
	}
	defer leave()
	tick := time.NewTicker(followPoll)
	defer tick.Stop()
	began := time.Now()
	var c changes
	var complained bool
	var after time.Time // no attempt before
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if pf, err := a.server.PidFile(); err != nil || pf.Status != pg.PidReady {
			// A smart shutdown waits for every session, and a server that takes none
			// yet writes a line for each attempt.
			leave()
			continue
		}
		if conn == nil {
			if time.Now().Before(after) {
				continue
			}
			fresh, err := a.connectToFollow(ctx)
			if err != nil {
				if !complained && ctx.Err() == nil && !pg.IsStarting(err) {
					complained = true
					a.log.Warn("the watcher cannot follow the standbys' state; monitors do", "error", err)
				}
				if pg.IsAuth(err) && !pg.IsNoDatabase(err) {
					return // it does not mend itself, and each attempt is a line in the server's log
				}
				after = time.Now().Add(followRetry)
				if pg.IsNoDatabase(err) {
					after = time.Now().Add(ownPoll)
				}
				continue
			}
			conn, complained = fresh, false
		}
		seen, err := conn.Standbys(ctx)
		if err != nil {
			leave()
			continue
		}
		if c.due(time.Since(began), seen) {
			c.begin(time.Since(began), seen)
			c.done(time.Since(began), a.round(ctx))
		}
	}
}

// round does what the monitor does on a primary: the same function, in its turn. settled says that
// nothing is left to do.
func (a *agent) round(ctx context.Context) (settled bool) {
	call := *a.call
	b := newAgent(ctx, &call, a.run)
	ctx, cancel := context.WithTimeout(ctx, roundTimeout)
	defer cancel()
	conn, err := b.server.Connect(ctx)
	if err != nil {
		return false
	}
	defer conn.Close()
	st, err := b.status(ctx, conn)
	switch {
	case err != nil:
		return false
	case st.InRecovery || b.steady(st):
		return true
	}
	if _, why := b.notOurs(ctx); why != "" {
		b.log.Debug("standbys changed; nothing is done", "because", why)
		return false
	}
	if err := b.leadInTurn(ctx, conn, st, roundLimit); ocf.CodeOf(err) != ocf.RunningPromoted && ctx.Err() == nil {
		// The monitor comes to the same and tells the cluster.
		b.log.Warn("the watcher's round", "result", err)
	}
	st, err = conn.Status(ctx)
	return err == nil && b.steady(st)
}
