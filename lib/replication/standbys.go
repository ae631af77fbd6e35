package replication

import (
	"fmt"
	"slices"
)

// Standbys decides what a primary does about its standbys: whose right ends,
// whom commits wait for, and who is granted the right to succeed.
//
// The order inside is the heart of the suite. A right is taken away, then proven
// gone where it would be used, then commits are released; and a right is only
// granted when commits are proven to wait and the standby has caught up.
func Standbys(o Observation) Decision {
	if o.Record.Primary != o.Self {
		return Adopt(o)
	}
	switch {
	case o.Mode == Async:
		return asyncStandbys(o)
	case o.quorumStands():
		return o.keepQuorum()
	case o.byQuorum():
		return o.formQuorum()
	}
	desired := o.desired()
	if lost := o.lostRight(desired); len(lost) > 0 {
		return o.withdraw(lost)
	}
	if d, ok := o.forget(); ok {
		return d
	}
	held := o.unproven(o.heldNames(desired))
	switch {
	case o.Unprotected != "":
		return Decision{Steps: o.scores(), Verdict: Done, Reason: o.Unprotected}
	case len(held) > 0:
		// Nothing may be released yet. Everything else that is pending waits too:
		// changing the names at all would stop commits from waiting for those held.
		return wait(fmt.Sprintf("commits wait: they no longer reach %s, and it is not yet proven that nobody there can be promoted; "+
			"fencing must succeed (or run 'pcs stonith confirm' for a node that is surely off)", list(held)), o.copies(held)...)
	case !o.inForce(o.wanted(desired)):
		return again(Step{Kind: SetSync, Nodes: o.wanted(desired), Count: len(o.wanted(desired))})
	}
	return o.grant(desired)
}

// row is the node's replication line, if it can be believed: the line of a node
// that is proven down is only a socket that has not noticed yet.
func (o Observation) row(node string) *Row {
	if o.down(node) {
		return nil
	}
	return o.Peers[node].Row
}

// synced reports whether commits wait for node now, as far as the server shows.
func (o Observation) synced(node string) bool {
	r := o.row(node)
	return r != nil && r.Streaming() && r.SyncState == "sync" && slices.Contains(o.SyncNames, node) && o.Record.Quorum == 0
}

// lostRight are the nodes that the record entitles though commits no longer wait
// for them, or shall no longer (external standbys are not configured any more).
func (o Observation) lostRight(desired []string) []string {
	var lost []string
	for _, n := range minus(o.Record.Entitled, o.Self) {
		if !o.synced(n) || !slices.Contains(desired, n) {
			lost = append(lost, n)
		}
	}
	return lost
}

// withdraw takes the right away from nodes. Those that are proven down need no
// second step: nothing runs there that could use it.
func (o Observation) withdraw(nodes []string) Decision {
	var leaving []string
	// The record first: it is what ends the right, and a score that cannot be
	// written must not keep it from being saved.
	steps := []Step{{}}
	for _, n := range nodes {
		if !o.down(n) {
			leaving = append(leaving, n)
		}
		steps = append(steps, setScore(n, Never))
	}
	steps[0] = save(o.Record.next(changeStep, o.Self, minus(o.Record.Entitled, nodes...), with(o.Record.Leaving, leaving...), o.Position))
	return again(steps...)
}

// forget ends the leaving of the nodes that are proven to know it.
func (o Observation) forget() (Decision, bool) {
	var gone []string
	for _, n := range o.Record.Leaving {
		if o.gone(n) {
			gone = append(gone, n)
		}
	}
	if len(gone) == 0 {
		return Decision{}, false
	}
	return again(save(o.Record.next(changeStep, o.Self, o.Record.Entitled, minus(o.Record.Leaving, gone...), o.Position))), true
}

// heldNames are the leaving nodes that commits still wait for and that must not
// be dropped from the names yet. One that streams synchronously again and stays
// desired is not held: it is about to be granted its right anew.
func (o Observation) heldNames(desired []string) []string {
	var held []string
	for _, n := range o.Record.Leaving {
		if slices.Contains(o.SyncNames, n) && !(o.synced(n) && slices.Contains(desired, n)) {
			held = append(held, n)
		}
	}
	return held
}

// unproven are those among nodes whose older right is not proven gone.
func (o Observation) unproven(nodes []string) []string {
	var out []string
	for _, n := range nodes {
		if !o.gone(n) {
			out = append(out, n)
		}
	}
	return out
}

// copies asks for the own copies of those nodes that can be asked.
func (o Observation) copies(nodes []string) []Step {
	var steps []Step
	for _, n := range nodes {
		if o.Peers[n].Presence == Online {
			steps = append(steps, Step{Kind: ReadCopy, Node: n})
		}
	}
	return steps
}

// desired are the cluster nodes that commits shall wait for: all that stream
// when external standbys are configured, else as many as the parameter asks for.
// Those that have the right keep it; then those waited for already; then the
// first of node_list.
func (o Observation) desired() []string {
	streaming := o.streaming()
	if o.External {
		return streaming
	}
	slices.SortStableFunc(streaming, func(a, b string) int { return o.rank(b) - o.rank(a) })
	return streaming[:min(len(streaming), o.waitFor())]
}

