package azure

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
)

// reserved is how many addresses at the beginning of a subnet are the platform's;
// the last one is too.
const reserved = 4

// vnetOf is the key of the virtual network of a subnet's id.
func vnetOf(subnet string) string {
	id := strings.ToLower(subnet)
	if i := strings.LastIndex(id, "/subnets/"); i >= 0 {
		return id[:i]
	}
	return ""
}

// subnet finds a subnet in its virtual network by id; c.mu is held.
func (c *Cloud) subnet(id string) map[string]any {
	i := strings.LastIndex(strings.ToLower(id), "/subnets/")
	if i < 0 {
		return nil
	}
	vnet := c.network[strings.ToLower(id[:i])]
	if vnet == nil {
		return nil
	}
	for _, s := range list(props(vnet.body)["subnets"]) {
		if strings.EqualFold(text(s, "name"), id[i+len("/subnets/"):]) {
			return s
		}
	}
	return nil
}

// prefixFor is the prefix of a subnet for a version of IP.
func prefixFor(subnet map[string]any, version string) (netip.Prefix, bool) {
	p := props(subnet)
	all := []any{p["addressPrefix"]}
	if more, ok := p["addressPrefixes"].([]any); ok {
		all = append(all, more...)
	}
	for _, v := range all {
		s, _ := v.(string)
		prefix, err := netip.ParsePrefix(s)
		if err == nil && prefix.Addr().Is6() == strings.EqualFold(version, "IPv6") {
			return prefix.Masked(), true
		}
	}
	return netip.Prefix{}, false
}

// isReserved says whether an address of a subnet is the platform's.
func isReserved(prefix netip.Prefix, a netip.Addr) bool {
	first := prefix.Addr()
	for range reserved {
		if a == first {
			return true
		}
		first = first.Next()
	}
	return a.Is4() && (!prefix.Contains(a.Next()) || !a.Next().IsValid())
}

// freeAddress is the first address of a subnet that nobody has.
func (c *Cloud) freeAddress(vnet string, prefix netip.Prefix) netip.Addr {
	a := prefix.Masked().Addr()
	for range reserved {
		a = a.Next()
	}
	for c.owner(vnet, a, "") != "" {
		a = a.Next()
	}
	return a
}

// completeVNet adds what ARM adds to a virtual network and its subnets.
func (c *Cloud) completeVNet(id string, body map[string]any) {
	for _, s := range list(props(body)["subnets"]) {
		s["id"] = id + "/subnets/" + text(s, "name")
		s["type"] = "Microsoft.Network/virtualNetworks/subnets"
		if text(props(s), "provisioningState") == "" {
			props(s)["provisioningState"] = "Succeeded"
		}
	}
}

// vnetRequest answers for virtual networks and what is below them; c.mu is held.
func (c *Cloud) vnetRequest(r *http.Request, q request, p Principal, n *resource, body []byte, fault *Fault) answer {
	sub := strings.ToLower(q.sub)
	switch {
	case n == nil && !(r.Method == http.MethodPut && sub == ""):
		return notFound(q)
	case sub == "" && r.Method == http.MethodGet:
		return getResource(q, n)
	case sub == "" && r.Method == http.MethodPut:
		return c.putVNet(r, q, n, body, fault)
	case sub == "subnets" && r.Method == http.MethodGet:
		return c.getSubnets(q, n)
	case sub == "subnets" && r.Method == http.MethodPut && q.inner != "":
		return c.putSubnet(r, q, n, body, fault)
	case sub == "checkipaddressavailability" && r.Method == http.MethodGet:
		return c.availability(r, n)
	case sub == "moveipconfigurations" && r.Method == http.MethodPost:
		return c.move(r, q, p, n, body, fault)
	}
	return notAllowed(r)
}

func (c *Cloud) getSubnets(q request, n *resource) answer {
	value := []any{}
	for _, s := range list(props(n.body)["subnets"]) {
		s = clone(s)
		var users []any
		for _, other := range c.network {
			for _, cfg := range other.configs() {
				if strings.EqualFold(text(object(props(cfg)["subnet"]), "id"), text(s, "id")) {
					users = append(users, map[string]any{"id": text(cfg, "id")})
				}
			}
		}
		if users != nil {
			props(s)["ipConfigurations"] = users
		}
		if strings.EqualFold(text(s, "name"), q.inner) {
			return answer{code: http.StatusOK, body: s}
		}
		value = append(value, s)
	}
	if q.inner != "" {
		return fail(http.StatusNotFound, "NotFound", fmt.Sprintf("Resource %s/subnets/%s not found.", n.id, q.inner))
	}
	return answer{code: http.StatusOK, body: map[string]any{"value": value}}
}

