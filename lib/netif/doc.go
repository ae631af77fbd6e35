// Package netif puts addresses on network interfaces and takes them off, tells
// the neighbours where an address is, and asks them whether it is taken.
//
// It owns rtnetlink (message.go, socket.go), the packets of ARP and neighbour
// discovery (arp.go, ndp.go) and the order in which they are used: which
// interface an address belongs on (place.go), adding it and proving that it is
// gone (address.go), the kernel's duplicate address detection (dad.go),
// announcements and probes (wire.go, probe.go). It starts no processes. It does
// not know clouds, clusters or parameters of agents, and nothing in it decides
// whether an address should be here.
//
// What it needs of the machine is the interface [Kernel], and [Wire] for packets;
// [Namespace] is both for a real network namespace, package netiftest has a
// kernel of its own for tests.
package netif
