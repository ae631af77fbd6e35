package azure

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"pgrex/lib/azure"
	"pgrex/lib/cloud"
	"pgrex/lib/life"
)

// acquire is one run of Acquire. Each step looks at our own NIC and decides anew what to do; only what
// cannot be seen is kept from step to step.
type acquire struct {
	*Provider
	address netip.Addr
	me      self
	// accepted is the caller's; told says that it was called.
	accepted func(context.Context) error
	told     bool
	// claimed says that ARM has accepted a change that gives us the address. From then on it is not taken
	// a second time: if somebody else has it afterwards he came later, and the last one keeps it. So two
	// that acquire at the same time cannot go on taking it from each other.
	claimed bool
	// ended says that the operation of that change was seen to succeed, moved that it was a move.
	ended, moved bool
	// blind says that the address was nobody's and nothing is known of what it was tied to.
	blind bool
	// source is the NIC to take it from, "" if that is not known; empty is a NIC seen without it.
	source, empty string
	// peered says that the remembered holder was looked at, guessed that source is still that one and not
	// one that ARM has named.
	peered, guessed bool
	// template is what our ipConfiguration shall be like, nil if unknown; number is that of its tags.
	template config
	number   int
	// removal is our change of the former holder's NIC.
	removal *azure.Operation
	method  Method
	// moves counts the moves that were refused as locked.
	moves int
	// repeated says that a change of ours has failed and was begun again.
	repeated bool
	// again counts the changes of ours that gave way to others.
	again  int
	warned map[string]bool
}

// Acquire makes our NIC the holder. It goes on until ARM, read back, shows that, or refuses for good, or the
// time is over.
func (p *Provider) Acquire(ctx context.Context, address netip.Addr, accepted func(context.Context) error) error {
	a := &acquire{Provider: p, address: address, accepted: accepted, method: p.o.Method, warned: map[string]bool{}}
	var last error
	for {
		done, err := a.step(ctx)
		switch {
		case done && err == nil:
			return nil
		case err == nil:
			if ctx.Err() == nil {
				continue
			}
			err = last
		case ctx.Err() == nil && !passing(err):
			return err
		}
		if ctx.Err() == nil {
			last = err
			a.warn(err)
			pause := p.o.Poll
			if stale(err) {
				pause /= 10 // somebody was faster; there is something new to see at once
			}
			if life.Pause(ctx, pause) == nil {
				continue
			}
		}
		return a.late(ctx, err, last)
	}
}

// late is the error when the time is over.
func (a *acquire) late(ctx context.Context, err, last error) error {
	if last != nil {
		err = last
	}
	if err == nil {
		err = ctx.Err()
	}
	state := "Azure has accepted no change that gives the address to this machine"
	if a.claimed || a.told {
		state = "the change is accepted and not complete; the next start goes on with it"
	}
	return fault(cloud.Transient, "%s was not acquired in time: %w; %s", a.address, err, state)
}

func (a *acquire) warn(err error) {
	if text := err.Error(); !a.warned[text] {
		a.warned[text] = true
		a.o.Log.Warn(text + "; trying again until the time is over")
	}
}

// step looks and does one thing. done says that the address is ours; no error and not done asks for another
// look at once.
func (a *acquire) step(ctx context.Context) (done bool, err error) {
	if a.me, err = a.self(ctx, a.address); err != nil {
		return false, err
	}
	own, err := a.ownNIC(ctx)
	if err != nil {
		return false, err
	}
	if cfg, ok := own.find(a.address); ok {
		return a.confirm(ctx, own, cfg)
	}
	if a.claimed {
		return false, fault(cloud.Transient, "%s was given to this machine and then taken away again: somebody else has acquired it meanwhile", a.address)
	}
	return false, a.take(ctx, own)
}

