// Package planted holds bugs that chaos must find: a cluster whose agents have one
// of them must fail a check. A check that lets them pass shows nothing.
//
// A bug is a change of a line or two of the product's source, made when the lab
// builds agents for itself with an overlay; the product has no switch for any of
// them. A test shows that each still applies.
package planted

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"pgrex/lib/proc"
	"pgrex/tests/lab/chaos"
)

// Bug is one of them.
type Bug struct {
	// Name and Text say what is wrong.
	Name, Text string
	// Changes are made to the source.
	Changes []Change
	// OnDisk says that it shows on a disk that forgets.
	OnDisk bool
	// Rounds are the faults that bring it out, one after the other until a check
	// fails.
	Rounds []string
	// Signs are parts of what the checks say about it, any of which will do.
	Signs []string
}

// Change replaces a text, which must occur once, in a file of the source.
type Change struct{ File, Old, New string }

// isolated cuts the primary off from the standby and from the management LAN, but
// not from clients, and lets it see at once that nobody streams: the standby fences
// it some seconds later.
const isolated = "cut:interconnect,replication,management both@primary/10s; end-walsender@primary+0.03s"

// Bugs lists all of them.
func Bugs() []Bug {
	return []Bug{
		{
			Name: "release-first",
			Text: "commits are released before the standby's right is withdrawn",
			Changes: []Change{{"lib/replication/standbys.go", "	if lost := o.lostRight(desired); len(lost) > 0 {\n",
				"	if !o.inForce(o.wanted(desired)) {\n		return again(Step{Kind: SetSync, Nodes: o.wanted(desired), Count: len(o.wanted(desired))})\n	}\n" +
					"	if lost := o.lostRight(desired); len(lost) > 0 {\n"}},
			Rounds: []string{isolated, isolated, isolated, isolated},
			Signs:  []string{"data is wrong", "timeline"},
		},
		{
			Name: "local-read-back",
			Text: "that the standby knows of the withdrawal is read from the primary's own copy",
			Changes: []Change{{"agents/pgsql/memory.go", "a.cluster.At(ctx, a.nodeName(node))",
				"a.cluster.At(ctx, a.nodeName(a.conf.self))"}},
			// It shows while the lost standby still counts as a member, and where the
			// primary is the one that writes the cluster's memory.
			Rounds: []string{isolated, isolated, isolated, isolated},
			Signs:  []string{"data is wrong", "timeline"},
		},
		{
			Name: "fencing-lies",
			Text: "the fence agent says that the node was fenced and does nothing",
			Changes: []Change{{"lib/stonith/action.go", "	return 0, a.reboot(ctx, state)\n",
				"	a.say(\"Success: Rebooted\")\n	return 0, nil\n"}},
			Rounds: []string{"cut:interconnect,replication both@standby/15s"},
			Signs:  []string{"data is wrong", "timeline", "two machines"},
		},
		{
			Name:    "no-fsync",
			Text:    "the record is written without fsync",
			OnDisk:  true,
			Changes: []Change{{"lib/pg/conffile.go", "	return f.Sync()\n", "	return nil\n"}, {"lib/pg/conffile.go", "	if err := d.Sync(); err != nil", "	if err := error(nil); err != nil"}},
			// Not in each: another process's fsync may take the file along before the
			// power goes.
			Rounds: []string{"record-durable@primary", "record-durable@primary", "record-durable@primary", "record-durable@primary"},
			Signs:  []string{"the record"},
		},
		{
			Name: "sync-state-is-proof",
			Text: "the right is granted as soon as sync_state is sync",
			Changes: []Change{{"agents/pgsql/round.go", "	how, err := a.asOwner().ConfirmCommitsWait(ctx)\n",
				"	if node != \"\" {\n		return nil\n	}\n	how, err := a.asOwner().ConfirmCommitsWait(ctx)\n"}},
			// The checkpointer is stopped while the standby is away: that the names are
			// set again does not reach the commits.
			Rounds: []string{"kill-postgres@standby; stop-checkpointer@primary/15s+4s; cleanup@primary+5s; cut:replication both@standby/15s+11s; power-off@primary/10s+12.5s"},
			Signs:  []string{"data is wrong"},
		},
		{
			Name: "lsn-as-text",
			Text: "LSNs are compared as text: 0/FFFFFFF passes for newer than 0/10000000",
			Changes: []Change{{"lib/replication/position.go", "			return other.LSN <= s.End\n", "			return other.LSN.String() <= s.End.String()\n"},
				{"lib/replication/position.go", "		return other.LSN <= p.LSN\n", "		return other.LSN.String() <= p.LSN.String()\n"}},
			Rounds: []string{"lsn-boundary@primary/10s"},
			Signs:  []string{"has diverged"},
		},
	}
}

