package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"pgrex/tests/lab/host"
	"pgrex/tests/lab/site"
)

const description = `A node is a set of namespaces over this machine's own files, with real corosync,
Pacemaker and PostgreSQL, four LANs and a BMC that speaks IPMI. Needs root.

   lab up                          a pair with our agents (bin/pgsql); about 15 s
   lab up --agents=reference       with ocf:heartbeat:pgsql
   lab up --nodes=3 --disk=loop    three nodes whose disks forget what was not synced
   lab up --set MONITOR=5s         another value of docs/examples/pgrex.pcs
   lab status                      machines, roles, addresses, failures
   lab exec n1 pcs status          any program on a node; its exit status is ours
   lab shell n1                    a shell on a node
   lab logs                        copy all logs of all nodes to a directory
   lab update                      put the agents of bin/ onto the running nodes
   lab write --log=/tmp/j          write through the VIP until ^C, then check
   lab fault kill-postmaster n1    break something (lab help fault lists what)
   lab power n1 off                without its BMC; "on" boots it
   lab stop n1, lab start n1       the cluster's daemons on a node
   lab down                        all gone

   lab list                        the scenarios
   lab run -v postmaster-killed    play one; --keep leaves it for you to look at
   lab suite                       play those of make test
   lab matrix ROOT ROOT            play all on several releases of Debian
   lab race --times 50             two living nodes lose each other: who dies?
   lab bench                       measure faults, ours beside the reference
   lab chaos --seed 7 -v           faults by a seed, with checks; --print 20 shows them
   lab order                       measure in Azure what may begin beside promotion

On a node: Pacemaker's log with milliseconds is /var/log/pacemaker/pacemaker.log (the
agents' lines are in it too), PostgreSQL's is /var/log/postgresql/postgresql.log, data is
in /dbfp/pgdata/data, the agent's tmpdir is /var/lib/pgsql/tmp. Clients' addresses:
192.168.0.10 (write), 192.168.0.20 (read). Several labs run side by side: --name, or
LAB=name in the environment. Logs of failures are kept below LAB_LOGS, by default
/tmp/pgrex-lab-logs.`

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
		Name:           "lab",
		Usage:          "a PG-REX cluster of real parts on one machine",
		Description:    description,
		ExitErrHandler: func(*cli.Context, error) {},
		Commands: append([]*cli.Command{
			upCommand(),
			downCommand(),
			statusCommand(),
			execCommand(),
			shellCommand(),
			logsCommand(),
			updateCommand(),
			powerCommand(),
			daemonsCommand("start", "start corosync and Pacemaker on a node"),
			daemonsCommand("stop", "stop them, resources first"),
			faultCommand(),
			writeCommand(),
			checkCommand(),
			demoCommand(),
			runCommand(),
			suiteCommand(),
			matrixCommand(),
			raceCommand(),
			listCommand(),
			costCommand(),
			benchCommand(),
			chaosCommand(),
			orderCommand(),
		}, hiddenCommands()...),
	}
}

func nameFlag() cli.Flag {
	return &cli.StringFlag{Name: "name", Value: "lab", EnvVars: []string{"LAB"}, Usage: "which lab"}
}

// cut splits NAME=VALUE.
func cut(s string) (string, string, bool) {
	k, v, ok := strings.Cut(s, "=")
	return k, v, ok && k != ""
}

func downCommand() *cli.Command {
	return &cli.Command{
		Name: "down", Usage: "take the lab down", Flags: []cli.Flag{nameFlag(), &cli.BoolFlag{Name: "all", Usage: "all labs"}},
		Action: func(c *cli.Context) error {
			if err := host.NeedRoot(); err != nil {
				return err
			}
			if !c.Bool("all") {
				return site.Demolish(c.Context, c.String("name"))
			}
			var errs []error
			for _, n := range site.Names() {
				errs = append(errs, site.Demolish(c.Context, n))
			}
			return errors.Join(errs...)
		},
	}
}

func execCommand() *cli.Command {
	return &cli.Command{
		Name: "exec", Usage: "run a program on a node", ArgsUsage: "NODE PROGRAM [ARG ...]", Flags: []cli.Flag{nameFlag()},
		Action: func(c *cli.Context) error {
			cl, err := open(c)
			if err != nil {
				return err
			}
			if c.NArg() < 2 {
				return errors.New("usage: lab exec NODE PROGRAM [ARG ...]")
			}
			res, err := cl.Exec(c.Context, c.Args().First(), c.Args().Tail()...)
			_, _ = os.Stdout.Write(res.Stdout)
			_, _ = os.Stderr.Write(res.Stderr)
			if err == nil && res.ExitCode != 0 {
				err = exitError(res.ExitCode)
			}
			return err
		},
	}
}

func shellCommand() *cli.Command {
	return &cli.Command{
		Name: "shell", Usage: "a shell on a node", ArgsUsage: "NODE", Flags: []cli.Flag{nameFlag()},
		Action: func(c *cli.Context) error {
			cl, err := open(c)
			if err != nil {
				return err
			}
			enter, err := cl.Enter(c.Context, c.Args().First())
			if err != nil {
				return err
			}
			// It gets our terminal, and becomes us.
			return host.Become(append(enter, "bash"), append(os.Environ(), "PS1="+c.Args().First()+":\\w# "))
		},
	}
}

func logsCommand() *cli.Command {
	return &cli.Command{
		Name: "logs", Usage: "copy the logs of all nodes to a new directory", Flags: []cli.Flag{nameFlag()},
		Action: func(c *cli.Context) error {
			cl, err := open(c)
			if err != nil {
				return err
			}
			dir, err := cl.KeepLogs(cl.Name)
			fmt.Println(dir)
			return err
		},
	}
}

func updateCommand() *cli.Command {
	return &cli.Command{
		Name: "update", Usage: "put newly built agents onto the running nodes", Flags: []cli.Flag{nameFlag(),
			&cli.StringFlag{Name: "bin", Usage: "directory of our built agents (default: where lab itself is)"}},
		Action: func(c *cli.Context) error {
			cl, err := open(c)
			if err != nil {
				return err
			}
			bin, err := binDir(c)
			if err != nil {
				return err
			}
			return cl.UpdateAgents(c.Context, bin)
		},
	}
}

func powerCommand() *cli.Command {
	return &cli.Command{
		Name: "power", Usage: "switch a node on or off, past its BMC", ArgsUsage: "NODE on|off", Flags: []cli.Flag{nameFlag()},
		Action: func(c *cli.Context) error {
			cl, err := open(c)
			if err != nil {
				return err
			}
			to := c.Args().Get(1)
			if to != "on" && to != "off" {
				return errors.New("usage: lab power NODE on|off")
			}
			return cl.Power(c.Context, c.Args().First(), to == "on")
		},
	}
}

func daemonsCommand(verb, usage string) *cli.Command {
	return &cli.Command{
		Name: verb, Usage: usage, ArgsUsage: "NODE", Flags: []cli.Flag{nameFlag()},
		Action: func(c *cli.Context) error {
			cl, err := open(c)
			if err != nil {
				return err
			}
			if verb == "start" {
				return cl.StartNode(c.Context, c.Args().First())
			}
			return cl.StopNode(c.Context, c.Args().First())
		},
	}
}
