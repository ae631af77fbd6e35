package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"sort"
	"strings"
	"sync"

	"pgrex/tests/lab/host"
)

// Direction says which packets a cut drops, seen from the machine.
type Direction string

// The directions of a cut.
const (
	Both Direction = "both"
	In   Direction = "in"  // the machine hears nothing
	Out  Direction = "out" // the machine is not heard
)

// ParseDirection accepts both, in and out.
func ParseDirection(s string) (Direction, error) {
	switch d := Direction(s); d {
	case Both, In, Out:
		return d, nil
	}
	return "", fmt.Errorf("no direction %q: use both, in or out", s)
}

// Switch connects machines on LANs.
type Switch struct {
	ns *host.Netns

	mu    sync.Mutex
	ports map[port]bool
	cuts  map[port]Direction
	// bound says which card has an address, hidden who does not reach the cloud's
	// API: in a virtual network only, see NewVNet.
	bound  map[netip.Addr]port
	hidden map[string]bool
	// index is the number of a machine that is or was plugged in.
	index map[string]int
}

type port struct {
	machine string
	lan     LAN
}

func (p port) name() string { return p.machine + "-" + p.lan.short() }

// Traffic counts packets at one port of the switch.
type Traffic struct {
	// FromMachine and ToMachine are packets since the port was plugged in.
	// Cut packets are not counted in ToMachine.
	FromMachine, ToMachine int64
}

// NewSwitch builds the switch with its LANs and the gateway.
func NewSwitch(ctx context.Context) (*Switch, error) {
	ns, err := host.NewNetns()
	if err != nil {
		return nil, err
	}
	s := &Switch{ns: ns, ports: map[port]bool{}, cuts: map[port]Direction{}, index: map[string]int{}}
	var b strings.Builder
	b.WriteString("link set lo up\n")
	for _, l := range LANs() {
		// A bridge without an address of its own takes the lowest of its
		// ports: unplugging a node would change the gateway's address, and
		// everybody's ARP entry for it would be wrong.
		fmt.Fprintf(&b, "link add %s address 02:00:5e:00:%02x:fe type bridge forward_delay 0 mcast_snooping 0\n", l.bridge(), l.number())
		fmt.Fprintf(&b, "link set %s up\n", l.bridge())
	}
	fmt.Fprintf(&b, "address add %s/24 dev %s\n", Gateway, Service.bridge())
	if err := s.batch(ctx, b.String()); err != nil {
		return nil, fmt.Errorf("cannot build the switch: %w", err)
	}
	return s, nil
}

func (s *Switch) batch(ctx context.Context, commands string) error {
	_, err := host.Input(ctx, commands, "nsenter", "--net="+s.ns.Path(), "ip", "-batch", "-")
	return err
}

// Plug connects machine number i to the LANs: in the network namespace at
// netns it gets an interface for each, still down and without address.
func (s *Switch) Plug(ctx context.Context, machine string, i int, netns string, lans ...LAN) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	var routed []port
	for _, l := range lans {
		p := port{machine, l}
		// A machine keeps its hardware addresses over power cycles.
		fmt.Fprintf(&b, "link add %s type veth peer name %s address %s netns %s\n",
			p.name(), l.Interface(), mac(l, i), netns)
		if s.routed(l) {
			fmt.Fprintf(&b, "link set %s up\n", p.name())
			routed = append(routed, p)
			continue
		}
		fmt.Fprintf(&b, "link set %s master %s up\n", p.name(), l.bridge())
	}
	if err := s.batch(ctx, b.String()); err != nil {
		return fmt.Errorf("cannot plug in %s: %w", machine, err)
	}
	s.index[machine] = i
	for _, l := range lans {
		s.ports[port{machine, l}] = true
	}
	if err := s.wire(ctx, routed); err != nil {
		return fmt.Errorf("cannot plug in %s: %w", machine, err)
	}
	return s.applyCuts(ctx)
}

// Down takes the link of all ports of a machine away at once, as a switch sees
// a machine that lost its power.
func (s *Switch) Down(ctx context.Context, machine string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, p := range s.of(machine) {
		fmt.Fprintf(&b, "link set %s down\n", p.name())
	}
	return s.batch(ctx, b.String())
}

// Up gives the links back after Down.
func (s *Switch) Up(ctx context.Context, machine string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, p := range s.of(machine) {
		fmt.Fprintf(&b, "link set %s up\n", p.name())
	}
	if err := s.batch(ctx, b.String()); err != nil {
		return err
	}
	return s.route(ctx, func(p port) bool { return p.machine == machine })
}

