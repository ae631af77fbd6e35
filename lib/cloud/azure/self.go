package azure

import (
	"context"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"pgrex/lib/azure"
	"pgrex/lib/cloud"
)

// self is this machine and the NIC for an address, as they are remembered.
type self struct {
	// Name and VM are the machine's name and id, NIC and MAC those of its interface.
	Name, VM, NIC, MAC string
	// Environment is which Azure it is, in the words of the metadata.
	Environment string
	Prefix      netip.Prefix
}

// Self finds this machine. What was found once in a boot is not looked for again.
func (p *Provider) Self(ctx context.Context, address netip.Addr) (cloud.Machine, error) {
	me, err := p.remembered(ctx, address)
	if err != nil {
		return cloud.Machine{}, err
	}
	return cloud.Machine{Name: me.Name, ID: me.VM, Interface: me.NIC, MAC: me.MAC, Prefix: me.Prefix}, nil
}

// self is this machine, with the way to ARM prepared.
func (p *Provider) self(ctx context.Context, address netip.Addr) (self, error) {
	me, err := p.remembered(ctx, address)
	if err != nil {
		return self{}, err
	}
	return me, p.open(ctx, me.Environment)
}

func (p *Provider) remembered(ctx context.Context, address netip.Addr) (self, error) {
	if me, ok := p.known[address]; ok {
		return me, nil
	}
	if me := p.state.read(address).Self; me != nil && p.fits(*me, address) {
		p.known[address] = *me
		return *me, nil
	}
	me, err := p.discover(ctx, address)
	if err != nil {
		return self{}, err
	}
	p.known[address] = me
	if err := p.state.edit(address, func(r *record) { r.Self = &me }); err != nil {
		p.o.Log.Warn("what was found of this machine cannot be remembered, and will be looked for again: " + err.Error())
	}
	return me, nil
}

// fits says whether what is remembered agrees with the parameters of today.
func (p *Provider) fits(me self, address netip.Addr) bool {
	if p.o.NIC == "" && p.o.MAC == "" && me.Prefix.IsValid() && !me.Prefix.Contains(address) {
		return false // it was asked for by name then
	}
	return (p.o.NIC == "" || sameID(p.o.NIC, me.NIC)) && (p.o.MAC == "" || sameMAC(p.o.MAC, me.MAC))
}

// forget drops what is remembered of this machine.
func (p *Provider) forget(address netip.Addr) {
	delete(p.known, address)
	_ = p.state.edit(address, func(r *record) { r.Self = nil }) // it is found anew either way
}

// discover finds this machine by its metadata and the NIC by its hardware address.
func (p *Provider) discover(ctx context.Context, address netip.Addr) (self, error) {
	local := p.o.Azure.Wire.Client(false)
	defer local.CloseIdleConnections()
	here, err := azure.OwnInstance(ctx, local)
	if err != nil {
		return self{}, classified(&azure.Error{Class: azure.NoToken, Err: err, Text: fmtWhat(
			"the instance metadata service (169.254.169.254) does not say which machine this is: %v; it answers to the machine's primary address only", azure.Plain(err))})
	}
	me := self{Name: here.Compute.Name, VM: here.Compute.ResourceID, Environment: here.Compute.Environment}
	if me.VM == "" {
		if me.VM, err = p.vmID(here); err != nil {
			return self{}, err
		}
	}
	if strings.Contains(strings.ToLower(me.VM), "/virtualmachinescalesets/") {
		return self{}, fault(cloud.Unfit, "machine %s belongs to a scale set with uniform orchestration, whose network interfaces cannot be changed one by one; use machines of their own or flexible orchestration", me.Name)
	}
	if err := p.open(ctx, me.Environment); err != nil {
		return self{}, err
	}
	n, err := p.findNIC(ctx, me.VM, wanted(here, address, p.o.MAC), address)
	if err != nil {
		return self{}, err
	}
	p.fresh[n.id] = n
	me.NIC, me.MAC = n.id, tidyMAC(azure.Text(n.props(), "macAddress"))
	me.Prefix = prefixIn(here, me.MAC, address)
	if !me.Prefix.IsValid() {
		me.Prefix, _ = p.prefix(ctx, n.subnet(), address) // it is a convenience; the preflight reports it
	}
	return me, nil
}

