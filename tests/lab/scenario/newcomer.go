package scenario

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"pgrex/lib/life"
	"pgrex/tests/lab/bmc"
	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/fault"
	"pgrex/tests/lab/guide"
	"pgrex/tests/lab/network"
)

func guides() []Scenario {
	return []Scenario{
		{
			Name:  "newcomer",
			Text:  "fresh machines of Debian, install.md and pgrex.md block by block as they stand there: a working pair that has switched over and fenced",
			Fresh: true,
			Play:  newcomer,
		},
		{
			Name:   "guide-operations",
			Text:   "operations.md block by block: switchover, a node out and back, both stopped, maintenance, upgrades, a standby rebuilt, a machine replaced",
			Fresh:  true,
			After:  "newcomer",
			Spoils: true,
			Play:   operate,
		},
		{
			Name:         "readme",
			Text:         "the first cluster of README.md, by its own commands: a primary with its addresses and a synchronous standby",
			Unconfigured: true,
			Sick:         true,
			Quiet:        true,
			Play:         readme,
		},
		{
			Name:   "guide-azure",
			Text:   "in Azure: azure.md block by block on fresh machines: a working pair; the documented cut between the nodes ends in the fencing of the standby",
			Fresh:  true,
			Azure:  true,
			Spoils: true,
			Play:   guideAzure,
		},
	}
}

// lanValues are what the lab's machines have for the values of pgrex.md.
func (r *Run) lanValues() guide.Values {
	v := guide.Values{
		"bond0":    network.Service.Interface(),
		"bond1":    network.Replication.Interface(),
		"/dev/sda": "/dev/labdisk",
		"secret":   bmc.Password,
	}
	if dir := r.BinDir(); dir != documentedBin {
		v[documentedBin] = dir
	}
	return v
}

// documentedBin is where the guides have PostgreSQL.
const documentedBin = "/usr/lib/postgresql/15/bin"

func newcomer(ctx context.Context, r *Run) error {
	g := r.reader(r.lanValues())
	if err := g.pair(ctx); err != nil {
		return err
	}
	if err := r.write(ctx); err != nil {
		return err
	}
	if err := g.useAndFence(ctx); err != nil {
		return err
	}
	return g.done()
}

// pair follows install.md and pgrex.md until there is a working pair.
func (g *reader) pair(ctx context.Context) error {
	g.ran["install.md "+needsTag] = true // when the root file system was made, by this very block
	g.around["install-check"] = around{after: says("pgsql", "cloudip", "fence_ipmi")}
	g.around["pgrex-bmc"] = around{after: says("Status: ON")}
	g.around["pgrex-cluster"] = around{after: func(ctx context.Context, _ string) error { return g.seedAll(ctx) }}
	g.around["pgrex-start"] = around{after: func(ctx context.Context, _ string) error { return g.WaitOnline(ctx) }}
	g.around["pgrex-check"] = around{
		before: func(ctx context.Context) error { return g.WaitHealthy(ctx, time.Minute) },
		after:  says("PRI", "HS:sync", "fence-n1", "fence-n2"),
	}
	if err := g.follow(ctx, "install.md", ""); err != nil {
		return err
	}
	if err := g.follow(ctx, "pgrex.md", "pgrex-check"); err != nil {
		return err
	}
	return g.clients(ctx)
}

// says wants words in what a block wrote.
func says(words ...string) func(context.Context, string) error {
	return func(_ context.Context, said string) error {
		for _, w := range words {
			if !strings.Contains(said, w) {
				return fmt.Errorf("%q is missing", w)
			}
		}
		return nil
	}
}

