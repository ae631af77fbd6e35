package azure

import (
	"context"
	"strings"

	"pgrex/lib/azure"
	"pgrex/lib/cloud"
)

// need is a scope with the rights that are needed there.
type need struct {
	scope  string
	rights []string
	// only says what fails without them; "" means everything.
	only string
}

// rights asks for each scope what is missing there.
func (i *inspection) rights(ctx context.Context, others []nic) {
	for _, n := range i.needs(others) {
		known, missing, err := i.arm.Missing(ctx, n.scope, n.rights)
		level, without := cloud.Fatal, ""
		if n.only != "" {
			level, without = cloud.Warn, "; without it "+n.only
		}
		where := azure.Last(n.scope)
		switch {
		case err != nil:
			i.say(cloud.Untold, "%v", i.explain(ctx, err, fmtWhat("asking for the rights on %s", where), n.scope))
		case !known:
			i.say(cloud.Untold, "cannot tell whether %s has %s on %s: its role has no Microsoft.Authorization/permissions/read", i.arm.Who, strings.Join(n.rights, ", "), where)
		case len(missing) > 0:
			for _, m := range missing {
				i.say(level, "%s lacks the right %s on %s; assign it a role with that action%s", i.arm.Who, m, n.scope, without)
			}
		default:
			i.say(cloud.Fine, "%s has %s on %s", i.arm.Who, strings.Join(n.rights, ", "), where)
		}
	}
}

const (
	readNIC  = "Microsoft.Network/networkInterfaces/read"
	writeNIC = "Microsoft.Network/networkInterfaces/write"
	joinNSG  = "Microsoft.Network/networkSecurityGroups/join/action"
)

// needs are the rights that a takeover takes, each where it is taken.
func (i *inspection) needs(others []nic) []need {
	subscription, group := azure.GroupOf(i.own.id)
	vnet := networkOf(i.own.subnet())
	all := []need{
		{scope: i.me.VM, rights: []string{"Microsoft.Compute/virtualMachines/read"}},
		{scope: i.own.id, rights: []string{readNIC, writeNIC}},
		{scope: i.own.subnet(), rights: []string{"Microsoft.Network/virtualNetworks/subnets/join/action"}},
		{scope: "/subscriptions/" + subscription + "/resourceGroups/" + group, rights: []string{"Microsoft.Network/locations/operations/read"}, only: "a failed operation is noticed later"},
	}
	if i.address.Is6() {
		all = append(all, need{scope: i.own.subnet(), rights: []string{"Microsoft.Network/virtualNetworks/subnets/read"}, only: "the network interface for an IPv6 address is not found on a machine with several"})
	}
	if i.o.Method != Put {
		n := need{scope: vnet, rights: []string{"Microsoft.Network/virtualNetworks/moveIpConfigurations/action"}, only: "the address moves by two changes of network interfaces"}
		if i.o.Method == Move {
			n.only = ""
		}
		all = append(all, n)
	}
	for _, n := range others {
		all = append(all, need{scope: n.id, rights: []string{readNIC, writeNIC}})
	}
	seen := map[string]bool{}
	add := func(id, right string) {
		if id != "" && !seen[strings.ToLower(id)] {
			seen[strings.ToLower(id)] = true
			all = append(all, need{scope: id, rights: []string{right}})
		}
	}
	for _, n := range append([]nic{i.own}, others...) {
		add(azure.Text(azure.Object(n.props()["networkSecurityGroup"]), "id"), joinNSG)
		cfg, ok := n.find(i.address)
		if !ok {
			continue
		}
		c := i.o.Preserve.template(cfg)
		for _, id := range c.ids(fieldASG) {
			add(id, "Microsoft.Network/applicationSecurityGroups/joinIpConfiguration/action")
		}
		add(c.public(), "Microsoft.Network/publicIPAddresses/join/action")
		for _, id := range c.ids(fieldPools) {
			add(id, "Microsoft.Network/loadBalancers/backendAddressPools/join/action")
		}
	}
	return all
}
