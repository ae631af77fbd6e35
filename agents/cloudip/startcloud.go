package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"pgrex/lib/cloud"
	"pgrex/lib/netif"
	"pgrex/lib/ocf"
)

// cleanup is the part of start's time that is kept for taking the address off again.
func cleanup(ctx context.Context) time.Duration {
	end, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	return min(time.Until(end)/10, 5*time.Second)
}

// startCloud makes this machine the holder in the cloud. The address goes onto the operating system
// once the cloud has accepted the change, before it is complete: the packets then find it there. Success
// needs the cloud's proof; without it the address comes off again.
func (a *agent) startCloud(ctx context.Context) error {
	// An address that is here without a confirmation in this boot was put here by somebody else, or by a
	// start that was killed. It must not be the source of what is asked now, nor be taken for ours.
	if !a.state.confirmed() {
		if err := a.remove(); err != nil {
			return err
		}
	}
	a.state.forget()
	acquire, cancel := reserve(ctx, cleanup(ctx))
	defer cancel()
	err := a.acquire(acquire)
	if err != nil {
		return a.undo(err)
	}
	if err := a.state.confirm(); err != nil {
		// The next probe asks the cloud instead.
		a.log.Warn(err.Error())
	}
	return nil
}

func (a *agent) acquire(ctx context.Context) error {
	provider, err := a.cloud(ctx)
	if err != nil {
		return err
	}
	want, err := a.wantCloud(ctx, provider)
	if err != nil {
		return err
	}
	// What this machine cannot take is not taken from its holder: there and back again would be two
	// changes in the cloud.
	place, err := netif.Find(a.net, want)
	if err != nil {
		return a.noPlace(err)
	}
	if err := a.linkUp(ctx, place.Link); err != nil {
		return err
	}
	added := false
	put := func(ctx context.Context) error {
		added = true
		// Before the address: a start that is killed in between leaves a note too many, not one too few.
		if err := a.state.stamp(placed); err != nil {
			a.log.Warn(err.Error())
		}
		return a.put(ctx, want)
	}
	if err := provider.Acquire(ctx, a.conf.ip, put); err != nil {
		return cloudError(err)
	}
	if added {
		return nil
	}
	// It was ours all the time.
	return put(ctx)
}

// wantCloud says where the address goes: on the interface that the cloud will deliver its packets to,
// as a host's address of its own unless a prefix is given, because such a one never becomes the source
// of what this machine asks the cloud.
func (a *agent) wantCloud(ctx context.Context, provider cloud.Provider) (netif.Want, error) {
	want := netif.Want{IP: a.conf.ip, NIC: a.conf.nic, Bits: a.conf.bits}
	if want.Bits < 0 {
		want.Bits = a.conf.ip.BitLen()
	}
	if want.NIC != "" {
		return want, nil
	}
	self, err := provider.Self(ctx, a.conf.ip)
	if err != nil {
		return want, cloudError(err)
	}
	links, err := a.net.Links()
	if err != nil {
		return want, ocf.Errorf(ocf.ErrGeneric, "%w", err)
	}
	l, err := linkOf(self, links)
	if err != nil {
		return want, err
	}
	want.NIC = l.Name
	return want, nil
}

// linkOf finds the device of the cloud's interface by its hardware address. A device with the same one
// that belongs to another (the fast path of an interface) or lies on top of one gets no addresses.
func linkOf(self cloud.Machine, links []netif.Link) (netif.Link, error) {
	mac, err := parseMAC(self.MAC)
	if err != nil {
		return netif.Link{}, ocf.Errorf(ocf.ErrGeneric, "the cloud names the interface %s with the hardware address %q: %w", self.Interface, self.MAC, err)
	}
	for _, l := range links {
		if bytes.Equal(l.Hardware, mac) && l.Master == 0 && !stacked[l.Kind] {
			return l, nil
		}
	}
	return netif.Link{}, ocf.Errorf(ocf.ErrGeneric, "no interface of this machine has the hardware address %s of %s: set nic, or see why the operating system does not have it",
		self.MAC, self.Interface)
}

// stacked are kinds of devices that copy the hardware address of the one below.
var stacked = map[string]bool{"vlan": true, "macvlan": true, "ipvlan": true, "macvtap": true, "ipvtap": true}

// parseMAC reads a hardware address with any separators or none, as clouds write them.
func parseMAC(s string) ([]byte, error) {
	var mac []byte
	digits := bytes.Map(func(r rune) rune {
		if r == ':' || r == '-' || r == '.' {
			return -1
		}
		return r
	}, []byte(s))
	if _, err := fmt.Sscanf(string(digits), "%x", &mac); err != nil || len(mac) != 6 {
		return nil, fmt.Errorf("that is no hardware address")
	}
	return mac, nil
}
