package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"pgrex/tests/lab/host"
)

// The addresses of a virtual network that no machine has.
const (
	// CloudAPI is where the cloud's management API is reached, over the card on
	// the service LAN.
	CloudAPI = "203.0.113.7"
	// Metadata is where a machine finds its instance metadata service, which is
	// inside of the machine's own namespace.
	Metadata = "169.254.169.254"
	// Router is the address of the virtual network's router on the service LAN.
	Router = "192.168.0.1"
)

// NewVNet builds a switch whose service, replication and interconnect LANs are
// subnets of a cloud's virtual network. There is no broadcast domain: a router
// answers every ARP request itself, and forwards the packets for an address to the
// card that Bind has named, whatever addresses the machines give themselves. What
// comes from a card with the source address of another one is dropped. Cuts, power
// and counters work as on any switch.
func NewVNet(ctx context.Context) (*Switch, error) {
	s, err := NewSwitch(ctx)
	if err != nil {
		return nil, err
	}
	s.bound = map[netip.Addr]port{}
	var b strings.Builder
	// A subnet leads to a bridge without a port, hence nowhere, unless an address is
	// bound. That it leads somewhere makes the router answer for all of it. The
	// service LAN's has the gateway's address, which answers pings.
	for _, l := range LANs() {
		if l.inCloud() && l != Service {
			fmt.Fprintf(&b, "route add %s dev %s scope link\n", l.Subnet(), l.bridge())
		}
	}
	fmt.Fprintf(&b, "address add %s/32 dev lo\n", CloudAPI)
	if err := s.batch(ctx, b.String()); err != nil {
		return nil, fmt.Errorf("cannot build the virtual network: %w", err)
	}
	// The router must not tell the machines of shorter ways.
	return s, s.sysctl(ctx, "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=1", "net.ipv4.conf.all.send_redirects=0",
		"net.ipv4.conf.default.send_redirects=0")
}

// inCloud says whether the LAN is a subnet of the virtual network. The management
// LAN is not: there are no BMCs in a cloud.
func (l LAN) inCloud() bool { return l != Management }

// Subnet is the prefix of a LAN.
func (l LAN) Subnet() netip.Prefix {
	return netip.PrefixFrom(netip.MustParseAddr(Address(l, 0)), 24).Masked()
}

// MAC is the hardware address of a machine's card on a LAN.
func MAC(l LAN, machine int) string { return mac(l, machine) }

// routed says whether a port is one of the router's.
func (s *Switch) routed(l LAN) bool { return s.bound != nil && l.inCloud() }

// Netns is the path of the network namespace of the switch.
func (s *Switch) Netns() string { return s.ns.Path() }

func (s *Switch) sysctl(ctx context.Context, settings ...string) error {
	_, err := host.Output(ctx, "nsenter", append([]string{"--net=" + s.ns.Path(), "sysctl", "-q", "-w"}, settings...)...)
	return err
}

// wire makes the router's end of a card answer for everybody and believe nobody;
// s.mu is held.
func (s *Switch) wire(ctx context.Context, ports []port) error {
	var settings []string
	for _, p := range ports {
		settings = append(settings,
			fmt.Sprintf("net.ipv4.conf.%s.proxy_arp=1", p.name()),
			fmt.Sprintf("net.ipv4.conf.%s.rp_filter=1", p.name()),
			// An answer at once; the kernel's delay is for the case that somebody else answers too.
			fmt.Sprintf("net.ipv4.neigh.%s.proxy_delay=0", p.name()))
	}
	if len(settings) == 0 {
		return nil
	}
	if err := s.sysctl(ctx, settings...); err != nil {
		return err
	}
	return s.route(ctx, func(p port) bool { return slices.Contains(ports, p) })
}

// way leads to an address through a port. The network knows its cards and asks
// nobody for a hardware address: an answer could come late, or from the wrong one.
func (s *Switch) way(a netip.Addr, p port) string {
	return fmt.Sprintf("route replace %s/32 dev %s\nneighbour replace %s lladdr %s dev %s nud permanent\n",
		a, p.name(), a, mac(p.lan, s.index[p.machine]), p.name())
}

// route sets the routes of the addresses that are bound to the ports chosen.
func (s *Switch) route(ctx context.Context, chosen func(port) bool) error {
	var b strings.Builder
	for a, p := range s.bound {
		if s.ports[p] && chosen(p) {
			b.WriteString(s.way(a, p))
		}
	}
	if b.Len() == 0 {
		return nil
	}
	return s.batch(ctx, b.String())
}

// Card is a machine's card on a LAN.
type Card struct {
	Machine string
	LAN     LAN
}

// Bind gives addresses to cards, and takes those away whose card is the zero Card.
// The cards need not be plugged in: the packets for their addresses then vanish. All
// changes are made in one go.
func (s *Switch) Bind(ctx context.Context, changes map[netip.Addr]Card) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.bound == nil {
		return errors.New("the LANs are no virtual network: any machine can take any address")
	}
	for a, c := range changes {
		if c == (Card{}) {
			delete(s.bound, a)
		} else {
			s.bound[a] = port{c.Machine, c.LAN}
		}
	}
	// A machine that has ended by itself took its cards along.
	there, err := s.cards(ctx)
	if err != nil {
		return err
	}
	var b strings.Builder
	for a, c := range changes {
		if p := (port{c.Machine, c.LAN}); c != (Card{}) && there[p.name()] {
			b.WriteString(s.way(a, p))
			continue
		}
		// There may be no route; one that was just replaced can be deleted.
		fmt.Fprintf(&b, "route replace %s/32 dev %s\nroute delete %s/32 dev %s\n", a, Service.bridge(), a, Service.bridge())
	}
	return s.batch(ctx, b.String())
}

// cards lists the router's ports whose links are up.
func (s *Switch) cards(ctx context.Context) (map[string]bool, error) {
	out, err := host.Output(ctx, "nsenter", "--net="+s.ns.Path(), "ip", "-json", "link", "show", "up", "type", "veth")
	if err != nil {
		return nil, err
	}
	var links []struct {
		Name string `json:"ifname"`
	}
	if err := json.Unmarshal([]byte(out), &links); err != nil {
		return nil, fmt.Errorf("cannot read the router's ports: %w", err)
	}
	all := map[string]bool{}
	for _, l := range links {
		all[l.Name] = true
	}
	return all, nil
}

// Hide takes the way to the cloud's API away from a machine, or gives it back: its
// packets vanish.
func (s *Switch) Hide(ctx context.Context, machine string, hidden bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hidden == nil {
		s.hidden = map[string]bool{}
	}
	s.hidden[machine] = hidden
	return s.applyCuts(ctx)
}
