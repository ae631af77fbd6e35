package azure

import (
	"fmt"
	"net/http"
	"strings"
)

// Move says whether ipConfigurations can be moved between interfaces in one call.
type Move string

// What the subscription knows of moveIpConfigurations.
const (
	// MoveOff is a subscription that is not registered for it.
	MoveOff Move = ""
	// MoveOn is one that is.
	MoveOn Move = "on"
	// MoveAbsent is a region that has never heard of it.
	MoveAbsent Move = "absent"
)

const moveFeature = "Microsoft.Network/AllowMoveIpConfigurations"

// The first API version with the action that was seen in use.
const moveVersion = "2025-07-01"

// SetMove changes what the subscription knows of moveIpConfigurations.
func (c *Cloud) SetMove(m Move) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cfg.Move = m
}

// moved is one item of a move.
type moved struct {
	from, to     *resource
	config, name string
}

// move moves secondary ipConfigurations from interfaces to others of the same
// virtual network, all of them or none, in one step of the data plane. What is not
// in the published description, which is most of the refusals, is assumed.
func (c *Cloud) move(r *http.Request, q request, p Principal, vnet *resource, raw []byte, fault *Fault) answer {
	version := r.URL.Query().Get("api-version")
	if c.cfg.Move == MoveAbsent || version < moveVersion {
		return fail(http.StatusBadRequest, "NoRegisteredProviderFound", fmt.Sprintf(
			"No registered resource provider found for location '%s' and API version '%s' for type 'virtualNetworks/moveIpConfigurations'.", c.cfg.Location, version))
	}
	if c.cfg.Move != MoveOn {
		return fail(http.StatusBadRequest, "SubscriptionNotRegisteredForFeature", fmt.Sprintf(
			"Subscription %s is not registered for feature %s required to carry out the requested operation.", c.cfg.Subscription, moveFeature))
	}
	body, err := decode(raw)
	if err != nil {
		return badContent()
	}
	items, refused := c.moveItems(r, p, vnet, list(body["moveIpConfigurationItems"]))
	if refused != nil {
		return *refused
	}
	var on []*resource
	before := map[*resource]map[string]any{}
	for _, m := range items {
		for _, n := range []*resource{m.from, m.to} {
			if _, known := before[n]; !known {
				before[n] = clone(n.body)
				on = append(on, n)
			}
		}
	}
	for _, m := range items {
		m.carry(c)
	}
	undo := func() {
		for _, n := range on {
			n.body = before[n]
			n.settle("Succeeded")
		}
	}
	latency := c.cfg.Latency.Move
	if latency == 0 {
		latency = c.cfg.Latency.Update
	}
	op := c.beginChange("MoveIpConfigurationsOperation", fault, latency, undo, on...)
	return c.accepted(r, op, http.StatusAccepted, nil)
}

// carry takes an ipConfiguration over from one body to the other.
func (m moved) carry(c *Cloud) {
	var rest []any
	var cfg map[string]any
	for _, o := range m.from.configs() {
		if strings.EqualFold(text(o, "name"), m.config) {
			cfg = o
			continue
		}
		rest = append(rest, o)
	}
	props(m.from.body)["ipConfigurations"] = rest
	cfg = clone(cfg)
	cfg["name"] = m.name
	c.completeConfig(m.to.id, cfg)
	all, _ := props(m.to.body)["ipConfigurations"].([]any)
	props(m.to.body)["ipConfigurations"] = append(all, any(cfg))
}

// splitConfig takes the id of an ipConfiguration apart.
func splitConfig(id string) (nic, name string) {
	i := strings.LastIndex(strings.ToLower(id), "/ipconfigurations/")
	if i < 0 {
		return "", ""
	}
	return id[:i], id[i+len("/ipConfigurations/"):]
}

// moveItems checks all items before anything is done; c.mu is held.
func (c *Cloud) moveItems(r *http.Request, p Principal, vnet *resource, items []map[string]any) ([]moved, *answer) {
	if len(items) == 0 {
		return nil, refuse(http.StatusBadRequest, "InvalidRequestFormat", "Cannot parse the request: moveIpConfigurationItems is empty.")
	}
	var all []moved
	taken := map[string]bool{}
	for _, item := range items {
		source, target := text(object(item["sourceIpConfiguration"]), "id"), text(object(item["targetIpConfiguration"]), "id")
		from, config := splitConfig(source)
		to, name := splitConfig(target)
		m := moved{c.network[strings.ToLower(from)], c.network[strings.ToLower(to)], config, name}
		if m.from == nil || m.to == nil || name == "" {
			bad := source
			if m.from != nil {
				bad = target
			}
			return nil, missing(bad, vnet.id)
		}
		if a := c.moveItem(r, p, vnet, m, source, target); a != nil {
			return nil, a
		}
		if k := strings.ToLower(target); taken[k] || taken["<"+strings.ToLower(source)] {
			return nil, refuse(http.StatusBadRequest, "DuplicateResourceName", fmt.Sprintf("%s is named twice.", target))
		}
		taken[strings.ToLower(target)], taken["<"+strings.ToLower(source)] = true, true
		all = append(all, m)
	}
	return all, nil
}

// moveItem checks one item.
func (c *Cloud) moveItem(r *http.Request, p Principal, vnet *resource, m moved, source, target string) *answer {
	var cfg map[string]any
	for _, o := range m.from.configs() {
		if strings.EqualFold(text(o, "name"), m.config) {
			cfg = o
		}
	}
	if cfg == nil {
		return missing(source, vnet.id)
	}
	subnet := text(object(props(cfg)["subnet"]), "id")
	switch {
	case m.from == m.to:
		return refuse(http.StatusBadRequest, "InvalidRequestFormat", "The source and the target are on the same network interface.")
	case primary(cfg):
		return refuse(http.StatusBadRequest, "IpConfigMoveNotSupported", fmt.Sprintf("IP Configuration %s is primary and cannot be moved.", source))
	case vnetOf(subnet) != strings.ToLower(vnet.id):
		return refuse(http.StatusBadRequest, "IpConfigMoveNotSupported", fmt.Sprintf("IP Configuration %s is not in virtual network %s.", source, vnet.id))
	}
	for _, o := range m.to.configs() {
		if strings.EqualFold(text(o, "name"), m.name) {
			return refuse(http.StatusBadRequest, "IpConfigAlreadyExists", fmt.Sprintf("IP Configuration %s exists already.", target))
		}
		if primary(o) && !strings.EqualFold(text(object(props(o)["subnet"]), "id"), subnet) {
			return refuse(http.StatusBadRequest, "IpConfigMoveNotSupported", fmt.Sprintf("Network interface %s is not in subnet %s.", m.to.id, subnet))
		}
	}
	for _, n := range []*resource{m.from, m.to} {
		write := "Microsoft.Network/networkInterfaces/write"
		if !p.allowed(write, n.id) {
			a := fail(http.StatusForbidden, "LinkedAuthorizationFailed", fmt.Sprintf(
				"The client '%s' with object id '%s' has permission to perform action 'Microsoft.Network/virtualNetworks/moveIpConfigurations/action' on scope '%s'; however, it does not have permission to perform action(s) '%s' on the linked scope(s) '%s' (respectively) or the linked scope(s) are invalid.",
				p.ClientID, p.ObjectID, vnet.id, write, n.id))
			a.right = write
			return &a
		}
		if a := c.checkLocks(http.MethodPut, n.id); a != nil {
			return a
		}
		if a := c.busy(r, n); a != nil {
			return a
		}
	}
	return c.checkJoin(m.to.id, p, subnet, "Microsoft.Network/virtualNetworks/subnets/join/action")
}
