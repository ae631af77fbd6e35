package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

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
			&cli.StringFlag{Name: "tuned", Value: "some", Usage: "none, some or all: which faults are also played with both sides tuned"},
			&cli.StringFlag{Name: "sides", Usage: "some only, separated by commas: reference, ours, reference tuned, ours tuned"},
			&cli.BoolFlag{Name: "no-floor", Usage: "do not measure the floor"},
			&cli.BoolFlag{Name: "json", Usage: "for machines; what happens is on standard error either way"},
			&cli.StringFlag{Name: "svg", Usage: "write a picture of the timelines to this `FILE`"},
			&cli.StringFlag{Name: "save", Usage: "keep the results in this `FILE` after every run (default: below the directory of the logs)"},
			&cli.StringFlag{Name: "from", Usage: "measure nothing: print what was saved in this `FILE`"},
			&cli.BoolFlag{Name: "v", Usage: "tell what happens in each run"},
		),
		Action: func(c *cli.Context) error {
			if f := c.String("from"); f != "" {
				r, err := readReport(f)
				if err != nil {
					return err
				}
				return output(c, r)
			}
			m, err := newMeasurement(c)
			if err != nil {
				return err
			}
			m.announce()
			err = m.run(c.Context, c.Int("runs"))
			// What was measured until somebody ended it is worth printing too.
			return errors.Join(err, output(c, m.report()), m.lost())
		},
	}
}

func newMeasurement(c *cli.Context) (*measurement, error) {
	for _, f := range []string{"agents", "nodes", "profile", "second-bmc"} {
		if c.IsSet(f) {
			return nil, fmt.Errorf("bench compares pairs on a LAN, with both agents: --%s has no place there", f)
		}
	}
	if c.Int("runs") < 1 {
		return nil, fmt.Errorf("--runs is %d: want 1 or more", c.Int("runs"))
	}
	trials, err := scenario.ParseTrials(c.String("faults"))
	if err != nil {
		return nil, err
	}
	o, err := options(c)
	if err != nil {
		return nil, err
	}
	if !c.IsSet("name") {
		o.Name = fmt.Sprintf("bench%d", os.Getpid())
	}
	m := &measurement{options: o, trials: trials, floor: !c.Bool("no-floor"), out: os.Stderr, verbose: c.Bool("v"), file: c.String("save"),
		series: map[string]map[string]bench.Series{}, configurations: map[string]bench.Configuration{}}
	if m.sides, err = sides(c.String("tuned"), c.String("sides"), trials); err != nil {
		return nil, err
	}
	if m.file == "" {
		m.file = filepath.Join(cluster.LogsDir(), o.Name+".json")
	}
	m.conditions = bench.Conditions{Runs: c.Int("runs"), Processors: runtime.NumCPU()}
	return m, os.MkdirAll(filepath.Dir(m.file), 0o755)
}

// output writes the report the way that was asked for.
func output(c *cli.Context, r bench.Report) error {
	var err error
	if f := c.String("svg"); f != "" {
		err = writeFile(f, r.WriteSVG)
	}
	if c.Bool("json") {
		return errors.Join(err, r.WriteJSON(os.Stdout))
	}
	return errors.Join(err, r.Print(os.Stdout))
}

func readReport(path string) (bench.Report, error) {
	f, err := os.Open(path)
	if err != nil {
		return bench.Report{}, err
	}
	defer f.Close()
	return bench.ReadJSON(f)
}

