package fault

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"pgrex/tests/lab/network"
	"pgrex/tests/lab/node"
	"pgrex/tests/lab/site"
)

// command is a fault as a word of the command line.
type command struct {
	args, help string
	run        func(ctx context.Context, s *site.Site, args []string) (Evidence, error)
}

func commands() map[string]command {
	signal := func(what string, match Pattern, sig unix.Signal) command {
		return command{"NODE", fmt.Sprintf("%s to %s", unix.SignalName(sig), what),
			func(ctx context.Context, s *site.Site, a []string) (Evidence, error) {
				return Signal(ctx, s, a[0], what, match, sig)
			}}
	}
	m := map[string]command{
		"kill-postmaster":   signal("postmaster", Postmaster, unix.SIGKILL),
		"kill-postgres":     signal("all of PostgreSQL", Postgres, unix.SIGKILL),
		"kill-checkpointer": signal("checkpointer", Child("checkpointer"), unix.SIGKILL),
		"stop-checkpointer": signal("checkpointer", Child("checkpointer"), unix.SIGSTOP),
		"cont-checkpointer": signal("checkpointer", Child("checkpointer"), unix.SIGCONT),
		"stop-walreceiver":  signal("walreceiver", Child("walreceiver"), unix.SIGSTOP),
		"cont-walreceiver":  signal("walreceiver", Child("walreceiver"), unix.SIGCONT),
		"kill-walreceiver":  signal("walreceiver", Child("walreceiver"), unix.SIGKILL),
		"stop-postgres":     signal("all of PostgreSQL", Postgres, unix.SIGSTOP),
		"cont-postgres":     signal("all of PostgreSQL", Postgres, unix.SIGCONT),
		"kill-corosync":     signal("corosync", Daemon("corosync"), unix.SIGKILL),
		"kill-pacemakerd":   signal("pacemakerd", Daemon("pacemakerd"), unix.SIGKILL),
		"power-off": {"NODE", "links away, then everything dies at once", func(ctx context.Context, s *site.Site, a []string) (Evidence, error) {
			return PowerOff(ctx, s, a[0])
		}},
		"power-on": {"NODE", "boot", func(ctx context.Context, s *site.Site, a []string) (Evidence, error) {
			return PowerOn(ctx, s, a[0])
		}},
		"freeze": {"NODE", "stop everything, links down", func(ctx context.Context, s *site.Site, a []string) (Evidence, error) {
			return Freeze(ctx, s, a[0])
		}},
		"thaw": {"NODE", "go on after freeze", func(ctx context.Context, s *site.Site, a []string) (Evidence, error) {
			return Evidence{Fault: "thaw " + a[0]}, s.Freeze(ctx, a[0], false)
		}},
		"hang-disk": {"NODE", "its data volume takes no writes and gives no answer (--disk=loop)", func(ctx context.Context, s *site.Site, a []string) (Evidence, error) {
			return Hang(node.DataVolume)(ctx, s, a[0])
		}},
		"hang-wal": {"NODE", "its pg_wal takes no writes and gives no answer (--disk=loop+wal)", func(ctx context.Context, s *site.Site, a []string) (Evidence, error) {
			return Hang(node.WALVolume)(ctx, s, a[0])
		}},
		"release-disk": {"NODE", "the volume that hangs goes on", func(ctx context.Context, s *site.Site, a []string) (Evidence, error) {
			return Evidence{Fault: "release the volume of " + a[0]}, s.Release(ctx, a[0])
		}},
		"bmc-off": {"NODE", "its BMC answers nobody", func(ctx context.Context, s *site.Site, a []string) (Evidence, error) {
			return BMCGone(ctx, s, a[0])
		}},
		"bmc-slow": {"NODE RATE", "its BMC's answers come late: 1600bit is half a second to a whole one each", func(ctx context.Context, s *site.Site, a []string) (Evidence, error) {
			return BMCSlow(ctx, s, a[0], a[1])
		}},
		"bmc-swift": {"NODE", "its BMC answers at once again", func(ctx context.Context, s *site.Site, a []string) (Evidence, error) {
			return Evidence{Fault: "BMC of " + a[0] + " swift"}, BMCSwift(ctx, s, a[0])
		}},
		"cut": {"NODE LAN[,LAN...] [both|in|out]", "drop its packets; LANs: service replication interconnect management", func(ctx context.Context, s *site.Site, a []string) (Evidence, error) {
			lans, d, err := cutArgs(a)
			if err != nil {
				return Evidence{}, err
			}
			return Cut(ctx, s, a[0], d, lans...)
		}},
		"heal": {"", "take all cuts back", func(ctx context.Context, s *site.Site, _ []string) (Evidence, error) {
			return Evidence{Fault: "heal"}, s.HealAll(ctx)
		}},
		"kill-agent": {"NODE ACTION", "wait for the pgsql agent in that action and kill it", func(ctx context.Context, s *site.Site, a []string) (Evidence, error) {
			return KillInAction(ctx, s, a[0], a[1], 0)
		}},
	}
	return m
}

func cutArgs(a []string) ([]network.LAN, network.Direction, error) {
	var lans []network.LAN
	for _, x := range strings.Split(a[1], ",") {
		l, err := network.ParseLAN(x)
		if err != nil {
			return nil, "", err
		}
		lans = append(lans, l)
	}
	if len(a) < 3 {
		return lans, network.Both, nil
	}
	d, err := network.ParseDirection(a[2])
	return lans, d, err
}

// Run carries out a fault given as words, for the command line.
func Run(ctx context.Context, s *site.Site, args []string) (Evidence, error) {
	if len(args) == 0 {
		return Evidence{}, fmt.Errorf("which fault? %s", strings.Join(Names(), " "))
	}
	c, ok := commands()[args[0]]
	if !ok {
		return Evidence{}, fmt.Errorf("no fault %q: %s", args[0], strings.Join(Names(), " "))
	}
	need := 0
	for _, w := range strings.Fields(c.args) {
		if !strings.HasPrefix(w, "[") {
			need++
		}
	}
	if len(args)-1 < need {
		return Evidence{}, fmt.Errorf("usage: lab fault %s %s", args[0], c.args)
	}
	return c.run(ctx, s, args[1:])
}

// Usage describes all faults, one a line.
func Usage() string {
	var b strings.Builder
	for _, n := range Names() {
		c := commands()[n]
		fmt.Fprintf(&b, "   %-18s %-32s %s\n", n, c.args, c.help)
	}
	return b.String()
}
