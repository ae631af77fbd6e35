package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"pgrex/tests/lab/scenario"
)

func matrixCommand() *cli.Command {
	return &cli.Command{
		Name: "matrix", Usage: "play every scenario on several releases of Debian, with a table at the end", ArgsUsage: "ROOT ...",
		Description: "ROOT is a root file system of tests/debian/root.sh. No budget is looked at. The table comes after an interruption too.",
		Flags: append(playFlags(),
			&cli.StringFlag{Name: "only", Usage: "these scenarios instead of all, with commas between them"},
			&cli.IntFlag{Name: "jobs", Value: 1, Usage: "so many labs play side by side, each what is next; their times suffer when they have to share processors"}),
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
	jobs, roots := c.Int("jobs"), c.Args().Slice()
	switch {
	case jobs < 1:
		return fmt.Errorf("--jobs %d: at least one lab plays", jobs)
	case c.Bool("keep") && (jobs > 1 || len(roots) > 1):
		return errors.New("--keep leaves one lab: name one release, and leave --jobs at 1")
	}
	o, err := options(c)
	if err != nil {
		return err
	}
	if !c.IsSet("name") {
		o.Name = fmt.Sprintf("run%d", os.Getpid()) // several may run side by side
	}
	var releases []string
	queues := map[string]*scenario.Queue{}
	for _, root := range roots {
		// Now, not when hours have gone into another one.
		if _, err := os.Stat(root + "/etc/os-release"); err != nil {
			return fmt.Errorf("%s is no root file system: %w", root, err)
		}
		release := scenario.Release(root)
		if queues[release] != nil {
			return fmt.Errorf("%s is %s too: its results would be in place of the other's", root, release)
		}
		releases, queues[release] = append(releases, release), scenario.NewQueue(list)
	}
	m, begin := scenario.NewMatrix(releases, list), time.Now()
	var wg sync.WaitGroup
	var mu sync.Mutex
	for job := range jobs {
		wg.Go(func() {
			for i, release := range releases {
				r := &scenario.Runner{Options: o, Out: c.App.Writer, Verbose: c.Bool("v"), Keep: c.Bool("keep"),
					Each: func(res scenario.Result) { m.Add(release, res) }}
				r.Options.Lower = roots[i]
				if jobs > 1 {
					r.Options.Name = fmt.Sprintf("%s-%d", o.Name, job+1)
					r.Out = &tagged{mu: &mu, out: c.App.Writer, tag: fmt.Sprintf("%s/%d ", release, job+1)}
				} else {
					_, _ = fmt.Fprintf(r.Out, "=== %s\n", release)
				}
				r.PlayFrom(c.Context, queues[release])
			}
		})
	}
	wg.Wait()
	_, _ = fmt.Fprintf(c.App.Writer, "took %.0fs\n", time.Since(begin).Seconds())
	return errors.Join(m.Table(c.App.Writer), m.Err(), c.Context.Err())
}

// tagged says of each line which of several labs it is about. Whoever writes to it
// writes whole lines.
type tagged struct {
	mu  *sync.Mutex
	out io.Writer
	tag string
}

func (t *tagged) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for line := range strings.Lines(string(p)) {
		if _, err := io.WriteString(t.out, t.tag+line); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}