// vmID makes the id of this machine of what its metadata and the parameters say.
func (p *Provider) vmID(here azure.Instance) (string, error) {
	subscription, group := here.Compute.SubscriptionID, here.Compute.ResourceGroup
	if p.o.SubscriptionID != "" {
		subscription = p.o.SubscriptionID
	}
	if p.o.ResourceGroup != "" {
		group = p.o.ResourceGroup
	}
	if subscription == "" || group == "" || here.Compute.Name == "" {
		return "", fault(cloud.Unfit, "the instance metadata do not tell subscription, resource group and name of this machine; set subscriptionId and resourceGroup")
	}
	return "/subscriptions/" + subscription + "/resourceGroups/" + group + "/providers/Microsoft.Compute/virtualMachines/" + here.Compute.Name, nil
}

// wanted are the hardware addresses of the interfaces that can take an address: the one asked for, or those
// in its subnet. None means that the metadata do not say.
func wanted(here azure.Instance, address netip.Addr, mac string) []string {
	if mac != "" {
		return []string{tidyMAC(mac)}
	}
	var all []string
	for _, i := range here.Network.Interfaces {
		if prefix := prefixIn(here, tidyMAC(i.MAC), address); prefix.IsValid() {
			all = append(all, tidyMAC(i.MAC))
		}
	}
	return all
}

// prefixIn is the subnet of an interface that contains an address, by the metadata, which know IPv4 only.
func prefixIn(here azure.Instance, mac string, address netip.Addr) netip.Prefix {
	for _, i := range here.Network.Interfaces {
		if tidyMAC(i.MAC) != mac {
			continue
		}
		for _, s := range i.IPv4.Subnets {
			bits, err := strconv.Atoi(s.Prefix)
			base, aerr := netip.ParseAddr(s.Address)
			if err != nil || aerr != nil {
				continue
			}
			if prefix, err := base.Prefix(bits); err == nil && prefix.Contains(address) {
				return prefix
			}
		}
	}
	return netip.Prefix{}
}

// findNIC reads the NICs of this machine until one fits.
func (p *Provider) findNIC(ctx context.Context, vm string, macs []string, address netip.Addr) (nic, error) {
	ids := []string{p.o.NIC}
	if p.o.NIC == "" {
		var err error
		if ids, err = p.nicsOf(ctx, vm); err != nil {
			return nic{}, err
		}
	}
	var all []nic
	for _, id := range ids {
		n, err := p.readNIC(ctx, id)
		if err != nil {
			return nic{}, err
		}
		if p.o.NIC != "" && n.vm() != "" && !sameID(n.vm(), vm) {
			return nic{}, fault(cloud.Unfit, "network interface %s belongs to machine %s, and this is %s; correct nic_id", azure.Last(id), azure.Last(n.vm()), azure.Last(vm))
		}
		for _, m := range macs {
			if m == tidyMAC(azure.Text(n.props(), "macAddress")) {
				return n, nil
			}
		}
		all = append(all, n)
	}
	if len(all) == 1 && (len(macs) == 0 || p.o.NIC != "") {
		return all[0], nil
	}
	if len(macs) == 0 {
		return p.bySubnet(ctx, all, vm, address)
	}
	return nic{}, fault(cloud.Unfit, "none of the network interfaces of machine %s has the hardware address of the device; check nic", azure.Last(vm))
}

// bySubnet chooses the NIC whose subnet contains the address.
func (p *Provider) bySubnet(ctx context.Context, all []nic, vm string, address netip.Addr) (nic, error) {
	for _, n := range all {
		prefix, err := p.prefix(ctx, n.subnet(), address)
		if err == nil && prefix.Contains(address) {
			return n, nil
		}
	}
	return nic{}, fault(cloud.Unfit, "machine %s has no network interface whose subnet is seen to contain %s; set nic or nic_id", azure.Last(vm), address)
}