// ownNIC reads our NIC. One that is remembered and no more is looked for anew.
func (a *acquire) ownNIC(ctx context.Context) (nic, error) {
	if n, ok := a.justRead(a.me.NIC); ok {
		return n, nil
	}
	n, err := a.readNIC(ctx, a.me.NIC)
	if err == nil && n.vm() != "" && !sameID(n.vm(), a.me.VM) {
		err = &azure.Error{Class: azure.NotFound, Text: "network interface " + azure.Last(n.id) + " belongs to another machine now"}
	}
	var e *azure.Error
	if !errors.As(err, &e) || e.Class != azure.NotFound {
		return n, err
	}
	a.forget(a.address)
	if a.me, err = a.self(ctx, a.address); err != nil {
		return nic{}, err
	}
	if n, ok := a.justRead(a.me.NIC); ok {
		return n, nil
	}
	return a.readNIC(ctx, a.me.NIC)
}

// justRead is a NIC that was read a moment ago and not used yet.
func (p *Provider) justRead(id string) (nic, bool) {
	n, ok := p.fresh[id]
	clear(p.fresh)
	return n, ok
}

// accept tells the caller, once.
func (a *acquire) accept(ctx context.Context) error {
	if a.told {
		return nil
	}
	a.told = true
	return a.accepted(ctx)
}

// confirm is the step when our NIC has the address: carried out, under way, or failed.
func (a *acquire) confirm(ctx context.Context, own nic, cfg config) (done bool, err error) {
	if cfg.primary() {
		return false, isPrimary(own, cfg, a.address)
	}
	switch {
	case own.settled() || a.ended:
		// If something else is changing the NIC by now that does not concern the address.
		if err := a.accept(ctx); err != nil {
			return false, err
		}
		a.complete(ctx, own, cfg)
		return true, nil
	case own.changing():
		// Mostly an earlier start was accepted and did not see the end. It is no claim of this one: if the
		// change turns out to be one that takes the address away, ordered by a machine that has died since,
		// it is taken back.
		if err := a.accept(ctx); err != nil {
			return false, err
		}
		what := fmtWhat("giving %s to %s", a.address, own.describe())
		if f := a.state.read(a.address).Flight; f != nil && a.arm.Ours(f.URL) {
			if err := a.follow(ctx, &azure.Operation{URL: f.URL}, what); err != nil && ctx.Err() != nil {
				return false, err
			}
		}
		_, err := a.calm(ctx, own.id, what)
		return false, err
	case a.claimed:
		return false, fault(cloud.Transient, "giving %s to %s was accepted and then ended as %s; look at the activity log of the network interface", a.address, own.describe(), azure.Quotable(own.provisioning()))
	}
	// The last change has failed, so that Azure shows the address without having carried that out. The same
	// once more is Azure's own remedy.
	a.o.Log.Warn(fmtWhat("the last change of %s ended as %s; it is sent again as it stands", own.describe(), azure.Quotable(own.provisioning())))
	header, err := a.sendClaim(ctx, own)
	if err != nil {
		return false, err
	}
	return false, a.claim(ctx, header, own)
}

// complete is what is left to do once the address is ours. None of it is worth losing the address for.
func (a *acquire) complete(ctx context.Context, own nic, cfg config) {
	want := a.template
	if a.blind && a.o.Preserve != (Preserve{}) {
		var err error
		if want, err = a.tiesElsewhere(ctx, own, cfg.subnet()); err != nil {
			a.o.Log.Warn(fmtWhat("%s was nobody's, and whether it belonged to security groups or a public address cannot be told: %v", a.address, err))
		}
	}
	if (a.moved || a.blind) && want != nil {
		if err := a.correct(ctx, own, cfg, want); err != nil {
			a.o.Log.Warn(err.Error() + "; the address itself is here")
		}
	}
	if err := a.state.edit(a.address, func(r *record) {
		r.Template, r.Number, r.Flight = nil, 0, nil
	}); err != nil {
		a.o.Log.Warn("what was done cannot be remembered: " + err.Error())
	}
}

