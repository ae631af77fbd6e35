package azure

import (
	"context"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Binding says which interface gets the packets for an address.
type Binding struct {
	// At is the time since the cloud was made, When the time of day.
	At   Duration
	When time.Time
	// VNet is the id of the virtual network, Address the address in it.
	VNet    string
	Address netip.Addr
	// NIC is the id of the interface, "" for nobody.
	NIC string
}

// Plane is the data plane: what delivers packets. It is told of a change when the
// real one would be programmed, some time before the operation ends; the bindings
// of one call change together. Calls come one after the other. An error fails the
// operation.
type Plane interface {
	Bind(ctx context.Context, changes []Binding) error
}

// place is an address in a virtual network.
type place struct {
	vnet    string
	address netip.Addr
}

// held is who has a place in the data plane, and under which ipConfiguration.
type held struct{ nic, config string }

// SetPlane connects a data plane and tells it of everything that is bound.
func (c *Cloud) SetPlane(p Plane) error {
	c.planeMu.Lock()
	defer c.planeMu.Unlock()
	c.mu.Lock()
	c.plane = p
	var all []Binding
	for at, h := range c.bound {
		all = append(all, Binding{VNet: at.vnet, Address: at.address, NIC: h.nic})
	}
	c.mu.Unlock()
	if p == nil {
		return nil
	}
	sortBindings(all)
	return p.Bind(c.ctx, all)
}

// Bindings are all changes of the data plane so far, in their order.
func (c *Cloud) Bindings() []Binding {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.bindings)
}

// Holder is the id of the interface that gets the packets for an address, "" if
// nobody does.
func (c *Cloud) Holder(address netip.Addr) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for at, h := range c.bound {
		if at.address == address {
			return h.nic
		}
	}
	return ""
}

// program brings interfaces into the data plane as their bodies are now, and lets
// the metadata service know some time later.
func (c *Cloud) program(nics ...*resource) error {
	c.planeMu.Lock()
	defer c.planeMu.Unlock()
	c.mu.Lock()
	changes := c.differences(nics)
	plane := c.plane
	c.mu.Unlock()
	if len(changes) > 0 && plane != nil {
		if err := plane.Bind(c.ctx, changes); err != nil {
			return fmt.Errorf("the data plane: %w", err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.bindings = append(c.bindings, changes...)
	for _, n := range nics {
		known := c.snapshot(n)
		if c.cfg.Latency.Metadata <= 0 {
			n.seen = known
			continue
		}
		c.after(c.cfg.Latency.Metadata, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			n.seen = known
		})
	}
	return nil
}

// differences updates what is bound and says what has changed; c.mu is held.
func (c *Cloud) differences(nics []*resource) []Binding {
	now := Duration(time.Since(c.began))
	changed := map[place]string{}
	for _, n := range nics {
		want := map[place]string{}
		if c.network[strings.ToLower(n.id)] == n {
			want = n.places()
		}
		for at, h := range c.bound {
			if _, keep := want[at]; h.nic == n.id && !keep {
				delete(c.bound, at)
				if _, moved := changed[at]; !moved {
					changed[at] = ""
				}
			}
		}
		for at, config := range want {
			if c.bound[at].nic != n.id {
				changed[at] = n.id
			}
			c.bound[at] = held{n.id, config}
		}
	}
	var out []Binding
	for at, nic := range changed {
		out = append(out, Binding{At: now, When: c.began.Add(time.Duration(now)), VNet: at.vnet, Address: at.address, NIC: nic})
	}
	sortBindings(out)
	return out
}

func sortBindings(b []Binding) {
	slices.SortFunc(b, func(a, b Binding) int { return a.Address.Compare(b.Address) })
}

// places are the addresses of an interface and the ids of their ipConfigurations.
func (n *resource) places() map[place]string {
	all := map[place]string{}
	for _, cfg := range n.configs() {
		a, err := netip.ParseAddr(text(props(cfg), "privateIPAddress"))
		if err == nil {
			all[place{vnetOf(text(object(props(cfg)["subnet"]), "id")), a}] = text(cfg, "id")
		}
	}
	return all
}

// snapshot is what the metadata service will tell of an interface; c.mu is held.
func (c *Cloud) snapshot(n *resource) []seen {
	var all []seen
	for _, cfg := range n.configs() {
		p := props(cfg)
		s := seen{}
		s.address, _ = netip.ParseAddr(text(p, "privateIPAddress"))
		if subnet := c.subnet(text(object(p["subnet"]), "id")); subnet != nil {
			s.subnet, _ = prefixFor(subnet, text(p, "privateIPAddressVersion"))
		}
		all = append(all, s)
	}
	return all
}

// owner is the id of the ipConfiguration that has an address, other than those of
// one interface; c.mu is held. An address that was taken from an interface counts
// as its until the data plane has let go of it, unless the cloud frees early.
func (c *Cloud) owner(vnet string, address netip.Addr, except string) string {
	at := place{vnet, address}
	for _, k := range slices.Sorted(maps.Keys(c.network)) {
		n := c.network[k]
		if strings.EqualFold(n.id, except) {
			continue
		}
		if config, ok := n.places()[at]; ok {
			return config
		}
	}
	if h, ok := c.bound[at]; ok && !c.cfg.FreeEarly && !strings.EqualFold(h.nic, except) {
		return h.config
	}
	return ""
}
