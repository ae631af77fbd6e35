package scenario

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"pgrex/docs"
	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/guide"
	"pgrex/tests/lab/network"
	"pgrex/tests/lab/writer"
)

// typed is what the reader of a guide types where a password is asked for.
const typed = "secret-of-hacluster"

// reader follows guides, block by block.
type reader struct {
	*Run
	// as is the scenario whose blocks are run.
	as string
	// only is the one machine that is worked on, "" for all that a block names.
	only string
	// values are what it puts in for the page's own.
	values guide.Values
	// around has what is to be shown before and after the blocks with a tag.
	around map[string]around

	ran   map[string]bool // "page tag"
	lines map[string]bool // the same by where the blocks begin
	found map[string]bool // values that were needed
}

type around struct {
	before func(ctx context.Context) error
	after  func(ctx context.Context, said string) error
}

func (r *Run) reader(values guide.Values) *reader {
	return &reader{Run: r, as: r.scenario.Name, values: values, around: map[string]around{}, ran: map[string]bool{}, lines: map[string]bool{}, found: map[string]bool{}}
}

// page gives the blocks of a page.
func page(name string) ([]guide.Block, error) {
	text, err := docs.File(name)
	if err != nil {
		return nil, err
	}
	return guide.Parse(name, string(text))
}

// follow runs the blocks of a page that its scenario has to run, in the page's
// order, until after the last block with a tag, "" for all.
func (g *reader) follow(ctx context.Context, name, last string) error {
	blocks, err := page(name)
	if err != nil {
		return err
	}
	claimed := guide.Claimed(g.as)
	for i, b := range blocks {
		if !claimed[b.Page+" "+b.Tag] || g.lines[fmt.Sprint(b.Page, b.Line)] || b.Tag == needsTag {
			continue
		}
		if err := g.run(ctx, b); err != nil {
			return err
		}
		if last == b.Tag && (i+1 == len(blocks) || blocks[i+1].Tag != last) {
			return nil
		}
	}
	if last != "" {
		return fmt.Errorf("%s has no block %s for scenario %s", name, last, g.as)
	}
	return nil
}

// borrow runs blocks of a page that another scenario claims, in the page's order.
func (g *reader) borrow(ctx context.Context, name string, tags ...string) error {
	blocks, err := page(name)
	if err != nil {
		return err
	}
	for _, b := range blocks {
		if contains(tags, b.Tag) {
			if err := g.run(ctx, b); err != nil {
				return err
			}
		}
	}
	return nil
}

// run runs one block where it says, and what is to be shown around it.
func (g *reader) run(ctx context.Context, b guide.Block) error {
	what := fmt.Sprintf("%s:%d (%s)", b.Page, b.Line, b.Tag)
	text, found := g.values.Fill(b.Text)
	for _, v := range found {
		g.found[v] = true
	}
	a := g.around[b.Tag]
	if a.before != nil {
		if err := a.before(ctx); err != nil {
			return fmt.Errorf("before %s: %w", what, err)
		}
	}
	where := b.Where
	where.Node, _ = g.values.Fill(where.Node)
	nodes := []string{where.Node}
	if where.Node == guide.Each {
		nodes = g.NodeNames()
	}
	if g.only != "" {
		nodes = []string{g.only}
	}
	var said strings.Builder
	for _, n := range nodes {
		g.Log("%s on %s, as %s", what, n, where.User)
		out, err := g.typed(ctx, n, where.User, text)
		said.WriteString(out)
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	g.ran[b.Page+" "+b.Tag], g.lines[fmt.Sprint(b.Page, b.Line)] = true, true
	if a.after != nil {
		if err := a.after(ctx, said.String()); err != nil {
			return fmt.Errorf("after %s: %w; it said: %s", what, err, said.String())
		}
	}
	return nil
}

// typed runs a script as somebody who is logged in.
func (g *reader) typed(ctx context.Context, node, user, script string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, 4*time.Minute)
	defer cancel()
	res, err := g.ExecInput(ctx, node, strings.Repeat(typed+"\n", 2),
		"runuser", "--login", user, "--shell=/bin/sh", "--command", "set -e\n"+script)
	said := string(res.Stdout) + string(res.Stderr)
	if err == nil && res.ExitCode != 0 {
		if len(said) > 2000 {
			said = said[len(said)-2000:]
		}
		err = fmt.Errorf("exit status %d on %s: %s", res.ExitCode, node, said)
	}
	return said, err
}

// done shows that everything was run that the list promises, and that the page
// still has all values that a reader was thought to have to change.
func (g *reader) done() error {
	var bad []string
	for id := range guide.Claimed(g.as) {
		if !g.ran[id] {
			bad = append(bad, id+" was not run")
		}
	}
	for v := range g.values {
		if !g.found[v] {
			bad = append(bad, fmt.Sprintf("no block has %q, for which there is a value", v))
		}
	}
	sort.Strings(bad)
	if len(bad) > 0 {
		return errors.New(strings.Join(bad, "; "))
	}
	return nil
}

// clients makes the role and the database by which the lab writes.
func (r *Run) clients(ctx context.Context) error {
	p, _, err := r.Roles(ctx)
	if err != nil {
		return err
	}
	for _, sql := range []string{
		fmt.Sprintf("create role %s login password '%s'", cluster.AppUser, cluster.AppPassword),
		fmt.Sprintf("create database %s owner %s", cluster.AppDB, cluster.AppUser),
	} {
		if _, err := r.SQL(ctx, p, sql); err != nil {
			return err
		}
	}
	return prepare(ctx, r.Target(network.VIPPrimary))
}

// write begins writing through the virtual address.
func (r *Run) write(ctx context.Context) (err error) {
	r.W, err = writer.Start(ctx, writer.Config{Target: r.Target(network.VIPPrimary), First: writer.Numbers(time.Now()),
		Log: filepath.Join(r.journals, "writer")})
	if err != nil {
		return err
	}
	return r.steady(ctx)
}