// Unplug removes the ports of a machine.
func (s *Switch) Unplug(ctx context.Context, machine string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	for _, p := range s.of(machine) {
		fmt.Fprintf(&b, "link delete %s\n", p.name())
		delete(s.ports, p)
	}
	if b.Len() == 0 {
		return nil
	}
	// Both ends of a cable go with the namespace of one, some time after its
	// last process: what is already gone is no error.
	_, err := host.Input(ctx, b.String(), "nsenter", "--net="+s.ns.Path(), "ip", "-force", "-batch", "-")
	var exit *host.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}

func (s *Switch) of(machine string) []port {
	var ps []port
	for p := range s.ports {
		if p.machine == machine {
			ps = append(ps, p)
		}
	}
	sort.Slice(ps, func(i, j int) bool { return ps[i].name() < ps[j].name() })
	return ps
}

// Cut drops the packets of a machine on LANs, silently: the link stays up, as
// behind a broken switch. All LANs are cut in one transaction. It adds to what
// is cut already and lasts over power cycles of the machine.
func (s *Switch) Cut(ctx context.Context, machine string, d Direction, lans ...LAN) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range lans {
		s.cuts[port{machine, l}] = d
	}
	return s.applyCuts(ctx)
}

// Heal takes the cuts of a machine on LANs back.
func (s *Switch) Heal(ctx context.Context, machine string, lans ...LAN) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range lans {
		delete(s.cuts, port{machine, l})
	}
	return s.applyCuts(ctx)
}

// HealAll takes all cuts back.
func (s *Switch) HealAll(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.cuts)
	clear(s.hidden)
	return s.applyCuts(ctx)
}

// Cuts lists what is cut, for people.
func (s *Switch) Cuts() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for p, d := range s.cuts {
		out = append(out, fmt.Sprintf("%s %s %s", p.machine, p.lan, d))
	}
	sort.Strings(out)
	return out
}

// applyCuts replaces all filters in one transaction: several cuts asked for in
// one go are not there one after the other.
func (s *Switch) applyCuts(ctx context.Context) error {
	_, err := host.Input(ctx, ruleset(s.cuts, s.ports, s.hidden), "nsenter", "--net="+s.ns.Path(), "nft", "-f", "-")
	if err != nil {
		return fmt.Errorf("cannot set the cuts: %w", err)
	}
	return nil
}

func ruleset(cuts map[port]Direction, ports map[port]bool, hidden map[string]bool) string {
	var b strings.Builder
	// The first line makes the second one work when there is no table yet.
	b.WriteString("table netdev cuts {}\ndelete table netdev cuts\ntable netdev cuts {\n")
	var ps []port
	for p := range cuts {
		if ports[p] {
			ps = append(ps, p)
		}
	}
	sort.Slice(ps, func(i, j int) bool { return ps[i].name() < ps[j].name() })
	for _, p := range ps {
		if cuts[p] != In {
			fmt.Fprintf(&b, " chain from-%s { type filter hook ingress device %q priority 0; counter drop; }\n", p.name(), p.name())
		}
		if cuts[p] != Out {
			fmt.Fprintf(&b, " chain to-%s { type filter hook egress device %q priority 0; counter drop; }\n", p.name(), p.name())
		}
	}
	for m, is := range hidden {
		if p := (port{m, Service}); is && ports[p] {
			fmt.Fprintf(&b, " chain api-%s { type filter hook ingress device %q priority 1; ip daddr %s counter drop; }\n", p.name(), p.name(), CloudAPI)
		}
	}
	b.WriteString("}\n")
	return b.String()
}

// Traffic reads the counters of the machine's ports.
func (s *Switch) Traffic(ctx context.Context, machine string) (map[LAN]Traffic, error) {
	out, err := host.Output(ctx, "nsenter", "--net="+s.ns.Path(), "ip", "-json", "-stats", "link", "show", "type", "veth")
	if err != nil {
		return nil, err
	}
	var links []struct {
		Name  string `json:"ifname"`
		Stats struct {
			Rx struct{ Packets int64 } `json:"rx"`
			Tx struct{ Packets int64 } `json:"tx"`
		} `json:"stats64"`
	}
	if err := json.Unmarshal([]byte(out), &links); err != nil {
		return nil, fmt.Errorf("cannot read the switch's counters: %w", err)
	}
	res := map[LAN]Traffic{}
	for _, k := range links {
		for _, l := range LANs() {
			if k.Name == (port{machine, l}).name() {
				res[l] = Traffic{FromMachine: k.Stats.Rx.Packets, ToMachine: k.Stats.Tx.Packets}
			}
		}
	}
	return res, nil
}
