package azure

import (
	"encoding/json"
	"net/netip"
	"slices"

	"pgrex/lib/azure"
)

// The fields of an ipConfiguration that tie it to other resources.
const (
	fieldASG    = "applicationSecurityGroups"
	fieldPublic = "publicIPAddress"
	fieldPools  = "loadBalancerBackendAddressPools"
)

// poolFields are everything that Preserve.LB is about.
var poolFields = []string{fieldPools, "loadBalancerInboundNatRules", "applicationGatewayBackendAddressPools"}

// copyOf copies JSON.
func copyOf(v map[string]any) map[string]any {
	data, err := json.Marshal(v)
	if err != nil {
		return map[string]any{} // it came from JSON
	}
	var c azure.Exact
	if (&c).UnmarshalJSON(data) != nil || c == nil {
		return map[string]any{}
	}
	return c
}

// template makes of an ipConfiguration what another NIC shall have: everything it had but what ARM makes up
// itself and what is not to follow.
func (keep Preserve) template(from config) config {
	c := config(copyOf(from))
	for _, k := range []string{"id", "etag", "type"} {
		delete(c, k)
	}
	p := c.props()
	delete(p, "provisioningState")
	if !keep.ASG {
		delete(p, fieldASG)
	}
	if !keep.PublicIP {
		delete(p, fieldPublic)
	}
	if !keep.LB {
		for _, k := range poolFields {
			delete(p, k)
		}
	}
	return c
}

// plain is an ipConfiguration for an address of which nothing is known.
func plain(subnet string) config {
	return config{"properties": map[string]any{"subnet": map[string]any{"id": subnet}}}
}

// shape makes a template ready for a NIC: it says what every one of ours says.
func (c config) shape(name string, address netip.Addr) config {
	c = config(copyOf(c))
	p := c.props()
	c["name"], c["properties"] = name, p
	p["privateIPAddress"], p["privateIPAllocationMethod"], p["primary"] = address.String(), "Static", false
	p["privateIPAddressVersion"] = "IPv4"
	if address.Is6() {
		p["privateIPAddressVersion"] = "IPv6"
	}
	return c
}

// ids are the ids in a list of references.
func (c config) ids(field string) []string {
	list, _ := c.props()[field].([]any)
	var all []string
	for _, r := range list {
		if id := azure.Text(azure.Object(r), "id"); id != "" {
			all = append(all, id)
		}
	}
	return all
}

func (c config) public() string { return azure.Text(azure.Object(c.props()[fieldPublic]), "id") }

// tied says that something else than the subnet is referred to.
func (c config) tied() bool {
	return c.public() != "" || len(c.ids(fieldASG)) > 0 || slices.ContainsFunc(poolFields, func(f string) bool { return len(c.ids(f)) > 0 })
}

// adopt makes the associations of c those of the template, and reports whether that changed any.
func (c config) adopt(template config) bool {
	changed := false
	p := c.props()
	for _, f := range append([]string{fieldASG}, poolFields...) {
		if sameIDs(c.ids(f), template.ids(f)) {
			continue
		}
		changed = true
		delete(p, f)
		if list, ok := template.props()[f]; ok {
			p[f] = list
		}
	}
	if !sameID(c.public(), template.public()) {
		changed = true
		delete(p, fieldPublic)
		if template.public() != "" {
			p[fieldPublic] = template.props()[fieldPublic]
		}
	}
	return changed
}

func sameIDs(a, b []string) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(x string) bool {
		return !slices.ContainsFunc(b, func(y string) bool { return sameID(x, y) })
	})
}
