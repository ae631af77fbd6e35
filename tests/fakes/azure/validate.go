package azure

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
)

// checkNIC applies the rules of ARM to an interface that shall be; c.mu is held.
// The order of the checks is assumed.
func (c *Cloud) checkNIC(id string, p Principal, old *resource, body map[string]any) *answer {
	configs := list(props(body)["ipConfigurations"])
	if a := checkConfigSet(id, old, configs); a != nil {
		return a
	}
	if nsg := text(object(props(body)["networkSecurityGroup"]), "id"); nsg != "" {
		if a := c.checkReference(id, p, nsg, "Microsoft.Network/networkSecurityGroups/join/action"); a != nil {
			return a
		}
	}
	subnet := ""
	for _, cfg := range configs {
		if a := c.checkConfig(id, p, cfg); a != nil {
			return a
		}
		s := text(object(props(cfg)["subnet"]), "id")
		if subnet != "" && !strings.EqualFold(s, subnet) { // assumed
			return refuse(http.StatusBadRequest, "IpConfigurationsOnSameNicCannotUseDifferentSubnets", fmt.Sprintf(
				"IP configurations on network interface %s cannot use different subnets: %s, %s.", id, subnet, s))
		}
		subnet = s
	}
	return nil
}

func refuse(status int, code, message string) *answer {
	a := fail(status, code, message)
	return &a
}

// checkConfigSet looks at the ipConfigurations together.
func checkConfigSet(id string, old *resource, configs []map[string]any) *answer {
	if len(configs) == 0 {
		return refuse(http.StatusBadRequest, "InvalidIPConfigCount", fmt.Sprintf("Network interface %s must have one or more IP configurations.", id))
	}
	names, primaries := map[string]bool{}, 0
	addresses := map[string]string{}
	for _, cfg := range configs {
		name := strings.ToLower(text(cfg, "name"))
		if name == "" || len(name) > 80 {
			return refuse(http.StatusBadRequest, "InvalidRequestFormat", "Cannot parse the request: an IP configuration has no name of 1 to 80 characters.")
		}
		if names[name] {
			return refuse(http.StatusBadRequest, "DuplicateResourceName", fmt.Sprintf("Resource %s has two child resources with the same name (%s).", id, text(cfg, "name")))
		}
		names[name] = true
		if primary(cfg) {
			primaries++
		}
		if a := text(props(cfg), "privateIPAddress"); a != "" {
			if by, twice := addresses[a]; twice {
				return allocated(id, cfg, id+"/ipConfigurations/"+by)
			}
			addresses[a] = text(cfg, "name")
		}
	}
	if primaries != 1 { // the code is assumed
		return refuse(http.StatusBadRequest, "MustHaveExactlyOnePrimaryIpConfiguration", fmt.Sprintf(
			"Network interface %s must have exactly one primary IP configuration; it has %d.", id, primaries))
	}
	if old == nil {
		return nil
	}
	for _, cfg := range old.configs() {
		if !primary(cfg) {
			continue
		}
		kept := false
		for _, now := range configs {
			kept = kept || primary(now) && strings.EqualFold(text(now, "name"), text(cfg, "name"))
		}
		if !kept {
			return refuse(http.StatusBadRequest, "IpConfigDeleteNotSupported", fmt.Sprintf(
				"IP Configuration %s cannot be deleted. Deletion and renaming of primary IP Configuration is not supported", text(cfg, "name")))
		}
	}
	return nil
}

// checkConfig looks at one ipConfiguration: what it refers to and its address.
func (c *Cloud) checkConfig(nic string, p Principal, cfg map[string]any) *answer {
	pr := props(cfg)
	id := text(object(pr["subnet"]), "id")
	subnet := c.subnet(id)
	if subnet == nil {
		return missing(id, nic)
	}
	if a := c.checkJoin(nic, p, id, "Microsoft.Network/virtualNetworks/subnets/join/action"); a != nil {
		return a
	}
	if state := text(props(subnet), "provisioningState"); state != "" && state != "Succeeded" {
		a := failWith(http.StatusTooManyRequests, "RetryableError", "A retryable error occurred.", armError{
			Code: "ReferencedResourceNotProvisioned",
			Message: fmt.Sprintf("Cannot proceed with operation because resource %s used by resource %s is not in Succeeded state. Resource is in %s state and the last operation that updated/is updating the resource is PutSubnetOperation.",
				id, nic, state)})
		return &a
	}
	if a := c.checkReferences(nic, p, cfg); a != nil {
		return a
	}
	return c.checkAddress(nic, cfg, subnet)
}

// checkAddress looks at the address of an ipConfiguration.
func (c *Cloud) checkAddress(nic string, cfg, subnet map[string]any) *answer {
	pr := props(cfg)
	static := strings.EqualFold(text(pr, "privateIPAllocationMethod"), "Static")
	given := text(pr, "privateIPAddress")
	if given == "" {
		if static { // the code is assumed
			return refuse(http.StatusBadRequest, "PrivateIPAddressMissing", fmt.Sprintf("IP configuration %s/ipConfigurations/%s is static and has no private IP address.", nic, text(cfg, "name")))
		}
		return nil
	}
	a, err := netip.ParseAddr(given)
	if err != nil {
		return refuse(http.StatusBadRequest, "InvalidIPAddressFormat", fmt.Sprintf("IP address %s is not in a valid format.", given))
	}
	if !static {
		return nil
	}
	prefix, ok := prefixFor(subnet, version(a))
	if !ok || !prefix.Contains(a) {
		return refuse(http.StatusBadRequest, "PrivateIPAddressNotInSubnet", fmt.Sprintf("Private static IP address %s does not belong to the range of subnet prefix %s.", a, prefix))
	}
	if isReserved(prefix, a) {
		return refuse(http.StatusBadRequest, "PrivateIPAddressInReservedRange", fmt.Sprintf("Private static IP address %s falls within reserved IP range of subnet prefix %s.", a, prefix))
	}
	if by := c.owner(vnetOf(text(object(pr["subnet"]), "id")), a, nic); by != "" {
		return allocated(nic, cfg, by)
	}
	return nil
}

