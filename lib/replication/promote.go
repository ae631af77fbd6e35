package replication

import (
	"fmt"
	"slices"
)

// Promote decides how the promotion of this node goes on. The server is in
// recovery. It is asked again after each step until it says Done after Open.
//
// Promotion is a release: from then on commits are acknowledged that no other
// node holds. So every other right must have ended where it would be used,
// before the server leaves recovery.
func Promote(o Observation) Decision {
	if p := o.Promoted; p != "" && p != o.Self && o.Peers[p].Presence == Online {
		// Waiting, because our copy may only be late by a demotion just done.
		return wait(fmt.Sprintf("not promoted: %s is the primary; demote it first, or move the role with 'pcs resource move'", p))
	}
	if o.Claimed == 0 || o.Claimed != o.Record.Epoch || o.Record.Primary != o.Self {
		if d := o.right(); d.Verdict != Done {
			return d
		}
		return o.claim()
	}
	waiting := o.unproven(o.Record.Leaving)
	if len(waiting) > 0 {
		return wait(promotionWaits(waiting), o.copies(waiting)...)
	}
	if len(o.Record.Leaving) > 0 {
		return again(save(o.Record.next(promotionStep, o.Self, []string{o.Self}, nil, o.Position)))
	}
	return done(Step{Kind: Open})
}

// promotionWaits is the reason of a promotion that waits for proof about nodes.
func promotionWaits(nodes []string) string {
	return fmt.Sprintf("promotion waits: it is not yet proven that %s cannot act on an older right; fencing must succeed "+
		"(or run 'pcs stonith confirm' for a node that is surely off)", list(nodes))
}

// right decides whether this node may be promoted at all: by the right that the
// last primary granted and that our cluster stack has kept alive since, or by
// winning the election.
func (o Observation) right() Decision {
	if o.Score == Standby && o.Record.entitlesAlone(o.Self) {
		return done()
	}
	winner, d := o.election()
	switch {
	case d.Verdict != Done:
		// A primary that was fenced and comes back is no longer down, and not a member yet.
		if w, ok := o.chosenByVoters(); ok && w == o.Self && o.lost(o.Record.Primary) {
			return wait(promotionWaits([]string{o.Record.Primary}))
		}
		return Decision{Verdict: No, Reason: "not promoted: " + d.Reason}
	case winner != o.Self:
		return no("not promoted: %s holds newer data", winner)
	}
	return done()
}

// claim takes the record over: this node alone is entitled, everybody else who
// was is leaving. While somebody is, the claim does not count as a promotion: a
// node that dies with it unproven must not outrank the one promoted in its stead.
//
// Two nodes may claim at once. Nothing compares and swaps, and nothing needs to:
// each writes an entry of its own, so neither overwrites the other's, and both
// claims make the other leaving. Either opens only after it has read, from the
// other node's own copy, a newest record that is not older than its own and does
// not entitle that node. Of two different claims one is the newer for everybody
// (Record.Newer is a total order), so only one of the two can ever read that.
func (o Observation) claim() Decision {
	leaving := o.stillActing(minus(o.Record.Concerned(), o.Self))
	step := uint64(promotionStep)
	switch {
	case o.accepted():
		step = acceptanceStep
	case len(leaving) > 0:
		step = changeStep
	}
	// The record first: it is what ends the rights, and a score that cannot be
	// written must not keep it from being saved.
	steps := []Step{save(o.Record.next(step, o.Self, []string{o.Self}, leaving, o.Position))}
	for _, n := range o.others() {
		steps = append(steps, o.mend(n, Never)...)
	}
	return again(steps...)
}

// Ahead names the nodes of node_list that may hold WAL of this node's timeline
// which this node lacks. While there is one, a promotion must begin a timeline of
// its own: on the same one, two different pasts would look alike, and the node that
// is ahead would follow as soon as it had been overtaken. It is to be asked before
// the promotion claims the record, because a position counts for one epoch.
func Ahead(o Observation) []string {
	var ahead []string
	for _, n := range o.others() {
		if p := o.position(n); !p.Known() || !o.Position.Contains(p) {
			ahead = append(ahead, n)
		}
	}
	return ahead
}

// Elect decides about a standby while no primary lives: whether it is the one to
// be promoted. The answer is its own promotion score, and the reason if all must
// wait.
func Elect(o Observation) Decision {
	if o.Score == Standby && o.Record.entitlesAlone(o.Self) {
		return done()
	}
	winner, d := o.election()
	switch {
	case d.Verdict != Done:
		return Decision{Verdict: Wait, Reason: d.Reason, Steps: o.ownScore(Never)}
	case winner != o.Self:
		return Decision{Verdict: Done, Reason: winner + " is to be promoted", Steps: o.ownScore(Never)}
	}
	return done(o.ownScore(Primary)...)
}