func (o Observation) rank(node string) int {
	switch {
	case o.Record.Entitles(node):
		return 2
	case slices.Contains(o.SyncNames, node):
		return 1
	}
	return 0
}

// wanted are all names to be in force: the cluster's and the external ones.
func (o Observation) wanted(desired []string) []string {
	if !o.External {
		return desired
	}
	return append(slices.Clone(desired), o.ExternalRows...)
}

// inForce reports whether commits wait for each of names, and for nobody else.
func (o Observation) inForce(names []string) bool {
	return o.SyncCount == len(o.SyncNames) && sameNames(o.SyncNames, names)
}

func sameNames(a, b []string) bool { return slices.Equal(set(a), set(b)) }

// grant gives the right to those desired who are proven, and mends scores that
// do not match the record.
func (o Observation) grant(desired []string) Decision {
	var unproven []string
	for _, n := range desired {
		if o.Record.Entitles(n) || !o.synced(n) {
			continue
		}
		switch {
		case o.proven(n):
			r := o.Record.next(changeStep, o.Self, with(o.Record.Entitled, n), minus(o.Record.Leaving, n), o.Position)
			return again(save(r), setScore(n, Standby))
		case slices.Contains(o.Unproven, n):
			unproven = append(unproven, n)
		default:
			return again(Step{Kind: Prove, Node: n})
		}
	}
	steps := o.scores()
	if len(unproven) > 0 {
		return wait(fmt.Sprintf("%s may not be promoted yet: commits are not proven to wait for it, or it has not caught up", list(unproven)), steps...)
	}
	// Joined in the names but not yet reported synchronous by the server.
	for _, n := range desired {
		if !o.synced(n) {
			return wait(fmt.Sprintf("%s streams but is not synchronous yet", n), steps...)
		}
	}
	return done(steps...)
}

// scores are the writes that make promotion scores say what the record says.
func (o Observation) scores() []Step {
	var steps []Step
	if o.Score != Primary {
		steps = append(steps, setScore(o.Self, Primary))
	}
	for _, n := range o.others() {
		want := Never
		if o.Record.entitlesAlone(n) {
			want = Standby
		}
		steps = append(steps, o.mend(n, want)...)
	}
	return steps
}

// mend writes another node's score if it differs. A node without any score has
// not started; it is left alone unless it is to be entitled.
func (o Observation) mend(node string, want Score) []Step {
	have := o.Peers[node].Score
	if have == want || have == Unset && want == Never {
		return nil
	}
	return []Step{setScore(node, want)}
}

// asyncStandbys is rep_mode=async: commits never wait, the loss of the newest
// ones was accepted by choosing the mode, so a standby needs no proof. With more
// than two nodes nobody is marked: the newest is elected when the primary is gone.
func asyncStandbys(o Observation) Decision {
	if len(o.SyncNames) > 0 {
		return again(Step{Kind: SetSync})
	}
	entitled := append([]string{o.Self}, o.streaming()...)
	var steps []Step
	if !slices.Equal(set(entitled), o.Record.Entitled) || len(o.Record.Leaving) > 0 {
		steps = append(steps, save(o.Record.next(changeStep, o.Self, entitled, nil, o.Position)))
	}
	if o.Score != Primary {
		steps = append(steps, setScore(o.Self, Primary))
	}
	for _, n := range o.others() {
		want := Never
		if len(o.Nodes) <= 2 && slices.Contains(entitled, n) {
			want = Standby
		}
		steps = append(steps, o.mend(n, want)...)
	}
	return done(steps...)
}

// Adopt decides about a server that runs as primary though the record does not
// name this node: the reference agent's primary during a move to pgrex, or one
// that a person promoted by hand.
func Adopt(o Observation) Decision {
	r := o.Record
	rival := o.Promoted
	switch {
	case rival != "" && rival != o.Self:
		return no("stop this server and rebuild it as a standby of %s: it is a primary, but %s is the promoted node, and it must not go on serving", rival, rival)
	case o.accepted():
		return o.adopt(acceptanceStep)
	case !r.Exists() || r.Entitles(o.Self) || o.Mode == Async && rival == o.Self:
		// In async mode promotions need not form one line: whoever the cluster has
		// promoted and runs outranks the record of one that is gone.
		return o.adopt(promotionStep)
	}
	return no("stop this server and rebuild it: it is a primary, but by the record (epoch %d) %s is the last primary and %s may succeed; "+
		"or accept its data as the cluster's: %s", r.Epoch, r.Primary, list(r.Entitled), o.acceptHint())
}

func (o Observation) adopt(step uint64) Decision {
	leaving := o.stillActing(minus(o.Record.Concerned(), o.Self))
	return again(save(o.Record.next(step, o.Self, []string{o.Self}, leaving, o.Position)))
}

// stillActing are those of nodes that may act on an older right: all that are not
// proven down. Neither async mode nor an operator's act takes one out: what they
// accept is the loss of commits, not a second primary. Only a node that was taken
// out of node_list as well is not waited for: it may not even be a node of the
// cluster any more, and then nothing could ever prove it down.
func (o Observation) stillActing(nodes []string) []string {
	var out []string
	for _, n := range nodes {
		removed := o.accepted() && !slices.Contains(o.Nodes, n)
		if !o.down(n) && !removed {
			out = append(out, n)
		}
	}
	return out
}
