package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"github.com/urfave/cli/v2"

	"pgrex/tests/lab/bench"
	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/scenario"
)

func benchCommand() *cli.Command {
	return &cli.Command{
		Name:  "bench",
		Usage: "how long faults keep clients waiting, ours beside the reference: labs with each in turn, see docs/performance.md",
		Flags: append(buildFlags(),
			&cli.IntFlag{Name: "runs", Value: 5, Usage: "of each fault, with each"},
			&cli.StringFlag{Name: "faults", Usage: "some only, separated by commas (default: all)"},
			&cli.BoolFlag{Name: "json", Usage: "for machines; what happens is on standard error either way"},
			&cli.BoolFlag{Name: "v", Usage: "tell what happens in each run"},
		),
		Action: func(c *cli.Context) error {
			for _, f := range []string{"agents", "nodes", "profile", "second-bmc"} {
				if c.IsSet(f) {
					return fmt.Errorf("bench compares pairs on a LAN, with both agents: --%s has no place there", f)
				}
			}
			if c.Int("runs") < 1 {
				return fmt.Errorf("--runs is %d: want 1 or more", c.Int("runs"))
			}
			trials, err := scenario.ParseTrials(c.String("faults"))
			if err != nil {
				return err
			}
			o, err := options(c)
			if err != nil {
				return err
			}
			if !c.IsSet("name") {
				o.Name = fmt.Sprintf("bench%d", os.Getpid())
			}
			m := &measurement{options: o, trials: trials, out: os.Stderr, verbose: c.Bool("v"),
				series: map[string]map[cluster.Agents]bench.Series{}, configurations: map[cluster.Agents]bench.Configuration{}}
			if err := m.run(c.Context, c.Int("runs")); err != nil {
				return err
			}
			r := m.report()
			r.Conditions.Runs = c.Int("runs")
			if c.Bool("json") {
				err = r.WriteJSON(os.Stdout)
			} else {
				err = r.Print(os.Stdout)
			}
			return errors.Join(err, m.lost())
		},
	}
}

// measurement is one run of bench.
type measurement struct {
	options cluster.Options
	trials  []scenario.Trial
	out     io.Writer
	verbose bool

	series         map[string]map[cluster.Agents]bench.Series // by what was measured
	configurations map[cluster.Agents]bench.Configuration
	conditions     bench.Conditions
}

// run plays all trials with the reference, then with ours, and again: what
// changes on the machine meanwhile changes for both.
func (m *measurement) run(ctx context.Context, runs int) error {
	for i := range runs {
		for _, a := range []cluster.Agents{cluster.Reference, cluster.Ours} {
			if err := m.round(ctx, a, fmt.Sprintf("%d/%d %s", i+1, runs, a)); err != nil {
				return err
			}
		}
	}
	return nil
}

// round plays all trials once, in a new lab.
func (m *measurement) round(ctx context.Context, a cluster.Agents, name string) error {
	o := m.options
	o.Agents = a
	r := &scenario.Runner{Options: o, Out: m.out, Verbose: m.verbose, Healthy: func(ctx context.Context, lab *cluster.Cluster) error {
		return m.look(ctx, lab, a)
	}}
	defer r.Drop()
	for _, t := range m.trials {
		res := r.Measure(ctx, t)
		if err := ctx.Err(); err != nil {
			return err
		}
		run := bench.Run{Time: res.Gap, Lost: res.Lost}
		if res.Err != nil {
			run.Failure = strings.ReplaceAll(res.Err.Error(), "\n", "; ")
			_, _ = fmt.Fprintf(m.out, "%s %s: no time: %s (logs: %s)\n", name, t.Name, run.Failure, res.Logs)
		} else {
			_, _ = fmt.Fprintf(m.out, "%s %s: gap %.3f s, back after %.3f s, lost %d\n", name, t.Name, res.Gap.Seconds(), res.Back.Seconds(), res.Lost)
		}
		if t.Stall {
			m.add(t.Name, a, run)
		}
		if t.Back {
			run.Time = res.Back
			m.add(backOf(t), a, run)
		}
	}
	return nil
}

// backOf names the row that says when a failover was possible again.
func backOf(t scenario.Trial) string {
	if t.Stall {
		return t.Name + ", old primary back"
	}
	return t.Name
}

func (m *measurement) add(what string, a cluster.Agents, r bench.Run) {
	if m.series[what] == nil {
		m.series[what] = map[cluster.Agents]bench.Series{}
	}
	m.series[what][a] = append(m.series[what][a], r)
}

// look notes what the figures hold under, from a lab itself.
func (m *measurement) look(ctx context.Context, lab *cluster.Cluster, a cluster.Agents) error {
	if m.configurations[a] != nil {
		return nil
	}
	n := lab.NodeNames()[0]
	text, err := lab.Must(ctx, n, "cibadmin", "--query", "--scope", "configuration")
	if err != nil {
		return err
	}
	if m.configurations[a], err = bench.ReadConfiguration(text); err != nil {
		return err
	}
	c := bench.Conditions{Processors: runtime.NumCPU(), Disk: "tmpfs", FencingDelay: m.configurations[a].FencingDelay()}
	if m.options.OnDisk {
		c.Disk = "loop"
	}
	for _, q := range []struct {
		into   *string
		script string
	}{
		{&c.Token, "corosync-cmapctl -g runtime.config.totem.token | sed 's/.* = //'"},
		{&c.Pacemaker, "pacemakerd --version | sed -n 's/^Pacemaker *//p'"},
	} {
		out, err := lab.Must(ctx, n, "sh", "-c", q.script)
		if err != nil {
			return err
		}
		*q.into = strings.TrimSpace(out)
	}
	if c.PostgreSQL, err = lab.SQL(ctx, n, "show server_version"); err != nil {
		return err
	}
	m.conditions = c
	return nil
}

func (m *measurement) report() bench.Report {
	ours, reference := m.configurations[cluster.Ours], m.configurations[cluster.Reference]
	r := bench.Report{Conditions: m.conditions, OnlyReference: reference.Except(ours), OnlyOurs: ours.Except(reference)}
	row := func(what string) {
		r.Rows = append(r.Rows, bench.Row{Fault: what, Reference: m.series[what][cluster.Reference], Ours: m.series[what][cluster.Ours]})
	}
	for _, t := range m.trials {
		if t.Stall {
			row(t.Name)
		}
		if t.Back {
			row(backOf(t))
		}
	}
	return r
}

// lost is an error when our agents lost a row: no time is worth that.
func (m *measurement) lost() error {
	n := 0
	for _, t := range m.trials {
		n += m.series[t.Name][cluster.Ours].Lost()
	}
	if n > 0 {
		return fmt.Errorf("our agents lost %d acknowledged rows", n)
	}
	return nil
}
