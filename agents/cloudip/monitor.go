package main

import (
	"context"
	"fmt"

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
	addrs, err := a.net.Addresses(netif.Family(a.conf.ip))
	if err != nil {
		return ocf.Errorf(ocf.ErrGeneric, "%w", err)
	}
	links, err := a.net.Links()
	if err != nil {
		return ocf.Errorf(ocf.ErrGeneric, "%w", err)
	}
	holders := netif.HoldersAmong(addrs, links, a.conf.ip, a.conf.nic)
	if len(holders) == 0 {
		return a.absent(links)
	}
	if a.kind != nil && a.call.Probe {
		if err := a.probeCloud(ctx, holders); err != nil {
			return err
		}
	}
	rival := a.rival(holders[0].Link, links)
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
	return a.conflict(h.Link, rival())
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
	if a.conf.refresh == 0 || a.call.Probe {
		return
	}
	l, err := a.open(h.Link)
	defer l.close()
	if err == nil && l.packets != nil {
		err = a.announce(l, a.conf.refresh)
	}
	if err != nil {
		a.log.Warn("the address cannot be announced", "error", err)
	}
}
