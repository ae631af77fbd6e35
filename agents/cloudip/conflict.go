package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"time"

	"pgrex/lib/netif"
	"pgrex/lib/ocf"
)

// rival asks the link who else has an address that this machine has, and returns a function that tells
// who answered. Nobody waits: the kernel keeps the answer, and what comes after the end of this monitor is
// seen by the next. Nobody is asked for IPv6, where the kernel does it; on links without ARP; and in a
// cloud, whose network answers for every address. A probe asks nobody either: it makes sure that the next
// monitor sees no answer from before the address was here.
func (a *agent) rival(l netif.Link, links []netif.Link) func() net.HardwareAddr {
	nobody := func() net.HardwareAddr { return nil }
	ip := a.conf.ip
	if ip.Is6() || a.kind != nil || !l.Speaks() || l.Down() != "" {
		return nobody
	}
	own := netif.Own(links)
	look := func() (netif.Neighbour, net.HardwareAddr) {
		n, err := a.net.Neighbour(l.Index, ip)
		if err != nil {
			a.log.Warn("conflicts cannot be looked for", "error", err)
			return netif.Neighbour{State: netif.NeighbourPermanent}, nil
		}
		who := n.Answered()
		for _, o := range own {
			// Another of this machine's interfaces on the same LAN.
			if bytes.Equal(o, who) {
				who = nil
			}
		}
		return n, who
	}
	entry, before := look()
	if entry.Fixed() {
		return nobody
	}
	ask := a.net.Solicit
	if a.call.Probe {
		before, ask = nil, a.net.Forget
	}
	if err := ask(l.Index, ip); err != nil {
		// Without the right to ask a person can still see whether the address is here.
		a.log.Debug("conflicts cannot be looked for", "error", err)
		return nobody
	}
	return func() net.HardwareAddr {
		if before != nil || a.call.Probe {
			return before
		}
		_, now := look()
		return now
	}
}

// conflict is the answer of a monitor: "degraded" if somebody else has the address too. That counts as
// running and is shown together with the reason; the address is not given up for it.
func (a *agent) conflict(l netif.Link, who net.HardwareAddr) error {
	if who == nil {
		return nil
	}
	text := fmt.Sprintf("another machine on %s, with the hardware address %s, answers for %s too", l.Name, who, a.conf.ip)
	if a.call.Interval == 0 {
		a.log.Warn(text)
		return nil
	}
	return ocf.Errorf(ocf.Degraded, "%s", text)
}

// quickPatience is how long a start without run_arping waits for the answer to its one probe, counted
// from when it was sent. The address is already in use by then.
const quickPatience = 20 * time.Millisecond

// line is a link that is open for the packets of a start. The zero value is one on which nobody is asked
// and nothing announced: links without ARP, and all in a cloud, whose network answers for every address
// and believes no announcement. Closing one takes the kernel milliseconds, so a start has only one.
type line struct {
	packets netif.Packets
	link    netif.Link
	own     []net.HardwareAddr
	// until is when the answer to the probe counts as not coming.
	until time.Time
}

// open opens a link. That it cannot be opened matters only where the answer is needed.
func (a *agent) open(l netif.Link) (line, error) {
	if a.kind != nil || !l.Speaks() || l.Down() != "" {
		return line{}, nil
	}
	links, err := a.net.Links()
	if err != nil {
		return line{}, osError(err, "%s", l.Name)
	}
	p, err := a.net.Open(l, netif.Family(a.conf.ip))
	if err != nil && a.conf.thorough && a.conf.ip.Is4() {
		return line{}, osError(err, "nobody can be asked whether %s is in use", a.conf.ip)
	}
	if err != nil {
		a.log.Warn("the address can be neither looked for nor announced", "error", err)
		return line{}, nil
	}
	return line{packets: p, link: l, own: netif.Own(links)}, nil
}

func (l *line) close() {
	if l.packets != nil {
		_ = l.packets.Close()
	}
}

func (a *agent) question(l *line) netif.Question {
	return netif.Question{Packets: l.packets, IP: a.conf.ip, Hardware: l.link.Hardware, Own: l.own}
}

// lookFirst asks whether an IPv4 address is in use. With run_arping it waits for the answer and an
// answer is an error; otherwise the question is on its way when it returns.
func (a *agent) lookFirst(ctx context.Context, l *line) error {
	if l.packets == nil || a.conf.ip.Is6() {
		return nil
	}
	if holders, err := a.holders(); err != nil || len(holders) > 0 {
		return err // it is we who would answer
	}
	if !a.conf.thorough {
		if err := a.question(l).Ask(); err != nil {
			a.log.Warn("nobody can be asked whether the address is in use", "error", err)
			return nil
		}
		l.until = time.Now().Add(quickPatience)
		return nil
	}
	who, err := a.question(l).Inquire(ctx)
	switch {
	case err != nil:
		return osError(err, "it cannot be found out whether %s is in use", a.conf.ip)
	case who != nil:
		return ocf.Errorf(ocf.ErrGeneric, "%s is in use on %s by the machine with the hardware address %s", a.conf.ip, l.link.Name, who)
	}
	return nil
}

// lookAgain waits for what is left of the time and says who has the address, if somebody does.
func (a *agent) lookAgain(ctx context.Context, l *line) {
	if l.until.IsZero() {
		return
	}
	ctx, cancel := context.WithDeadline(ctx, l.until)
	defer cancel()
	if who, err := a.question(l).Answer(ctx, false); err == nil && who != nil {
		a.log.Warn(fmt.Sprintf("another machine on %s, with the hardware address %s, answers for %s; it has to give the address up",
			l.link.Name, who, a.conf.ip))
	}
}
