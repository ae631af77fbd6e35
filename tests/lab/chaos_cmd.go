package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"pgrex/tests/lab/chaos"
	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/site"
)

func chaosCommand() *cli.Command {
	return &cli.Command{
		Name: "chaos", Usage: "break a cluster in ways that a seed has chosen, and check that nothing is lost",
		Description: "The same seed, shape and choice give the same faults. Kinds and groups of faults:\n" + chaos.Usage(),
		Flags: append(buildFlags(),
			&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "what all faults follow from"},
			&cli.DurationFlag{Name: "duration", Value: 3 * time.Minute, Usage: "no round begins after it"},
			&cli.IntFlag{Name: "rounds", Usage: "at most so many rounds; 0 for any number"},
			&cli.StringFlag{Name: "faults", Usage: "names and groups of faults to choose from, separated by commas (default: all)"},
			&cli.StringSliceFlag{Name: "round", Usage: "a round by hand instead: \"kill-postmaster@primary; cut:replication both@standby/5s+1s\""},
			&cli.StringSliceFlag{Name: "param", Usage: "NAME=VALUE, a parameter of the resource that is set before the first round, such as rejoin=rewind or sync_quorum=true"},
			&cli.BoolFlag{Name: "clocks", Usage: "give each node's daemons another time of day, by the seed (needs libfaketime)"},
			&cli.IntFlag{Name: "print", Usage: "print so many rounds and do nothing"},
			&cli.StringFlag{Name: "planted", Usage: "instead, build agents with planted bugs (names, or all), one after the other, find each, and play the same rounds without it"},
			&cli.StringFlag{Name: "source", Value: ".", Usage: "source tree for --planted"},
			&cli.BoolFlag{Name: "v", Usage: "tell what happens"},
			&cli.BoolFlag{Name: "keep", Usage: "leave the lab running"},
		),
		Action: func(c *cli.Context) error {
			r, o, err := chaosRun(c)
			if err != nil {
				return err
			}
			if n := c.Int("print"); n > 0 {
				for i := range n {
					fmt.Println(r.Plan.Round(i + 1))
				}
				return nil
			}
			if c.IsSet("planted") {
				return findPlanted(c, o)
			}
			_, err = playChaos(c.Context, r, o, c.Bool("keep"))
			return err
		},
	}
}

// chaosRun reads the flags.
func chaosRun(c *cli.Context) (*chaos.Run, cluster.Options, error) {
	o, err := options(c)
	if err != nil {
		return nil, o, err
	}
	if !c.IsSet("name") {
		o.Name = fmt.Sprintf("chaos%d", os.Getpid())
	}
	// A round in which both nodes failed would else wait for a minute of nothing.
	if o.Variables["FAILURE_TIMEOUT"] == "" {
		o.Variables["FAILURE_TIMEOUT"] = "15s"
	}
	// Data and WAL on one volume are what the scenarios have.
	o.OwnWAL = o.OnDisk
	r := &chaos.Run{Duration: c.Duration("duration"), Rounds: c.Int("rounds"), Params: c.StringSlice("param"), Out: os.Stdout, Verbose: c.Bool("v")}
	r.Plan = chaos.Plan{Seed: c.Uint64("seed"), Shape: chaos.Shape{Nodes: o.Nodes, Azure: o.Azure, OnDisk: o.OnDisk, OwnWAL: o.OwnWAL}}
	if r.Plan.Kinds, err = chaos.Choose(r.Plan.Shape, c.String("faults")); err != nil {
		return nil, o, err
	}
	if c.Bool("clocks") {
		o.Clocks = r.Plan.Clocks(o.NodeNames())
		r.Plan.Shape.Clocks = true
	}
	for i, text := range c.StringSlice("round") {
		round, err := chaos.ParseRound(i+1, text, chaos.Kinds())
		if err != nil {
			return nil, o, err
		}
		r.Script = append(r.Script, round)
	}
	return r, o, nil
}

// playChaos builds the cluster, plays and takes it down.
func playChaos(ctx context.Context, r *chaos.Run, o cluster.Options, keep bool) (chaos.Tally, error) {
	if !keep {
		o.Owner = os.Getpid()
	}
	var err error
	if r.C, err = cluster.Up(ctx, o); err != nil {
		return chaos.Tally{}, err
	}
	if !keep {
		defer func() {
			down, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
			defer cancel()
			if err := site.Demolish(down, o.Name); err != nil {
				fmt.Fprintln(os.Stderr, "lab:", err)
			}
		}()
	}
	if err := r.C.WaitHealthy(ctx, 90*time.Second); err != nil {
		logs, _ := r.C.KeepLogs(o.Name)
		return chaos.Tally{}, fmt.Errorf("not healthy to begin with: %w; logs: %s", err, logs)
	}
	return r.Go(ctx)
}
