package netif

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"
)

// Question asks a LAN who has an IPv4 address, RFC 5227.
type Question struct {
	Packets Packets
	// IP is asked about; Hardware is of the link that asks.
	IP       netip.Addr
	Hardware net.HardwareAddr
	// Own are this machine's hardware addresses, whose packets say nothing.
	Own []net.HardwareAddr
}

// Ask sends one probe.
func (q Question) Ask() error { return q.Packets.Send(Probe(q.Hardware, q.IP).Marshal()) }

// Answer waits until somebody claims the address and returns its hardware address, or nil when ctx
// has ended. Also a claim that nobody asked for is one. With probing set another one's probe counts.
func (q Question) Answer(ctx context.Context, probing bool) (net.HardwareAddr, error) {
	for {
		b, err := q.Packets.Receive(ctx)
		if err != nil {
			if ctx.Err() != nil {
				return nil, nil
			}
			return nil, err
		}
		a, err := ParseARP(b)
		if err != nil || !a.Claims(q.IP, probing) ||
			slices.ContainsFunc(q.Own, func(o net.HardwareAddr) bool { return bytes.Equal(o, a.SenderHardware) }) {
			continue
		}
		return a.SenderHardware, nil
	}
}

// The probes of Inquire. RFC 5227 waits about six seconds, too long for a takeover; its count is
// kept, its pauses are not.
const (
	probeCount    = 3
	probeInterval = 200 * time.Millisecond
)

// Inquire probes thoroughly before an address is taken: three probes in 0.6 s, ended by the first
// claim. It returns the hardware address of the one that has it, nil if nobody does.
func (q Question) Inquire(ctx context.Context) (net.HardwareAddr, error) {
	for range probeCount {
		if err := q.Ask(); err != nil {
			return nil, err
		}
		wait, cancel := context.WithTimeout(ctx, probeInterval)
		who, err := q.Answer(wait, true)
		cancel()
		if who != nil || err != nil {
			return who, err
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
	}
	return nil, nil
}

// Herald announces one address on one link.
type Herald struct {
	Packets  Packets
	IP       netip.Addr
	Hardware net.HardwareAddr
	// Request and Reply say in which forms an IPv4 address is announced.
	Request, Reply bool
	// Router is the flag of IPv6 advertisements.
	Router bool
}

// Announce sends one announcement, in each of its forms.
func (h Herald) Announce() error {
	if h.IP.Is6() {
		return h.Packets.Send(Advertisement{IP: h.IP, Hardware: h.Hardware, Router: h.Router}.Marshal())
	}
	var errs []error
	if h.Request {
		errs = append(errs, h.Packets.Send(Announcement(h.Hardware, h.IP, false).Marshal()))
	}
	if h.Reply {
		errs = append(errs, h.Packets.Send(Announcement(h.Hardware, h.IP, true).Marshal()))
	}
	return errors.Join(errs...)
}
