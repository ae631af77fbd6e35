package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	fake "pgrex/tests/fakes/azure"
	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/scenario"
	"pgrex/tests/lab/site"
)

// orderCommand measures what docs/azure.md says about the order of the slow steps.
func orderCommand() *cli.Command {
	return &cli.Command{
		Name:  "order",
		Usage: "in Azure: promotion and addresses one after the other and side by side, see docs/azure.md",
		Flags: append(buildFlags(),
			&cli.IntFlag{Name: "runs", Value: 3, Usage: "of each"},
			&cli.StringFlag{Name: "orders", Value: "after,beside,halves", Usage: "after promotion, beside it, or the cloud's half beside it"},
			&cli.StringFlag{Name: "promotions", Value: "prompt", Usage: "prompt, slow (replay stands still for 10 s), refused (the agent dies in it)"},
			&cli.StringFlag{Name: "cloud", Value: "lab,real", Usage: "lab: as in all scenarios; real: accepted after 0.5 s, done after 5 to 10 s"},
			&cli.BoolFlag{Name: "v", Usage: "tell what happens"},
		),
		Action: func(c *cli.Context) error {
			o, err := options(c)
			if err != nil {
				return err
			}
			if !c.IsSet("name") {
				o.Name = fmt.Sprintf("order%d", os.Getpid())
			}
			orders, err := scenario.ParseOrders(c.String("orders"))
			if err != nil {
				return err
			}
			promotions, err := scenario.ParsePromotions(c.String("promotions"))
			if err != nil {
				return err
			}
			fmt.Println("order   promotion cloud  no commit  promoted delivered  standby answers at VIP-primary  read-only errors  moves  lost")
			failed := 0
			for _, order := range orders {
				n, err := measureOrder(c, o, order, promotions)
				if err != nil {
					return err
				}
				failed += n
			}
			if failed > 0 {
				return fmt.Errorf("%d without figures", failed)
			}
			return nil
		},
	}
}

// measureOrder measures in one lab and says how often that failed.
func measureOrder(c *cli.Context, o cluster.Options, order scenario.Order, promotions []scenario.Promotion) (failed int, err error) {
	r := &scenario.Runner{Options: o, Out: os.Stderr, Verbose: c.Bool("v"), Healthy: order.Arrange}
	defer r.Drop()
	for _, p := range promotions {
		for _, cloud := range strings.Split(c.String("cloud"), ",") {
			for i := range c.Int("runs") {
				t := r.TakeOver(c.Context, p, func(ctx context.Context, run *scenario.Run) error {
					move, latency := fake.MoveOff, site.CloudLatency()
					if cloud == "real" {
						move, latency = fake.MoveOn, scenario.RealCloud(i)
					}
					if err := run.SetMove(ctx, move); err != nil {
						return err
					}
					return run.Cloud().SetLatency(ctx, latency)
				})
				if err := c.Context.Err(); err != nil {
					return failed, err
				}
				if t.Err != nil {
					failed++
					fmt.Printf("%-7s %-9s %-5s %v (%s)\n", order, p, cloud, t.Err, t.Logs)
					continue
				}
				s := func(d time.Duration) float64 { return d.Seconds() }
				fmt.Printf("%-7s %-9s %-5s %8.2f s %8.2f %9.2f  %6.2f s, %3d answers %22d %6d %5d\n", order, p, cloud,
					s(t.Gap), s(t.Promoted), s(t.Delivered), s(t.Standby), t.Answers, t.ReadOnly, t.Moves, t.Lost)
			}
		}
	}
	return failed, nil
}
