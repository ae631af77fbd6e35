package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/site"
)

func upCommand() *cli.Command {
	return &cli.Command{
		Name:  "up",
		Usage: "build a cluster and wait until it is healthy",
		Flags: append(buildFlags(),
			&cli.BoolFlag{Name: "bare", Usage: "only corosync and Pacemaker: no PostgreSQL, no resources"},
			&cli.DurationFlag{Name: "wait", Value: 90 * time.Second, Usage: "how long to wait for health; 0 does not wait"},
		),
		Action: func(c *cli.Context) error {
			o, err := options(c)
			if err != nil {
				return err
			}
			o.Bare = c.Bool("bare")
			begin := time.Now()
			cl, err := cluster.Up(c.Context, o)
			if err != nil {
				return err
			}
			if o.Bare || c.Duration("wait") == 0 {
				return nil
			}
			if err := cl.WaitHealthy(c.Context, c.Duration("wait")); err != nil {
				return fmt.Errorf("%w (the lab stays up: lab status; lab exec n1 crm_mon -1rfA; lab logs)", err)
			}
			o.Progress("%6.1fs healthy", time.Since(begin).Seconds())
			return nil
		},
	}
}

// buildFlags are what every verb takes that builds a lab.
func buildFlags() []cli.Flag {
	return []cli.Flag{
		nameFlag(),
		&cli.IntFlag{Name: "nodes", Value: 2, Usage: "2 to 5 nodes"},
		&cli.StringFlag{Name: "disk", Value: "tmpfs", Usage: "tmpfs, or loop: a file system that loses what was not synced when the power goes; loop+wal: pg_wal on one of its own"},
		&cli.BoolFlag{Name: "second-bmc", Usage: "give each node another BMC, at 172.20.144.81 and on"},
		&cli.StringFlag{Name: "profile", Value: "lan", Usage: "lan, or azure: a virtual network, cloudip and fence_azure"},
		&cli.StringFlag{Name: "agents", Value: "ours", Usage: "ours (ocf:pgrex:pgsql) or reference (ocf:heartbeat:pgsql)"},
		&cli.StringFlag{Name: "bin", Usage: "directory of our built agents (default: where lab itself is)"},
		&cli.StringFlag{Name: "root", Value: "/", Usage: "root file system under the nodes, for example a debootstrap"},
		&cli.StringSliceFlag{Name: "set", Usage: "VARIABLE=VALUE for the configuration in docs/examples"},
	}
}

func options(c *cli.Context) (cluster.Options, error) {
	o := cluster.Options{
		Plan:      site.Plan{Name: c.String("name"), Nodes: c.Int("nodes"), SecondBMC: c.Bool("second-bmc"), Lower: c.String("root")},
		Bin:       c.String("bin"),
		Variables: map[string]string{},
		Progress:  func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) },
	}
	var err error
	if o.Agents, err = cluster.ParseAgents(c.String("agents")); err != nil {
		return o, err
	}
	switch p := c.String("profile"); p {
	case "lan":
	case "azure":
		o.Azure = true
	default:
		return o, fmt.Errorf("no profile %q: use lan or azure", p)
	}
	switch d := c.String("disk"); d {
	case "tmpfs":
	case "loop":
		o.OnDisk = true
	case "loop+wal":
		o.OnDisk, o.OwnWAL = true, true
	default:
		return o, fmt.Errorf("no disk %q: use tmpfs, loop or loop+wal", d)
	}
	if o.Bin, err = binDir(c); err != nil {
		return o, err
	}
	for _, kv := range c.StringSlice("set") {
		k, v, ok := cut(kv)
		if !ok {
			return o, fmt.Errorf("bad --set %q: want VARIABLE=VALUE", kv)
		}
		o.Variables[k] = v
	}
	return o, nil
}

// binDir is where our built agents are: beside the lab's own binary.
func binDir(c *cli.Context) (string, error) {
	if d := c.String("bin"); d != "" {
		return d, nil
	}
	self, err := os.Executable()
	return filepath.Dir(self), err
}

// open finds the lab a verb is about.
func open(c *cli.Context) (*cluster.Cluster, error) { return cluster.Open(c.String("name")) }

func statusCommand() *cli.Command {
	return &cli.Command{
		Name: "status", Usage: "show machines, roles and addresses", Flags: []cli.Flag{nameFlag()},
		Action: func(c *cli.Context) error {
			cl, err := open(c)
			if err != nil {
				return err
			}
			return printStatus(c.Context, cl)
		},
	}
}

func printStatus(ctx context.Context, cl *cluster.Cluster) error {
	room, err := cl.Room(ctx)
	if err != nil {
		return err
	}
	v, err := cl.View(ctx)
	if err != nil {
		fmt.Println("cluster: no answer:", err)
	} else {
		fmt.Printf("cluster: dc %s, quorate %v, maintenance %v (asked %s)\n", v.DC, v.Quorate, v.Maintenance, v.From)
	}
	for _, n := range room.Nodes {
		state := "off"
		switch {
		case n.Frozen:
			state = "frozen"
		case n.Hangs:
			state = "hangs"
		case n.On():
			state = "on"
		}
		fmt.Printf("%-4s %-6s %-10s score %-10s data %-20s", n.Name, state, word(v.Status(n.Name)), word(v.Score(n.Name)), word(v.Attribute(n.Name, "pgsql-data-status")))
		for _, r := range v.Resources {
			for _, on := range r.Nodes {
				if on == n.Name && r.ID != cluster.ResourcePgsql {
					fmt.Printf(" %s", r.ID)
				}
				if on == n.Name && r.ID == cluster.ResourcePgsql {
					fmt.Printf(" pgsql=%s", r.Role)
				}
			}
		}
		fmt.Println()
	}
	for _, x := range room.Cuts {
		fmt.Println("cut:", x)
	}
	for _, f := range v.Failures {
		fmt.Println("failed:", f)
	}
	if len(v.Failures) > 0 {
		fmt.Println("        a node stays without pgsql until its failure is forgotten: after failure-timeout, or by \"pcs resource cleanup\"")
	}
	for _, f := range v.Fencing {
		fmt.Printf("fencing: %s %s %s (asked by %s, %s)\n", f.Action, f.Target, f.Status, f.Client, f.Completed)
	}
	return nil
}

func word(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