func (o Observation) ownScore(s Score) []Step {
	if o.Score == s {
		return nil
	}
	return []Step{setScore(o.Self, s)}
}

// election finds the node to be promoted from memory alone. All that may hold
// acknowledged commits must be present, and the winner must hold the WAL of each
// of them. Done names the winner, Wait says who is missing, No that they diverged.
func (o Observation) election() (string, Decision) {
	if o.accepted() {
		// An operator's explicit act: this node, with what it has.
		return o.Self, done()
	}
	if winner, ok := o.electedByVoters(); ok {
		return winner, done()
	}
	needed := o.Record.Concerned()
	if !o.Record.Exists() {
		needed = o.Nodes
	}
	if o.Mode == Async {
		needed = o.reachable(needed)
	}
	var missing []string
	for _, n := range needed {
		if !o.position(n).Known() {
			missing = append(missing, n)
		}
	}
	if len(missing) > 0 {
		return "", wait(o.missingReason(missing))
	}
	winner := ""
	for _, n := range o.candidates(needed) {
		if o.holdsAll(n, needed) && (winner == "" || o.prefer(n, winner)) {
			winner = n
		}
	}
	if winner == "" {
		return "", no("the data of %s diverged and no rule can choose: decide which one to keep and rebuild the others, or promote one as it is: %s",
			list(needed), o.acceptHint())
	}
	return winner, done()
}

// candidates are those who may win: whoever may hold acknowledged commits, and
// in async mode anyone who is there.
func (o Observation) candidates(needed []string) []string {
	if o.Mode != Async {
		return needed
	}
	var out []string
	for _, n := range o.reachable(o.Nodes) {
		// A member whose server does not run cannot win, or all would wait for it.
		if o.position(n).Known() {
			out = append(out, n)
		}
	}
	return out
}

// reachable are those of nodes that are online or ourselves.
func (o Observation) reachable(nodes []string) []string {
	var out []string
	for _, n := range nodes {
		if n == o.Self || o.Peers[n].Presence == Online {
			out = append(out, n)
		}
	}
	return out
}

// position is the node's position if it can be believed: published by a member
// that knew the newest record.
func (o Observation) position(node string) Position {
	if node == o.Self {
		return o.Position
	}
	p := o.Peers[node]
	if p.Presence != Online || p.Position == nil || p.Position.Epoch != o.Record.Epoch {
		return Position{}
	}
	return p.Position.Position
}

func (o Observation) holdsAll(node string, needed []string) bool {
	for _, n := range needed {
		if n != node && !o.position(node).Contains(o.position(n)) {
			return false
		}
	}
	return true
}

// prefer orders candidates that hold everything: the newer, then the last
// primary, then the order of node_list, so that all nodes choose alike.
func (o Observation) prefer(a, b string) bool {
	pa, pb := o.position(a), o.position(b)
	if pa.Contains(pb) != pb.Contains(pa) {
		return pa.Contains(pb)
	}
	if (a == o.Record.Primary) != (b == o.Record.Primary) {
		return a == o.Record.Primary
	}
	return slices.Index(o.Nodes, a) < slices.Index(o.Nodes, b)
}

func (o Observation) missingReason(missing []string) string {
	// A member of the cluster is not what is missing: its server is.
	missing = slices.Clone(missing)
	for i, n := range missing {
		if n == o.Self || o.Peers[n].Presence == Online {
			missing[i] = "the server of " + n
		}
	}
	if !o.Record.Exists() {
		return fmt.Sprintf("waiting for %s: no record says who was primary last, so all of node_list must be there once; "+
			"to start with the data of %s alone: %s", list(missing), o.Self, o.acceptHint())
	}
	return fmt.Sprintf("waiting for %s: by the record (epoch %d, last primary %s) it may hold commits that %s lacks; "+
		"to go on without it and accept their loss: %s", list(missing), o.Record.Epoch, o.Record.Primary, o.Self, o.acceptHint())
}

// acceptHint is the command of an operator's explicit act. The epoch in it makes
// the act valid for the state that the operator was shown, and for that alone.
func (o Observation) acceptHint() string {
	return fmt.Sprintf("crm_attribute --node %s --name %s --lifetime reboot --update %d", o.Self, o.AcceptName, o.Record.Epoch)
}
