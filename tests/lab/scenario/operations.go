package scenario

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/fault"
	"pgrex/tests/lab/host"
)

const operationsPage = "operations.md"

// operate follows operations.md. Where the page says "the primary" it means n1.
func operate(ctx context.Context, r *Run) error {
	if v, err := r.View(ctx); err != nil || v.Primary() == "" {
		first := r.reader(r.lanValues())
		first.as = r.scenario.After
		if err := first.pair(ctx); err != nil {
			return err
		}
	}
	if err := r.write(ctx); err != nil {
		return err
	}
	g := r.reader(nil)
	for _, part := range []func(context.Context) error{g.switchesAndStops, g.maintains, g.upgrades, g.rebuilds, g.replaces} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return g.done()
}

// n1First makes n1 the primary, as the page has it.
func (g *reader) n1First(ctx context.Context) error {
	v, err := g.View(ctx)
	if err != nil || v.Primary() == "n1" {
		return err
	}
	return g.moveTo(ctx, "n1")
}

func (g *reader) switchesAndStops(ctx context.Context) error {
	begin := func(what string) func(context.Context) error {
		return func(ctx context.Context) error {
			err := g.n1First(ctx)
			g.Begin(what)
			return err
		}
	}
	g.around["switchover"] = around{before: begin("switchover"), after: func(ctx context.Context, _ string) error {
		return errors.Join(g.WaitPrimary(ctx, "n2", 20*time.Second), g.WaitSync(ctx, "n1", 30*time.Second))
	}}
	g.around["node-out"] = around{before: begin("a node out"), after: func(ctx context.Context, _ string) error {
		return errors.Join(g.WaitPrimary(ctx, "n2", 20*time.Second), g.gone(ctx, "n1", fault.Postgres, 30*time.Second), g.WaitCommits(ctx, 20*time.Second))
	}}
	g.around["node-back"] = around{after: func(ctx context.Context, _ string) error { return g.WaitSync(ctx, "n1", 30*time.Second) }}
	g.around["stop-both"] = around{before: begin("both stopped"), after: func(context.Context, string) error {
		for _, n := range g.NodeNames() {
			for _, what := range []fault.Pattern{fault.Postgres, fault.Daemon("pacemakerd"), fault.Daemon("corosync")} {
				if ps, err := fault.Find(g.Site, n, what); err != nil || len(ps) > 0 {
					return fmt.Errorf("still on %s: %v (%w)", n, ps, err)
				}
			}
		}
		return nil
	}}
	g.around["start-both"] = around{after: func(ctx context.Context, _ string) error {
		return errors.Join(g.WaitHealthy(ctx, 90*time.Second), g.stillPrimary(ctx, "n1"), g.WaitCommits(ctx, 20*time.Second))
	}}
	return g.follow(ctx, operationsPage, "start-both")
}

func (g *reader) maintains(ctx context.Context) error {
	if err := g.n1First(ctx); err != nil {
		return err
	}
	was, err := g.before(ctx)
	if err != nil {
		return err
	}
	first, err := g.postmaster(ctx, "n1")
	if err != nil {
		return err
	}
	g.around["maintenance-begin"] = around{after: func(ctx context.Context, _ string) error {
		v, err := g.View(ctx)
		if err == nil && !v.Maintenance {
			err = errors.New("the cluster is not in maintenance mode")
		}
		return err
	}}
	g.around["maintenance-restart"] = around{after: func(ctx context.Context, _ string) error {
		now, err := g.postmaster(ctx, "n1")
		if err == nil && now.Pid == first.Pid {
			err = fmt.Errorf("it was not restarted: %v", now)
		}
		return err
	}}
	g.around["maintenance-end"] = around{after: func(ctx context.Context, _ string) error {
		if err := errors.Join(g.WaitHealthy(ctx, 30*time.Second), g.WaitCommits(ctx, 20*time.Second)); err != nil {
			return err
		}
		now, err := g.timeline(ctx, "n1")
		if err == nil && now != was.timeline {
			err = fmt.Errorf("timeline %s became %s", was.timeline, now)
		}
		return err
	}}
	return g.follow(ctx, operationsPage, "maintenance-end")
}

// settled waits until n2 is again what it was before n1's server was restarted. For
// a moment after maintenance mode the attributes still say what was before.
func (g *reader) settled(ctx context.Context) error {
	wait, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	err := host.Poll(wait, "n2 to stream synchronously", 100*time.Millisecond, func() (bool, error) {
		out, err := g.SQL(wait, "n1", "select count(*) from pg_stat_replication where application_name = 'n2' and sync_state = 'sync'")
		return out == "1", err
	})
	if err != nil {
		return err
	}
	if err := g.WaitSync(ctx, "n2", 30*time.Second); err != nil {
		return err
	}
	return g.Stays(ctx, "n2 entitled", 3*time.Second, func(v cluster.View) bool { return v.Status("n2") == "HS:sync" })
}

