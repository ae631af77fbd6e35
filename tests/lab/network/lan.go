// Package network is the lab's cabling: one switch with four LANs, ports that
// nodes, BMCs and clients are plugged into, and cuts.
//
// The switch is a network namespace with a bridge for each LAN. It knows no
// cluster; which machine has which address is said here in one place.
package network

import "fmt"

// LAN is one of the networks of a PG-REX cluster.
type LAN string

// The LANs. Clients and the gateway are on Service, WAL flows over
// Replication, corosync talks over Interconnect, and the BMCs are reached over
// Management.
const (
	Service      LAN = "service"
	Replication  LAN = "replication"
	Interconnect LAN = "interconnect"
	Management   LAN = "management"
)

// LANs lists all of them.
func LANs() []LAN { return []LAN{Service, Replication, Interconnect, Management} }

// ParseLAN accepts the names above.
func ParseLAN(s string) (LAN, error) {
	for _, l := range LANs() {
		if string(l) == s {
			return l, nil
		}
	}
	return "", fmt.Errorf("no LAN %q: use service, replication, interconnect or management", s)
}

// Fixed addresses, as in the PG-REX manual.
const (
	Gateway        = "192.168.0.254" // what the ping resource asks
	Client         = "192.168.0.200" // where the writer sits
	VIPPrimary     = "192.168.0.10"
	VIPStandby     = "192.168.0.20"
	VIPReplication = "192.168.2.3"
)

// Address is the address of node number i (from 1) on a LAN.
func Address(l LAN, i int) string {
	switch l {
	case Service:
		return fmt.Sprintf("192.168.0.%d", 10+i)
	case Replication:
		return fmt.Sprintf("192.168.2.%d", 10+i)
	case Interconnect:
		return fmt.Sprintf("192.168.1.%d", 10+i)
	default:
		return fmt.Sprintf("172.20.144.%d", 40+i)
	}
}

// BMCAddress is the address of the BMC of node number i on the management LAN.
func BMCAddress(i int) string { return fmt.Sprintf("172.20.144.%d", 60+i) }

// SecondBMCAddress is the address of its second BMC, if it has one.
func SecondBMCAddress(i int) string { return fmt.Sprintf("172.20.144.%d", 80+i) }

// Interface is the name of a machine's network card on a LAN.
func (l LAN) Interface() string { return l.short() + "lan" }

func (l LAN) short() string {
	switch l {
	case Service:
		return "s"
	case Replication:
		return "d"
	case Interconnect:
		return "ic"
	default:
		return "m"
	}
}

func (l LAN) bridge() string { return "br-" + l.short() }

func (l LAN) number() int {
	for i, x := range LANs() {
		if x == l {
			return i
		}
	}
	return 0
}
