package site

import (
	"pgrex/tests/lab/network"
)

// request is one order to the daemon, one per connection.
type request struct {
	Op   string `json:"op"`
	Node string `json:"node,omitempty"`
	// Volume is what hangs, a path on the node.
	Volume string            `json:"volume,omitempty"`
	On     bool              `json:"on,omitempty"`
	LANs   []network.LAN     `json:"lans,omitempty"`
	Dir    network.Direction `json:"dir,omitempty"`
}

// Operations of the daemon.
const (
	opStatus  = "status"
	opPower   = "power"
	opFreeze  = "freeze"
	opHang    = "hang"
	opCut     = "cut"
	opHeal    = "heal"
	opHealAll = "heal-all"
	opTraffic = "traffic"
	opBMC     = "bmc"
	// Of a lab in Azure only.
	opHide     = "hide"
	opMetadata = "metadata"
	opKeep     = "keep"
	opDown     = "down"
)

// response answers a request.
type response struct {
	Error   string                          `json:"error,omitempty"`
	Status  *Status                         `json:"status,omitempty"`
	Traffic map[network.LAN]network.Traffic `json:"traffic,omitempty"`
}

// Status is the state of the machine room.
type Status struct {
	// Nodes holds every machine.
	Nodes []NodeStatus
	// Cuts lists what is cut, as "n1 service both".
	Cuts []string
}

// NodeStatus is one machine.
type NodeStatus struct {
	// Name is the node's name.
	Name string
	// Pid is its first process seen from the host, 0 when powered off.
	Pid int
	// Boots counts how often it was powered on.
	Boots int
	// Frozen says that it is stopped with everything on it.
	Frozen bool
	// Hangs says that a volume of it takes no writes and gives no answer.
	Hangs bool
	// BMC is the process of its management controller, 0 when that is down.
	BMC int
}

// On says whether the machine has power.
func (n NodeStatus) On() bool { return n.Pid != 0 }

// Node finds a machine by name.
func (s Status) Node(name string) (NodeStatus, bool) {
	for _, n := range s.Nodes {
		if n.Name == name {
			return n, true
		}
	}
	return NodeStatus{}, false
}
