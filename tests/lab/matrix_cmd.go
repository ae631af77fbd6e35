package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"pgrex/tests/lab/scenario"
)

func matrixCommand() *cli.Command {
	return &cli.Command{
		Name: "matrix", Usage: "play every scenario on several releases of Debian, with a table at the end", ArgsUsage: "ROOT ...",
		Description: "ROOT is a root file system of tests/debian/root.sh. No budget is looked at. The table comes after an interruption too.",
		Flags: append(playFlags(),
			&cli.StringFlag{Name: "only", Usage: "these scenarios instead of all, with commas between them"}),
		Action: func(c *cli.Context) error {
			list, err := chosen(c.String("only"))
			if err != nil {
				return err
			}
			if c.NArg() == 0 {
				return errors.New("on which releases? name their root file systems, tests/debian/root.sh makes them")
			}
			return matrix(c, list)
		},
	}
}

// chosen are the scenarios with these names, "" for all.
func chosen(names string) ([]scenario.Scenario, error) {
	if names == "" {
		return scenario.All(), nil
	}
	return named(strings.Split(names, ","))
}

// matrix goes on with the next release when scenarios have failed on one.
func matrix(c *cli.Context, list []scenario.Scenario) error {
	var m scenario.Matrix
	var errs []error
	for _, root := range c.Args().Slice() {
		// Now, not when hours have gone into another one.
		if _, err := os.Stat(root + "/etc/os-release"); err != nil {
			return fmt.Errorf("%s is no root file system: %w", root, err)
		}
	}
	for _, root := range c.Args().Slice() {
		if c.Context.Err() != nil {
			break
		}
		release := scenario.Release(root)
		_, _ = fmt.Fprintf(c.App.Writer, "=== %s\n", release)
		r := &scenario.Runner{Each: func(res scenario.Result) { m.Add(release, res) }}
		if err := c.Set("root", root); err != nil {
			return err
		}
		if err := play(c, r, list); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", release, err))
		}
	}
	return errors.Join(append(errs, m.Table(c.App.Writer))...)
}
