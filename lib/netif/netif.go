package netif

import (
	"context"
	"errors"
	"net"
	"net/netip"
)

// Errors of this package; what is wrapped around them says which address or interface.
var (
	// ErrNoLink says that there is no interface of that name.
	ErrNoLink = errors.New("no such network interface")
	// ErrNoPlace says that no interface has the address's subnet, or not exactly.
	ErrNoPlace = errors.New("no route on a link matches")
	// ErrNeedsLink says that an address of link-local scope says nothing about its interface.
	ErrNeedsLink = errors.New("a link-local address needs an interface")
	// ErrExists says that the address is on that interface already.
	ErrExists = errors.New("the address is there already")
	// ErrGone says that an address, route or interface to be removed is not there.
	ErrGone = errors.New("not there")
	// ErrDuplicate says that the kernel's duplicate address detection found the address in use.
	ErrDuplicate = errors.New("duplicate address detection failed")
)

// Kernel is the network stack of one namespace. Every call is one exchange with it and takes well
// under a millisecond; ctx bounds those that wait.
type Kernel interface {
	// Links lists the interfaces.
	Links() ([]Link, error)
	// Addresses lists the addresses of a family, AF_INET or AF_INET6, on all interfaces.
	Addresses(family int) ([]Address, error)
	// Routes lists the routes of a family in all tables.
	Routes(family int) ([]Route, error)
	// AddAddress adds an address; ErrExists if it is there. With replace, lifetimes and flags of
	// one that is there are changed instead.
	AddAddress(a Address, replace bool) error
	// RemoveAddress removes exactly this address from its interface; ErrGone if it is not there.
	RemoveAddress(a Address) error
	// RemoveRoute removes exactly this route; ErrGone if it is not there.
	RemoveRoute(r Route) error
	// Neighbour is what the kernel knows of who has an address on an interface; the zero value if nothing.
	Neighbour(index int, ip netip.Addr) (Neighbour, error)
	// Solicit makes the kernel forget that and ask on the link. The answer, if there is one, is found by
	// Neighbour; nobody waits for it.
	Solicit(index int, ip netip.Addr) error
	// Forget makes it forget and ask nobody.
	Forget(index int, ip netip.Addr) error
	// SetUp sets an interface administratively up.
	SetUp(index int) error
	// Watch reports changes of links and addresses until it is closed. What happened before it
	// returns is not reported, so look first after it has.
	Watch() (Watch, error)
}

// Watch tells of changes.
type Watch interface {
	// Next waits for a change of any link or address, or for the end of ctx.
	Next(ctx context.Context) error
	Close() error
}

// Flags of a link and of an address, of <linux/if.h> and <linux/if_addr.h>.
const (
	LinkUp       = 0x1
	LinkLoopback = 0x8
	LinkNoARP    = 0x80
	LinkLower    = 0x10000 // IFF_LOWER_UP: the link layer has a carrier

	AddrSecondary     = 0x01
	AddrNoDAD         = 0x02
	AddrDADFailed     = 0x08
	AddrDeprecated    = 0x20
	AddrTentative     = 0x40
	AddrPermanent     = 0x80
	AddrNoPrefixRoute = 0x200
)

// OperState is the state of a link, RFC 2863 as the kernel numbers it.
type OperState uint8

// The states of a link.
const (
	OperUnknown        OperState = 0 // devices that do not tell: loopback, most tunnels
	OperNotPresent     OperState = 1
	OperDown           OperState = 2
	OperLowerLayerDown OperState = 3
	OperTesting        OperState = 4
	OperDormant        OperState = 5
	OperUp             OperState = 6
)

// String is the state as `ip link` shows it.
func (s OperState) String() string {
	names := [...]string{"unknown", "not present", "down", "lower layer down", "testing", "dormant", "up"}
	if int(s) < len(names) {
		return names[s]
	}
	return "unknown"
}

// Link is one interface.
type Link struct {
	Index int
	Name  string
	// AltNames are the other names it answers to.
	AltNames []string
	Hardware net.HardwareAddr
	// Type is the kind of hardware, ARPHRD_ETHER and so on.
	Type  uint16
	Flags uint32
	Oper  OperState
	// Kind is the driver kind, "bond", "vlan", "veth"; empty for most real hardware.
	Kind string
	// Master is the index of the bond or bridge it belongs to, or 0.
	Master int
}

