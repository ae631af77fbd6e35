package replication

import "slices"

// Mode is the parameter rep_mode as far as the rules differ by it.
type Mode string

// The replication modes in which more than one node matters.
const (
	Async Mode = "async"
	Sync  Mode = "sync"
)

// Rejoin is the parameter rejoin: what a returning node may do by itself.
type Rejoin string

// What a returning node may do; each allows all before it.
const (
	// Refuse keeps a former primary down until an operator has looked at it.
	Refuse Rejoin = "refuse"
	// Follow lets it come back when the new primary's history proves that its
	// WAL is part of it.
	Follow Rejoin = "follow"
	// Rewind lets pg_rewind take off it what the new primary's history does not
	// have, after that was kept elsewhere.
	Rewind Rejoin = "rewind"
	// Clone lets it be copied anew from the new primary where even that is not
	// possible.
	Clone Rejoin = "clone"
)

// Score is a promotion score, Pacemaker's node attribute "master-<resource>".
type Score int

// The promotion scores of the reference agent; other resources' rules and
// people's eyes read them.
const (
	Unset   Score = -2000000 // the attribute is absent
	Never   Score = -1000000 // -INFINITY
	Standby Score = 100      // holds every acknowledged commit
	Primary Score = 1000     // is the primary, or won the election
)

// String is the attribute's value.
func (s Score) String() string {
	switch s {
	case Unset:
		return ""
	case Never:
		return "-INFINITY"
	case Standby:
		return "100"
	case Primary:
		return "1000"
	}
	return "?"
}

// Presence is what the cluster knows of a node.
type Presence int

// Presence of a node in the cluster. Lost is not Down: a node that is merely
// silent may be serving clients on the other side of a cut.
const (
	Lost   Presence = iota // not a member, and nothing proves that it is off
	Online                 // a member of our partition
	Down                   // proven off: fenced, or cleanly stopped
)

// Row is one line of pg_stat_replication on the primary.
type Row struct {
	State     string // "streaming", "catchup", "startup", "backup", "stopping"
	SyncState string // "sync", "async", "potential", "quorum"
}

// Streaming reports whether the standby follows live.
func (r Row) Streaming() bool { return r.State == "streaming" }

// Peer is what is known of another node.
type Peer struct {
	Presence Presence
	// Position is what the node published; nil when it published nothing.
	Position *Published
	// Copy is the newest record in that node's own copy of cluster memory. Known
	// only when it was read from that node itself: our copy and our attribute
	// daemon forget or foresee what the node has not seen.
	Copy      Record
	CopyKnown bool
	// Row is the node's line in our pg_stat_replication; nil when there is none.
	Row *Row
	// Score is the node's promotion score as our copy shows it.
	Score Score
	// Voter is the epoch of the record by which the node votes, 0 for none. It is
	// transient like Score.
	Voter uint64
}

// Wal says how a stopped server's WAL ends.
type Wal struct {
	Position Position
	// Clean: the control file says that the server was shut down, or that it was
	// a standby; nothing on disk can be ahead of what others were shown.
	Clean bool
	// WasPrimary: it was last running as a primary.
	WasPrimary bool
}

// Upstream is a living primary as its replication connection showed it.
type Upstream struct {
	Node string // its node name where known
	Position
}

// Proof says that commits wait for a node and that it has caught up: after the
// switch to synchronous was in force for every backend, the node has flushed all
// WAL that existed then.
type Proof struct{ Node string }

// Observation is all that the rules may know. Names of nodes are those of
// node_list, in one spelling.
type Observation struct {
	Self  string
	Nodes []string // node_list, Self included
	Mode  Mode

	// Record is the newest record among our own file and our own copy of
	// cluster memory.
	Record Record
	// Peers are the other nodes of node_list, and those that left it while the
	// record concerns them: of these, what proves that nothing there can act.
	Peers map[string]Peer
	// Promoted is the node that the cluster has as promoted now, "" for none.
	Promoted string
	// Score is our own promotion score in our own copy. It is transient: it does
	// not survive a restart of this node's cluster stack, which makes Standby a
	// right and not a memory.
	Score Score
	// Voter is the epoch of the record by which this node votes, 0 for none.
	Voter uint64
	// NoFencing: stonith-enabled is false. Lost nodes then count as down, because
	// nothing will ever prove it; the agent warns about that at start.
	NoFencing bool
	// Accept is the epoch for which an operator has accepted loss on this node;
	// valid only when Accepted. Epoch 0 accepts a first start without a record.
	Accept   uint64
	Accepted bool

	// Position of the running server.
	Position Position
	// SyncNames are the nodes in synchronous_standby_names as it is in force.
	SyncNames []string
	// Unprotected says why commits do not wait for any standby of ours whatever
	// the names are ("" when they do): a setting that somebody else made. SyncNames
	// is empty then, no right may stand, and none is granted.
	Unprotected string
	// SyncCount is how many of SyncNames a commit waits for: all of them, or in a
	// quorum fewer.
	SyncCount int
	// SyncStandbys is how many cluster nodes commits shall wait for while as many
	// stream; less than one counts as one.
	SyncStandbys int
	// Quorum: commits shall wait for any SyncStandbys of those that stream, rather
	// than for certain ones.
	Quorum bool
	// External are application names outside the cluster that commits shall wait
	// for too while they stream (external_standby_node_list); ExternalRows are
	// those that stream now.
	External     bool
	ExternalRows []string
	// Proofs gained in this action, and the nodes for which it ended without.
	Proofs   []Proof
	Unproven []string
	// Claimed is the epoch of the record that this promotion itself wrote last, 0
	// before. It keeps the right that was proven when the promotion began.
	Claimed uint64
	// AcceptName is the name of the node attribute by which an operator accepts
	// loss; reasons quote it.
	AcceptName string

	// For Start only.
	Rejoin   Rejoin
	Wal      Wal
	Upstream *Upstream // nil when no primary answers
	// Lock: the reference agent's PGSQL.lock is present.
	Lock bool
	// Broken says why the data directory is no server's any more, "" when it is one:
	// a rewind was interrupted. Wal means nothing then.
	Broken string
	// NoRewind and NoClone say why the one or the other cannot be done here, "" when
	// it may be tried.
	NoRewind, NoClone string
	// Own is the record that this node itself wrote last, when it was primary.
	Own Record
}

// others are the nodes of node_list but ourselves, in node_list's order.
func (o Observation) others() []string { return minus(o.Nodes, o.Self) }

// down reports whether nothing of the node can be running.
func (o Observation) down(node string) bool {
	p := o.Peers[node]
	return p.Presence == Down || o.NoFencing && p.Presence == Lost
}

// knows reports whether node has our record, or a newer one, in its own copy. A
// rival record of the same epoch that loses against ours is not it, nor is a newer
// one by which node may be promoted after all: then it is we who lack something.
func (o Observation) knows(node string) bool {
	p := o.Peers[node]
	return p.CopyKnown && !o.Record.Newer(p.Copy) && !p.Copy.Entitles(node)
}

// gone reports whether node's older right has ended where it would be used.
func (o Observation) gone(node string) bool {
	return node == o.Self || o.down(node) || o.knows(node)
}

// accepted reports whether an operator has accepted the loss of what only the
// missing nodes hold, as of the record that is known now.
func (o Observation) accepted() bool { return o.Accepted && o.Accept == o.Record.Epoch }

// proven reports whether there is proof that commits wait for node.
func (o Observation) proven(node string) bool {
	return slices.Contains(o.Proofs, Proof{Node: node})
}
