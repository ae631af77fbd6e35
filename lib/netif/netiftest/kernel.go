// Package netiftest is a network stack in memory, for tests of what uses lib/netif: interfaces,
// addresses, the routes that come and go with them, and neighbours on the links who answer for
// addresses of their own. It knows as much of the kernel's rules as the tests need; that it is like
// the real one is shown by running the same tests against that.
package netiftest

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"

	"pgrex/lib/netif"
)

// Kernel is a network stack. The fields may be set before it is used.
type Kernel struct {
	List     []netif.Link
	Addrs    []netif.Address
	Table    []netif.Route
	Settings map[string]string
	// Neighbours have addresses elsewhere on the links and answer probes for them.
	Neighbours map[netip.Addr]net.HardwareAddr
	// Cache is the table of neighbours, Solicited how often they were asked.
	Cache     map[netip.Addr]netif.Neighbour
	Solicited int
	// PromoteSecondaries is the setting of that name.
	PromoteSecondaries bool
	// Fail, if set, is asked before each call and may refuse it.
	Fail func(call string) error
	// Calls are the changes that were asked for, in order, as "add 192.0.2.1/24 on 2".
	Calls []string
	// Sent are the packets that were sent.
	Sent [][]byte

	mu sync.Mutex
}

func (k *Kernel) check(call string) error {
	if k.Fail != nil {
		return k.Fail(call)
	}
	return nil
}

// Links lists the interfaces.
func (k *Kernel) Links() ([]netif.Link, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Clone(k.List), k.check("links")
}

// Addresses lists the addresses of a family.
func (k *Kernel) Addresses(family int) ([]netif.Address, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.check("addresses"); err != nil {
		return nil, err
	}
	list := slices.Clone(k.Addrs)
	return slices.DeleteFunc(list, func(a netif.Address) bool { return netif.Family(a.IP()) != family }), nil
}

// Routes lists the routes of a family.
func (k *Kernel) Routes(family int) ([]netif.Route, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.check("routes"); err != nil {
		return nil, err
	}
	list := slices.Clone(k.Table)
	return slices.DeleteFunc(list, func(r netif.Route) bool { return netif.Family(r.Dst.Addr()) != family }), nil
}

// AddAddress adds an address: an IPv4 address is secondary if another of its subnet is there.
func (k *Kernel) AddAddress(a netif.Address, replace bool) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	call := "add " + a.Prefix.String()
	if err := k.check(call); err != nil {
		return err
	}
	if !slices.ContainsFunc(k.List, func(l netif.Link) bool { return l.Index == a.Index }) {
		return errors.New("no such device")
	}
	for i, b := range k.Addrs {
		same := b.Index == a.Index && b.IP() == a.IP() && (b.Prefix == a.Prefix || a.IP().Is6())
		switch {
		case same && !replace:
			return netif.ErrExists
		case same:
			k.Addrs[i].Preferred, k.Addrs[i].Valid = a.Preferred, a.Valid
			return nil
		case a.IP().Is4() && b.Index == a.Index && b.Prefix.Masked() == a.Prefix.Masked():
			a.Flags |= netif.AddrSecondary
		}
	}
	k.Calls = append(k.Calls, call)
	k.Addrs = append(k.Addrs, a)
	if a.Flags&(netif.AddrSecondary|netif.AddrNoPrefixRoute) == 0 && !a.Prefix.IsSingleIP() {
		k.Table = append(k.Table, netif.Route{
			Dst: a.Prefix.Masked(), Source: a.IP(), Index: a.Index, Table: netif.TableMain, Protocol: netif.ProtocolKernel,
			Scope: netif.ScopeLink, Type: netif.TypeUnicast, Metric: a.Metric,
		})
	}
	return nil
}

// RemoveAddress removes an address. The secondary addresses of its subnet go with the first, unless
// they are promoted.
func (k *Kernel) RemoveAddress(a netif.Address) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	call := "remove " + a.Prefix.String()
	if err := k.check(call); err != nil {
		return err
	}
	i := slices.IndexFunc(k.Addrs, func(b netif.Address) bool { return b.Index == a.Index && b.Prefix == a.Prefix })
	if i < 0 {
		return netif.ErrGone
	}
	k.Calls = append(k.Calls, call)
	gone := k.Addrs[i]
	k.Addrs = slices.Delete(k.Addrs, i, i+1)
	if gone.IP().Is6() || gone.Flags&netif.AddrSecondary != 0 {
		return nil
	}
	promoted := false
	k.Addrs = slices.DeleteFunc(k.Addrs, func(b netif.Address) bool {
		return !k.PromoteSecondaries && b.Index == a.Index && b.Prefix.Masked() == gone.Prefix.Masked()
	})
	for j, b := range k.Addrs {
		if !promoted && b.Index == a.Index && b.Prefix.Masked() == gone.Prefix.Masked() {
			k.Addrs[j].Flags &^= netif.AddrSecondary
			promoted = true
		}
	}
	k.Table = slices.DeleteFunc(k.Table, func(r netif.Route) bool {
		return r.Index == a.Index && r.Source == gone.IP() && r.Protocol == netif.ProtocolKernel
	})
	return nil
}

