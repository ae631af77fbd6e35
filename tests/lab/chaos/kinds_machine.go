package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pgrex/lib/life"
	"pgrex/tests/lab/bmc"
	"pgrex/tests/lab/fault"
	"pgrex/tests/lab/network"
)

// machineKinds take the power, freeze machines and break management controllers.
func machineKinds() []Kind {
	hasBMC := func(s Shape) bool { return !s.Azure }
	return []Kind{
		{Name: "power-off", Group: "power", Roles: everybody(), Longest: 15 * time.Second,
			Inject: powerOff, Heal: powerOn},
		{Name: "power-all", Group: "power", Roles: onPrimary(),
			Args: func(rng *rand.Rand) string {
				off := oneOf("primary-first", "standby-first")(rng)
				on := oneOf("primary-first", "standby-first")(rng)
				return fmt.Sprintf("off %s %dms on %s %dms", off, rng.IntN(4000), on, rng.IntN(5000))
			},
			Inject: powerAll, Heal: powerOn},
		{Name: "freeze", Group: "freeze", Roles: everybody(), Longest: 15 * time.Second,
			Inject: func(ctx context.Context, t Target) (fault.Evidence, error) { return fault.Freeze(ctx, t.Site, t.Node) },
			Heal:   thaw},
		{Name: "bmc-dead", Group: "bmc", Roles: everybody(), Longest: 20 * time.Second, Needs: hasBMC,
			Inject: func(ctx context.Context, t Target) (fault.Evidence, error) { return fault.BMCGone(ctx, t.Site, t.Node) },
			Heal: func(ctx context.Context, t Target) error {
				return t.Site.Heal(ctx, bmc.MachineOf(t.Node), network.Management)
			}},
		{Name: "bmc-refuses", Group: "bmc", Roles: everybody(), Longest: 20 * time.Second, Needs: hasBMC,
			Inject: func(ctx context.Context, t Target) (fault.Evidence, error) {
				err := t.BMC(ctx, t.Node, false)
				return t.evidence("the controller's program ended, its address answers"), err
			},
			Heal: func(ctx context.Context, t Target) error { return t.BMC(ctx, t.Node, true) }},
		{Name: "bmc-hangs", Group: "bmc", Roles: everybody(), Longest: 15 * time.Second, Needs: hasBMC,
			Inject: bmcSignal(unix.SIGSTOP), Heal: func(ctx context.Context, t Target) error {
				_, err := bmcSignal(unix.SIGCONT)(ctx, t)
				return err
			}},
		{Name: "bmc-slow", Group: "bmc", Roles: everybody(), Longest: 20 * time.Second, Needs: hasBMC,
			Args: oneOf("3200bit", "1600bit", "800bit"),
			Inject: func(ctx context.Context, t Target) (fault.Evidence, error) {
				return fault.BMCSlow(ctx, t.Site, t.Node, t.Args)
			},
			Heal: func(ctx context.Context, t Target) error { return ignoreGone(fault.BMCSwift(ctx, t.Site, t.Node)) }},
		{Name: "bmc-and-power", Group: "bmc", Roles: everybody(), Longest: 20 * time.Second, Needs: hasBMC,
			Inject: func(ctx context.Context, t Target) (fault.Evidence, error) {
				if e, err := fault.BMCGone(ctx, t.Site, t.Node); err != nil {
					return e, err
				}
				return powerOff(ctx, t)
			},
			Heal: func(ctx context.Context, t Target) error {
				return errors.Join(t.Site.Heal(ctx, bmc.MachineOf(t.Node), network.Management), powerOn(ctx, t))
			}},
	}
}

func powerOff(ctx context.Context, t Target) (fault.Evidence, error) {
	if err := thaw(ctx, t); err != nil { // a frozen disk cannot be copied
		return fault.Evidence{}, err
	}
	return fault.PowerOff(ctx, t.Site, t.Node)
}

func powerOn(ctx context.Context, t Target) error {
	var errs []error
	for _, n := range append([]string{t.Node}, t.Peers...) {
		errs = append(errs, t.Power(ctx, n, true))
		if t.Fault != "power-all" {
			break
		}
	}
	return errors.Join(errs...)
}

func thaw(ctx context.Context, t Target) error {
	n, err := t.Site.Node(ctx, t.Node)
	if err != nil || !n.Frozen {
		return err
	}
	return t.Freeze(ctx, t.Node, false)
}

// powerAll takes the power of all nodes in an order and gives it back in one.
func powerAll(ctx context.Context, t Target) (fault.Evidence, error) {
	f := strings.Fields(t.Args)
	if len(f) != 6 {
		return fault.Evidence{}, fmt.Errorf("bad arguments %q", t.Args)
	}
	e := t.evidence("")
	for _, half := range [][]string{f[0:3], f[3:6]} {
		nodes := append([]string{t.Node}, t.Peers...)
		if half[1] == "standby-first" {
			slices.Reverse(nodes)
		}
		pause, err := time.ParseDuration(half[2])
		if err != nil {
			return e, err
		}
		for i, n := range nodes {
			if i > 0 {
				if err := life.Pause(ctx, pause); err != nil {
					return e, err
				}
			}
			if err := t.Power(ctx, n, half[0] == "on"); err != nil {
				return e, err
			}
		}
		if half[0] == "off" {
			st, err := t.Room(ctx)
			if err != nil {
				return e, err
			}
			// With a pause, the second may have switched the first one on again.
			for _, n := range st.Nodes {
				e.Detail += fmt.Sprintf("%s on=%v ", n.Name, n.On())
			}
		}
	}
	return e, nil
}

// bmcSignal stops the simulator of a controller, or lets it go on.
func bmcSignal(sig unix.Signal) func(context.Context, Target) (fault.Evidence, error) {
	return func(ctx context.Context, t Target) (fault.Evidence, error) {
		n, err := t.Site.Node(ctx, t.Node)
		if err != nil {
			return fault.Evidence{}, err
		}
		if n.BMC == 0 {
			return fault.Evidence{}, fmt.Errorf("%w: BMC of %s", fault.ErrNoProcess, t.Node)
		}
		err = unix.Kill(n.BMC, sig)
		return t.evidence(fmt.Sprintf("%s to its program, %d", unix.SignalName(sig), n.BMC)), err
	}
}
