package scenario

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pgrex/lib/life"
	"pgrex/tests/lab/fault"
	"pgrex/tests/lab/guide"
	"pgrex/tests/lab/network"
)

const (
	azurePage = "azure.md"
	// documentedTotem is for real hosts, which pause their machines. With it a lab that
	// is fenced once takes minutes.
	documentedTotem, labTotem = "token=30000 consensus=36000", "token=1000 consensus=1200"
)

// guideAzure follows azure.md, and of the pages it sends its reader to what it needs.
func guideAzure(ctx context.Context, r *Run) error {
	v := guide.Values{"/dev/sda": "/dev/labdisk", "192.168.0.100": network.Client, documentedTotem: labTotem}
	if dir := r.BinDir(); dir != documentedBin {
		v[documentedBin] = dir
	}
	g := r.reader(v)
	if err := g.borrow(ctx, "install.md", "install-services"); err != nil {
		return err
	}
	if err := g.follow(ctx, "install.md", "install-packages-azure"); err != nil {
		return err
	}
	g.around["azure-cluster"] = around{after: func(ctx context.Context, _ string) error { return g.seedAll(ctx) }}
	if err := g.follow(ctx, azurePage, "azure-cluster"); err != nil {
		return err
	}
	if err := g.borrow(ctx, "pgrex.md", "pgrex-directories", "pgrex-password", "pgrex-first-server", "pgrex-copy", "pgrex-stop"); err != nil {
		return err
	}
	g.around["azure-check"] = around{
		before: func(ctx context.Context) error { return g.WaitHealthy(ctx, time.Minute) },
		after:  says("PRI", "HS:sync", "fence-n1", "fence-n2"),
	}
	if err := g.follow(ctx, azurePage, "azure-check"); err != nil {
		return err
	}
	if err := g.clients(ctx); err != nil {
		return err
	}
	if err := g.write(ctx); err != nil {
		return err
	}
	if err := g.cutAsDocumented(ctx); err != nil {
		return err
	}
	return g.done()
}

// cutAsDocumented plays the cut of the page, and what the page says of it: the
// standby is fenced, the primary goes on, and who was fenced waits for its operator.
func (g *reader) cutAsDocumented(ctx context.Context) error {
	// The page has n1 for the primary, and n2 for the one that is rebooted.
	if err := g.n1First(ctx); err != nil {
		return err
	}
	was, err := g.before(ctx)
	if err != nil {
		return err
	}
	var cut around
	cut.before = func(context.Context) error {
		g.Begin("the documented cut")
		return nil
	}
	cut.after = func(ctx context.Context, _ string) error {
		for {
			n, err := g.Node(ctx, "n2")
			if err != nil {
				return err
			}
			if n.Boots > was.boots["n2"] && n.On() {
				break
			}
			if err := life.Pause(ctx, 100*time.Millisecond); err != nil {
				return fmt.Errorf("n2 is not fenced: %w", err)
			}
		}
		if _, err := g.Sh(ctx, "n2", "until [ -e /run/lab-booted ]; do sleep 0.05; done"); err != nil {
			return err
		}
		if err := g.WaitCommits(ctx, time.Minute); err != nil {
			return err
		}
		n1, err := g.Node(ctx, "n1")
		if err == nil && n1.Boots != was.boots["n1"] {
			err = errors.New("the primary was fenced as well")
		}
		if ps, e := fault.Find(g.Site, "n2", fault.Daemon("pacemakerd")); err == nil && (e != nil || len(ps) > 0) {
			err = fmt.Errorf("n2 starts its cluster at boot: %v (%w)", ps, e)
		}
		return errors.Join(err, g.stillPrimary(ctx, "n1"))
	}
	g.around["azure-cut"] = cut
	if err := g.follow(ctx, azurePage, "azure-mend"); err != nil {
		return err
	}
	// The page has this before the cut, for all its faults.
	return g.borrow(ctx, azurePage, "azure-return")
}
