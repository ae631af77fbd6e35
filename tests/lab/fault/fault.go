// Package fault breaks things in a lab and brings back evidence that they are
// broken: a test whose fault did not happen shows nothing.
package fault

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"

	"pgrex/tests/lab/host"
	"pgrex/tests/lab/network"
	"pgrex/tests/lab/site"
)

// Evidence says what was broken, when, and how it was seen to be.
type Evidence struct {
	// At is the moment before the fault, InForce the one after it; what was asked
	// for between them may have seen the world before.
	At, InForce time.Time
	// Fault names it; Detail is what was seen.
	Fault, Detail string
}

// String is the evidence in one line.
func (e Evidence) String() string {
	return fmt.Sprintf("%s %s: %s", e.At.Format("15:04:05.000"), e.Fault, e.Detail)
}

// PowerOff takes the power of a node away without its BMC. The switch is the
// witness that nothing came from the node afterwards.
func PowerOff(ctx context.Context, s *site.Site, node string) (Evidence, error) {
	before, err := s.Node(ctx, node)
	if err != nil {
		return Evidence{}, err
	}
	if !before.On() {
		return Evidence{}, fmt.Errorf("%s is off already", node)
	}
	e := Evidence{At: time.Now(), Fault: "power off " + node}
	if err := s.Power(ctx, node, false); err != nil {
		return e, err
	}
	e.InForce = time.Now()
	if st := state(before.Pid); st != "" && st != "Z" {
		return e, fmt.Errorf("%s was powered off but its first process %d is there", node, before.Pid)
	}
	ports, err := s.Traffic(ctx, node)
	if err != nil {
		return e, err
	}
	if len(ports) != 0 {
		return e, fmt.Errorf("%s was powered off but is still plugged in: %v", node, ports)
	}
	e.Detail = fmt.Sprintf("links taken away first, the switch heard nothing from it since, first process %d gone, done after %v", before.Pid, time.Since(e.At).Round(time.Millisecond))
	return e, nil
}

// PowerOn boots a node.
func PowerOn(ctx context.Context, s *site.Site, node string) (Evidence, error) {
	e := Evidence{At: time.Now(), Fault: "power on " + node}
	if err := s.Power(ctx, node, true); err != nil {
		return e, err
	}
	n, err := s.Node(ctx, node)
	e.Detail = fmt.Sprintf("first process %d", n.Pid)
	return e, err
}

// Cut drops a node's packets on LANs and shows that they are dropped: a ping
// gets no answer where it got one before.
func Cut(ctx context.Context, s *site.Site, node string, d network.Direction, lans ...network.LAN) (Evidence, error) {
	e := Evidence{At: time.Now(), Fault: fmt.Sprintf("cut %s from %v (%s)", node, lans, d)}
	if err := s.Cut(ctx, node, d, lans...); err != nil {
		return e, err
	}
	var seen []string
	for _, l := range lans {
		target := witness(s, node, l)
		if target == "" {
			continue
		}
		res, err := s.Exec(ctx, node, "ping", "-c1", "-W1", "-I", l.Interface(), target)
		if err != nil {
			return e, err
		}
		if res.ExitCode == 0 {
			return e, fmt.Errorf("%s was cut from %s but %s answers its ping", node, l, target)
		}
		seen = append(seen, fmt.Sprintf("no answer from %s over %s", target, l))
	}
	e.Detail = strings.Join(seen, ", ")
	return e, nil
}

// CutOff is Cut without the look back, for when it must not take time.
func CutOff(ctx context.Context, s *site.Site, node string, lans ...network.LAN) (Evidence, error) {
	e := Evidence{At: time.Now(), Fault: fmt.Sprintf("cut %s from %v", node, lans)}
	err := s.Cut(ctx, node, network.Both, lans...)
	e.InForce = time.Now()
	return e, err
}

// witness is somebody on the LAN who answered pings before.
func witness(s *site.Site, node string, l network.LAN) string {
	if l == network.Service {
		return network.Gateway
	}
	for i, n := range s.NodeNames() {
		if n != node {
			return network.Address(l, i+1)
		}
	}
	return ""
}

// Freeze stops a node with its links, as a paused virtual machine.
func Freeze(ctx context.Context, s *site.Site, node string) (Evidence, error) {
	e := Evidence{At: time.Now(), Fault: "freeze " + node}
	if err := s.Freeze(ctx, node, true); err != nil {
		return e, err
	}
	n, err := s.Node(ctx, node)
	if err == nil && !n.Frozen {
		err = errors.New("it is not frozen")
	}
	e.Detail = "control group frozen, links down"
	return e, err
}

// WaitGone waits until the BMC has taken a node down: its first process is
// another one or none.
func WaitGone(ctx context.Context, s *site.Site, node string, was site.NodeStatus) (Evidence, error) {
	e := Evidence{Fault: "fenced " + node}
	err := host.Poll(ctx, node+" to be fenced", 20*time.Millisecond, func() (bool, error) {
		n, err := s.Node(ctx, node)
		return n.Pid != was.Pid, err
	})
	e.At = time.Now()
	e.Detail = fmt.Sprintf("first process %d gone", was.Pid)
	return e, err
}

// Names lists the faults of the command line with their usage.
func Names() []string {
	var names []string
	for n := range commands() {
		names = append(names, n)
	}
	sort.Strings(names)
	return names
}
