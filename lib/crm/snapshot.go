package crm

import (
	"strconv"
	"strings"
)

// Infinity is the number Pacemaker means by INFINITY.
const Infinity = 1000000

// Version is a CIB's version, most significant part first.
type Version struct {
	// AdminEpoch and Epoch count changes of the configuration, NumUpdates
	// those of the status since.
	AdminEpoch, Epoch, NumUpdates int64
}

// Snapshot is one copy of the CIB at one moment.
type Snapshot struct {
	// Version is the copy's version. Copies of two partitions may have the
	// same one and differ.
	Version Version
	// FeatureSet is crm_feature_set, such as 3.16.1.
	FeatureSet string
	// DC is the name of the designated controller, empty while there is none.
	DC string
	// HaveQuorum is whether the partition that made the copy had quorum.
	HaveQuorum bool
	// StonithEnabled is whether nodes may be fenced; true unless set.
	StonithEnabled bool
	// Maintenance is the property maintenance-mode.
	Maintenance bool
	// NoQuorumPolicy is the property no-quorum-policy; "stop" unless set.
	NoQuorumPolicy string
	// ClusterName is the property cluster-name.
	ClusterName string
	// Nodes are the nodes of configuration and status by name, as Pacemaker
	// spells it. Node finds one whatever the spelling.
	Nodes map[string]Node
}

// Node is a node as a copy of the CIB shows it.
type Node struct {
	// Name and ID are the node's name and its id (corosync's node id).
	Name, ID string
	// Remote is set for Pacemaker Remote nodes.
	Remote bool
	// InMembership is whether the node is a member of the cluster layer.
	InMembership bool
	// CrmdOnline is whether the node's controller is in its process group.
	CrmdOnline bool
	// Joined is whether the controller has been accepted by the DC.
	Joined bool
	// ExpectedMember and ExpectedDown are what the cluster wants of the node.
	// Neither is set while nothing is known of it.
	ExpectedMember, ExpectedDown bool
	// Online is a node that may run resources: a member with its controller,
	// joined.
	Online bool
	// Pending is a node whose controller has not joined yet.
	Pending bool
	// Unclean is a node that was lost while it was expected: it may still run
	// anything until it has been fenced.
	Unclean bool
	// Standby and Maintenance are the node attributes of these names.
	Standby, Maintenance bool
	// ShuttingDown is a node that has asked to be stopped.
	ShuttingDown bool
	// Transient are the attributes that end with the node's cluster stack,
	// Forever those that are kept. Never nil.
	Transient, Forever map[string]string
	// Roles are the resources with a history on the node, by resource id
	// without instance number. Never nil.
	Roles map[string]Role
	// Probed are the resources of which the cluster knows what they do on the node:
	// a probe has been answered, or something else was begun since. The others may
	// run there unseen. A controller that was started anew has no history until its
	// probes have been answered. Never nil.
	Probed map[string]bool
	// Promoted is whether any resource was last known as promoted there, or on
	// its way into that role or out of it. It holds for a lost node too, whose
	// history is kept while its attributes are not.
	Promoted bool

	crmdOffline bool // said so, as opposed to nothing said
}

// Role is what a resource does on a node according to its history there.
type Role int

// The roles. A resource that is not promotable and runs is Unpromoted.
const (
	// Unknown is a resource nothing is recorded of.
	Unknown Role = iota
	// Stopped is a resource that does not run.
	Stopped
	// Unpromoted is one that runs.
	Unpromoted
	// Promoted is one that runs as primary.
	Promoted
)

// String is the role's name in lower case.
func (r Role) String() string {
	switch r {
	case Stopped:
		return "stopped"
	case Unpromoted:
		return "unpromoted"
	case Promoted:
		return "promoted"
	}
	return "unknown"
}

// ProvenDown tells whether the cluster has proof that the node's cluster stack
// does not run: it was fenced, or it stopped cleanly. It is false for a node
// that was merely lost, and for one that nothing is known of. A resource that
// the cluster did not manage may have outlived a clean stop: see MayRun.
//
// It is as old as the copy. A node that has been proven down and comes up again
// on the other side of a cut does so without its transient attributes.
func (n Node) ProvenDown() bool {
	return n.crmdOffline && !n.CrmdOnline && n.ExpectedDown && !n.ExpectedMember
}

// MayRun tells whether the history says that the resource was left running on
// the node: for a proven-down node that is one which was not managed.
func (n Node) MayRun(resource string) bool {
	r := n.Roles[resource]
	return r == Unpromoted || r == Promoted
}

// Score is the promotion score of a resource on the node; false if there is
// none, or one that is not a score.
func (n Node) Score(resource string) (int, bool) {
	return ParseScore(n.Transient[ScoreAttr(resource)])
}

// ScoreAttr is the name of the attribute that holds a resource's promotion
// score. An instance number is dropped, as for all anonymous clones.
func ScoreAttr(resource string) string {
	resource, _, _ = strings.Cut(resource, ":")
	return "master-" + resource
}

// ParseScore reads a score: a number or INFINITY with or without a sign, bounded
// to ±Infinity.
func ParseScore(s string) (int, bool) {
	switch strings.ToUpper(strings.TrimSpace(s)) {
	case "INFINITY", "+INFINITY":
		return Infinity, true
	case "-INFINITY":
		return -Infinity, true
	}
	n, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil {
		return 0, false
	}
	return int(max(-Infinity, min(Infinity, n))), true
}

// Node finds a node by name, whatever the spelling.
func (s Snapshot) Node(name string) (Node, bool) {
	if n, ok := s.Nodes[name]; ok {
		return n, true
	}
	for _, n := range s.Nodes {
		if strings.EqualFold(n.Name, name) {
			return n, true
		}
	}
	return Node{}, false
}

// Has tells whether the snapshot shows what the write was to bring about. The
// name of an unknown node gives false, for a deletion too.
func (s Snapshot) Has(w Write) bool {
	n, ok := s.Node(w.Node)
	if !ok {
		return false
	}
	attrs := n.Transient
	if w.Lifetime == Forever {
		attrs = n.Forever
	}
	value, set := attrs[w.Name]
	if w.Delete {
		return !set || value == ""
	}
	return set && value == w.Value
}