func (g *reader) upgrades(ctx context.Context) error {
	if err := g.settled(ctx); err != nil {
		return err
	}
	if err := g.downgrade(ctx); err != nil {
		return err
	}
	was, err := g.picture(ctx)
	if err != nil {
		return err
	}
	g.around["upgrade-agents"] = around{after: func(ctx context.Context, _ string) error {
		now, err := g.picture(ctx)
		if err != nil {
			return err
		}
		return errors.Join(was.differs(now), g.upgraded(ctx), g.WaitHealthy(ctx, 20*time.Second))
	}}
	back := func(node string) around {
		return around{after: func(ctx context.Context, _ string) error { return g.WaitSync(ctx, node, time.Minute) }}
	}
	g.around["minor-standby"], g.around["minor-old-primary"] = back("n2"), back("n1")
	g.around["minor-switchover"] = around{after: func(ctx context.Context, _ string) error {
		return errors.Join(g.WaitPrimary(ctx, "n2", 20*time.Second), g.WaitSync(ctx, "n1", 30*time.Second))
	}}
	if err := g.follow(ctx, operationsPage, "minor-old-primary"); err != nil {
		return err
	}
	return g.WaitHealthy(ctx, 20*time.Second)
}

// downgrade gives every node the older packages that it carries.
func (g *reader) downgrade(ctx context.Context) error {
	for _, n := range g.NodeNames() {
		out, err := g.Sh(ctx, n, "dpkg --install /root/"+olderDir+"/*.deb 2>&1")
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		if v, err := g.version(ctx, n); err != nil || !strings.Contains(v, olderVersion+" ") {
			return errors.Join(err, fmt.Errorf("the agent on %s is %q, not the older one", n, v))
		}
		if err := g.freshWatcher(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// upgraded shows that every node has other agents than the older ones, and a watcher
// of theirs.
func (g *reader) upgraded(ctx context.Context) error {
	for _, n := range g.NodeNames() {
		v, err := g.version(ctx, n)
		if err == nil && strings.Contains(v, olderVersion+" ") {
			err = fmt.Errorf("%s still has %q", n, v)
		}
		if err == nil {
			err = g.freshWatcher(ctx, n)
		}
		if err != nil {
			return err
		}
		g.Log("agent on %s: %s", n, v)
	}
	return nil
}

func (g *reader) rebuilds(ctx context.Context) error {
	g.around["rebuild-begin"] = around{after: func(ctx context.Context, _ string) error { return g.gone(ctx, "n1", fault.Postgres, 30*time.Second) }}
	g.around["rebuild-end"] = around{after: func(ctx context.Context, _ string) error {
		return errors.Join(g.WaitSync(ctx, "n1", time.Minute), g.WaitHealthy(ctx, 20*time.Second))
	}}
	return g.follow(ctx, operationsPage, "rebuild-end")
}

// replaces puts another machine in the place of n2, whose own has died.
func (g *reader) replaces(ctx context.Context) error {
	if err := g.n1First(ctx); err != nil {
		return err
	}
	// Fenced, it is off in the cluster's eyes; it comes up without a cluster, and its
	// successor has its name and addresses.
	if _, err := g.Sh(ctx, "n1", "pcs stonith fence n2"); err != nil {
		return err
	}
	if err := g.WaitCommits(ctx, 30*time.Second); err != nil {
		return err
	}
	if err := g.Power(ctx, "n2", false); err != nil {
		return err
	}
	g.around["replace-forget"] = around{after: func(ctx context.Context, _ string) error {
		if err := g.Renew(ctx, "n2"); err != nil {
			return err
		}
		return g.prepareMachine(ctx, "n2")
	}}
	g.around["replace-add"] = around{after: func(ctx context.Context, _ string) error {
		return errors.Join(g.WaitOnline(ctx), g.stillPrimary(ctx, "n1"), g.WaitCommits(ctx, 20*time.Second))
	}}
	g.around["replace-end"] = around{after: func(ctx context.Context, _ string) error {
		return errors.Join(g.WaitSync(ctx, "n2", time.Minute), g.WaitHealthy(ctx, 20*time.Second), g.stillPrimary(ctx, "n1"))
	}}
	return g.follow(ctx, operationsPage, "")
}

// prepareMachine follows what a new machine needs of install.md and pgrex.md.
func (g *reader) prepareMachine(ctx context.Context, node string) error {
	first := g.reader(g.lanValues())
	first.as, first.only = g.scenario.After, node
	first.ran["install.md "+needsTag] = true
	if err := first.follow(ctx, "install.md", ""); err != nil {
		return err
	}
	return first.borrow(ctx, "pgrex.md", "pgrex-settings", "pgrex-directories", "pgrex-password")
}
