package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"pgrex/tests/lab/scenario"
)

// raceRounds is how many cuts are one scenario: the data are checked after each.
const raceRounds = 8

func raceCommand() *cli.Command {
	return &cli.Command{
		Name: "race", Usage: "let two living nodes lose each other, again and again, and count who dies",
		Description: "With --set FENCING_DELAY=0s --count both may die: that is what the delay is for.",
		Flags: append(playFlags(),
			&cli.IntFlag{Name: "times", Value: raceRounds, Usage: "how many cuts"},
			&cli.BoolFlag{Name: "count", Usage: "go on when both died, or the primary"},
		),
		Action: func(c *cli.Context) error {
			var races []*scenario.Race
			var list []scenario.Scenario
			for left := c.Int("times"); left > 0; left -= raceRounds {
				x := &scenario.Race{Rounds: min(left, raceRounds), Azure: c.String("profile") == "azure", Lenient: c.Bool("count")}
				races, list = append(races, x), append(list, x.Scenario())
			}
			err := play(c, &scenario.Runner{}, list)
			var all scenario.Race
			for _, x := range races {
				all.Log = append(all.Log, x.Log...)
			}
			fmt.Print(all.Summary())
			return err
		},
	}
}
