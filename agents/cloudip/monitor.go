package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"pgrex/lib/netif"
	"pgrex/lib/ocf"
)

// monitor tells whether the address is on this machine and usable. It decides by the address alone:
// routes may come and go, and a wrong parameter of something else changes nothing about what is there.
func (a *agent) monitor(ctx context.Context) error {
	if !a.conf.ip.IsValid() {
		if a.conf.err != nil {
			return a.conf.err
		}
		return bad("ip is missing")
	}
	links, err := a.net.Links()
	if err != nil {
		return ocf.Errorf(ocf.ErrGeneric, "%w", err)
	}
	holders, err := a.holders()
	if err != nil {
		return err
	}
	if len(holders) == 0 {
		return a.absent(links)
	}
	if a.kind != nil && a.call.Probe {
		if err := a.probeCloud(ctx); err != nil {
			return err
		}
	}
	question := a.ask(holders[0].Link, links)
	defer question.close()
	h, err := a.usable(holders)
	if err != nil {
		return err
	}
	if a.kind != nil && !a.call.Probe {
		if err := a.checkCloud(ctx); err != nil {
			return err
		}
	}
	a.refresh(h)
	return question.conflict(ctx)
}

// absent is the answer where no interface has the address.
func (a *agent) absent(links []netif.Link) error {
	if a.conf.nic == "" || a.call.Probe {
		return ocf.Status(ocf.NotRunning)
	}
	for _, l := range links {
		if l.Is(a.conf.nic) {
			return ocf.Status(ocf.NotRunning)
		}
	}
	return ocf.Errorf(ocf.ErrGeneric, "the interface nic=%s is not there, and %s on no other", a.conf.nic, a.conf.ip)
}

// usable finds the address where and how the parameters want it.
func (a *agent) usable(holders []netif.Holding) (netif.Holding, error) {
	var complaint string
	for _, h := range holders {
		wrong := a.differs(h)
		switch {
		case wrong != "":
			complaint = wrong
		case h.Flags&netif.AddrDADFailed != 0:
			return h, ocf.Errorf(ocf.ErrGeneric, "another machine on %s has %s: duplicate address detection failed", h.Link.Name, h.IP())
		case a.conf.checkLink && h.Link.Down() != "":
			code := ocf.NotRunning
			if a.call.Probe {
				// A probe that said "not running" would leave the address here, to be back together with the link.
				code = ocf.ErrGeneric
			}
			return h, ocf.Errorf(code, "%s is on %s, whose link is down (%s)", h.IP(), h.Link.Name, h.Link.Down())
		default:
			return h, nil
		}
	}
	return netif.Holding{}, ocf.Errorf(ocf.ErrGeneric, "%s is here, but %s; a restart of the resource mends that", a.conf.ip, complaint)
}

// differs says what is not as the parameters want it, "" if all is.
func (a *agent) differs(h netif.Holding) string {
	switch {
	case a.conf.nic != "" && !h.Link.Is(a.conf.nic):
		return fmt.Sprintf("on %s instead of nic=%s", h.Link.Name, a.conf.nic)
	case a.conf.bits >= 0 && h.Prefix.Bits() != a.conf.bits:
		return fmt.Sprintf("on %s with the prefix length %d instead of cidr_netmask=%d", h.Link.Name, h.Prefix.Bits(), a.conf.bits)
	case a.conf.label != "" && a.conf.ip.Is4() && h.Label != a.label(h.Link):
		return fmt.Sprintf("on %s with the label %q instead of %q", h.Link.Name, h.Label, a.label(h.Link))
	}
	return ""
}

// label is the label of the address on a link. Without iflabel the kernel uses the link's name.
func (a *agent) label(l netif.Link) string {
	if a.conf.label == "" || a.conf.ip.Is6() {
		return ""
	}
	return l.Name + ":" + a.conf.label
}

// refresh announces the address again.
func (a *agent) refresh(h netif.Holding) {
	if a.conf.refresh == 0 || a.call.Probe || a.kind != nil || !h.Link.Speaks() {
		return
	}
	if err := a.announce(h.Link, a.conf.refresh); err != nil {
		a.log.Warn("the address cannot be announced", "error", err)
	}
}

// conflictPatience is how long a monitor waits for the answer to its one probe. On a LAN it takes
// well under a millisecond; what comes later is seen next time.
const conflictPatience = 2 * time.Millisecond

// conflictQuestion is the probe of a monitor; the zero value asks nothing.
type conflictQuestion struct {
	agent *agent
	link  netif.Link
	q     netif.Question
	until time.Time
}

// ask sends one probe for an address that we have: whoever answers has it too.
func (a *agent) ask(l netif.Link, links []netif.Link) conflictQuestion {
	if a.call.Probe || a.conf.ip.Is6() || a.kind != nil || !l.Speaks() || l.Down() != "" {
		return conflictQuestion{}
	}
	p, err := a.net.Open(l, netif.Family(a.conf.ip))
	if err != nil {
		a.log.Warn("conflicts cannot be looked for", "error", err)
		return conflictQuestion{}
	}
	c := conflictQuestion{agent: a, link: l, until: time.Now().Add(conflictPatience), q: netif.Question{
		Packets: p, IP: a.conf.ip, Hardware: l.Hardware, Own: netif.Own(links),
	}}
	if err := c.q.Ask(); err != nil {
		a.log.Warn("conflicts cannot be looked for", "error", err)
	}
	return c
}

// conflict waits for the answer. One makes the monitor answer "degraded", which counts as running and
// is shown together with the reason; the address is not given up for it.
func (c conflictQuestion) conflict(ctx context.Context) error {
	if c.agent == nil {
		return nil
	}
	ctx, cancel := context.WithDeadline(ctx, c.until)
	defer cancel()
	who, err := c.q.Answer(ctx, false)
	if err != nil || who == nil {
		return nil //nolint:nilerr // a conflict that cannot be looked for is no conflict
	}
	text := fmt.Sprintf("another machine on %s, with the hardware address %s, answers for %s too", c.link.Name, who, c.q.IP)
	if c.agent.call.Interval == 0 {
		c.agent.log.Warn(text)
		return nil
	}
	return ocf.Errorf(ocf.Degraded, "%s", strings.TrimSpace(text))
}

func (c conflictQuestion) close() {
	if c.q.Packets != nil {
		_ = c.q.Packets.Close()
	}
}
