package azure

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// resource is a network resource as ARM shows it. The body is kept whole, with
// fields that the stand-in knows nothing of.
type resource struct {
	id   string
	body map[string]any
}

// PutNetwork stores a network resource in ARM's JSON, as if it had always been
// there. Nothing is checked but the id.
func (c *Cloud) PutNetwork(id string, body map[string]any) error {
	q := parse(id)
	if !strings.EqualFold(q.provider, "Microsoft.Network") || q.name == "" || q.group == "" {
		return fmt.Errorf("%q is not the id of a network resource", id)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.groups[strings.ToLower(q.group)]; !ok {
		c.groups[strings.ToLower(q.group)] = q.group
	}
	c.store(id, q, clone(body), "Succeeded")
	return nil
}

// Network is a copy of a network resource, nil if there is none.
func (c *Cloud) Network(id string) map[string]any {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.network[strings.ToLower(id)]; n != nil {
		return clone(n.body)
	}
	return nil
}

// store completes a body with what ARM adds and keeps it; c.mu is held.
func (c *Cloud) store(id string, q request, body map[string]any, provisioning string) *resource {
	body["id"], body["name"], body["type"] = id, q.name, q.provider+"/"+q.kind
	if body["location"] == nil {
		body["location"] = c.cfg.Location
	}
	body["etag"] = `W/"` + uuid() + `"`
	p := props(body)
	p["provisioningState"] = provisioning
	if strings.EqualFold(q.kind, "networkInterfaces") {
		if p["macAddress"] == nil {
			u := strings.ToUpper(uuid())
			p["macAddress"] = "00-0D-3A-" + u[0:2] + "-" + u[2:4] + "-" + u[4:6]
		}
		for _, cfg := range list(p["ipConfigurations"]) {
			c.completeConfig(id, cfg)
		}
	}
	n := &resource{id, body}
	c.network[strings.ToLower(id)] = n
	return n
}

// completeConfig gives an ipConfiguration its id and, if it is dynamic, an
// address of its subnet.
func (c *Cloud) completeConfig(nic string, cfg map[string]any) {
	cfg["id"] = nic + "/ipConfigurations/" + text(cfg, "name")
	p := props(cfg)
	p["provisioningState"] = "Succeeded"
	if text(p, "privateIPAllocationMethod") == "" {
		p["privateIPAllocationMethod"] = "Dynamic"
	}
	subnet := c.subnet(text(object(p["subnet"]), "id"))
	if subnet == nil {
		return
	}
	prefix, err := netip.ParsePrefix(text(props(subnet), "addressPrefix"))
	if err != nil {
		return
	}
	if a, err := netip.ParseAddr(text(p, "privateIPAddress")); err == nil && prefix.Contains(a) {
		return
	}
	if strings.EqualFold(text(p, "privateIPAllocationMethod"), "Dynamic") {
		p["privateIPAddress"] = c.freeAddress(prefix).String()
	}
}

// freeAddress is the first address of a subnet that nobody has; the first four
// of each are the platform's.
func (c *Cloud) freeAddress(prefix netip.Prefix) netip.Addr {
	a := prefix.Masked().Addr()
	for range 4 {
		a = a.Next()
	}
	for c.owner(a.String(), "") != "" {
		a = a.Next()
	}
	return a
}

// owner is the id of the ipConfiguration that has an address, other than those
// of one interface.
func (c *Cloud) owner(address, except string) string {
	for _, k := range slices.Sorted(maps.Keys(c.network)) {
		n := c.network[k]
		if strings.EqualFold(n.id, except) {
			continue
		}
		for _, cfg := range n.configs() {
			if text(props(cfg), "privateIPAddress") == address {
				return text(cfg, "id")
			}
		}
	}
	return ""
}

// subnet finds a subnet in its virtual network by id.
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

// networkRequest answers for network resources; c.mu is held.
func (c *Cloud) networkRequest(r *http.Request, q request, p Principal, body []byte, fault *Fault) answer {
	if q.name == "" || q.sub != "" {
		return notAllowed(r)
	}
	n := c.network[strings.ToLower(q.scope)]
	switch r.Method {
	case http.MethodGet:
		if n == nil {
			return fail(http.StatusNotFound, "ResourceNotFound", fmt.Sprintf(
				"The Resource '%s/%s/%s' under resource group '%s' was not found.", q.provider, q.kind, q.name, q.group))
		}
		return answer{code: http.StatusOK, body: clone(n.body), header: http.Header{"Etag": {text(n.body, "etag")}}}
	case http.MethodPut:
		if strings.EqualFold(q.kind, "networkInterfaces") {
			return c.putInterface(r, q, p, n, body, fault)
		}
	}
	return notAllowed(r)
}

// putInterface replaces a network interface whole: what the body leaves out is
// gone, as in the real one.
func (c *Cloud) putInterface(r *http.Request, q request, p Principal, old *resource, raw []byte, fault *Fault) answer {
	body, err := decode(raw)
	if err != nil {
		return fail(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid and could not be deserialized.")
	}
	if match := r.Header.Get("If-Match"); match != "" && (old == nil || match != text(old.body, "etag")) {
		return fail(http.StatusPreconditionFailed, "PreconditionFailed", "Precondition failed.", "PreconditionFailedEtagMismatch")
	}
	if refused := c.checkInterface(q, p, body); refused != nil {
		return *refused
	}
	code := http.StatusCreated
	if old != nil {
		code = http.StatusOK
		if mac, ok := props(old.body)["macAddress"]; ok {
			props(body)["macAddress"] = mac
		}
		if vm, ok := props(old.body)["virtualMachine"]; ok {
			props(body)["virtualMachine"] = vm
		}
	}
	var of *OperationFault
	if fault != nil {
		of = fault.Operation
	}
	op := c.newOperation("Microsoft.Network", of)
	if of != nil && !of.Effect {
		if !of.Stuck {
			c.after(of.After, func() { c.finish(op, of.status(), of.err()) })
		}
		return c.accepted(r, op, code, body)
	}
	n := c.store(q.scope, q, body, "Updating")
	c.after(c.cfg.Latency.Update, func() {
		c.mu.Lock()
		if c.network[strings.ToLower(n.id)] == n {
			props(n.body)["provisioningState"] = "Succeeded"
		}
		c.mu.Unlock()
		c.after(c.cfg.Latency.Tail, func() { c.finish(op, of.status(), of.err()) })
	})
	return c.accepted(r, op, code, clone(n.body))
}

// checkInterface applies the rules of ARM that users have met.
func (c *Cloud) checkInterface(q request, p Principal, body map[string]any) *answer {
	refuse := func(a answer) *answer { return &a }
	configs := list(props(body)["ipConfigurations"])
	if len(configs) == 0 {
		return refuse(fail(http.StatusBadRequest, "InvalidIPConfigCount", "Network interface must have one or more IP configurations."))
	}
	for _, cfg := range configs {
		id := text(object(props(cfg)["subnet"]), "id")
		subnet := c.subnet(id)
		if subnet == nil {
			return refuse(fail(http.StatusBadRequest, "InvalidResourceReference", fmt.Sprintf("Resource %s referenced by resource %s was not found.", id, q.scope)))
		}
		join := "Microsoft.Network/virtualNetworks/subnets/join/action"
		if !p.allowed(join, id) {
			a := fail(http.StatusForbidden, "LinkedAuthorizationFailed", fmt.Sprintf(
				"The client '%s' with object id '%s' has permission to perform action 'Microsoft.Network/networkInterfaces/write' on scope '%s'; however, it does not have permission to perform action(s) '%s' on the linked scope(s) '%s' (respectively) or the linked scope(s) are invalid.",
				p.ClientID, p.ObjectID, q.scope, join, id))
			a.right = join
			return &a
		}
		address := text(props(cfg), "privateIPAddress")
		static := strings.EqualFold(text(props(cfg), "privateIPAllocationMethod"), "Static")
		if address == "" || !static {
			continue
		}
		if by := c.owner(address, q.scope); by != "" {
			return refuse(fail(http.StatusBadRequest, "PrivateIPAddressIsAllocated", fmt.Sprintf(
				"IP configuration %s/ipConfigurations/%s is using the private IP address %s which is already allocated to resource %s.", q.scope, text(cfg, "name"), address, by)))
		}
		prefix, err := netip.ParsePrefix(text(props(subnet), "addressPrefix"))
		if a, aerr := netip.ParseAddr(address); err == nil && (aerr != nil || !prefix.Contains(a)) {
			return refuse(fail(http.StatusBadRequest, "PrivateIPAddressNotInSubnet", fmt.Sprintf("Private static IP address %s does not belong to the range of subnet prefix %s.", address, prefix)))
		}
	}
	return nil
}

func (n *resource) configs() []map[string]any { return list(props(n.body)["ipConfigurations"]) }

// props is the object "properties" of a body; it is made if missing.
func props(body map[string]any) map[string]any {
	p, ok := body["properties"].(map[string]any)
	if !ok {
		p = map[string]any{}
		body["properties"] = p
	}
	return p
}

func object(v any) map[string]any {
	o, ok := v.(map[string]any)
	if !ok {
		return map[string]any{}
	}
	return o
}

func list(v any) []map[string]any {
	items, ok := v.([]any)
	if !ok {
		return nil
	}
	var all []map[string]any
	for _, i := range items {
		if o, ok := i.(map[string]any); ok {
			all = append(all, o)
		}
	}
	return all
}

func text(o map[string]any, key string) string {
	s, ok := o[key].(string)
	if !ok {
		return ""
	}
	return s
}

// clone copies a body through JSON, so that Go literals become what a client
// would have sent.
func clone(body map[string]any) map[string]any {
	b, err := json.Marshal(body)
	if err != nil {
		return map[string]any{}
	}
	c, err := decode(b)
	if err != nil || c == nil {
		return map[string]any{}
	}
	return c
}
