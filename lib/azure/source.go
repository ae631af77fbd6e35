package azure

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

// dialFromElsewhere connects from the address that the kernel chooses, or from another one of the same
// interface where that is one to be avoided.
func (w Wire) dialFromElsewhere(ctx context.Context, network, address string) (net.Conn, error) {
	if len(w.Avoid) == 0 {
		return (&net.Dialer{Timeout: dialPatience}).DialContext(ctx, network, address)
	}
	// The name is resolved here, since the source depends on where it leads.
	name, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	hosts, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	if err != nil {
		return nil, err
	}
	return eachInTurn(ctx, hosts, func(ctx context.Context, h netip.Addr) (net.Conn, error) {
		to := net.JoinHostPort(h.Unmap().String(), port)
		from, err := w.source(ctx, to)
		if err != nil {
			return nil, err
		}
		return (&net.Dialer{LocalAddr: from}).DialContext(ctx, network, to)
	})
}

// eachInTurn connects to the first address that answers. All together have the time of one; each gets its
// share of what is left, so that one that is silent leaves time for the next.
func eachInTurn(ctx context.Context, hosts []netip.Addr, dial func(context.Context, netip.Addr) (net.Conn, error)) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialPatience)
	defer cancel()
	var failed error
	for i, h := range hosts {
		end, _ := ctx.Deadline()
		turn, cancel := context.WithTimeout(ctx, time.Until(end)/time.Duration(len(hosts)-i))
		conn, err := dial(turn, h)
		cancel()
		if err == nil {
			return conn, nil
		}
		failed = errors.Join(failed, err)
	}
	return nil, failed
}

// source is the local address for a connection, nil for the kernel's choice.
func (w Wire) source(ctx context.Context, to string) (net.Addr, error) {
	// Connecting a datagram socket sends nothing; it makes the kernel choose route and source.
	probe, err := (&net.Dialer{Timeout: dialPatience}).DialContext(ctx, "udp", to)
	if err != nil {
		return nil, err
	}
	defer probe.Close()
	chosen := addressOf(probe.LocalAddr())
	if !slices.Contains(w.Avoid, chosen) {
		return nil, nil
	}
	ifaces, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for _, i := range ifaces {
		var all []netip.Addr
		addrs, err := i.Addrs()
		if err != nil {
			continue // it has gone meanwhile
		}
		for _, a := range addrs {
			all = append(all, addressOf(a))
		}
		if !slices.Contains(all, chosen) {
			continue
		}
		if other, ok := w.other(all, chosen); ok {
			return &net.TCPAddr{IP: other.AsSlice()}, nil
		}
	}
	return nil, fmt.Errorf("this machine would talk to %s from the virtual address %s, and has no other on that interface", to, chosen)
}

// other is the first address that may be a source in place of the one chosen.
func (w Wire) other(all []netip.Addr, chosen netip.Addr) (netip.Addr, bool) {
	for _, a := range all {
		if a.IsValid() && a.Is4() == chosen.Is4() && !slices.Contains(w.Avoid, a) && (a.Is4() || !a.IsLinkLocalUnicast()) {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// addressOf is the address in one of the types that package net uses for it.
func addressOf(a net.Addr) netip.Addr {
	var ip net.IP
	switch a := a.(type) {
	case *net.UDPAddr:
		ip = a.IP
	case *net.TCPAddr:
		ip = a.IP
	case *net.IPNet:
		ip = a.IP
	}
	addr, _ := netip.AddrFromSlice(ip)
	return addr.Unmap()
}
