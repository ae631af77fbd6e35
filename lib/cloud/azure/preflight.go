package azure

import (
	"context"
	"errors"
	"net/netip"
	"strings"

	"pgrex/lib/azure"
	"pgrex/lib/cloud"
)

// inspection collects the findings of a preflight.
type inspection struct {
	*Provider
	address  netip.Addr
	me       self
	own      nic
	findings []cloud.Finding
}

func (i *inspection) say(level cloud.Level, format string, a ...any) {
	i.findings = append(i.findings, cloud.Finding{Level: level, Text: fmtWhat(format, a...)})
}

// fail reports an error, and whether there was one.
func (i *inspection) fail(level cloud.Level, err error) bool {
	if err != nil {
		i.say(level, "%v", err)
	}
	return err != nil
}

// Preflight looks for what would keep an acquire from working, from the outside in: this machine, the way to
// ARM, the address, the other machines, rights, and the guest's own tools. It changes nothing.
func (p *Provider) Preflight(ctx context.Context, address netip.Addr) []cloud.Finding {
	i := &inspection{Provider: p, address: address}
	i.guestTools()
	p.forget(address) // what is remembered is not what shall be checked
	var err error
	if i.me, err = p.self(ctx, address); i.fail(cloud.Fatal, err) {
		return i.findings
	}
	i.say(cloud.Fine, "this is machine %s; %s answers to %s", i.me.Name, p.arm.Host(), p.arm.Who)
	if i.own, err = p.readNIC(ctx, i.me.NIC); i.fail(cloud.Fatal, err) {
		return i.findings
	}
	i.say(cloud.Fine, "network interface %s (%s) takes the address", azure.Last(i.me.NIC), i.me.MAC)
	if !i.own.settled() {
		i.say(cloud.Warn, "network interface %s is %s; a change of it may have to wait or be repeated", azure.Last(i.me.NIC), azure.Quotable(i.own.provisioning()))
	}
	i.place(ctx)
	others := i.others(ctx)
	i.rights(ctx, others)
	i.feature(ctx)
	return i.findings
}

// place checks whether the address belongs where the NIC is.
func (i *inspection) place(ctx context.Context) {
	prefix := i.me.Prefix
	if !prefix.IsValid() {
		var err error
		if prefix, err = i.prefix(ctx, i.own.subnet(), i.address); err != nil {
			var e *azure.Error
			level := cloud.Fatal
			if errors.As(err, &e) && e.Class == azure.Forbidden {
				level = cloud.Untold
			}
			i.fail(level, err)
			return
		}
	}
	switch {
	case !prefix.Contains(i.address):
		i.say(cloud.Fatal, "%s is not in %s, the subnet of network interface %s; choose an address of that subnet", i.address, prefix, azure.Last(i.me.NIC))
	case reserved(prefix, i.address):
		i.say(cloud.Fatal, "%s is one of the addresses of %s that Azure keeps for itself (the first four and the last); choose another", i.address, prefix)
	default:
		i.say(cloud.Fine, "%s is in subnet %s (%s)", i.address, azure.Last(i.own.subnet()), prefix)
	}
	if cfg, ok := i.own.find(i.address); ok && cfg.primary() {
		i.fail(cloud.Fatal, isPrimary(i.own, cfg, i.address))
	}
}

// reserved says whether an address of a subnet is the platform's.
func reserved(prefix netip.Prefix, address netip.Addr) bool {
	a := prefix.Masked().Addr()
	for range 4 {
		if a == address {
			return true
		}
		a = a.Next()
	}
	return address.Is4() && !prefix.Contains(address.Next())
}

// others looks at the other NICs that could have to do with the address, as far as they may be seen.
func (i *inspection) others(ctx context.Context) []nic {
	all, err := i.neighbours(ctx, i.own)
	if err != nil {
		i.say(cloud.Untold, "the other machines' network interfaces cannot be checked: %v", err)
		all = nil
	}
	if peer := i.state.read(i.address).Peer; peer != "" && !containsNIC(all, peer) {
		if n, err := i.readNIC(ctx, peer); !i.fail(cloud.Fatal, err) {
			all = append(all, n)
		}
	}
	var near []nic
	for _, n := range all {
		if sameID(n.id, i.own.id) {
			continue
		}
		cfg, holds := n.find(i.address)
		sameNetwork := sameID(networkOf(n.subnet()), networkOf(i.own.subnet()))
		switch {
		case holds && sameNetwork && cfg.primary():
			i.fail(cloud.Fatal, isPrimary(n, cfg, i.address))
		case holds && sameNetwork && !sameID(cfg.subnet(), i.own.subnet()):
			i.say(cloud.Fatal, "%s is held by %s in subnet %s, and this machine's network interface is in subnet %s; all of them have to be in one", i.address, n.describe(), azure.Last(cfg.subnet()), azure.Last(i.own.subnet()))
		case holds && sameNetwork:
			i.say(cloud.Fine, "%s is held by %s", i.address, n.describe())
		}
		if n.vm() != "" && sameID(n.subnet(), i.own.subnet()) {
			near = append(near, n)
			i.compare(n)
		}
	}
	if len(near) == 0 && err == nil {
		i.say(cloud.Warn, "no other machine of resource group %s has a network interface in subnet %s; where shall the address move to?", groupOf(i.own.id), azure.Last(i.own.subnet()))
	}
	return near
}

func groupOf(id string) string {
	_, group := azure.GroupOf(id)
	return group
}

func containsNIC(all []nic, id string) bool {
	for _, n := range all {
		if sameID(n.id, id) {
			return true
		}
	}
	return false
}

// compare looks for what an address would meet on another machine and not here.
func (i *inspection) compare(n nic) {
	guard := func(n nic) string { return azure.Text(azure.Object(n.props()["networkSecurityGroup"]), "id") }
	if !sameID(guard(n), guard(i.own)) {
		i.say(cloud.Warn, "network interfaces %s and %s have different network security groups; clients could reach the address on one machine and not on the other", azure.Last(i.own.id), n.describe())
	}
}

// feature says which of the two ways the address will go.
func (i *inspection) feature(ctx context.Context) {
	if i.o.Method == Put {
		i.say(cloud.Fine, "the address moves by two changes of network interfaces (move_method=put)")
		return
	}
	subscription, _ := azure.GroupOf(i.own.id)
	var doc struct {
		Properties struct {
			State string `json:"state"`
		} `json:"properties"`
	}
	id := "/subscriptions/" + subscription + "/providers/Microsoft.Features/providers/" + strings.Replace(moveFeature, "/", "/features/", 1)
	err := i.arm.Fetch(ctx, id, "2021-07-01", &doc)
	level := cloud.Untold
	if i.o.Method == Move && err == nil {
		level = cloud.Fatal
	}
	switch {
	case err == nil && strings.EqualFold(doc.Properties.State, "Registered"):
		i.say(cloud.Fine, "the address moves in one call: the subscription is registered for %s", moveFeature)
	case err == nil:
		i.say(level, "the subscription is not registered for %s, so the address moves by two changes of network interfaces; az feature register makes it faster", moveFeature)
	case i.state.moveRefused():
		i.say(level, "moveIpConfigurations was refused less than a day ago, so the address moves by two changes of network interfaces")
	default:
		i.say(level, "whether the address can move in one call cannot be told before the first time: the role has no Microsoft.Features/providers/features/read, or the feature is not known here")
	}
}
