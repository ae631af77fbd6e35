package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"pgrex/lib/pg"
	"pgrex/lib/replication"
)

// joinPatience is how long the primary waits, after a standby was started, for it
// to connect, so that it gets its right without waiting for the next monitor.
const joinPatience = 3 * time.Second

// notify reacts to what the cluster did elsewhere without waiting for the next
// monitor. Its result is ignored by Pacemaker, so it never fails; of what comes before
// an event only this node's promotion needs something of us.
func (a *agent) notify(ctx context.Context) error {
	if !a.clustered() || a.conf.check(a.call) != nil {
		return nil
	}
	if a.call.Notify.Event() == "pre-promote" {
		a.awaitProbes(ctx)
	}
	if a.call.Notify.Type != "post" {
		return nil
	}
	a.cache.Drop()
	if a.promotionSees() {
		return nil
	}
	ps, err := a.server.Processes()
	if err != nil || ps.Postmaster == 0 {
		return nil
	}
	release, err := a.turn(ctx, min(roundLimit, a.call.Timeout/3))
	if err != nil {
		// Whoever is at work looks again while he waits, and so does the next monitor.
		a.log.Info("nothing done", "event", a.call.Notify.Event(), "error", err)
		return nil
	}
	defer release()
	conn, err := a.server.Connect(ctx)
	if err != nil {
		a.log.Info("nothing done: the server does not answer", "event", a.call.Notify.Event(), "error", err)
		return nil
	}
	defer conn.Close()
	st, err := a.status(ctx, conn)
	if err != nil {
		a.log.Info("nothing done: the server does not answer", "event", a.call.Notify.Event(), "error", err)
		return nil
	}
	if st.InRecovery {
		a.notifyStandby(ctx, conn, st)
	} else {
		a.notifyPrimary(ctx, conn, st)
	}
	return nil
}

// promotionSees reports whether this transition's promotion of a node sees to
// everything: one that is to come looks at everything itself, and waits for us. Only
// to stay on its timeline it must know how far every other node has come. A node that
// this transition demotes or stops may be promoted again and again fail: that is no
// promotion to rely on.
func (a *agent) promotionSees() bool {
	n := a.call.Notify
	here := listed(n.Promote, a.conf.self)
	switch n.Event() {
	case "post-promote":
		// The new primary itself: its promotion has just seen to everything, and its
		// address waits.
		return here
	case "post-demote", "post-stop":
		sound := slices.ContainsFunc(n.Promote, func(s string) bool { return !a.leaving(s) })
		return here || sound && !a.conf.restartOnPromote
	}
	return false
}

func (a *agent) notifyStandby(ctx context.Context, conn *pg.Conn, st pg.Status) {
	// Learning the record is the point of every notification: the file is what
	// survives the loss of our copy.
	if err := a.remember(ctx); err != nil {
		a.log.Error("the cluster's memory was not read", "error", err)
		return
	}
	switch a.call.Notify.Event() {
	case "post-promote":
		// The address of the new primary waits for this. Our position is void with the
		// new epoch; the next monitor takes it back.
		if err := a.pointUpstream(ctx, conn, st); err != nil {
			a.log.Error("cannot point the standby to the new primary", "error", err)
		}
	case "post-demote", "post-start", "post-stop":
		if a.promoted() != "" && !a.leaving(a.promoted()) || a.following(st) {
			return
		}
		if a.call.Notify.Event() == "post-demote" {
			a.try(ctx, a.baseline(st))
		}
		if err := a.electAlone(ctx, conn, &round{status: st}); err != nil {
			a.log.Error("not taken part in the election", "error", err)
		}
	}
}

// leaving reports whether the event is about the given node's end as primary: our
// copy may not show that yet.
func (a *agent) leaving(node string) bool {
	n := a.call.Notify
	gone := append(slices.Clone(n.Demote), n.Stop...)
	return listed(gone, node)
}

func (a *agent) notifyPrimary(ctx context.Context, conn *pg.Conn, st pg.Status) {
	switch a.call.Notify.Event() {
	case "post-start":
		st = a.awaitStandbys(ctx, conn, st)
	case "post-stop", "post-demote":
	default:
		return
	}
	if err := a.lead(ctx, conn, st); err != nil {
		a.log.Debug("led", "result", err)
	}
}

// awaitStandbys waits a little for the nodes just started to stream.
func (a *agent) awaitStandbys(ctx context.Context, conn *pg.Conn, st pg.Status) pg.Status {
	// A question that is cancelled would cost the connection, so only the wait ends early.
	patience, cancel := context.WithTimeout(ctx, joinPatience)
	defer cancel()
	tick := time.NewTicker(waitPoll)
	defer tick.Stop()
	started, known := slices.Clone(a.call.Notify.Start), false
	for {
		missing := slices.DeleteFunc(slices.Clone(started), func(n string) bool {
			s, ok := st.Sender(n)
			return strings.EqualFold(n, a.conf.self) || ok && s.State == "streaming"
		})
		if len(missing) == 0 {
			return st
		}
		select {
		case <-patience.Done():
			a.log.Info("a standby that was started does not stream yet; its right waits for the next monitor",
				"nodes", strings.Join(missing, " "), "waited", joinPatience)
			return st
		case <-tick.C:
		}
		if !known {
			// Once is enough: this is told when every start has ended.
			known, started = true, a.startedWell(ctx, started)
		}
		fresh, err := conn.Status(ctx)
		if err != nil {
			return st
		}
		st = fresh
	}
}

// startedWell leaves out the nodes whose start has failed: Pacemaker names them as
// started all the same, and the whole transition waits for this notification. The
// result of a start is in the cluster's memory before anybody is told of it.
func (a *agent) startedWell(ctx context.Context, nodes []string) []string {
	if err := a.remember(ctx); err != nil {
		a.log.Info("waiting for every node that was to start: the cluster's memory was not read", "error", err)
		return nodes
	}
	return slices.DeleteFunc(nodes, func(n string) bool {
		return a.presence(n) != replication.Online || !a.node(n).MayRun(a.conf.resource)
	})
}

// listed says whether a list of a notification has a node in it. Pacemaker writes node
// names there as they were given to it, in whatever case.
func listed(list []string, node string) bool {
	return slices.ContainsFunc(list, func(s string) bool { return strings.EqualFold(s, node) })
}