// RemoveRoute removes a route.
func (k *Kernel) RemoveRoute(r netif.Route) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	call := "remove route " + r.Dst.String()
	if err := k.check(call); err != nil {
		return err
	}
	i := slices.Index(k.Table, r)
	if i < 0 {
		return netif.ErrGone
	}
	k.Calls = append(k.Calls, call)
	k.Table = slices.Delete(k.Table, i, i+1)
	return nil
}

// Neighbour is what the last Solicit found; Solicit finds Neighbours at once.
func (k *Kernel) Neighbour(_ int, ip netip.Addr) (netif.Neighbour, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.Cache[ip], k.check("neighbour")
}

// Solicit asks the neighbours.
func (k *Kernel) Solicit(_ int, ip netip.Addr) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.check("solicit"); err != nil {
		return err
	}
	k.Solicited++
	entry := netif.Neighbour{State: netif.NeighbourIncomplete}
	if hw := k.Neighbours[ip]; hw != nil {
		entry = netif.Neighbour{Hardware: hw, State: netif.NeighbourReachable}
	}
	if k.Cache == nil {
		k.Cache = map[netip.Addr]netif.Neighbour{}
	}
	k.Cache[ip] = entry
	return nil
}

// Forget removes what was found.
func (k *Kernel) Forget(_ int, ip netip.Addr) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.Cache, ip)
	return k.check("forget")
}

// SetUp sets an interface up.
func (k *Kernel) SetUp(index int) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if err := k.check("up"); err != nil {
		return err
	}
	for i := range k.List {
		if k.List[i].Index == index {
			k.Calls = append(k.Calls, "up "+k.List[i].Name)
			k.List[i].Flags |= netif.LinkUp | netif.LinkLower
			k.List[i].Oper = netif.OperUp
		}
	}
	return nil
}

// Watch reports nothing: nothing changes here by itself.
func (k *Kernel) Watch() (netif.Watch, error) { return still{}, nil }

type still struct{}

func (still) Next(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}
func (still) Close() error { return nil }

// Setting is one of the settings below /proc/sys/net.
func (k *Kernel) Setting(path string) (string, error) { return k.Settings[path], nil }

// Open opens a link for packets.
func (k *Kernel) Open(_ netif.Link, _ int) (netif.Packets, error) {
	if err := k.check("open"); err != nil {
		return nil, err
	}
	return &packets{kernel: k, answers: make(chan []byte, 16)}, nil
}

type packets struct {
	kernel  *Kernel
	answers chan []byte
}

func (p *packets) Send(b []byte) error {
	p.kernel.mu.Lock()
	defer p.kernel.mu.Unlock()
	p.kernel.Sent = append(p.kernel.Sent, b)
	a, err := netif.ParseARP(b)
	if err != nil || a.Reply {
		return nil
	}
	if hw := p.kernel.Neighbours[a.Target]; hw != nil {
		reply := netif.ARP{Reply: true, SenderHardware: hw, Sender: a.Target, TargetHardware: a.SenderHardware, Target: a.Sender}
		p.answers <- reply.Marshal()
	}
	return nil
}

func (p *packets) Receive(ctx context.Context) ([]byte, error) {
	select {
	case b := <-p.answers:
		return b, nil
	default:
	}
	select {
	case b := <-p.answers:
		return b, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *packets) Close() error { return nil }

// Ethernet is a link that is up.
func Ethernet(index int, name string) netif.Link {
	return netif.Link{
		Index: index, Name: name, Type: 1, Flags: netif.LinkUp | netif.LinkLower, Oper: netif.OperUp,
		Hardware: net.HardwareAddr{2, 0, 0, 0, 0, byte(index)},
	}
}

// Loopback is the loopback device.
func Loopback() netif.Link {
	return netif.Link{Index: 1, Name: "lo", Type: 772, Flags: netif.LinkUp | netif.LinkLower | netif.LinkLoopback, Hardware: make([]byte, 6)}
}
