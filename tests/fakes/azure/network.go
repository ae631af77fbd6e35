package azure

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// resource is a network resource as ARM shows it. The body is kept whole, with
// fields that the stand-in knows nothing of.
type resource struct {
	id   string
	body map[string]any
	// op is the last operation on it; it is locked until that ends.
	op *operation
	// seen is what the metadata service knows of an interface's addresses.
	seen []seen
}

// seen is an address as the metadata service tells of it.
type seen struct {
	address netip.Addr
	subnet  netip.Prefix
}

// The kinds of network resources whose insides matter.
const (
	kindNIC  = "networkInterfaces"
	kindVNet = "virtualNetworks"
)

// PutNetwork stores a network resource in ARM's JSON, as if it had always been
// there: it is in the data plane and the metadata service tells of it. Nothing is
// checked but the id.
func (c *Cloud) PutNetwork(id string, body map[string]any) error {
	q := parse(id)
	if !strings.EqualFold(q.provider, "Microsoft.Network") || q.name == "" || q.group == "" {
		return fmt.Errorf("%q is not the id of a network resource", id)
	}
	c.mu.Lock()
	if _, ok := c.groups[strings.ToLower(q.group)]; !ok {
		c.groups[strings.ToLower(q.group)] = q.group
	}
	body = clone(body)
	if strings.EqualFold(q.kind, kindNIC) {
		choosePrimary(list(props(body)["ipConfigurations"]))
	}
	n := c.store(id, q, body, "Succeeded")
	n.seen = c.snapshot(n)
	c.mu.Unlock()
	return c.program(n)
}

