package main

import (
	"context"
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
		Flags: buildFlags(),
		Action: func(c *cli.Context) error {
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