// Is reports whether name is one of the link's names.
func (l Link) Is(name string) bool {
	if l.Name == name {
		return true
	}
	for _, n := range l.AltNames {
		if n == name {
			return true
		}
	}
	return false
}

// Loopback reports whether it is a loopback device.
func (l Link) Loopback() bool { return l.Flags&LinkLoopback != 0 }

// Speaks reports whether neighbours are found by ARP or neighbour discovery on
// the link, in the form this package knows: addresses of six bytes.
func (l Link) Speaks() bool {
	return l.Flags&(LinkNoARP|LinkLoopback) == 0 && len(l.Hardware) == 6
}

// Down says why the link carries no packets, "" if it does. A bond is down when
// none of its members has a link, a VLAN when the device below it has none; the
// kernel works that out.
func (l Link) Down() string {
	switch {
	case l.Flags&LinkUp == 0:
		return "set down"
	case l.Oper != OperUp && l.Oper != OperUnknown:
		return l.Oper.String()
	case l.Flags&LinkLower == 0 && !l.Loopback():
		// The carrier is known at once; the state follows it up to a second later.
		return "no carrier"
	}
	return ""
}

// Forever is a lifetime without end.
const Forever = ^uint32(0)

// Address is an address on an interface.
type Address struct {
	// Index is the interface's.
	Index int
	// Prefix is the address itself with the length of its subnet.
	Prefix netip.Prefix
	// Peer is the other end of a point-to-point link, if it has one.
	Peer netip.Addr
	// Broadcast and Label are of IPv4 only.
	Broadcast netip.Addr
	Label     string
	// Scope is of <linux/rtnetlink.h>: 0 universe, 253 link, 254 host.
	Scope uint8
	Flags uint32
	// Preferred and Valid are lifetimes in seconds.
	Preferred, Valid uint32
	// Metric is that of the route to the subnet; 0 means the kernel's choice.
	Metric uint32
	// Proto says who added it, as `ip address` shows it (Linux 5.18); 0 means nobody said.
	Proto uint8
}

// IP is the address without its subnet.
func (a Address) IP() netip.Addr { return a.Prefix.Addr() }

// Neighbour is an entry of the kernel's table of neighbours.
type Neighbour struct {
	Hardware net.HardwareAddr
	State    uint16
}

// States of a neighbour, of <linux/neighbour.h>.
const (
	NeighbourIncomplete = 0x01
	NeighbourReachable  = 0x02
	NeighbourStale      = 0x04
	NeighbourDelay      = 0x08
	NeighbourProbe      = 0x10
	NeighbourFailed     = 0x20
	NeighbourNoARP      = 0x40
	NeighbourPermanent  = 0x80
)

// Answered is the hardware address if the entry comes from somebody's packet, nil if it does not.
func (n Neighbour) Answered() net.HardwareAddr {
	if n.State&(NeighbourReachable|NeighbourStale|NeighbourDelay|NeighbourProbe) == 0 {
		return nil
	}
	return n.Hardware
}

// Fixed reports whether somebody on this machine put it there.
func (n Neighbour) Fixed() bool { return n.State&(NeighbourNoARP|NeighbourPermanent) != 0 }

// Route is a route as far as this package needs it.
type Route struct {
	// Dst is the destination; the default route has length 0.
	Dst     netip.Prefix
	Gateway netip.Addr
	// Source is the address that connections over this route come from, if it says so.
	Source netip.Addr
	// Index is the outgoing interface, 0 for none or several.
	Index int
	Table uint32
	// Protocol says who made it (2: the kernel), Scope as in Address, Type 1 is a plain unicast route.
	Protocol, Scope, Type uint8
	TOS                   uint8
	Metric                uint32
}

// The values of a Route that this package looks for.
const (
	TableMain      = 254
	ProtocolKernel = 2
	ScopeUniverse  = 0
	ScopeLink      = 253
	ScopeHost      = 254
	TypeUnicast    = 1
)

// Family is AF_INET or AF_INET6.
func Family(ip netip.Addr) int {
	if ip.Is4() {
		return familyIPv4
	}
	return familyIPv6
}
