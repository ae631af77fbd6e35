package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"pgrex/lib/netif"
	"pgrex/lib/ocf"
)

// addressProto marks our addresses: `ip address` shows it as "proto 80" (Linux 5.18). It is for people;
// no decision depends on it.
const addressProto = 80

// start puts the address on this machine: on a LAN at once, in a cloud as soon as the cloud has accepted
// that it is to be here. Success means that it is usable here; after a failure it is not on this machine.
func (a *agent) start(ctx context.Context) error {
	if a.conf.err != nil {
		return a.conf.err
	}
	if a.kind != nil {
		return a.startCloud(ctx)
	}
	holders, err := a.holders()
	if err != nil {
		return err
	}
	if h, err := a.usable(holders); err == nil && len(holders) == 1 && h.Flags&netif.AddrTentative == 0 {
		return nil
	}
	if err := a.put(ctx, netif.Want{IP: a.conf.ip, NIC: a.conf.nic, Bits: a.conf.bits, Protocol: a.conf.protocol}); err != nil {
		return a.undo(err)
	}
	return nil
}

// undo takes the address off after a start that failed.
func (a *agent) undo(err error) error {
	if rerr := errors.Join(a.herald.end(), a.remove()); rerr != nil {
		return fmt.Errorf("%w; and the address may still be here: %w", err, rerr)
	}
	a.state.forget()
	return err
}

// noPlace is the error of a configuration that finds no interface. One that is named and not there is, where
// a cluster asks, a matter of this node: ErrConfigured would stop the address on the others too. A person
// and validate-all hear what IPaddr2 answers.
func (a *agent) noPlace(err error) error {
	code := ocf.ErrConfigured
	switch {
	case errors.Is(err, netif.ErrNeedsLink):
	case errors.Is(err, netif.ErrNoLink) && a.conf.nic != "":
		if a.call.InCluster && a.call.Action == "start" {
			code = ocf.ErrInstalled
		}
	default:
		return osError(err, "no place for %s", a.conf.where())
	}
	return ocf.Errorf(code, "no place for %s: %w", a.conf.where(), err)
}

// osError gives an error of the operating system its exit code.
func osError(err error, format string, args ...any) error {
	code := ocf.ErrGeneric
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES), errors.Is(err, fs.ErrPermission):
		code = ocf.ErrPerm
	}
	return ocf.Errorf(code, format+": %w", append(args, err)...)
}

// put puts the address on its interface and has it announced. It may be called again.
func (a *agent) put(ctx context.Context, want netif.Want) error {
	place, err := netif.Find(a.net, want)
	if err != nil {
		return a.noPlace(err)
	}
	if l := a.label(place.Link); len(l) > maxLabel {
		// By the name of this node's interface; where nic names it, check has refused it on every node.
		return ocf.Errorf(ocf.ErrInstalled, "iflabel=%s: the label %s has more than %d characters", a.conf.label, l, maxLabel)
	}
	if err := a.linkUp(ctx, place.Link); err != nil {
		return err
	}
	line, err := a.open(place.Link)
	if err != nil {
		return err
	}
	defer line.close()
	if err := a.lookFirst(ctx, &line); err != nil {
		return err
	}
	if err := a.add(a.address(place)); err != nil {
		return err
	}
	if a.conf.ip.Is6() && a.kind == nil && a.conf.flags&netif.AddrNoDAD == 0 {
		if err := a.awaitDetection(ctx, place.Link); err != nil {
			return err
		}
	}
	if err := a.tell(ctx, line); err != nil {
		a.log.Warn("the address cannot be announced", "error", err)
	}
	if err := a.removeOthers(place); err != nil {
		return err
	}
	// What this machine knew as a client of the address's former holder would look like a conflict.
	if err := a.net.Forget(place.Link.Index, a.conf.ip); err != nil {
		a.log.Debug("the address's former holder is not forgotten", "error", err)
	}
	a.lookAgain(ctx, &line)
	holders, err := a.holders()
	if err != nil {
		return err
	}
	_, err = a.usable(holders)
	return err
}

