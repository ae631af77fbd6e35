package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"pgrex/tests/lab/chaos"
	"pgrex/tests/lab/chaos/planted"
	"pgrex/tests/lab/cluster"
)

// hunt looks for planted bugs.
type hunt struct {
	source  string // tree that agents are built from
	options cluster.Options
	verbose bool
	keep    bool
	clean   map[string]trial // by what was played
}

// trial is one cluster that was played with.
type trial struct {
	rounds int // that were begun
	missed int // faults that found nothing to break
	took   time.Duration
	err    error // what a check or the lab said, nil for nothing
}

// passed says whether all faults happened and no check failed: a round whose fault
// did not happen shows nothing.
func (t trial) passed() bool { return t.err == nil && t.missed == 0 }

// findPlanted plants bugs, plays the rounds that must bring each out, and plays the
// same rounds with agents that have none: what they find must be the bug's doing.
func findPlanted(c *cli.Context, o cluster.Options) error {
	bugs, err := planted.Find(c.String("planted"))
	if err != nil {
		return err
	}
	h := &hunt{source: c.String("source"), options: o, verbose: c.Bool("v"), keep: c.Bool("keep"), clean: map[string]trial{}}
	var table strings.Builder
	var failed []string
	for _, b := range bugs {
		with, without, err := h.both(c.Context, b)
		if err != nil {
			return fmt.Errorf("planted bug %s: %w", b.Name, err)
		}
		if !b.Found(with.err) || !without.passed() {
			failed = append(failed, b.Name)
		}
		text := line(b, with, without)
		table.WriteString(text)
		fmt.Print(text)
	}
	fmt.Printf("\nplanted bugs:\n%s", table.String())
	if len(failed) > 0 {
		return fmt.Errorf("not found, or found without being there: %s", strings.Join(failed, " "))
	}
	return nil
}

// both plays with the bug, and then without it.
func (h *hunt) both(ctx context.Context, b planted.Bug) (with, without trial, err error) {
	if with, err = h.play(ctx, b); err != nil {
		return with, without, err
	}
	// Bugs of the same rounds share what clean agents make of them.
	b.Name, b.Changes = "none", nil
	what := fmt.Sprint(b.OnDisk, b.Rounds)
	without, known := h.clean[what]
	if !known {
		if without, err = h.play(ctx, b); err == nil {
			h.clean[what] = without
		}
	}
	return with, without, err
}

// play builds agents and a cluster and plays until a check fails or the rounds are
// over. Its error says that it could not.
func (h *hunt) play(ctx context.Context, b planted.Bug) (trial, error) {
	dir, err := os.MkdirTemp("", "pgrex-planted-")
	if err != nil {
		return trial{}, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := b.Build(ctx, h.source, dir); err != nil {
		return trial{}, err
	}
	o := h.options
	o.Bin, o.OnDisk, o.OwnWAL = dir, b.OnDisk, false
	r := &chaos.Run{Out: os.Stdout, Verbose: h.verbose, Plan: chaos.Plan{Shape: chaos.Shape{Nodes: o.Nodes, OnDisk: o.OnDisk}}}
	for i, text := range b.Rounds {
		round, err := chaos.ParseRound(i+1, text, chaos.Kinds())
		if err != nil {
			return trial{}, err
		}
		r.Script = append(r.Script, round)
	}
	fmt.Printf("planted bug: %s\n", b.Name)
	begin := time.Now()
	tally, err := playChaos(ctx, r, o, h.keep)
	return trial{rounds: r.Begun(), missed: tally.Missed, took: time.Since(begin), err: err}, ctx.Err()
}

// line is a bug's part of the table.
func line(b planted.Bug, with, without trial) string {
	var t strings.Builder
	fmt.Fprintf(&t, "%s: %s\n", b.Name, b.Text)
	switch {
	case b.Found(with.err):
		fmt.Fprintf(&t, "    found in %.0fs, in round %d: %s\n", with.took.Seconds(), with.rounds, firstViolation(with.err))
	case with.err == nil:
		fmt.Fprintf(&t, "    NOT found in %.0fs and %d rounds, %d of their faults missed\n", with.took.Seconds(), with.rounds, with.missed)
	default:
		fmt.Fprintf(&t, "    NOT found in %.0fs and %d rounds, but: %s\n", with.took.Seconds(), with.rounds, indent(with.err))
	}
	switch {
	case without.passed():
		fmt.Fprintf(&t, "    the same rounds without it: passed, %d rounds in %.0fs\n", without.rounds, without.took.Seconds())
	case without.err == nil:
		fmt.Fprintf(&t, "    the same rounds without it: SHOW NOTHING, %d of their faults missed\n", without.missed)
	default:
		fmt.Fprintf(&t, "    the same rounds without it: FAILED: %s\n", indent(without.err))
	}
	return t.String()
}

// firstViolation is the first thing that the checks said, without what follows in
// brackets: which rows they were.
func firstViolation(err error) string {
	for line := range strings.Lines(err.Error()) {
		if _, what, ok := strings.Cut(line, chaos.ErrViolation.Error()+": "); ok {
			what, _, _ = strings.Cut(what, " (")
			return strings.TrimSpace(what)
		}
	}
	return indent(err)
}

func indent(err error) string { return strings.ReplaceAll(err.Error(), "\n", "\n        ") }