// correct gives our ipConfiguration the associations it shall have. It may take half of the time that is left.
func (a *acquire) correct(ctx context.Context, own nic, cfg config, want config) error {
	if end, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(end)/2)
		defer cancel()
	}
	what := fmtWhat("giving %s the security groups and public address it had", a.address)
	for cfg.adopt(want) {
		a.o.Log.Info(what)
		header, err := a.putNIC(ctx, own, what)
		if err == nil {
			return a.follow(ctx, a.arm.Begun(header), what)
		}
		if !passing(err) || life.Pause(ctx, a.o.Poll) != nil {
			return err
		}
		if own, err = a.readNIC(ctx, own.id); err != nil {
			return err
		}
		var ok bool
		if cfg, ok = own.find(a.address); !ok {
			return nil // it has moved on; whoever has it knows better
		}
	}
	return nil
}

// tiesElsewhere looks for the tags of the former holder on the NICs of our resource group.
func (a *acquire) tiesElsewhere(ctx context.Context, own nic, subnet string) (config, error) {
	all, err := a.neighbours(ctx, own)
	if err != nil {
		return nil, err
	}
	best := ties{}
	for _, n := range append(all, own) {
		if t, ok := n.ties(a.address); ok && t.number > best.number {
			best = t
		}
	}
	if best.number == 0 {
		return nil, nil
	}
	return best.config(subnet, a.o.Preserve), nil
}

// neighbours are the NICs of our resource group.
func (p *Provider) neighbours(ctx context.Context, own nic) ([]nic, error) {
	subscription, group := azure.GroupOf(own.id)
	next, version := "/subscriptions/"+subscription+"/resourceGroups/"+group+"/providers/Microsoft.Network/networkInterfaces", p.arm.Place.Network
	scope := "/subscriptions/" + subscription + "/resourceGroups/" + group
	var all []nic
	const pages = 50
	for range pages {
		var page struct {
			Value    []azure.Exact `json:"value"`
			NextLink string        `json:"nextLink"`
		}
		if err := p.arm.Fetch(ctx, next, version, &page); err != nil {
			return nil, p.explain(ctx, err, fmtWhat("listing the network interfaces of resource group %s", group), scope)
		}
		for _, b := range page.Value {
			if id := azure.Text(b, "id"); nicOf(id) != "" {
				all = append(all, nic{id: id, body: b})
			}
		}
		if page.NextLink == "" || !p.arm.Ours(page.NextLink) {
			break
		}
		next, version = page.NextLink, ""
	}
	return all, nil
}

// pollSlowly is the time after which an operation is looked at less often.
const pollSlowly = 30 * time.Second

// follow looks at an operation until it has ended, by our own clock: the service asks for pauses that are
// long beside the change itself. One that cannot be read is left to the NIC to show. That the NIC shows a change
// as carried out before the operation has ended is not enough: until then it can still be superseded.
func (p *Provider) follow(ctx context.Context, op *azure.Operation, what string) error {
	begun := time.Now()
	for !op.Over {
		pause := p.o.Poll
		if time.Since(begun) > pollSlowly {
			pause *= 2
		}
		if err := life.Pause(ctx, pause); err != nil {
			return fault(cloud.Transient, "%s was accepted and is not complete: %w", what, err)
		}
		progress, f := p.arm.Look(ctx, op, 0)
		switch progress {
		case azure.Succeeded:
			return nil
		case azure.Failed:
			return &failedError{fmtWhat("%s was accepted and then failed (%s)", what, f.Words()), f}
		case azure.Unreadable:
			p.o.Log.Warn(fmtWhat("%s: how the operation goes cannot be read (%s); watching the network interface instead", what, f.Words()))
		}
	}
	return errUntold
}

// errUntold says that an operation's end was not told.
var errUntold = errors.New("how the operation ended was not told")

// failedError is an operation that failed after it was accepted.
type failedError struct {
	text string
	f    *azure.Refusal
}

func (e *failedError) Error() string { return e.text }

// calm reads a NIC until no change of it is under way.
func (p *Provider) calm(ctx context.Context, id, what string) (nic, error) {
	for {
		n, err := p.readNIC(ctx, id)
		if err != nil && !passing(err) || err == nil && !n.changing() {
			return n, err
		}
		if life.Pause(ctx, p.o.Poll) != nil {
			return n, fault(cloud.Transient, "%s is not complete: %w", what, ctx.Err())
		}
	}
}
