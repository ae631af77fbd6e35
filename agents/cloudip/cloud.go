package main

import (
	"context"
	"slices"
	"time"

	"pgrex/lib/cloud"
	"pgrex/lib/netif"
	"pgrex/lib/ocf"
)

// cloudPatience bounds one question of a monitor to the cloud, probePatience that of a
// probe: the address starts nowhere before the probes of all nodes are answered.
const (
	cloudPatience = 10 * time.Second
	probePatience = 5 * time.Second
)

// probeCloud tells an address that is here by right from one that somebody else put here: the
// provisioning tools of clouds add at boot whatever they believe belongs to the machine. A start of
// ours that was confirmed in this boot leaves a note, and with it nobody is asked. Without it the cloud
// is asked, once; what it says is not ours is taken off, also while it is still moving: no start of ours
// has come to its end here.
//
// If the cloud cannot be asked, it matters who put the address here. A start of ours that was killed may
// have won it: "cannot tell" is not "not running". An address that no start of this boot has put here is
// not our resource, whoever holds it: a boot ends what ran before it. Called running it would be active
// twice as soon as another node has it, and Pacemaker would restart the healthy one. Off this machine it
// harms nobody, wherever the cloud sends its packets.
func (a *agent) probeCloud(ctx context.Context, holders []netif.Holding) error {
	if a.state.confirmed() {
		return nil
	}
	h, err := a.askCloud(ctx)
	switch {
	case h.Owner == cloud.Mine && h.Changing:
		// Running, and no proof: the change can still fail, or be the one that takes it away. The next probe asks again.
		return nil
	case h.Owner == cloud.Mine:
		if err := a.state.confirm(); err != nil {
			a.log.Warn(err.Error())
		}
		return nil
	case h.Owner == cloud.Unknown && a.ours(holders):
		a.log.Warn("the cloud does not say whether the address belongs to this machine; it counts as running because a start of this boot has put it here", "error", err)
		return nil
	case h.Owner == cloud.Unknown:
		a.log.Warn("the address was on this machine, no start since the boot has put it there, and the cloud does not say whose it is: it is taken off", "error", err)
	default:
		a.log.Warn("the address was on this machine, not put there by this agent, and the cloud says that it belongs to " + holderText(h))
	}
	if err := a.remove(); err != nil {
		return err
	}
	return ocf.Status(ocf.NotRunning)
}

// ours reports whether a start of ours has put the address here in this boot. The kernel's own mark tells
// as well where there is one, for a note that could not be written: it does not outlive a boot either.
func (a *agent) ours(holders []netif.Holding) bool {
	if _, ok := a.state.age(placed); ok {
		return true
	}
	return slices.ContainsFunc(holders, func(h netif.Holding) bool { return h.Proto == addressProto })
}

// checkCloud asks the cloud from time to time. Only a clear answer counts.
func (a *agent) checkCloud(ctx context.Context) error {
	if a.conf.cloudInterval <= 0 {
		return nil
	}
	if ago, ok := a.state.age(asked); ok && ago < a.conf.cloudInterval {
		return nil
	}
	// Noted before the question, so that a cloud that hangs is not asked by every monitor.
	if err := a.state.stamp(asked); err != nil {
		a.log.Warn(err.Error())
	}
	h, err := a.askCloud(ctx)
	switch {
	case h.Owner == cloud.Mine, h.Changing:
		return nil
	case h.Owner == cloud.Unknown:
		a.log.Warn("the cloud does not say who holds the address; nothing is concluded from that", "error", err)
		return nil
	}
	a.state.remove(held)
	a.state.remove(placed)
	return ocf.Errorf(ocf.NotRunning, "%s is on this machine, but in the cloud it belongs to %s", a.conf.ip, holderText(h))
}

// askCloud asks who holds the address, within bounds. A failure is Unknown.
func (a *agent) askCloud(ctx context.Context) (cloud.Holding, error) {
	patience := cloudPatience
	if a.call.Probe {
		patience = probePatience
	}
	if end, ok := ctx.Deadline(); ok {
		// Half of the action's time is left for what the answer leads to.
		patience = min(patience, time.Until(end)/2)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	provider, err := a.cloud(ctx)
	if err != nil {
		return cloud.Holding{}, err
	}
	h, err := provider.Holder(ctx, a.conf.ip)
	if err != nil {
		return cloud.Holding{}, err
	}
	return h, nil
}

func holderText(h cloud.Holding) string {
	if h.Owner == cloud.Other && h.Holder != "" {
		return h.Holder
	}
	return h.Owner.String()
}
