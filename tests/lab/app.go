package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"pgrex/tests/lab/site"
)

// exitError carries the exit status of a program run on a node.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

func exitCode(err error) int {
	var e exitError
	if errors.As(err, &e) {
		return int(e)
	}
	return 1
}

func application() *cli.App {
	return &cli.App{
		Name:            "lab",
		Usage:           "a PG-REX cluster of real parts on one machine",
		HideHelpCommand: false,
		ExitErrHandler:  func(*cli.Context, error) {},
		Commands: append([]*cli.Command{
			upCommand(),
			statusCommand(),
			faultCommand(),
			writeCommand(),
			checkCommand(),
			runCommand(),
			suiteCommand(),
			listCommand(),
			{Name: "down", Usage: "take the lab down", Flags: []cli.Flag{nameFlag()}, Action: func(c *cli.Context) error {
				return site.Demolish(c.Context, c.String("name"))
			}},
			{Name: "exec", Usage: "run a program on a node", ArgsUsage: "NODE PROGRAM [ARG ...]", Flags: []cli.Flag{nameFlag()},
				Action: func(c *cli.Context) error {
					s, err := site.Open(c.String("name"))
					if err != nil {
						return err
					}
					res, err := s.Exec(c.Context, c.Args().First(), c.Args().Tail()...)
					_, _ = os.Stdout.Write(res.Stdout)
					_, _ = os.Stderr.Write(res.Stderr)
					if err == nil && res.ExitCode != 0 {
						err = exitError(res.ExitCode)
					}
					return err
				}},
			{Name: "power", Flags: []cli.Flag{nameFlag()}, Action: func(c *cli.Context) error {
				s, err := site.Open(c.String("name"))
				if err != nil {
					return err
				}
				return s.Power(c.Context, c.Args().Get(0), c.Args().Get(1) == "on")
			}},
		}, hiddenCommands()...),
	}
}

// cut splits NAME=VALUE.
func cut(s string) (string, string, bool) {
	k, v, ok := strings.Cut(s, "=")
	return k, v, ok && k != ""
}

func nameFlag() cli.Flag {
	return &cli.StringFlag{Name: "name", Value: "lab", EnvVars: []string{"LAB"}, Usage: "which lab"}
}
