package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"pgrex/tests/lab/bmc"
	"pgrex/tests/lab/node"
	"pgrex/tests/lab/site"
)

// hiddenCommands are what the lab runs itself: a node's first process, the
// lab's daemon, and the control program of the BMC simulators.
func hiddenCommands() []*cli.Command {
	return []*cli.Command{
		{Name: "_init", Hidden: true, Action: func(*cli.Context) error { return node.Init() }},
		{Name: "_daemon", Hidden: true, Action: func(c *cli.Context) error {
			var p site.Plan
			if err := json.Unmarshal([]byte(c.Args().First()), &p); err != nil {
				return err
			}
			return site.Serve(c.Context, p, fmt.Sprintf("/proc/%d/exe", os.Getpid()), site.Logger(os.Stderr))
		}},
		{Name: "_chassis", Hidden: true, SkipFlagParsing: true, Action: func(c *cli.Context) error {
			args := c.Args().Slice()
			if len(args) < 3 {
				return fmt.Errorf("usage: lab _chassis LAB NODE get|set WHAT [VALUE]")
			}
			s, err := site.Open(args[0])
			if err != nil {
				return err
			}
			out, err := bmc.Control(site.PowerSwitch{Site: s, Node: args[1], Ctx: c.Context}, args[2:])
			if out != "" {
				fmt.Println(out)
			}
			return err
		}},
	}
}
