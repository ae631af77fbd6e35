package main

import (
	_ "embed"
	"fmt"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"pgrex/tests/lab/scenario"
)

//go:embed scenarios.txt
var scenarioList string

func playFlags() []cli.Flag {
	return append(buildFlags(),
		&cli.BoolFlag{Name: "v", Usage: "tell what happens"},
		&cli.BoolFlag{Name: "keep", Usage: "leave the lab running: the last one, or that of the first failure"},
	)
}

func play(c *cli.Context, r *scenario.Runner, list []scenario.Scenario) error {
	o, err := options(c)
	if err != nil {
		return err
	}
	if !c.IsSet("name") {
		o.Name = fmt.Sprintf("run%d", os.Getpid()) // several may run side by side
	}
	r.Options, r.Out, r.Verbose, r.Keep = o, c.App.Writer, c.Bool("v"), c.Bool("keep")
	return r.Play(c.Context, list)
}

func runCommand() *cli.Command {
	return &cli.Command{
		Name: "run", Usage: "play scenarios, see lab list", ArgsUsage: "SCENARIO ...", Flags: playFlags(),
		Action: func(c *cli.Context) error {
			if c.NArg() == 0 {
				return fmt.Errorf("which scenario? lab list shows all")
			}
			list, err := named(c.Args().Slice())
			if err != nil {
				return err
			}
			return play(c, &scenario.Runner{}, list)
		},
	}
}

// named are the scenarios with these names.
func named(names []string) ([]scenario.Scenario, error) {
	var list []scenario.Scenario
	for _, name := range names {
		s, err := scenario.Find(name)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

func suiteCommand() *cli.Command {
	return &cli.Command{
		Name: "suite", Usage: "play all scenarios of make test", Flags: append(playFlags(),
			&cli.BoolFlag{Name: "full", Usage: "also those of make test-full"},
			&cli.BoolFlag{Name: "core", Usage: "only those that make test plays on two releases of Debian, with --root"},
			&cli.Int64Flag{Name: "began", Usage: "when make test began, in seconds of date +%s: its whole time is held against its budget (default: now)"}),
		Action: func(c *cli.Context) error {
			l, err := scenario.ParseList(scenarioList)
			if err != nil {
				return err
			}
			if err := l.Compare(scenario.All()); err != nil {
				return err
			}
			var list []scenario.Scenario
			for _, s := range scenario.All() {
				if l[s.Name] == scenario.InCore || !c.Bool("core") && (l[s.Name] == scenario.InTest || c.Bool("full")) {
					list = append(list, s)
				}
			}
			r := &scenario.Runner{}
			if r.Budget, err = scenario.ParseBudget(scenarioList); err != nil {
				return err
			}
			if !c.Bool("full") && !c.Bool("core") {
				r.Began = time.Now()
			}
			if c.IsSet("began") {
				r.Began = time.Unix(c.Int64("began"), 0)
			}
			return play(c, r, list)
		},
	}
}

func listCommand() *cli.Command {
	return &cli.Command{
		Name: "list", Usage: "list the scenarios",
		Action: func(*cli.Context) error {
			l, err := scenario.ParseList(scenarioList)
			if err != nil {
				return err
			}
			for _, s := range scenario.All() {
				fmt.Printf("%-32s %-5s %s\n", s.Name, l[s.Name], s.Text)
			}
			return nil
		},
	}
}