// Find finds bugs by their names, separated by commas; "all" is all of them.
func Find(names string) ([]Bug, error) {
	all := Bugs()
	if names == "all" {
		return all, nil
	}
	var found []Bug
	for _, name := range strings.Split(names, ",") {
		i := slices.IndexFunc(all, func(b Bug) bool { return b.Name == name })
		if i < 0 {
			var known []string
			for _, b := range all {
				known = append(known, b.Name)
			}
			return nil, fmt.Errorf("no planted bug %q: use all or some of %s", name, strings.Join(known, ","))
		}
		found = append(found, all[i])
	}
	return found, nil
}

// Found says whether what a run ended with is the work of the checks, and by a sign
// of the bug.
func (b Bug) Found(err error) bool {
	return errors.Is(err, chaos.ErrViolation) &&
		slices.ContainsFunc(b.Signs, func(s string) bool { return strings.Contains(err.Error(), s) })
}

// Sources are the changed files of a source tree, by their paths in it.
func (b Bug) Sources(tree string) (map[string]string, error) {
	out := map[string]string{}
	for _, c := range b.Changes {
		text, ok := out[c.File]
		if !ok {
			t, err := os.ReadFile(filepath.Join(tree, c.File))
			if err != nil {
				return nil, fmt.Errorf("planted bug %s: %w", b.Name, err)
			}
			text = string(t)
		}
		if n := strings.Count(text, c.Old); n != 1 {
			return nil, fmt.Errorf("planted bug %s: %s has its line %d times, not once: plant it anew: %q", b.Name, c.File, n, c.Old)
		}
		out[c.File] = strings.Replace(text, c.Old, c.New, 1)
	}
	return out, nil
}

// tags are those that the product is built with.
const tags = "urfave_cli_no_docs,urfave_cli_no_suggest"

// Build builds all agents of a source tree with the bug into dir. The tree itself is
// left alone.
func (b Bug) Build(ctx context.Context, tree, dir string) error {
	for bin, pkg := range map[string]string{"pgsql": "agents/pgsql", "cloudip": "agents/cloudip", "fence_ipmi": "fence/ipmi", "fence_azure": "fence/azure"} {
		if err := b.compile(ctx, tree, dir, pkg, "-o", filepath.Join(dir, bin)); err != nil {
			return err
		}
	}
	return nil
}

// Check compiles the packages that the bug changes.
func (b Bug) Check(ctx context.Context, tree, dir string) error {
	for _, c := range b.Changes {
		if err := b.compile(ctx, tree, dir, filepath.Dir(c.File), "-o", os.DevNull); err != nil {
			return err
		}
	}
	return nil
}

// compile builds a package of the tree with the changed files laid over it.
func (b Bug) compile(ctx context.Context, tree, dir, pkg string, flags ...string) error {
	tree, err := filepath.Abs(tree)
	if err != nil {
		return err
	}
	sources, err := b.Sources(tree)
	if err != nil {
		return err
	}
	replace := map[string]string{}
	for file, text := range sources {
		at := filepath.Join(dir, strings.ReplaceAll(file, "/", "_"))
		if err := os.WriteFile(at, []byte(text), 0o644); err != nil {
			return err
		}
		replace[filepath.Join(tree, file)] = at
	}
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return err
	}
	at := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(at, overlay, 0o644); err != nil {
		return err
	}
	args := append([]string{"build", "-overlay", at, "-trimpath", "-tags", tags}, flags...)
	res, err := proc.OS{}.Run(ctx, proc.Cmd{Path: "go", Dir: tree, Args: append(args, "./"+pkg), Env: append(os.Environ(), "CGO_ENABLED=0")})
	if err == nil && res.ExitCode != 0 {
		err = fmt.Errorf("%s: %s", pkg, res.Stderr)
	}
	if err != nil {
		return fmt.Errorf("planted bug %s: cannot build: %w", b.Name, err)
	}
	return nil
}