// writeFile replaces a file once everything is written.
func writeFile(path string, write func(io.Writer) error) error {
	f, err := os.Create(path + ".new")
	if err != nil {
		return err
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// measurement is one run of bench.
type measurement struct {
	options cluster.Options
	trials  []scenario.Trial
	sides   []side
	floor   bool
	out     io.Writer
	verbose bool
	file    string // for the results so far

	series         map[string]map[string]bench.Series // by row and side
	floors         bench.Floor
	configurations map[string]bench.Configuration // by side
	conditions     bench.Conditions
}

// announce says how long it will take.
func (m *measurement) announce() {
	_, _ = fmt.Fprintf(m.out, "%d faults, %d sides, %d runs: at most about %.0f minutes; results so far in %s\n",
		len(m.trials), len(m.sides), m.conditions.Runs, m.planned().Minutes()*float64(m.conditions.Runs), m.file)
}

// planned is about what one run with all sides takes.
func (m *measurement) planned() time.Duration {
	whole := time.Duration(0)
	for _, s := range m.sides {
		whole += s.duration(m.floor)
	}
	return whole
}

// run plays all trials with the reference, then with ours, and again: what
// changes on the machine meanwhile changes for both.
func (m *measurement) run(ctx context.Context, runs int) error {
	begin, done := time.Now(), time.Duration(0)
	for i := range runs {
		for _, s := range m.sides {
			if err := m.round(ctx, s, fmt.Sprintf("%d/%d %s", i+1, runs, s.name)); err != nil {
				return err
			}
			done += s.duration(m.floor)
			left := float64(time.Duration(runs)*m.planned()-done) / float64(done) * time.Since(begin).Minutes()
			_, _ = fmt.Fprintf(m.out, "%d/%d %s is done after %.1f minutes; about %.0f are left\n", i+1, runs, s.name, time.Since(begin).Minutes(), left)
		}
	}
	return nil
}

// round plays all trials of a side once, in a new lab. Nothing but the end of ctx
// is an error: a trial that fails has no time, and the next one gets a new lab.
func (m *measurement) round(ctx context.Context, s side, name string) error {
	o := m.options
	o.Agents = s.agents
	o.Variables = s.variables(m.options.Variables)
	r := &scenario.Runner{Options: o, Out: m.out, Verbose: m.verbose, Healthy: func(ctx context.Context, lab *cluster.Cluster) error {
		return m.look(ctx, lab, s.name)
	}}
	defer r.Drop()
	sick := 0 // labs, one after the other
	for _, t := range s.trials {
		if m.hopeless(t, s.name) {
			_, _ = fmt.Fprintf(m.out, "%s %s: not played again, it was waited for in vain %d times\n", name, t.Name, inVain)
			continue
		}
		if sick == noLabs {
			m.note(t, s.name, name, scenario.Result{Err: errors.New("not played: there was no healthy lab several times")})
			continue
		}
		res := r.Measure(ctx, t)
		if sick++; res.Begun {
			sick = 0
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		m.note(t, s.name, name, res)
		m.keep()
	}
	if m.floor && s.floor {
		return m.measureFloor(ctx, r, name)
	}
	return nil
}

// noLabs is how often in a row a lab is tried to be made in a round.
const noLabs = 2

// inVain is how often a fault is waited out that a side does not bear.
const inVain = 2

// hopeless says whether the first runs of a trial were all waited for in vain:
// minutes of it say no more.
func (m *measurement) hopeless(t scenario.Trial, side string) bool {
	runs := m.series[t.Row(t.Measures[0])][side]
	for _, r := range runs {
		if r.AtLeast < scenario.TrialLimit {
			return false
		}
	}
	return len(runs) >= inVain
}

// note adds a result to its rows.
func (m *measurement) note(t scenario.Trial, side, name string, res scenario.Result) {
	failure := ""
	if res.Err != nil {
		failure = strings.ReplaceAll(res.Err.Error(), "\n", "; ")
		_, _ = fmt.Fprintf(m.out, "%s %s (%.0f s): no time: %s (logs: %s)\n", name, t.Name, res.Took.Seconds(), failure, res.Logs)
	} else {
		var times []string
		for _, x := range t.Measures {
			times = append(times, fmt.Sprintf("%s %.3f s", x, res.Time(x).Seconds()))
		}
		_, _ = fmt.Fprintf(m.out, "%s %s (%.0f s): %s, lost %d\n", name, t.Name, res.Took.Seconds(), strings.Join(times, ", "), res.Lost)
	}
	for _, x := range t.Measures {
		run := bench.Run{Time: res.Time(x), Lost: res.Lost, Failure: failure}
		switch {
		case res.Err != nil && x != scenario.Redundant:
			run.AtLeast = res.Vain
		case res.Err == nil && run.Time == 0:
			run.Failure, run.AtLeast = "not by itself", t.Waited(x)
		}
		if (x == scenario.Gap || x == scenario.Served) && res.Err == nil {
			run.Marks = res.Marks()
		}
		row := t.Row(x)
		if m.series[row] == nil {
			m.series[row] = map[string]bench.Series{}
		}
		m.series[row][side] = append(m.series[row][side], run)
	}
}

// measureFloor measures what nobody can go below, in the lab of the last trial.
func (m *measurement) measureFloor(ctx context.Context, r *scenario.Runner, name string) error {
	f, err := r.Floor(ctx)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	move, promotion := bench.Run{Time: f.Move}, bench.Run{Time: f.Promotion}
	if err != nil {
		move.Failure = strings.ReplaceAll(err.Error(), "\n", "; ")
		promotion.Failure = move.Failure
		_, _ = fmt.Fprintf(m.out, "%s floor: no time: %s\n", name, move.Failure)
	} else {
		_, _ = fmt.Fprintf(m.out, "%s floor: an agent that does nothing %.3f s, bare promotion %.3f s\n", name, f.Move.Seconds(), f.Promotion.Seconds())
	}
	m.floors.Move, m.floors.Promotion = append(m.floors.Move, move), append(m.floors.Promotion, promotion)
	m.keep()
	return nil
}

// keep writes the results so far. That it cannot is no reason to lose them all.
func (m *measurement) keep() {
	if err := writeFile(m.file, m.report().WriteJSON); err != nil {
		_, _ = fmt.Fprintf(m.out, "cannot keep the results so far: %v\n", err)
	}
}

// look notes what the figures hold under, from a lab itself.
func (m *measurement) look(ctx context.Context, lab *cluster.Cluster, side string) error {
	if m.configurations[side] != nil {
		return nil
	}
	n := lab.NodeNames()[0]
	text, err := lab.Must(ctx, n, "cibadmin", "--query", "--scope", "configuration")
	if err != nil {
		return err
	}
	configuration, err := bench.ReadConfiguration(text)
	if err != nil {
		return err
	}
	c := bench.Conditions{Runs: m.conditions.Runs, Processors: m.conditions.Processors, Disk: "tmpfs"}
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
	m.conditions, m.configurations[side] = c, configuration
	return nil
}

func (m *measurement) report() bench.Report {
	r := bench.Report{Conditions: m.conditions, Floor: m.floors}
	for _, s := range m.sides {
		mine := m.configurations[s.name]
		x := bench.Side{Name: s.name, Beside: s.beside, FencingDelay: "not known: there was no cluster"}
		if mine != nil {
			x.FencingDelay = mine.FencingDelay()
		}
		if beside := m.configurations[s.beside]; beside != nil && mine != nil {
			x.Only, x.Missing = mine.Except(beside), beside.Except(mine)
		}
		r.Sides = append(r.Sides, x)
	}
	for _, t := range m.trials {
		for _, x := range t.Measures {
			if row := t.Row(x); m.series[row] != nil {
				out := bench.Row{Fault: row, Above: t.Floor, Sides: m.series[row]}
				if x == t.Measures[0] {
					out.Target = t.Target
				}
				r.Rows = append(r.Rows, out)
			}
		}
	}
	return r
}

// lost is an error when our agents lost a row: no time is worth that.
func (m *measurement) lost() error {
	n := 0
	for _, s := range m.sides {
		for _, t := range m.trials {
			if s.agents == cluster.Ours {
				n += m.series[t.Name][s.name].Lost()
			}
		}
	}
	if n > 0 {
		return fmt.Errorf("our agents lost %d acknowledged rows", n)
	}
	return nil
}
