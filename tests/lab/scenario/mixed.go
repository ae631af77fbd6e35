package scenario

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/guide"
	"pgrex/tests/lab/host"
)

// earlier is the commit whose agents are the old ones in mixed-agents: fixed, so that
// the test says the same every day. It goes up when an upgrade from there is no
// longer promised.
const earlier = "217d735e27b3473aca41742ebd6d1e2f2268b471"

// ErrNoHistory says that the checkout lacks the earlier commit.
var ErrNoHistory = errors.New("the checkout has not the earlier commit")

func mixed() []Scenario {
	return []Scenario{
		{
			Name:   "mixed-agents",
			Text:   "one node has an earlier commit's agents: failovers to it and back, then it is upgraded by the documented commands: no server restarted, a switchover follows",
			Spoils: true,
			Play:   mixedAgents,
		},
	}
}

// earlierAgents builds the earlier commit's agents and gives their directory.
func earlierAgents(ctx context.Context, project string) (string, error) {
	dir := "/var/cache/pgrex-lab/agents-" + earlier
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if _, err := host.Output(ctx, "git", "-C", project, "cat-file", "-e", earlier+"^{commit}"); err != nil {
		return "", fmt.Errorf("%w %s, which is built for this: is the clone shallow? run git fetch --unshallow (%w)", ErrNoHistory, earlier[:12], err)
	}
	tmp, err := os.MkdirTemp("", "pgrex-earlier-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	if _, err := host.Output(ctx, "sh", "-c", `git -C "$0" archive "$1" | tar -x -C "$2"`, project, earlier, tmp); err != nil {
		return "", err
	}
	if _, err := inCheckout(ctx, tmp, "make", "agents", "COMMIT="+earlier[:12]); err != nil {
		return "", fmt.Errorf("cannot build the agents of %s: %w", earlier[:12], err)
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	next, err := os.MkdirTemp(filepath.Dir(dir), "agents-new-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(next) }()
	if _, err := host.Output(ctx, "cp", "-r", filepath.Join(tmp, "bin")+"/.", next); err != nil {
		return "", err
	}
	if err := os.Rename(next, dir); err != nil && !errors.Is(err, os.ErrExist) {
		return "", err
	}
	return dir, nil
}

// version is what a node's agent says of itself.
func (r *Run) version(ctx context.Context, node string) (string, error) {
	out, err := r.Sh(ctx, node, "/usr/lib/ocf/resource.d/pgrex/pgsql --version")
	return strings.TrimSpace(out), err
}

// wantVersion wants the earlier agents on a node, or others.
func (r *Run) wantVersion(ctx context.Context, node string, old bool) error {
	v, err := r.version(ctx, node)
	if err == nil && strings.Contains(v, earlier[:12]) != old {
		err = fmt.Errorf("the agent on %s is %q, which is not what was put there", node, v)
	}
	if err == nil {
		r.Log("agent on %s: %s", node, v)
	}
	return err
}

func mixedAgents(ctx context.Context, r *Run) error {
	dir, err := project(r.bin)
	if err != nil {
		return err
	}
	old, err := earlierAgents(ctx, dir)
	if err != nil {
		return err
	}
	p, s, err := r.Pair(ctx)
	if err != nil {
		return err
	}
	// As the upgrade will be, the other way.
	if err := r.replaceAgents(ctx, s, old); err != nil {
		return err
	}
	for _, n := range []string{p, s} {
		if err := r.wantVersion(ctx, n, n == s); err != nil {
			return err
		}
	}
	for i, to := range []string{s, p} {
		if err := postmasterKilled(ctx, r); err != nil {
			return fmt.Errorf("failover %d, to %s: %w", i+1, to, err)
		}
		if err := r.stillPrimary(ctx, to); err != nil {
			return err
		}
		// The killed one may hold WAL that nobody else has.
		if err := r.Heal(ctx, time.Minute); err != nil {
			return fmt.Errorf("after the failover to %s: %w", to, err)
		}
	}
	for _, to := range []string{s, p} {
		if err := r.moveTo(ctx, to); err != nil {
			return err
		}
	}
	if err := r.replaceAgents(ctx, s, r.bin); err != nil {
		return err
	}
	if err := r.wantVersion(ctx, s, false); err != nil {
		return err
	}
	return r.moveTo(ctx, s)
}

// replaceAgents puts agents onto a node in the documented frame, and shows that no
// server was restarted, no attribute changed, and the watcher is theirs.
func (r *Run) replaceAgents(ctx context.Context, node, bin string) error {
	was, err := r.picture(ctx)
	if err != nil {
		return err
	}
	blocks, err := page("operations.md")
	if err != nil {
		return err
	}
	frame, err := guide.Tagged(blocks, "upgrade-agents")
	if err != nil {
		return err
	}
	before, after, found := strings.Cut(frame[0].Text, "apt-get install")
	if !found {
		return errors.New("operations.md installs no package where the agents are upgraded")
	}
	_, after, _ = strings.Cut(after, "\n")
	if _, err := r.Sh(ctx, node, "set -e\n"+before); err != nil {
		return err
	}
	if err := r.UpdateNode(ctx, node, bin); err != nil {
		return err
	}
	if _, err := r.Sh(ctx, node, "set -e\n"+after); err != nil {
		return err
	}
	// Another monitor of each node has to agree.
	err = r.Stays(ctx, "roles as before", 5*time.Second, func(v cluster.View) bool { return v.Primary() != "" && !v.Maintenance })
	if err != nil {
		return err
	}
	now, err := r.picture(ctx)
	if err == nil {
		err = was.differs(now)
	}
	if err == nil {
		err = r.freshWatcher(ctx, node)
	}
	return err
}
