package azure

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"pgrex/lib/azure"
	"pgrex/lib/cloud"
	"pgrex/lib/life"
)

// take is the step when our NIC does not have the address: it is taken from whoever has it, or from nobody.
func (a *acquire) take(ctx context.Context, own nic) error {
	left := a.state.read(a.address)
	if a.source == "" && !a.peered {
		a.peered = true
		if left.Peer != "" && !sameID(left.Peer, own.id) {
			a.source, a.guessed = left.Peer, true
		}
	}
	a.recall(left, own)
	if a.source != "" {
		src, err := a.readNIC(ctx, a.source)
		var e *azure.Error
		if errors.As(err, &e) && (e.Class == azure.NotFound || a.guessed && e.Class == azure.Forbidden) {
			a.source = "" // it was deleted, or is no longer one of ours; who has the address now ARM will say
			return nil
		}
		if err != nil {
			return err
		}
		if cfg, ok := src.find(a.address); ok {
			return a.takeFrom(ctx, own, src, cfg)
		}
		a.learn(src)
		if sameID(a.empty, a.source) && !src.settled() && !src.changing() {
			// ARM shows it without the address, says that it has it, and has failed to carry that out: once more.
			a.o.Log.Warn(fmtWhat("the last change of %s ended as %s; it is sent again as it stands", src.describe(), azure.Quotable(src.provisioning())))
			header, err := a.putNIC(ctx, src, fmtWhat("taking %s off %s", a.address, src.describe()))
			if err != nil {
				return err
			}
			a.removal = a.arm.Begun(header)
		}
		a.empty = a.source
	}
	return a.give(ctx, own)
}

// recall takes up the template that an earlier run here had in hand, unless there is a newer one.
func (a *acquire) recall(left record, own nic) {
	if a.template == nil && left.Template != nil {
		a.template, a.number = left.Template, left.Number
	}
	a.learn(own)
}

// learn takes up the ties in a NIC's tags, unless newer ones are known.
func (a *acquire) learn(n nic) {
	if t, ok := n.ties(a.address); ok && t.number > a.number {
		a.template, a.number = t.config(n.subnet(), a.o.Preserve), t.number
	}
}

// takeFrom takes the address from another NIC.
func (a *acquire) takeFrom(ctx context.Context, own, src nic, cfg config) error {
	if cfg.primary() {
		return isPrimary(src, cfg, a.address)
	}
	if !sameID(cfg.subnet(), own.subnet()) {
		return fault(cloud.Unfit, "%s is held by %s in subnet %s, and %s is in subnet %s; both network interfaces have to be in one subnet",
			a.address, src.describe(), azure.Last(cfg.subnet()), own.describe(), azure.Last(own.subnet()))
	}
	a.template, a.blind = a.o.Preserve.template(cfg), false
	before, _ := src.ties(a.address)
	ours, _ := own.ties(a.address)
	a.number = max(before.number, ours.number) + 1
	if err := a.state.edit(a.address, func(r *record) {
		r.Peer, r.Template, r.Number = src.id, a.template, a.number
	}); err != nil {
		a.o.Log.Warn("what is about to be done cannot be remembered: " + err.Error())
	}
	if a.method == Move || a.method == Auto && !a.state.moveRefused() {
		return a.move(ctx, own, src, cfg)
	}
	a.o.Log.Info(fmtWhat("taking %s from %s", a.address, src.describe()))
	op, err := a.remove(ctx, src, cfg, a.address, &a.number)
	if err != nil {
		return err
	}
	a.removal = op
	return a.give(ctx, own)
}

