package replication

import (
	"fmt"
	"slices"
)

// Commits by quorum: a commit is acknowledged when any k of m standbys hold it, m
// being more than k. No single standby then holds everything, so none has a right
// of its own: the newest of m-k+1 of them does, since so many cannot miss all k
// holders of any commit. They are voters, and each has a token that says by which
// record. Like a score it does not survive a restart of the node's cluster stack:
// voters that come back with an old record have none, and go by the record's memory
// like everybody else.
//
// A record of voters and the names in force belong together. One is not changed
// beside the other: every change ends all rights first, by the same two writes and
// the same proofs as that of a single standby, and grants anew.

// streaming are the other nodes that follow live.
func (o Observation) streaming() []string {
	var out []string
	for _, n := range o.others() {
		if r := o.row(n); r != nil && r.Streaming() {
			out = append(out, n)
		}
	}
	return out
}

// waitFor is how many standbys a commit shall wait for.
func (o Observation) waitFor() int { return max(o.SyncStandbys, 1) }

// byQuorum reports whether commits shall wait for any of several standbys. With no
// more of them than are waited for, it is all of them, and each has its own right.
func (o Observation) byQuorum() bool {
	return o.Quorum && !o.External && o.Unprotected == "" && len(o.streaming()) > o.waitFor()
}

// voters are those of whom the record says that any Quorum of them hold a commit.
func (r Record) voters() []string {
	if r.Quorum == 0 {
		return nil
	}
	return minus(r.Entitled, r.Primary)
}

// votersNeeded is how many of the voters cannot miss every holder of a commit.
func (r Record) votersNeeded() int { return len(r.voters()) - r.Quorum + 1 }

// quorumStands reports whether the record's voters are those that commits wait for,
// enough of them to acknowledge any, and whether that is to stay so: it is what is
// wanted, or it cannot be changed because a voter is gone that is not proven down.
// Commits go on meanwhile, which is what a quorum is for.
func (o Observation) quorumStands() bool {
	voters := o.Record.voters()
	if len(voters) == 0 || o.Unprotected != "" || o.SyncCount != o.Record.Quorum || !sameNames(o.SyncNames, voters) {
		return false
	}
	streaming := o.streaming()
	answering := len(voters) - len(minus(voters, streaming...))
	if answering < o.Record.Quorum {
		return false
	}
	return slices.ContainsFunc(voters, o.lost) || o.byQuorum() && o.Record.Quorum == o.waitFor() && sameNames(voters, streaming)
}

// lost reports whether the node is gone and not proven down.
func (o Observation) lost(node string) bool {
	return o.Peers[node].Presence == Lost && !o.down(node)
}

// keepQuorum gives the voters that have none their tokens.
func (o Observation) keepQuorum() Decision {
	steps := o.scores()
	var lost []string
	for _, n := range o.Record.voters() {
		switch r := o.row(n); {
		case o.lost(n):
			lost = append(lost, n)
		case r != nil && r.Streaming() && o.Peers[n].Voter != o.Record.Epoch:
			steps = append(steps, Step{Kind: SetVoter, Node: n, Epoch: o.Record.Epoch})
		}
	}
	d := done(steps...)
	if len(lost) > 0 {
		d.Reason = fmt.Sprintf("%s is lost; commits go on with the others, and the quorum is formed anew when fencing has succeeded", list(lost))
	}
	return d
}

// formQuorum is Standbys where commits shall wait for any of several standbys and
// do not yet, or for others.
func (o Observation) formQuorum() Decision {
	if old := minus(o.Record.Entitled, o.Self); len(old) > 0 {
		return o.withdraw(old)
	}
	if d, ok := o.forget(); ok {
		return d
	}
	if left := o.unproven(o.Record.Leaving); len(left) > 0 {
		return wait(fmt.Sprintf("no quorum is formed: it is not yet proven that %s cannot act on an older right; "+
			"fencing must succeed (or run 'pcs stonith confirm' for a node that is surely off)", list(left)), o.copies(left)...)
	}
	voters := o.streaming()
	if o.SyncCount != o.waitFor() || !sameNames(o.SyncNames, voters) {
		return again(Step{Kind: SetSync, Nodes: voters, Count: o.waitFor()})
	}
	proven := 0
	var unproven []string
	for _, n := range voters {
		switch {
		case o.proven(n):
			proven++
		case slices.Contains(o.Unproven, n):
			unproven = append(unproven, n)
		}
	}
	// What was acknowledged before they voted, as many must hold as hold any commit
	// since.
	if proven < o.waitFor() {
		for _, n := range voters {
			if r := o.row(n); !o.proven(n) && !slices.Contains(unproven, n) && r.SyncState == "quorum" {
				return again(Step{Kind: Prove, Node: n})
			}
		}
		return wait(fmt.Sprintf("no quorum is formed: commits are not proven to wait for %d of %s, or too few have caught up", o.waitFor(), list(voters)), o.scores()...)
	}
	r := o.Record.next(changeStep, o.Self, with(voters, o.Self), nil, o.Position)
	r.Quorum = o.waitFor()
	return again(save(r))
}

// ended reports whether the last primary cannot acknowledge any more: it is proven
// down, or the cluster has demoted or stopped it. That it must not begin again
// unseen, the promotion proves at its own copy like that of every other. This node
// itself is shown as promoted while its promotion is under way, if it was a primary
// before: then no other one is.
func (o Observation) ended() bool {
	p := o.Record.Primary
	return o.down(p) || p != o.Self && o.Peers[p].Presence == Online && (o.Promoted == "" || o.Promoted == o.Self)
}

// electedByVoters is the node that voters choose without the last primary; false
// where they cannot choose.
func (o Observation) electedByVoters() (string, bool) {
	if !o.ended() {
		return "", false
	}
	return o.chosenByVoters()
}

// chosenByVoters is whom they choose once the last primary has ended.
func (o Observation) chosenByVoters() (string, bool) {
	voters := o.Record.voters()
	if len(voters) == 0 || len(o.unproven(o.Record.Leaving)) > 0 {
		return "", false
	}
	var here []string
	for _, n := range voters {
		token := o.Peers[n].Voter
		if n == o.Self {
			token = o.Voter
		}
		if token == o.Record.Epoch && o.position(n).Known() {
			here = append(here, n)
		}
	}
	if len(here) < o.Record.votersNeeded() {
		return "", false
	}
	winner := ""
	for _, n := range here {
		if o.holdsAll(n, here) && (winner == "" || o.prefer(n, winner)) {
			winner = n
		}
	}
	return winner, winner != ""
}
