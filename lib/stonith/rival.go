package stonith

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pgrex/lib/crm"
	"pgrex/lib/life"
	"pgrex/lib/proc"
)

// unpromotedDelay is the parameter that keeps two sides of a cut from fencing each other.
const unpromotedDelay = "unpromoted_delay"

// cibLimit bounds the question of who is promoted. A node's own copy is read in some 10 ms.
const cibLimit = time.Second

// rivals is what this node knows of the two sides of a fencing: the partition it is in, and the
// node to be fenced. Two nodes that have lost each other know it of each other.
type rivals struct {
	// self and target are the nodes' names; self is empty if it could not be found out.
	self, target string
	// unread is why the cluster's state could not be read, nil if it could. What follows means
	// nothing then.
	unread error
	// member says that the target is in our partition: it knows what we know, and has no say.
	member bool
	// alone says that no other node is in our partition, quorate that the partition may act, by a
	// quorum that is not ignored.
	alone, quorate bool
	// ours and theirs say on which side a resource is promoted.
	ours, theirs bool
}

// turn is how many times the delay is waited for, and why.
//
// What a node knows of itself is true, for it has just been collected anew by the controller that
// asked for the fencing. What it knows of the other one may lag behind by the last operation before
// the cut. So two rivals need not see the same, but of one resource that is being moved no two
// views that can meet get the same turn: promoted here is true on one side at most, not promoted
// here and promoted there is believed by one side at most, and the names differ.
func (r rivals) turn() (int, string) {
	first := r.self != "" && r.self < r.target
	switch {
	case r.unread != nil && first:
		return 4, "the cluster's state cannot be read: " + r.unread.Error()
	case r.unread != nil:
		return 5, "the cluster's state cannot be read: " + r.unread.Error()
	case r.member:
		return 0, "the target is in contact and not a rival"
	case r.quorate && !r.alone:
		return 0, "the target's side has no quorum"
	case r.ours && !r.theirs:
		return 0, "this side is promoted"
	case r.theirs && !r.ours:
		return 1, "the target was promoted, this side is not"
	case first:
		return 2, "neither side alone is promoted, this one is first by name"
	}
	return 3, "neither side alone is promoted, this one is second by name"
}

// lookAround asks this node's own cluster daemons for what turn needs.
func lookAround(ctx context.Context, run proc.Runner, target string) rivals {
	ctx, cancel := context.WithTimeout(ctx, cibLimit)
	defer cancel()
	var (
		c      = crm.Client{Run: run}
		r      = rivals{target: target}
		named  = make(chan error, 1)
		around crm.Snapshot
	)
	go func() {
		var err error
		r.self, err = c.Name(ctx)
		named <- err
	}()
	around, r.unread = c.Local(ctx)
	r.unread = errors.Join(r.unread, <-named)
	if r.unread == nil {
		r.see(around)
	}
	return r
}

// see takes from a copy of the CIB what counts.
func (r *rivals) see(s crm.Snapshot) {
	// The spelling is the CIB's on both sides.
	if n, ok := s.Node(r.target); ok {
		r.target, r.member, r.theirs = n.Name, n.InMembership, n.Promoted
	}
	r.alone = true
	for _, n := range s.Nodes {
		switch {
		case n.Name == r.self:
			r.ours = r.ours || n.Promoted
		case n.Name != r.target && n.Online && !n.Remote:
			r.alone, r.ours = false, r.ours || n.Promoted
		}
	}
	r.quorate = s.HaveQuorum && s.NoQuorumPolicy != "ignore"
}

// yield waits until it is this side's turn to fence, or until the target is seen off. Nothing else
// shortens the wait: a device that does not answer looks the same from both sides of a cut.
func (a *action) yield(ctx context.Context, begun time.Time) error {
	unit := a.call.Values.Duration(unpromotedDelay)
	switch {
	case unit <= 0 || a.call.Action != "off" && a.call.Action != "reboot":
		return nil
	case a.call.Node == "":
		a.call.Log.Info("no delay: it was not the cluster that called")
		return nil
	}
	r := lookAround(ctx, a.call.Run, a.call.Node)
	if !a.fenced() && errors.Is(r.unread, crm.ErrNotConnected) {
		a.call.Log.Info("no delay: no cluster runs on this node")
		return nil
	}
	n, why := r.turn()
	wait := time.Duration(n) * unit
	say := a.call.Log.Info
	if r.unread != nil {
		say = a.call.Log.Warn
	}
	say(fmt.Sprintf("delay before fencing %s: %s, for %s", a.what(), wait, why))
	if wait == 0 {
		return ctx.Err()
	}
	turn, cancel := context.WithDeadline(ctx, begun.Add(wait))
	defer cancel()
	for pause := a.power.poll.Min; turn.Err() == nil; pause = min(pause*3/2, a.power.poll.Max) {
		state, err := a.power.state(turn)
		switch {
		case err == nil && state == Off:
			a.call.Log.Info(fmt.Sprintf("%s is off already, %s before the end of the delay", a.what(), time.Until(begun.Add(wait)).Round(time.Millisecond)))
			return nil
		case err != nil && !temporary(err) && turn.Err() == nil:
			return err
		}
		_ = life.Pause(turn, pause)
	}
	return context.Cause(ctx)
}

// fenced reports whether Pacemaker's fencer is the caller.
func (a *action) fenced() bool { return a.call.Getenv("PCMK_service") == fencer }
