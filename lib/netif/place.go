package netif

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// Want says what is known of where an address belongs.
type Want struct {
	IP netip.Addr
	// NIC is a name of the interface, "" if it is to be found.
	NIC string
	// Bits is the length of the prefix, -1 if it is to be found.
	Bits int
	// Protocol restricts the routes that are looked at; 0 does not.
	Protocol uint8
}

// Place is where an address belongs.
type Place struct {
	Link Link
	Bits int
	// Metric is that of the route by which it was found, for the route the new address brings.
	Metric uint32
	// Broadcast is what the interface uses in that subnet already, if it does.
	Broadcast netip.Addr
}

// Find looks for the place of an address. With interface and prefix given nothing is looked up: the
// address goes there even if nothing else of that subnet is there. Otherwise the subnets on the links
// decide, those of the routes first and then those of the interfaces' own addresses, which remain when
// a route is gone; the longest prefix wins, then the smallest metric.
func Find(k Kernel, w Want) (Place, error) {
	links, err := k.Links()
	if err != nil {
		return Place{}, err
	}
	var given *Link
	if w.NIC != "" {
		i := slices.IndexFunc(links, func(l Link) bool { return l.Is(w.NIC) })
		if i < 0 {
			return Place{}, fmt.Errorf("%w: %s", ErrNoLink, w.NIC)
		}
		given = &links[i]
	} else if w.IP.Is6() && w.IP.IsLinkLocalUnicast() {
		return Place{}, fmt.Errorf("%s: %w", w.IP, ErrNeedsLink)
	}
	addrs, err := k.Addresses(Family(w.IP))
	if err != nil {
		return Place{}, err
	}
	p := Place{Bits: w.Bits}
	if given != nil && w.Bits >= 0 {
		p.Link = *given
	} else {
		subnet, err := findSubnet(k, w, given, addrs)
		if err != nil {
			return Place{}, err
		}
		i := slices.IndexFunc(links, func(l Link) bool { return l.Index == subnet.Index })
		if i < 0 {
			return Place{}, fmt.Errorf("%w: interface %d went away", ErrNoLink, subnet.Index)
		}
		p.Link, p.Metric = links[i], subnet.Metric
		if p.Bits < 0 {
			p.Bits = subnet.Dst.Bits()
		}
	}
	whole := netip.PrefixFrom(w.IP, p.Bits).Masked()
	for _, a := range addrs {
		if a.Index == p.Link.Index && a.Prefix.Masked() == whole && a.IP() != w.IP {
			p.Broadcast = a.Broadcast
			break
		}
	}
	return p, nil
}

// findSubnet chooses the subnet that the address is in. Entries that exist because the address itself
// is there say nothing about where it belongs.
func findSubnet(k Kernel, w Want, given *Link, addrs []Address) (Route, error) {
	routes, err := k.Routes(Family(w.IP))
	if err != nil {
		return Route{}, err
	}
	fits := func(r Route) bool {
		switch {
		case given != nil && r.Index != given.Index, r.Index == 0, !r.Dst.Contains(w.IP):
			return false
		case r.Dst.Bits() == 0, r.Dst.IsSingleIP():
			return false
		case given == nil && w.Bits >= 0:
			// A prefix given without an interface must fit the subnet that finds the interface.
			return r.Dst.Bits() == w.Bits || w.IP.Is4() && r.Dst.Bits() < w.Bits
		}
		return true
	}
	var found []Route
	for _, r := range routes {
		onLink := !r.Gateway.IsValid() && (w.IP.Is6() || r.Scope == ScopeLink)
		if r.Table == TableMain && r.Type == TypeUnicast && onLink && r.Source != w.IP &&
			(w.Protocol == 0 || r.Protocol == w.Protocol) && fits(r) {
			found = append(found, r)
		}
	}
	if len(found) == 0 && w.Protocol == 0 {
		for _, a := range addrs {
			r := Route{Dst: a.Prefix.Masked(), Index: a.Index, Metric: a.Metric}
			if a.IP() != w.IP && !a.Peer.IsValid() && fits(r) {
				found = append(found, r)
			}
		}
	}
	if len(found) == 0 {
		where := "any interface"
		if given != nil {
			where = given.Name
		}
		want := w.IP.String()
		if w.Bits >= 0 {
			want = netip.PrefixFrom(w.IP, w.Bits).String()
		}
		return Route{}, fmt.Errorf("%w: %s is in no subnet of %s", ErrNoPlace, want, where)
	}
	slices.SortStableFunc(found, func(a, b Route) int {
		return cmp.Or(cmp.Compare(b.Dst.Bits(), a.Dst.Bits()), cmp.Compare(a.Metric, b.Metric))
	})
	return found[0], nil
}

// LastAddress is the broadcast address of a prefix: all bits of the host set. Invalid for IPv6 and
// for prefixes that have none.
func LastAddress(p netip.Prefix) netip.Addr {
	if !p.Addr().Is4() || p.Bits() >= 31 {
		return netip.Addr{}
	}
	b := p.Addr().As4()
	for i := range 32 {
		if i >= p.Bits() {
			b[i/8] |= 0x80 >> (i % 8)
		}
	}
	return netip.AddrFrom4(b)
}
