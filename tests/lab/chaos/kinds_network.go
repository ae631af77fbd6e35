package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"pgrex/lib/life"
	"pgrex/tests/lab/fault"
	"pgrex/tests/lab/network"
)

// networkKinds cut, flap, lose and slow the LANs. The kernel may have no netem:
// loss is made by nftables, and delay by a token bucket, as a full link has it.
func networkKinds() []Kind {
	return []Kind{
		{Name: "cut", Group: "network", Roles: everybody(), Longest: 20 * time.Second,
			Args: cutArgs, Inject: cut, Heal: healCut},
		{Name: "flap", Group: "network", Roles: everybody(),
			Args: func(rng *rand.Rand) string {
				return fmt.Sprintf("%s %d %dms", someLANs(rng), 2+rng.IntN(6), 200+rng.IntN(1500))
			},
			Inject: flap, Heal: healCut},
		{Name: "loss", Group: "network", Roles: everybody(), Longest: 15 * time.Second,
			Args:   func(rng *rand.Rand) string { return fmt.Sprintf("%s %d%%", someLANs(rng), 5+rng.IntN(60)) },
			Inject: loss, Heal: inNode("nft delete table netdev chaos 2>/dev/null; true")},
		{Name: "slow-link", Group: "network", Roles: everybody(), Longest: 15 * time.Second,
			Args:   func(rng *rand.Rand) string { return fmt.Sprintf("%s %dkbit", someLANs(rng), 16<<rng.IntN(6)) },
			Inject: slowLink, Heal: inNode("for i in slan dlan iclan mlan; do tc qdisc del dev $i root 2>/dev/null; done; true")},
	}
}

// someLANs chooses LANs, as "interconnect,replication".
func someLANs(rng *rand.Rand) string {
	choices := []string{
		"interconnect", "replication", "service", "management", "interconnect,replication", "interconnect,service",
		"service,replication", "service,replication,interconnect", "interconnect,replication,management",
		"service,replication,interconnect,management",
	}
	return choices[rng.IntN(len(choices))]
}

func cutArgs(rng *rand.Rand) string {
	return someLANs(rng) + " " + oneOf("both", "both", "in", "out")(rng)
}

// lans reads them, without those that this lab has not.
func (t Target) lans(text string) ([]network.LAN, error) {
	var out []network.LAN
	for _, x := range strings.Split(text, ",") {
		l, err := network.ParseLAN(x)
		if err != nil {
			return nil, err
		}
		if slices.Contains(t.LANs(), l) {
			out = append(out, l)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("this lab has no LAN %s", text)
	}
	return out, nil
}

func cut(ctx context.Context, t Target) (fault.Evidence, error) {
	which, way, _ := strings.Cut(t.Args, " ")
	lans, err := t.lans(which)
	if err != nil {
		return fault.Evidence{}, err
	}
	d, err := network.ParseDirection(way)
	if err != nil {
		return fault.Evidence{}, err
	}
	if err := t.Site.Cut(ctx, t.Node, d, lans...); err != nil {
		return fault.Evidence{}, err
	}
	st, err := t.Room(ctx)
	return t.evidence("the switch drops: " + strings.Join(st.Cuts, ", ")), err
}

func healCut(ctx context.Context, t Target) error {
	which, _, _ := strings.Cut(t.Args, " ")
	lans, err := t.lans(which)
	if err != nil {
		return err
	}
	return t.Site.Heal(ctx, t.Node, lans...)
}

func flap(ctx context.Context, t Target) (fault.Evidence, error) {
	var which, pause string
	var times int
	if _, err := fmt.Sscanf(t.Args, "%s %d %s", &which, &times, &pause); err != nil {
		return fault.Evidence{}, fmt.Errorf("bad arguments %q: %w", t.Args, err)
	}
	every, err := time.ParseDuration(pause)
	if err != nil {
		return fault.Evidence{}, err
	}
	lans, err := t.lans(which)
	if err != nil {
		return fault.Evidence{}, err
	}
	e := t.evidence(fmt.Sprintf("cut and healed %d times, %v each", times, every))
	for range times {
		if err := t.Site.Cut(ctx, t.Node, network.Both, lans...); err != nil {
			return e, err
		}
		if err := life.Pause(ctx, every); err != nil {
			return e, err
		}
		if err := t.Site.Heal(ctx, t.Node, lans...); err != nil {
			return e, err
		}
		if err := life.Pause(ctx, every); err != nil {
			return e, err
		}
	}
	return e, nil
}

// inNode is a healing that runs a script on the node, if that is on.
func inNode(script string) func(context.Context, Target) error {
	return func(ctx context.Context, t Target) error {
		n, err := t.Site.Node(ctx, t.Node)
		if err != nil || !n.On() || n.Frozen {
			return err
		}
		_, err = t.sh(ctx, script)
		return err
	}
}

func loss(ctx context.Context, t Target) (fault.Evidence, error) {
	var which string
	var percent int
	if _, err := fmt.Sscanf(t.Args, "%s %d%%", &which, &percent); err != nil {
		return fault.Evidence{}, fmt.Errorf("bad arguments %q: %w", t.Args, err)
	}
	lans, err := t.lans(which)
	if err != nil {
		return fault.Evidence{}, err
	}
	var b strings.Builder
	b.WriteString("table netdev chaos {\n")
	for _, l := range lans {
		for _, hook := range []string{"ingress", "egress"} {
			fmt.Fprintf(&b, "chain %s-%s { type filter hook %s device %q priority 0; numgen random mod 100 < %d counter drop; }\n",
				l, hook, hook, l.Interface(), percent)
		}
	}
	b.WriteString("}\n")
	res, err := t.ExecInput(ctx, t.Node, b.String(), "nft", "-f", "-")
	if err == nil && res.ExitCode != 0 {
		err = fmt.Errorf("nft on %s: %s", t.Node, res.Message())
	}
	return t.evidence("its own filter drops packets at random"), err
}

func slowLink(ctx context.Context, t Target) (fault.Evidence, error) {
	which, rate, _ := strings.Cut(t.Args, " ")
	lans, err := t.lans(which)
	if err != nil {
		return fault.Evidence{}, err
	}
	for _, l := range lans {
		_, err := t.sh(ctx, fmt.Sprintf("tc qdisc replace dev %s root tbf rate %s burst 1600 latency 3s", l.Interface(), rate))
		if err != nil {
			return fault.Evidence{}, err
		}
	}
	return t.evidence("a token bucket delays what it sends"), nil
}
