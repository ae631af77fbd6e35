package netif

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// Holding is an address that was found, with its interface.
type Holding struct {
	Address
	Link Link
}

// Holders lists where an address is, on all interfaces and whatever its prefix. A loopback device
// counts only if nic names it or the address is one of its own kind: load balancers keep addresses
// of other machines there.
func Holders(k Kernel, ip netip.Addr, nic string) ([]Holding, error) {
	addrs, err := k.Addresses(Family(ip))
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(addrs, func(a Address) bool { return a.IP() == ip }) {
		return nil, nil
	}
	// After the addresses: an interface that has come meanwhile is known by its name then.
	links, err := k.Links()
	if err != nil {
		return nil, err
	}
	return HoldersAmong(addrs, links, ip, nic), nil
}

// HoldersAmong is [Holders] for who has both lists: each costs a quarter of a millisecond.
func HoldersAmong(addrs []Address, links []Link, ip netip.Addr, nic string) []Holding {
	var found []Holding
	for _, a := range addrs {
		if a.IP() != ip {
			continue
		}
		h := Holding{Address: a, Link: Link{Index: a.Index, Name: fmt.Sprintf("interface %d", a.Index)}}
		for _, l := range links {
			if l.Index == a.Index {
				h.Link = l
			}
		}
		if h.Link.Loopback() && !ip.IsLoopback() && !h.Link.Is(nic) {
			continue
		}
		found = append(found, h)
	}
	return found
}

// removeAttempts is how often an address is removed that comes back at once.
const removeAttempts = 3

// Remove takes an address off every interface that Holders finds and proves it by looking again. The
// kernel removes the secondary addresses of a subnet together with its first (unless
// promote_secondaries is set) and may leave routes of the address behind: the former are put back,
// the latter removed. Removed says what was taken off; an address that was not there is no error.
func Remove(k Kernel, ip netip.Addr, nic string) (removed []Holding, err error) {
	for range removeAttempts {
		holders, err := Holders(k, ip, nic)
		if err != nil {
			return removed, err
		}
		if len(holders) == 0 {
			if len(removed) > 0 {
				err = removeRoutes(k, ip, removed)
			}
			return removed, err
		}
		for _, h := range holders {
			if err := RemoveOne(k, h.Address); err != nil {
				return removed, fmt.Errorf("%s: %w", h.Link.Name, err)
			}
			removed = append(removed, h)
		}
	}
	return removed, fmt.Errorf("%s comes back after every removal: something else on this machine adds it", ip)
}

// RemoveOne removes exactly this address and puts back those of the same interface that the kernel
// removed with it. One that was not there is no error.
func RemoveOne(k Kernel, a Address) error {
	before, err := k.Addresses(Family(a.IP()))
	if err != nil {
		return err
	}
	if err := k.RemoveAddress(a); err != nil && !errors.Is(err, ErrGone) {
		return err
	}
	if a.IP().Is6() || a.Flags&AddrSecondary != 0 {
		return nil
	}
	after, err := k.Addresses(Family(a.IP()))
	if err != nil {
		return err
	}
	for _, b := range before {
		lost := b.Index == a.Index && b.IP() != a.IP() && b.Flags&AddrSecondary != 0 &&
			!slices.ContainsFunc(after, func(c Address) bool { return c.Index == b.Index && c.Prefix == b.Prefix })
		if !lost {
			continue
		}
		b.Flags &^= AddrSecondary
		if err := k.AddAddress(b, false); err != nil && !errors.Is(err, ErrExists) {
			return fmt.Errorf("%s went with %s and does not come back: %w", b.Prefix, a.Prefix, err)
		}
	}
	return nil
}

// removeRoutes removes what still sends traffic from the address, or to it over the interface
// it was on.
func removeRoutes(k Kernel, ip netip.Addr, was []Holding) error {
	routes, err := k.Routes(Family(ip))
	if err != nil {
		return err
	}
	for _, r := range routes {
		here := slices.ContainsFunc(was, func(h Holding) bool { return h.Index == r.Index })
		toIt := here && r.Dst.IsSingleIP() && r.Dst.Addr() == ip && !r.Gateway.IsValid() &&
			r.Protocol == ProtocolKernel && r.Type == TypeUnicast
		if r.Source != ip && !toIt {
			continue
		}
		if err := k.RemoveRoute(r); err != nil && !errors.Is(err, ErrGone) {
			return err
		}
	}
	return nil
}

// Relabel gives an address that is there another label, broadcast address or prefix: the kernel can
// change none of them, so it is taken off and put back at once. Connections survive it.
func Relabel(k Kernel, have, want Address) error {
	if err := RemoveOne(k, have); err != nil {
		return err
	}
	if err := k.AddAddress(want, false); err != nil && !errors.Is(err, ErrExists) {
		return err
	}
	return nil
}
