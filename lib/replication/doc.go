// Package replication holds the rules of pgrex: what was observed in, what is
// to be done out.
//
// It owns the answers to five questions: may this server be started over the
// WAL it has (Start), is this node the one to be promoted when no primary lives
// (Elect), may promotion go on (Promote), what must a primary do about its
// standbys (Standbys), and what a running primary that nobody announced means
// (Adopt). Each is a pure function of an Observation: no I/O, no clock, no
// globals, and every observation has an answer, because a state without an exit
// is a cluster that stands still at 3 a.m.
//
// It does not own how things are observed or carried out: agents/pgsql does
// that, step by step, and observes again after each step. A Decision therefore
// names only the next steps that are safe now. An action that is killed between
// two steps leaves a state from which the same functions go on.
//
// # What is protected
//
// A commit that was acknowledged while a synchronous standby was required is
// held by that standby, so the standby may be promoted. A commit acknowledged
// without one is held by the primary alone, so nobody else may be. The Record
// says which of the two is the case. It is changed in two writes whenever a
// right ends: first the right is taken away (the node moves from Entitled to
// Leaving), then it is proven gone at the place where it would be used, and
// only then forgotten and commits released. A node that is Leaving may still
// have acted on the older right, which is why whoever starts from memory alone
// must count it in.
package replication