// address is what is to be added.
func (a *agent) address(p netif.Place) netif.Address {
	addr := netif.Address{
		Index: p.Link.Index, Label: a.label(p.Link), Flags: a.conf.flags | netif.AddrPermanent,
		Preferred: netif.Forever, Valid: netif.Forever, Proto: addressProto,
	}
	addr.Prefix = netip.PrefixFrom(a.conf.ip, p.Bits)
	if a.conf.ip.Is6() {
		addr.Preferred, addr.Metric = a.conf.preferred, p.Metric
		if a.kind != nil {
			// Deprecated: never the source of what this machine asks the cloud. And nobody is asked whether
			// the address is in use: the cloud knows, and its network may answer for it.
			addr.Preferred = 0
			addr.Flags |= netif.AddrNoDAD
		}
		return addr
	}
	addr.Flags &^= netif.AddrNoDAD
	switch a.conf.broadcast {
	case "":
		addr.Broadcast = p.Broadcast
	case "+":
		addr.Broadcast = netif.LastAddress(addr.Prefix)
	case "-":
	default:
		addr.Broadcast, _ = netip.ParseAddr(a.conf.broadcast)
	}
	if a.conf.ip.IsLoopback() && p.Link.Loopback() {
		addr.Scope = netif.ScopeHost
	}
	return addr
}

// linkUp sets the link up and waits for it, for a while: it takes a real one seconds to find its
// partner. One that was up and has no carrier has nothing to wait for.
func (a *agent) linkUp(ctx context.Context, l netif.Link) error {
	if l.Flags&netif.LinkUp == 0 {
		a.log.Info("setting " + l.Name + " up")
		if err := a.net.SetUp(l.Index); err != nil {
			return osError(err, "%s", l.Name)
		}
		wait, cancel := context.WithTimeout(ctx, linkPatience)
		defer cancel()
		if err := netif.AwaitLink(wait, a.net, l.Index); err != nil && a.conf.checkLink {
			return ocf.Errorf(ocf.ErrGeneric, "%s: %w", l.Name, err)
		}
		return nil
	}
	if why := l.Down(); why != "" && a.conf.checkLink {
		return ocf.Errorf(ocf.ErrGeneric, "the link of %s is down (%s)", l.Name, why)
	}
	return nil
}

// linkPatience is how long start waits for a link it has set up.
const linkPatience = 5 * time.Second

// add adds the address, or mends one that is there in another form.
func (a *agent) add(addr netif.Address) error {
	err := a.net.AddAddress(addr, false)
	if errors.Is(err, netif.ErrExists) {
		return a.mend(addr)
	}
	if err != nil {
		return osError(err, "%s", a.conf.where())
	}
	a.log.Info(fmt.Sprintf("added %s", addr.Prefix))
	return nil
}

// mend changes an address that is there already to what is wanted.
func (a *agent) mend(addr netif.Address) error {
	holders, err := a.holders()
	if err != nil {
		return err
	}
	for _, h := range holders {
		same := h.Index == addr.Index && (h.Prefix == addr.Prefix || h.IP().Is6())
		if !same || a.differs(h) == "" && h.Flags&netif.AddrDADFailed == 0 {
			continue
		}
		if err := netif.Relabel(a.net, h.Address, addr); err != nil {
			return osError(err, "%s on %s cannot be changed", h.Prefix, h.Link.Name)
		}
	}
	return nil
}

// awaitDetection waits for the kernel's duplicate address detection.
func (a *agent) awaitDetection(ctx context.Context, l netif.Link) error {
	err := netif.AwaitUsable(ctx, a.net, a.conf.ip, l.Index)
	switch {
	case errors.Is(err, netif.ErrDuplicate):
		return ocf.Errorf(ocf.ErrGeneric, "another machine on %s has the address %s: %w", l.Name, a.conf.ip, err)
	case err != nil:
		return ocf.Errorf(ocf.ErrGeneric, "waiting for duplicate address detection on %s: %w", l.Name, err)
	}
	return nil
}

// removeOthers takes the address off other interfaces, and off this one with another prefix: what is
// left of an earlier configuration would be a second place that answers.
func (a *agent) removeOthers(p netif.Place) error {
	holders, err := a.holders()
	if err != nil {
		return err
	}
	for _, h := range holders {
		if h.Index == p.Link.Index && h.Prefix.Bits() == p.Bits {
			continue
		}
		a.log.Warn(fmt.Sprintf("removing %s from %s, where it was in addition", h.Prefix, h.Link.Name))
		// Not alone: this machine's other virtual addresses may hang on it as secondaries.
		if err := netif.RemoveOne(a.net, h.Address); err != nil {
			return osError(err, "%s on %s", h.Prefix, h.Link.Name)
		}
	}
	return nil
}
