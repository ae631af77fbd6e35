package azure

import (
	"fmt"
	"net/netip"
	"strings"

	"pgrex/lib/azure"
)

// nic is a network interface in ARM's own JSON: what we do not know of is sent back as it came, or Azure
// would take it away.
type nic struct {
	id   string
	body map[string]any
}

// config is an ipConfiguration of a NIC, likewise.
type config map[string]any

func (n nic) props() map[string]any { return azure.Object(n.body["properties"]) }

func (n nic) etag() string { return azure.Text(n.body, "etag") }

// configs are the ipConfigurations in their order.
func (n nic) configs() []config {
	list, _ := n.props()["ipConfigurations"].([]any)
	var all []config
	for _, c := range list {
		all = append(all, config(azure.Object(c)))
	}
	return all
}

// find is the ipConfiguration that has an address.
func (n nic) find(address netip.Addr) (config, bool) {
	for _, c := range n.configs() {
		// Compared as addresses: IPv6 has many spellings, and 10.0.0.1 begins like 10.0.0.10.
		if a, err := netip.ParseAddr(azure.Text(c.props(), "privateIPAddress")); err == nil && a.Unmap() == address {
			return c, true
		}
	}
	return nil, false
}

// provisioning is what ARM says of the last change of the NIC.
func (n nic) provisioning() string { return azure.Text(n.props(), "provisioningState") }

// settled says that Azure has carried out the last change.
func (n nic) settled() bool { return strings.EqualFold(n.provisioning(), "Succeeded") }

// changing says that Azure is carrying one out.
func (n nic) changing() bool {
	s := n.provisioning()
	return strings.EqualFold(s, "Updating") || strings.EqualFold(s, "Deleting")
}

// subnet is the subnet's id: that of the primary ipConfiguration, in which all are.
func (n nic) subnet() string {
	id := ""
	for _, c := range n.configs() {
		if c.primary() || id == "" {
			id = c.subnet()
		}
	}
	return id
}

// vm is the id of the machine that the NIC belongs to, "" if to none.
func (n nic) vm() string { return azure.Text(azure.Object(n.props()["virtualMachine"]), "id") }

// describe names the NIC and its machine.
func (n nic) describe() string {
	if vm := n.vm(); vm != "" {
		return fmt.Sprintf("%s (machine %s)", azure.Last(n.id), azure.Last(vm))
	}
	return azure.Last(n.id)
}

// without removes an ipConfiguration from the body and reports whether it was there. The others stay as they are.
func (n nic) without(name string) bool {
	list, _ := n.props()["ipConfigurations"].([]any)
	var rest []any
	for _, c := range list {
		if !strings.EqualFold(azure.Text(azure.Object(c), "name"), name) {
			rest = append(rest, c)
		}
	}
	if len(rest) == len(list) {
		return false
	}
	n.props()["ipConfigurations"] = rest
	return true
}

// with adds an ipConfiguration to the body.
func (n nic) with(c config) {
	list, _ := n.props()["ipConfigurations"].([]any)
	n.props()["ipConfigurations"] = append(list, map[string]any(c))
}

// freeName is a name for the ipConfiguration of an address that no other on the NIC has.
func (n nic) freeName(address netip.Addr) string {
	base := "pgrex-" + strings.NewReplacer(".", "-", ":", "-").Replace(address.String())
	taken := map[string]bool{}
	for _, c := range n.configs() {
		taken[strings.ToLower(c.name())] = true
	}
	name := base
	for i := 2; taken[name]; i++ {
		name = fmt.Sprintf("%s-%d", base, i)
	}
	return name
}

func (c config) props() map[string]any { return azure.Object(c["properties"]) }

func (c config) name() string { return azure.Text(c, "name") }

func (c config) primary() bool {
	b, ok := c.props()["primary"].(bool)
	return ok && b
}

func (c config) subnet() string { return azure.Text(azure.Object(c.props()["subnet"]), "id") }

// sameID compares ids of ARM, in which case does not count.
func sameID(a, b string) bool {
	return strings.EqualFold(strings.TrimSuffix(a, "/"), strings.TrimSuffix(b, "/"))
}

// networkOf is the virtual network of a subnet's id, "" if it is none.
func networkOf(subnet string) string {
	if i := strings.LastIndex(strings.ToLower(subnet), "/subnets/"); i > 0 {
		return subnet[:i]
	}
	return ""
}

// nicOf is the NIC in an id of a NIC or of one of its ipConfigurations, "" if it is something else.
func nicOf(id string) string {
	parts := strings.Split(strings.TrimSuffix(id, "/"), "/")
	for i := 0; i+1 < len(parts); i++ {
		if strings.EqualFold(parts[i], "networkInterfaces") && parts[i+1] != "" && i >= 7 {
			return strings.Join(parts[:i+2], "/")
		}
	}
	return ""
}