// putVNet replaces a virtual network. Subnets in use have to be in it.
func (c *Cloud) putVNet(r *http.Request, q request, old *resource, raw []byte, fault *Fault) answer {
	body, refused := c.readPut(r, old, raw)
	if refused != nil {
		return *refused
	}
	code := http.StatusCreated
	if old != nil {
		code = http.StatusOK
		for _, s := range list(props(old.body)["subnets"]) {
			kept := false
			for _, now := range list(props(body)["subnets"]) {
				kept = kept || strings.EqualFold(text(now, "name"), text(s, "name"))
			}
			if user := c.userOf(text(s, "id")); !kept && user != "" {
				return fail(http.StatusBadRequest, "InUseSubnetCannotBeDeleted", fmt.Sprintf(
					"Subnet %s is in use by %s and cannot be deleted. In order to delete the subnet, delete all the resources within the subnet. See aka.ms/deletesubnet.", text(s, "name"), user))
			}
		}
	}
	n := c.store(q.resource(), q, body, "Updating")
	op := c.beginChange("PutVirtualNetworkOperation", fault, c.cfg.Latency.Subnet, nil, n)
	return c.accepted(r, op, code, clone(n.body))
}

// userOf is some ipConfiguration in a subnet; c.mu is held.
func (c *Cloud) userOf(subnet string) string {
	for _, n := range c.network {
		for _, cfg := range n.configs() {
			if strings.EqualFold(text(object(props(cfg)["subnet"]), "id"), subnet) {
				return text(cfg, "id")
			}
		}
	}
	return ""
}

// putSubnet replaces one subnet. Until that is over no interface in it can be
// changed.
func (c *Cloud) putSubnet(r *http.Request, q request, vnet *resource, raw []byte, fault *Fault) answer {
	body, err := decode(raw)
	if err != nil {
		return badContent()
	}
	if a := c.busy(r, vnet); a != nil {
		return *a
	}
	id := vnet.id + "/subnets/" + q.inner
	s := c.subnet(id)
	code := http.StatusOK
	if s == nil {
		code = http.StatusCreated
		s = map[string]any{}
		all, _ := props(vnet.body)["subnets"].([]any)
		props(vnet.body)["subnets"] = append(all, any(s))
	}
	clear(s)
	for k, v := range body {
		s[k] = v
	}
	s["name"] = q.inner
	props(s)["provisioningState"] = "Updating"
	c.completeVNet(vnet.id, vnet.body)
	op := c.beginChange("PutSubnetOperation", fault, c.cfg.Latency.Subnet, nil, vnet)
	c.after(c.cfg.Latency.Subnet, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		props(s)["provisioningState"] = "Succeeded"
	})
	return c.accepted(r, op, code, clone(s))
}

// availability says whether an address is free, and which are if it is not. Whose
// it is, it does not say.
func (c *Cloud) availability(r *http.Request, n *resource) answer {
	a, err := netip.ParseAddr(r.URL.Query().Get("ipAddress"))
	if err != nil {
		return fail(http.StatusBadRequest, "InvalidIPAddress", "The ipAddress query parameter is missing or is no address.")
	}
	for _, s := range list(props(n.body)["subnets"]) {
		version := "IPv4"
		if a.Is6() {
			version = "IPv6"
		}
		prefix, ok := prefixFor(s, version)
		if !ok || !prefix.Contains(a) {
			continue
		}
		vnet := strings.ToLower(n.id)
		if !isReserved(prefix, a) && c.owner(vnet, a, "") == "" {
			return answer{code: http.StatusOK, body: map[string]any{"available": true, "availableIPAddresses": []any{}, "isPlatformReserved": false}}
		}
		var free []any
		for b := prefix.Addr(); prefix.Contains(b) && len(free) < 5; b = b.Next() {
			if !isReserved(prefix, b) && c.owner(vnet, b, "") == "" {
				free = append(free, b.String())
			}
		}
		return answer{code: http.StatusOK, body: map[string]any{"available": false, "availableIPAddresses": free, "isPlatformReserved": isReserved(prefix, a)}}
	}
	return fail(http.StatusBadRequest, "PrivateIPAddressNotInAnySubnet", fmt.Sprintf("Private IP address %s does not belong to any subnet of the virtual network %s.", a, n.id))
}
