package main

import (
	"fmt"
	"os"
	"sort"
	"time"

	"github.com/urfave/cli/v2"

	"pgrex/lib/life"
	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/fault"
	"pgrex/tests/lab/network"
	"pgrex/tests/lab/writer"
)

func faultCommand() *cli.Command {
	return &cli.Command{
		Name: "fault", Usage: "break something, with evidence", ArgsUsage: "FAULT [NODE ...]", Flags: []cli.Flag{nameFlag()},
		Description: "Faults:\n" + fault.Usage(),
		Action: func(c *cli.Context) error {
			cl, err := open(c)
			if err != nil {
				return err
			}
			e, err := fault.Run(c.Context, cl.Site, c.Args().Slice())
			if err == nil {
				fmt.Println(e)
			}
			return err
		},
	}
}

// appTarget is the database as clients on the service LAN reach it.
func appTarget(cl *cluster.Cluster, address string) writer.Target {
	return writer.Target{Netns: cl.ClientNetns, Host: address,
		User: cluster.AppUser, Password: cluster.AppPassword, Database: cluster.AppDB}
}

func writeCommand() *cli.Command {
	return &cli.Command{
		Name: "write", Usage: "write through the VIP until interrupted or --for is over, then check",
		Flags: []cli.Flag{nameFlag(),
			&cli.StringFlag{Name: "log", Required: true, Usage: "journal of every row, to be made"},
			&cli.DurationFlag{Name: "for", Usage: "how long; 0 until interrupted"},
			&cli.IntFlag{Name: "connections", Value: 4},
		},
		Action: func(c *cli.Context) error {
			cl, err := open(c)
			if err != nil {
				return err
			}
			t := appTarget(cl, network.VIPPrimary)
			if err := writer.Prepare(c.Context, t); err != nil {
				return err
			}
			begin := time.Now()
			w, err := writer.Start(c.Context, writer.Config{Target: t, Log: c.String("log"),
				Connections: c.Int("connections"), First: writer.Numbers(begin)})
			if err != nil {
				return err
			}
			if d := c.Duration("for"); d > 0 {
				_ = life.Pause(c.Context, d)
			} else {
				<-c.Context.Done()
			}
			if err := w.Stop(); err != nil {
				return err
			}
			g := w.History().LongestGap(begin, time.Now())
			fmt.Printf("longest gap %.3fs, from %s\n", g.Length().Seconds(), g.From.Format("15:04:05.000"))
			printErrors(w)
			return check(c, cl, w.History())
		},
	}
}

func printErrors(w *writer.Writer) {
	errs := w.Errors()
	var keys []string
	for k := range errs {
		keys = append(keys, k)
	}
	sort.Slice(keys, func(i, j int) bool { return errs[keys[i]] > errs[keys[j]] })
	for _, k := range keys {
		fmt.Fprintf(os.Stderr, "%5d x %s\n", errs[k], k)
	}
}

func checkCommand() *cli.Command {
	return &cli.Command{
		Name: "check", Usage: "compare a journal with the table", ArgsUsage: "JOURNAL", Flags: []cli.Flag{nameFlag()},
		Action: func(c *cli.Context) error {
			cl, err := open(c)
			if err != nil {
				return err
			}
			h, err := writer.ReadJournal(c.Args().First())
			if err != nil {
				return err
			}
			return check(c, cl, h)
		},
	}
}

func check(c *cli.Context, cl *cluster.Cluster, h *writer.History) error {
	first, last := h.Range()
	rows, err := writer.Rows(c.Context, appTarget(cl, network.VIPPrimary), first, last)
	if err != nil {
		return err
	}
	r := writer.Compare(h, h, rows)
	fmt.Println(r)
	if !r.OK() {
		return r.Err()
	}
	return nil
}