// putAll stores network resources, those first that others lie in.
func (c *Cloud) putAll(network map[string]map[string]any) error {
	ids := slices.SortedFunc(maps.Keys(network), func(a, b string) int {
		return cmp.Or(strings.Compare(parse(b).kind, parse(a).kind), strings.Compare(a, b))
	})
	for _, id := range ids {
		if err := c.PutNetwork(id, network[id]); err != nil {
			return err
		}
	}
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

// store completes a body with what ARM adds and keeps it; c.mu is held. What ARM
// alone decides is taken from the resource that was there.
func (c *Cloud) store(id string, q request, body map[string]any, provisioning string) *resource {
	key := strings.ToLower(id)
	n := c.network[key]
	if n == nil {
		n = &resource{id: id}
		c.network[key] = n
	}
	body["id"], body["name"], body["type"] = n.id, q.name, q.provider+"/"+q.kind
	if body["location"] == nil {
		body["location"] = c.cfg.Location
	}
	if strings.EqualFold(q.kind, kindNIC) {
		c.completeNIC(n, body)
	}
	if strings.EqualFold(q.kind, kindVNet) {
		c.completeVNet(n.id, body)
	}
	n.body = body
	n.settle(provisioning)
	return n
}

// settle shows another provisioning state; the resource is another version then.
func (n *resource) settle(provisioning string) {
	props(n.body)["provisioningState"] = provisioning
	n.touch()
}

// touch gives the resource a new etag, and its parts the same one.
func (n *resource) touch() {
	etag := `W/"` + uuid() + `"`
	n.body["etag"] = etag
	for _, cfg := range n.configs() {
		cfg["etag"] = etag
		props(cfg)["provisioningState"] = props(n.body)["provisioningState"]
	}
}

func (n *resource) configs() []map[string]any { return list(props(n.body)["ipConfigurations"]) }

func (n *resource) locked() bool { return n.op != nil && !n.op.ended() }

// completeNIC adds what ARM adds to an interface, and resets what was left out.
func (c *Cloud) completeNIC(n *resource, body map[string]any) {
	p := props(body)
	for k, v := range map[string]any{
		"enableAcceleratedNetworking": false, "enableIPForwarding": false, "disableTcpStateTracking": false,
		"nicType": "Standard", "dnsSettings": map[string]any{"dnsServers": []any{}, "appliedDnsServers": []any{}},
	} {
		if p[k] == nil {
			p[k] = v
		}
	}
	old := map[string]any{}
	if n.body != nil {
		old = props(n.body)
	}
	// These are ARM's to say, whatever was sent.
	for _, k := range []string{"macAddress", "virtualMachine", "resourceGuid"} {
		if v, ok := old[k]; ok {
			p[k] = v
		} else if n.body != nil {
			delete(p, k)
		}
	}
	if text(p, "macAddress") == "" {
		u := strings.ToUpper(uuid())
		p["macAddress"] = "00-0D-3A-" + u[0:2] + "-" + u[2:4] + "-" + u[4:6]
	}
	if text(p, "resourceGuid") == "" {
		p["resourceGuid"] = uuid()
	}
	for _, cfg := range list(p["ipConfigurations"]) {
		c.completeConfig(n.id, cfg)
	}
}

// completeConfig gives an ipConfiguration its id and, if it is dynamic, an
// address of its subnet.
func (c *Cloud) completeConfig(nic string, cfg map[string]any) {
	cfg["id"] = nic + "/ipConfigurations/" + text(cfg, "name")
	cfg["type"] = "Microsoft.Network/networkInterfaces/ipConfigurations"
	p := props(cfg)
	if text(p, "privateIPAllocationMethod") == "" {
		p["privateIPAllocationMethod"] = "Dynamic"
	}
	if text(p, "privateIPAddressVersion") == "" {
		p["privateIPAddressVersion"] = "IPv4"
	}
	if _, ok := p["primary"].(bool); !ok {
		p["primary"] = false
	}
	subnet := c.subnet(text(object(p["subnet"]), "id"))
	if subnet == nil {
		return
	}
	prefix, ok := prefixFor(subnet, text(p, "privateIPAddressVersion"))
	if !ok {
		return
	}
	if strings.EqualFold(text(p, "privateIPAllocationMethod"), "Static") {
		return
	}
	vnet := vnetOf(text(object(p["subnet"]), "id"))
	if a, err := netip.ParseAddr(text(p, "privateIPAddress")); err == nil && prefix.Contains(a) && c.owner(vnet, a, nic) == "" {
		return
	}
	p["privateIPAddress"] = c.freeAddress(vnet, prefix).String()
}

// choosePrimary makes the first the primary if none is.
func choosePrimary(configs []map[string]any) {
	for _, cfg := range configs {
		if primary(cfg) {
			return
		}
	}
	if len(configs) > 0 {
		props(configs[0])["primary"] = true
	}
}

func primary(cfg map[string]any) bool {
	b, ok := props(cfg)["primary"].(bool)
	return ok && b
}

// networkRequest answers for network resources; c.mu is held.
func (c *Cloud) networkRequest(r *http.Request, q request, p Principal, body []byte, fault *Fault) answer {
	if a := c.checkLocks(r.Method, q.scope); a != nil {
		return *a
	}
	if q.name == "" {
		if r.Method != http.MethodGet {
			return notAllowed(r)
		}
		return c.listNetwork(r, q)
	}
	n := c.network[strings.ToLower(q.resource())]
	nic, vnet := strings.EqualFold(q.kind, kindNIC), strings.EqualFold(q.kind, kindVNet)
	switch {
	case nic && q.sub == "":
		return c.nicRequest(r, q, p, n, body, fault)
	case nic && strings.EqualFold(q.sub, "ipConfigurations") && r.Method == http.MethodGet:
		return getConfigs(q, n)
	case vnet:
		return c.vnetRequest(r, q, p, n, body, fault)
	case q.sub == "" && r.Method == http.MethodGet:
		return getResource(q, n)
	}
	return notAllowed(r)
}

func getResource(q request, n *resource) answer {
	if n == nil {
		return notFound(q)
	}
	return answer{code: http.StatusOK, body: clone(n.body), header: http.Header{"Etag": {text(n.body, "etag")}}}
}

func notFound(q request) answer {
	return fail(http.StatusNotFound, "ResourceNotFound", fmt.Sprintf(
		"The Resource '%s/%s/%s' under resource group '%s' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix", q.provider, q.kind, q.name, q.group))
}

// getConfigs reads the ipConfigurations of an interface, which is all that can be
// done with them by themselves.
func getConfigs(q request, n *resource) answer {
	if n == nil {
		return notFound(q)
	}
	all := list(props(clone(n.body))["ipConfigurations"])
	if q.inner == "" {
		value := []any{}
		for _, cfg := range all {
			value = append(value, cfg)
		}
		return answer{code: http.StatusOK, body: map[string]any{"value": value}}
	}
	for _, cfg := range all {
		if strings.EqualFold(text(cfg, "name"), q.inner) {
			return answer{code: http.StatusOK, body: cfg, header: http.Header{"Etag": {text(cfg, "etag")}}}
		}
	}
	return fail(http.StatusNotFound, "NotFound", fmt.Sprintf("Resource %s/ipConfigurations/%s not found.", n.id, q.inner))
}

// listNetwork gives one page of the resources of a kind.
func (c *Cloud) listNetwork(r *http.Request, q request) answer {
	var items []any
	for _, k := range slices.Sorted(maps.Keys(c.network)) {
		n := c.network[k]
		o := parse(n.id)
		if strings.EqualFold(o.kind, q.kind) && (q.group == "" || strings.EqualFold(o.group, q.group)) {
			items = append(items, clone(n.body))
		}
	}
	return c.page(r, items)
}

// page cuts a page out of a list.
func (c *Cloud) page(r *http.Request, items []any) answer {
	query := r.URL.Query()
	from, err := strconv.Atoi(query.Get("$skiptoken"))
	if err != nil || from < 0 || from > len(items) {
		from = 0
	}
	to := min(from+c.cfg.PageSize, len(items))
	body := map[string]any{"value": slices.Concat([]any{}, items[from:to])}
	if to < len(items) {
		query.Set("$skiptoken", strconv.Itoa(to))
		u := url.URL{Scheme: "https", Host: r.Host, Path: r.URL.Path, RawQuery: query.Encode()}
		body["nextLink"] = u.String()
	}
	return answer{code: http.StatusOK, body: body}
}

// Occupy makes a resource, or a subnet, busy for a while, as if somebody else's
// operation ran on it.
func (c *Cloud) Occupy(id string, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	op := c.newOperation("Microsoft.Network", nil)
	if s := c.subnet(id); s != nil {
		op.name = "PutSubnetOperation"
		props(s)["provisioningState"] = "Updating"
		c.after(Duration(d), func() {
			c.mu.Lock()
			props(s)["provisioningState"] = "Succeeded"
			c.mu.Unlock()
			c.finish(op, "Succeeded", nil)
		})
		return nil
	}
	n := c.network[strings.ToLower(id)]
	if n == nil {
		return fmt.Errorf("there is no %s", id)
	}
	op.name = "PutNicOperation"
	n.op = op
	n.settle("Updating")
	c.after(Duration(d), func() { c.endChange(op, []*resource{n}, "Succeeded", nil) })
	return nil
}