// remove takes the address off a NIC, and leaves what it was tied to in the NIC's tags.
func (p *Provider) remove(ctx context.Context, n nic, cfg config, address netip.Addr, number *int) (*azure.Operation, error) {
	what := fmtWhat("taking %s off network interface %s", address, n.describe())
	kept := p.o.Preserve.template(cfg)
	before := copyOf(n.body)
	next, _ := n.ties(address)
	next.number++
	if number != nil {
		next.number = *number
	}
	if !n.tie(address, kept, next.number) {
		p.o.Log.Warn(fmtWhat("%s: not all that the address is tied to finds room in tags; it survives only if this action is not killed", what))
	}
	n.without(cfg.name())
	header, err := p.putNIC(ctx, n, what)
	if f := refusalIn(err); f != nil && kept.tied() && (f.Code == "RequestDisallowedByPolicy" || strings.Contains(f.Code, "Tag")) {
		// A policy on tags must not keep the address from moving.
		p.o.Log.Warn(fmtWhat("%s: without tags, since they are refused (%s)", what, f.Words()))
		n = nic{n.id, before}
		n.without(cfg.name())
		header, err = p.putNIC(ctx, n, what)
	}
	if err != nil {
		return nil, err
	}
	return p.arm.Begun(header), nil
}

// give adds the address to our NIC, as often as it takes for the former holder's change to get through.
func (a *acquire) give(ctx context.Context, own nic) error {
	template := a.template
	if template == nil {
		template = plain(own.subnet())
	}
	untouched := nic{own.id, copyOf(own.body)}
	c := template.shape(own.freeName(a.address), a.address)
	if !own.tie(a.address, c, a.number) {
		a.o.Log.Warn("not all that the address is tied to finds room in tags")
	}
	own.with(c)
	for {
		header, err := a.sendClaim(ctx, own)
		if err == nil {
			a.blind = a.template == nil
			return a.claim(ctx, header, own)
		}
		waiting, err := a.refused(ctx, own, err)
		if err != nil {
			return err
		}
		if !waiting {
			a.fresh[own.id] = untouched // a refused change has changed nothing
			return nil
		}
		if life.Pause(ctx, a.o.Poll) != nil {
			return fault(cloud.Transient, "the former holder's change is not complete: %w", ctx.Err())
		}
	}
}

// sendClaim sends our NIC as it shall be, after noting that this is under way.
func (a *acquire) sendClaim(ctx context.Context, own nic) (http.Header, error) {
	if err := a.state.edit(a.address, func(r *record) { r.Flight = &flight{} }); err != nil {
		a.o.Log.Warn("what is about to be done cannot be remembered: " + err.Error())
	}
	return a.putNIC(ctx, own, fmtWhat("giving %s to network interface %s", a.address, own.describe()))
}

// refused is what a refused claim means. waiting says that the same is to be sent again after a pause; no
// error and not waiting asks for another look.
func (a *acquire) refused(ctx context.Context, own nic, err error) (waiting bool, _ error) {
	holder, allocated := holderIn(err)
	f := refusalIn(err)
	if !allocated {
		if f != nil && f.Has("RequestDisallowedByPolicy") && own.tagged(a.address) {
			own.tie(a.address, config{}, 0)
			return true, nil
		}
		return false, err
	}
	id := nicOf(holder)
	switch {
	case holder == "":
		id, err = a.search(ctx, own, err)
		if err != nil {
			return false, err
		}
	case id == "":
		return false, fault(cloud.Configuration, "%s belongs to %s, which is no network interface of a machine; choose another address or free this one", a.address, azure.Quotable(holder))
	}
	switch {
	case sameID(id, own.id):
		return false, &azure.Error{Class: azure.Locked, Err: err, Text: fmtWhat("%s has come to this machine meanwhile", a.address)}
	case a.removal != nil && sameID(id, a.source):
		return a.removing(ctx)
	case f.Has(codePublic) && sameID(id, a.empty):
		// It was given to another address meanwhile; that is no reason to go without ours.
		a.o.Log.Warn(fmtWhat("the public address of %s stays where it is (%s)", a.address, f.Words()))
		delete(a.template.props(), fieldPublic)
		return false, nil
	}
	if !sameID(id, a.source) {
		a.o.Log.Info(fmtWhat("%s is held by %s", a.address, azure.Last(id)))
	}
	again := sameID(id, a.empty)
	a.source, a.guessed, a.removal = id, false, nil
	if again && life.Pause(ctx, a.o.Poll) != nil {
		// That NIC does not show the address any more: somebody else is taking it off.
		return false, fault(cloud.Transient, "%s is still being taken off %s: %w", a.address, azure.Last(id), ctx.Err())
	}
	return false, nil
}

