package bench

import (
	"slices"
	"time"
)

// Stage is a step of a failover, by the moment at which it is done.
type Stage string

// The stages, in the order in which they usually come.
const (
	Noticed     Stage = "noticed"      // the cluster knows that a server failed
	Membership  Stage = "membership"   // a node is out of the cluster
	Fencing     Stage = "fencing"      // a node is known to be off
	Demote      Stage = "demote"       // the old primary's server is down
	Promote     Stage = "promote"      // the other server takes writes
	Address     Stage = "address"      // clients reach it
	FirstCommit Stage = "first commit" // one of them was answered
)

// Stages lists all of them.
func Stages() []Stage {
	return []Stage{Noticed, Membership, Fencing, Demote, Promote, Address, FirstCommit}
}

// Timeline puts marks in the order of their times and leaves out what came after
// the end: the old primary is demoted once more when it comes back.
func Timeline(marks []Mark, end time.Duration) []Mark {
	out := slices.DeleteFunc(slices.Clone(marks), func(m Mark) bool { return m.After > end })
	slices.SortStableFunc(out, func(a, b Mark) int { return int(a.After - b.After) })
	return out
}
