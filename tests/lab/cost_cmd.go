package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/cost"
	"pgrex/tests/lab/site"
)

func costCommand() *cli.Command {
	return &cli.Command{
		Name:  "cost",
		Usage: "what one monitor costs, ours beside the reference agent's: a lab with each, one after the other",
		Flags: append(buildFlags(),
			&cli.IntSliceFlag{Name: "servers", Usage: "instead, what so many servers on one node cost in steady state, such as 1,10,50"},
			&cli.DurationFlag{Name: "for", Value: time.Minute, Usage: "how long to measure, with --servers"},
			&cli.IntFlag{Name: "interval", Value: 10, Usage: "of the monitors in seconds, with --servers"}),
		Action: func(c *cli.Context) error {
			if c.IsSet("servers") {
				return costOfMany(c)
			}
			var rows []cost.Row
			for _, agents := range []string{"ours", "reference"} {
				o, err := options(c)
				if err != nil {
					return err
				}
				if o.Agents, err = cluster.ParseAgents(agents); err != nil {
					return err
				}
				o.Name += "-cost"
				r, err := costOf(c.Context, o)
				if err != nil {
					return err
				}
				rows = append(rows, r...)
			}
			return cost.Print(os.Stdout, rows)
		},
	}
}

// costOf measures on a cluster of its own.
func costOf(ctx context.Context, o cluster.Options) ([]cost.Row, error) {
	cl, err := cluster.Up(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { _ = site.Demolish(context.WithoutCancel(ctx), o.Name) }()
	if err := cl.WaitHealthy(ctx, 3*time.Minute); err != nil {
		return nil, err
	}
	return cost.Measure(ctx, cl)
}

// costOfMany measures each number of servers with each agent, or with the one that
// was asked for.
func costOfMany(c *cli.Context) error {
	which := []string{"ours", "reference"}
	if c.IsSet("agents") {
		which = []string{c.String("agents")}
	}
	var loads []cost.Load
	var failed error
	for _, n := range c.IntSlice("servers") {
		for _, agents := range which {
			o, err := options(c)
			if err != nil {
				return err
			}
			if o.Agents, err = cluster.ParseAgents(agents); err != nil {
				return err
			}
			o.Name, o.Nodes, o.Bare, o.Owner = fmt.Sprintf("%s-cost%d", o.Name, n), 1, true, os.Getpid()
			l, err := loadOf(c.Context, o, &cost.Many{Count: n, Interval: c.Int("interval")}, c.Duration("for"))
			if err != nil {
				// The others are of interest all the same.
				failed = errors.Join(failed, fmt.Errorf("%d servers, %s: %w", n, agents, err))
				continue
			}
			loads = append(loads, l)
		}
	}
	return errors.Join(failed, cost.PrintLoads(os.Stdout, loads))
}

// loadOf measures on a node of its own.
func loadOf(ctx context.Context, o cluster.Options, m *cost.Many, d time.Duration) (cost.Load, error) {
	var err error
	if m.Cluster, err = cluster.Up(ctx, o); err != nil {
		return cost.Load{}, err
	}
	defer func() { _ = site.Demolish(context.WithoutCancel(ctx), o.Name) }()
	begin := time.Now()
	if err := m.Start(ctx); err != nil {
		dir, _ := m.Cluster.KeepLogs("cost")
		return cost.Load{}, fmt.Errorf("%w (logs: %s)", err, dir)
	}
	o.Progress("%6.1fs %d servers are promoted", time.Since(begin).Seconds(), m.Count)
	return m.Measure(ctx, d)
}