func version(a netip.Addr) string {
	if a.Is6() {
		return "IPv6"
	}
	return "IPv4"
}

func allocated(nic string, cfg map[string]any, by string) *answer {
	return refuse(http.StatusBadRequest, "PrivateIPAddressIsAllocated", fmt.Sprintf(
		"IP configuration %s/ipConfigurations/%s is using the private IP address %s which is already allocated to resource %s.", nic, text(cfg, "name"), text(props(cfg), "privateIPAddress"), by))
}

func missing(id, by string) *answer {
	return refuse(http.StatusBadRequest, "InvalidResourceReference", fmt.Sprintf(
		"Resource %s referenced by resource %s was not found. Please make sure that the referenced resource exists, and that both resources are in the same region.", id, by))
}

// checkReferences looks at what an ipConfiguration is a member of.
func (c *Cloud) checkReferences(nic string, p Principal, cfg map[string]any) *answer {
	pr := props(cfg)
	for _, g := range list(pr["applicationSecurityGroups"]) {
		if a := c.checkReference(nic, p, text(g, "id"), "Microsoft.Network/applicationSecurityGroups/joinIpConfiguration/action"); a != nil {
			return a
		}
	}
	for _, g := range list(pr["loadBalancerBackendAddressPools"]) {
		if a := c.checkPool(nic, p, cfg, text(g, "id")); a != nil {
			return a
		}
	}
	public := text(object(pr["publicIPAddress"]), "id")
	if public == "" {
		return nil
	}
	if a := c.checkReference(nic, p, public, "Microsoft.Network/publicIPAddresses/join/action"); a != nil {
		return a
	}
	for _, n := range c.network {
		for _, other := range n.configs() {
			same := strings.EqualFold(n.id, nic) && strings.EqualFold(text(other, "name"), text(cfg, "name"))
			if !same && !strings.EqualFold(n.id, nic) && strings.EqualFold(text(object(props(other)["publicIPAddress"]), "id"), public) {
				return refuse(http.StatusBadRequest, "PublicIPAddressInUse", fmt.Sprintf( // the code is assumed
					"Resource %s/ipConfigurations/%s is referencing public IP address %s that is already allocated to resource %s.", nic, text(cfg, "name"), public, text(other, "id")))
			}
		}
	}
	return nil
}

// checkPool looks at a backend pool of a load balancer.
func (c *Cloud) checkPool(nic string, p Principal, cfg map[string]any, pool string) *answer {
	i := strings.Index(strings.ToLower(pool), "/backendaddresspools/")
	if i < 0 {
		return missing(pool, nic)
	}
	lb := c.network[strings.ToLower(pool[:i])]
	found := false
	if lb != nil {
		for _, b := range list(props(lb.body)["backendAddressPools"]) {
			found = found || strings.EqualFold(text(b, "name"), pool[i+len("/backendAddressPools/"):])
		}
	}
	if !found {
		return missing(pool, nic)
	}
	if a := c.checkJoin(nic, p, pool, "Microsoft.Network/loadBalancers/backendAddressPools/join/action"); a != nil {
		return a
	}
	if primary(cfg) {
		return nil
	}
	for _, rule := range list(props(lb.body)["outboundRules"]) {
		if strings.EqualFold(text(object(props(rule)["backendAddressPool"]), "id"), pool) {
			code := "OutboundRuleCannotBeUsedWithBackendAddressPoolThatIsReferencedBySecondaryIpConfigs"
			return refuse(http.StatusBadRequest, code, fmt.Sprintf(
				"OutboundRule %s/outboundRules/%s cannot be used with Backend Address Pool %s that contains Secondary IPConfig %s/ipConfigurations/%s", lb.id, text(rule, "name"), pool, nic, text(cfg, "name")))
		}
	}
	return nil
}

// checkReference looks whether something that is joined exists and may be.
func (c *Cloud) checkReference(nic string, p Principal, id, join string) *answer {
	if c.network[strings.ToLower(id)] == nil {
		return missing(id, nic)
	}
	return c.checkJoin(nic, p, id, join)
}

// checkJoin is the second half of the rights: for what a resource refers to.
func (c *Cloud) checkJoin(nic string, p Principal, id, join string) *answer {
	if p.allowed(join, id) {
		return nil
	}
	a := fail(http.StatusForbidden, "LinkedAuthorizationFailed", fmt.Sprintf(
		"The client '%s' with object id '%s' has permission to perform action 'Microsoft.Network/networkInterfaces/write' on scope '%s'; however, it does not have permission to perform action(s) '%s' on the linked scope(s) '%s' (respectively) or the linked scope(s) are invalid.",
		p.ClientID, p.ObjectID, nic, join, id))
	a.right = join
	return &a
}