// seedAll gives a new cluster the properties that the lab needs, see cluster.SeedFresh.
func (r *Run) seedAll(ctx context.Context) error {
	for _, n := range r.NodeNames() {
		if err := r.SeedFresh(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// useAndFence follows the rest of pgrex.md, from the pair on.
func (g *reader) useAndFence(ctx context.Context) error {
	was, err := g.before(ctx)
	if err != nil {
		return err
	}
	// The page has n1 for the primary, and says what a reader does if it is n2.
	if was.primary != "n1" {
		g.values["n1"], g.values["n2"] = "n2", "n1"
	}
	g.around["pgrex-switchover"] = around{
		before: func(context.Context) error {
			g.Begin("switchover")
			return nil
		},
		after: func(ctx context.Context, _ string) error {
			return errors.Join(g.WaitPrimary(ctx, was.standby, 10*time.Second), g.WaitSync(ctx, was.primary, 30*time.Second))
		},
	}
	g.around["pgrex-fence"] = around{after: func(ctx context.Context, _ string) error { return g.rebooted(ctx, was) }}
	g.around["pgrex-return"] = around{after: func(ctx context.Context, _ string) error {
		return errors.Join(g.WaitSync(ctx, was.primary, time.Minute), g.stillPrimary(ctx, was.standby))
	}}
	var archived map[string]int
	g.around["archive-cleanup"] = around{
		before: func(ctx context.Context) (err error) {
			archived, err = g.fillArchives(ctx)
			return err
		},
		after: func(ctx context.Context, _ string) error { return g.cleaned(ctx, archived) },
	}
	return g.follow(ctx, "pgrex.md", "")
}

// rebooted shows that the former primary was fenced and is up without a cluster,
// and that commits went on or go on again.
func (g *reader) rebooted(ctx context.Context, was before) error {
	n, err := g.Node(ctx, was.primary)
	if err != nil {
		return err
	}
	if n.Boots != was.boots[was.primary]+1 {
		return fmt.Errorf("%s was booted %d times, and before the fencing %d times", was.primary, n.Boots, was.boots[was.primary])
	}
	if _, err := g.Sh(ctx, was.primary, "until [ -e /run/lab-booted ]; do sleep 0.05; done"); err != nil {
		return err
	}
	// For as long as a cluster would take to come up.
	if err := life.Pause(ctx, 2*time.Second); err != nil {
		return err
	}
	ps, err := fault.Find(g.Site, was.primary, fault.Daemon("pacemakerd"))
	if err == nil && len(ps) != 0 {
		err = fmt.Errorf("%s starts its cluster at boot: %v", was.primary, ps)
	}
	if err != nil {
		return err
	}
	return g.WaitCommits(ctx, 30*time.Second)
}

const archive = "/dbfp/pgarch/arc1"

// fillArchives gives both nodes an archive of more than what they need, and tells
// how many segments each has.
func (g *reader) fillArchives(ctx context.Context) (map[string]int, error) {
	p, s, err := g.Pair(ctx)
	if err != nil {
		return nil, err
	}
	for range 3 {
		if _, err := g.SQL(ctx, p, "select pg_switch_wal()"); err != nil {
			return nil, err
		}
		if err := g.WaitCommits(ctx, 10*time.Second); err != nil {
			return nil, err
		}
	}
	if _, err := g.SQL(ctx, p, "checkpoint"); err != nil {
		return nil, err
	}
	// A restart point of the standby is one of the primary's checkpoints.
	lsn, err := g.SQL(ctx, p, "select pg_current_wal_flush_lsn()")
	if err != nil {
		return nil, err
	}
	wait, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	if err := g.replayed(wait, s, lsn); err != nil {
		return nil, err
	}
	if _, err := g.SQL(ctx, s, "checkpoint"); err != nil {
		return nil, err
	}
	have := map[string]int{}
	for _, n := range g.NodeNames() {
		if have[n], err = g.segments(ctx, n); err != nil {
			return nil, err
		}
	}
	return have, nil
}

// segments counts the WAL files in a node's archive.
func (g *reader) segments(ctx context.Context, node string) (int, error) {
	out, err := g.Sh(ctx, node, "ls "+archive+" | grep -cE '^[0-9A-F]{24}$' || true")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(out))
}

// cleaned shows that segments were deleted on every node, none that its recovery
// begins with or needs later, and that the pair is as healthy as before.
func (g *reader) cleaned(ctx context.Context, before map[string]int) error {
	for _, n := range g.NodeNames() {
		now, err := g.segments(ctx, n)
		if err != nil {
			return err
		}
		g.Log("archive of %s: %d segments, then %d", n, before[n], now)
		if now >= before[n] {
			return fmt.Errorf("nothing was deleted on %s: %d segments, then %d", n, before[n], now)
		}
		out, err := g.Sh(ctx, n, `oldest=$(LC_ALL=C `+g.BinDir()+`/pg_controldata `+cluster.DataDir+` | sed -n "s/^Latest checkpoint's REDO WAL file: *//p")
for f in `+cluster.DataDir+`/pg_wal/archive_status/*.done; do
	f=$(basename "$f" .done)
	case $f in *.*) continue ;; esac
	# Timelines aside, as the names have them in front.
	[ "$(echo "$f" | cut -c 9-)" \< "$(echo "$oldest" | cut -c 9-)" ] || [ -e `+archive+`/$f ] || echo "$f is gone, recovery begins at $oldest"
done`)
		if err == nil && out != "" {
			err = errors.New(strings.TrimSpace(out))
		}
		if err != nil {
			return fmt.Errorf("on %s: %w", n, err)
		}
	}
	return g.WaitHealthy(ctx, 20*time.Second)
}

// readme runs the commands of README.md on a cluster that has no resources yet.
func readme(ctx context.Context, r *Run) error {
	dir, err := project(r.bin)
	if err != nil {
		return err
	}
	const name = "README.md"
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return err
	}
	b, err := guide.Indented(name, string(text), "A first cluster")
	if err != nil {
		return err
	}
	g := r.reader(guide.Values{
		"172.20.144.43":            network.BMCAddress(1),
		"172.20.144.44":            network.BMCAddress(2),
		"admin":                    bmc.User,
		"password=...":             "password=" + bmc.Password,
		"/usr/pgsql-17/bin/pg_ctl": r.BinDir() + "/pg_ctl",
		"/var/lib/pgsql/17/data":   cluster.DataDir,
	})
	b.Where = guide.Where{Node: "n1", User: "root"}
	b.Tag = "readme"
	if err := g.run(ctx, b); err != nil {
		return err
	}
	err = r.Wait(ctx, "a primary with its addresses and a standby", 90*time.Second, func(v cluster.View) bool {
		p := v.Primary()
		for _, id := range []string{"vip-primary", "vip-replication"} {
			if on := v.On(id, "Started"); p == "" || len(on) != 1 || on[0] != p {
				return false
			}
		}
		return len(v.Sync()) == 1 && started(v, "fence-n1") != "" && started(v, "fence-n2") != ""
	})
	if err != nil {
		return err
	}
	if err := r.connects(ctx, network.VIPPrimary); err != nil {
		return fmt.Errorf("the client does not reach the address: %w", err)
	}
	return g.done()
}