// removing looks at our change of the former holder's NIC.
func (a *acquire) removing(ctx context.Context) (waiting bool, err error) {
	if a.removal.Over {
		a.removal = nil
		return false, nil
	}
	progress, f := a.arm.Look(ctx, a.removal, 0)
	if progress == azure.Failed {
		a.removal = nil
		a.o.Log.Warn(fmtWhat("taking %s off its former holder was accepted and then failed (%s); looking again", a.address, f.Words()))
		return false, nil
	}
	return true, nil
}

// search looks for the holder where the refusal does not name it.
func (a *acquire) search(ctx context.Context, own nic, refused error) (string, error) {
	all, err := a.neighbours(ctx, own)
	if err != nil {
		return "", errors.Join(refused, err)
	}
	for _, n := range all {
		if _, ok := n.find(a.address); ok {
			return n.id, nil
		}
	}
	return "", refused
}

// claim is what follows once ARM has accepted that the address is ours.
func (a *acquire) claim(ctx context.Context, header http.Header, own nic) error {
	op := a.arm.Begun(header)
	a.claimed = true
	if err := a.state.edit(a.address, func(r *record) { r.Flight = &flight{URL: op.URL} }); err != nil {
		a.o.Log.Warn("what is under way cannot be remembered: " + err.Error())
	}
	what := fmtWhat("giving %s to %s", a.address, own.describe())
	a.o.Log.Info(what + " was accepted")
	if err := a.accept(ctx); err != nil {
		return err
	}
	err := a.follow(ctx, op, what)
	var failed *failedError
	switch {
	case err == nil:
		a.ended = true
	case errors.Is(err, errUntold):
		_, err := a.calm(ctx, own.id, what)
		return err
	case errors.As(err, &failed) && strings.Contains(failed.f.Code, "Superseded"):
		return a.superseded(ctx, own, what)
	case errors.As(err, &failed):
		return a.failed(failed)
	default:
		return err
	}
	return nil
}

// failed is what follows when our accepted change has failed. The time of a start is longer than one change
// takes, and many clusters allow a node no second start: so it is done once more, a move the longer way.
// One that was cancelled is not: somebody wanted that.
func (a *acquire) failed(err *failedError) error {
	if a.moved && a.method == Auto {
		if err := a.state.refuseMove(); err != nil {
			a.o.Log.Warn("that the move failed cannot be remembered: " + err.Error())
		}
	}
	if a.repeated || strings.Contains(err.f.Code, "Cancel") {
		return &cloud.Error{Class: cloud.Transient, Err: err}
	}
	a.o.Log.Warn(err.Error() + "; trying once more")
	a.repeated, a.claimed, a.moved, a.removal = true, false, false, nil
	return nil
}

// maxSuperseded is how often an acquire begins again because another change has taken the place of its own.
const maxSuperseded = 5

// superseded is what follows when a later change of the NIC has taken the place of ours. Mostly it carries
// ours along, since it was made to what ours had left. If the address is where we took it from, ours was
// undone with nobody else acquiring it, and it may be begun again, if not for ever.
func (a *acquire) superseded(ctx context.Context, own nic, what string) error {
	now, err := a.calm(ctx, own.id, what)
	if err != nil || a.source == "" || a.again >= maxSuperseded {
		return err
	}
	if _, ok := now.find(a.address); ok {
		return nil
	}
	src, err := a.calm(ctx, a.source, what)
	if err != nil {
		return err
	}
	if _, ok := src.find(a.address); ok {
		a.again++
		a.claimed, a.moved = false, false
		// Other addresses of this machine may be moving at the same time; they must not meet again at once.
		return life.Pause(ctx, rand.N(time.Duration(2*a.again)*a.o.Poll))
	}
	return nil
}

// tagged says whether the NIC has tags of ours for an address.
func (n nic) tagged(address netip.Addr) bool {
	_, ok := azure.Object(n.body["tags"])[tagName(address, 0)]
	return ok
}