// nicsOf are the ids of a machine's NICs.
func (p *Provider) nicsOf(ctx context.Context, vm string) ([]string, error) {
	var doc struct {
		Properties struct {
			NetworkProfile struct {
				NetworkInterfaces []struct {
					ID string `json:"id"`
				} `json:"networkInterfaces"`
			} `json:"networkProfile"`
		} `json:"properties"`
	}
	if err := p.arm.Fetch(ctx, vm, p.arm.Place.Compute, &doc); err != nil {
		return nil, p.explain(ctx, err, fmtWhat("reading virtual machine %s", azure.Last(vm)), vm)
	}
	var ids []string
	for _, r := range doc.Properties.NetworkProfile.NetworkInterfaces {
		if nicOf(r.ID) != "" {
			ids = append(ids, r.ID)
		}
	}
	if len(ids) == 0 {
		return nil, fault(cloud.Unfit, "virtual machine %s has no network interface that Azure tells of", azure.Last(vm))
	}
	return ids, nil
}

// prefix asks for the prefix of a subnet that is of the address's family.
func (p *Provider) prefix(ctx context.Context, subnet string, address netip.Addr) (netip.Prefix, error) {
	var doc struct {
		Properties struct {
			AddressPrefix   string   `json:"addressPrefix"`
			AddressPrefixes []string `json:"addressPrefixes"`
		} `json:"properties"`
	}
	if err := p.arm.Fetch(ctx, subnet, p.arm.Place.Network, &doc); err != nil {
		return netip.Prefix{}, p.explain(ctx, err, fmtWhat("reading subnet %s", azure.Last(subnet)), subnet)
	}
	var found netip.Prefix
	for _, s := range append([]string{doc.Properties.AddressPrefix}, doc.Properties.AddressPrefixes...) {
		prefix, err := netip.ParsePrefix(s)
		if err != nil || prefix.Addr().Is4() != address.Is4() {
			continue
		}
		// A subnet can have several; the one that contains the address is it.
		if !found.IsValid() || prefix.Contains(address) {
			found = prefix.Masked()
		}
	}
	if !found.IsValid() {
		return found, fault(cloud.Configuration, "subnet %s has no prefix of the family of %s; add one to virtual network %s", azure.Last(subnet), address, azure.Last(networkOf(subnet)))
	}
	return found, nil
}

func (p *Provider) readNIC(ctx context.Context, id string) (nic, error) {
	n := nic{id: id}
	if err := p.arm.Fetch(ctx, id, p.arm.Place.Network, (*azure.Exact)(&n.body)); err != nil {
		return n, p.explain(ctx, err, fmtWhat("reading network interface %s", azure.Last(id)), id)
	}
	return n, nil
}

// putNIC replaces a NIC, if nobody has changed it since it was read.
func (p *Provider) putNIC(ctx context.Context, n nic, what string) (http.Header, error) {
	header := http.Header{}
	if etag := n.etag(); etag != "" {
		header.Set("If-Match", etag)
	}
	answer, err := p.arm.Send(ctx, azure.Request{Method: http.MethodPut, Target: n.id, Version: p.arm.Place.Network, Header: header, Body: n.body}, nil)
	return answer, p.explain(ctx, err, what, n.id)
}

// tidyMAC writes a hardware address as the operating system does.
func tidyMAC(s string) string {
	s = strings.ToLower(strings.NewReplacer("-", "", ":", "").Replace(strings.TrimSpace(s)))
	var parts []string
	for len(s) >= 2 {
		parts = append(parts, s[:2])
		s = s[2:]
	}
	return strings.Join(parts, ":")
}

func sameMAC(a, b string) bool { return tidyMAC(a) == tidyMAC(b) }
