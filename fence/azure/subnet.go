package main

import (
	"context"
	"fmt"
	"strings"

	"pgrex/lib/azure"
	"pgrex/lib/stonith"
)

// The names and rules are those of fence_azure_arm, so that a network prepared
// for it serves as it is.
const (
	fenceSubnet  = "fence-subnet"
	inboundRule  = "FENCE_DENY_ALL_INBOUND"
	outboundRule = "FENCE_DENY_ALL_OUTBOUND"
	rulePriority = 100
)

// ref is a reference to another resource.
type ref struct {
	ID string `json:"id"`
}

// subnet is a subnet in its virtual network.
type subnet struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	Properties struct {
		NetworkSecurityGroup *ref `json:"networkSecurityGroup"`
	} `json:"properties"`
}

type virtualNetwork struct {
	Properties struct {
		Subnets []subnet `json:"subnets"`
	} `json:"properties"`
}

type securityGroup struct {
	Properties struct {
		SecurityRules []securityRule `json:"securityRules"`
	} `json:"properties"`
}

type securityRule struct {
	Name       string `json:"name"`
	Properties struct {
		Access                   string `json:"access"`
		Direction                string `json:"direction"`
		Priority                 int    `json:"priority"`
		Protocol                 string `json:"protocol"`
		SourcePortRange          string `json:"sourcePortRange"`
		DestinationPortRange     string `json:"destinationPortRange"`
		SourceAddressPrefix      string `json:"sourceAddressPrefix"`
		DestinationAddressPrefix string `json:"destinationAddressPrefix"`
		ProvisioningState        string `json:"provisioningState"`
	} `json:"properties"`
}

// denies reports whether the rule is the one that denies everything one way.
func (r securityRule) denies(name, direction string) bool {
	p := r.Properties
	return r.Name == name && strings.EqualFold(p.Direction, direction) && strings.EqualFold(p.Access, "Deny") &&
		p.Priority == rulePriority && p.Protocol == "*" && p.SourcePortRange == "*" && p.DestinationPortRange == "*" &&
		p.SourceAddressPrefix == "*" && p.DestinationAddressPrefix == "*" && strings.EqualFold(p.ProvisioningState, "Succeeded")
}

// networkOf is the virtual network of a subnet's id.
func networkOf(subnetID string) (string, bool) {
	i := strings.LastIndex(strings.ToLower(subnetID), "/subnets/")
	if i <= 0 {
		return "", false
	}
	return subnetID[:i], true
}

// fences finds fence subnets, each once in an action: their rules are made by an
// administrator beforehand.
type fences struct {
	d     *device
	known map[string]subnet
}

// of is the fence subnet of the virtual network that a subnet belongs to, with
// rules that were seen to deny everything.
func (f *fences) of(ctx context.Context, subnetID string) (subnet, error) {
	vnet, ok := networkOf(subnetID)
	if !ok {
		return subnet{}, stonith.Errorf(stonith.Generic, "network fencing: %q is not the id of a subnet", azure.Quotable(subnetID))
	}
	if s, ok := f.known[strings.ToLower(vnet)]; ok {
		return s, nil
	}
	s, err := f.find(ctx, vnet)
	if err == nil {
		f.known[strings.ToLower(vnet)] = s
	}
	return s, err
}

func (f *fences) find(ctx context.Context, vnet string) (subnet, error) {
	var network virtualNetwork
	if err := f.d.fetch(ctx, vnet, f.d.arm.Place.Network, &network); err != nil {
		return subnet{}, f.d.explain(ctx, err, "reading virtual network "+azure.Last(vnet), "")
	}
	for _, s := range network.Properties.Subnets {
		if !strings.EqualFold(s.Name, fenceSubnet) {
			continue
		}
		if s.ID == "" || s.Properties.NetworkSecurityGroup == nil {
			return subnet{}, unfit("the subnet %q of virtual network %q has no network security group", fenceSubnet, azure.Last(vnet))
		}
		return s, f.checkRules(ctx, s)
	}
	return subnet{}, unfit("virtual network %q has no subnet %q", azure.Last(vnet), fenceSubnet)
}

func (f *fences) checkRules(ctx context.Context, s subnet) error {
	id := s.Properties.NetworkSecurityGroup.ID
	var group securityGroup
	if err := f.d.fetch(ctx, id, f.d.arm.Place.Network, &group); err != nil {
		return f.d.explain(ctx, err, "reading network security group "+azure.Last(id), "")
	}
	in, out := false, false
	for _, r := range group.Properties.SecurityRules {
		in = in || r.denies(inboundRule, "Inbound")
		out = out || r.denies(outboundRule, "Outbound")
	}
	if !in || !out {
		return unfit("network security group %q of subnet %q lacks the rule %s or %s (priority 100, deny, everything, provisioned)", azure.Last(id), fenceSubnet, inboundRule, outboundRule)
	}
	return nil
}

// unfitError says that a network is not prepared for being cut off.
type unfitError struct{ text string }

func (e *unfitError) Error() string { return e.text }

func unfit(format string, a ...any) error {
	e := &unfitError{"network fencing: " + fmt.Sprintf(format, a...)}
	return &stonith.Error{Class: stonith.Generic, Reason: e.text, Err: e}
}
