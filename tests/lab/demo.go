package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"pgrex/lib/life"
	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/fault"
	"pgrex/tests/lab/network"
	"pgrex/tests/lab/site"
	"pgrex/tests/lab/writer"
)

func demoCommand() *cli.Command {
	return &cli.Command{
		Name:  "demo",
		Usage: "a pair comes up, its primary is killed, and you watch",
		Flags: append(buildFlags(),
			&cli.StringFlag{Name: "fault", Value: "power", Usage: "power: the primary's node loses its power; postmaster: its server is killed"},
			&cli.BoolFlag{Name: "keep", EnvVars: []string{"KEEP"}, Usage: "leave it running"},
		),
		Action: func(c *cli.Context) error {
			o, err := options(c)
			if err != nil {
				return err
			}
			if !c.IsSet("name") {
				o.Name = "demo"
			}
			if f := c.String("fault"); f != "power" && f != "postmaster" {
				return fmt.Errorf("no demo of %q: use power or postmaster", f)
			}
			d := &demo{out: newScreen(os.Stdout), power: c.String("fault") == "power", keep: c.Bool("keep")}
			return d.run(c.Context, o)
		},
	}
}

// demo shows a failover to a person.
type demo struct {
	out   *screen
	power bool
	keep  bool

	cl *cluster.Cluster
	w  *writer.Writer
}

const (
	before = 5 * time.Second  // of peace, to see the commit rate
	after  = 45 * time.Second // at most, for failover and return
)

func (d *demo) run(ctx context.Context, o cluster.Options) error {
	if !d.keep {
		o.Owner = os.Getpid()
	}
	o.Progress = d.out.line
	if o.Azure {
		d.out.line("A PG-REX pair in a stand-in for Azure on this machine: two virtual machines with Pacemaker and PostgreSQL;")
		d.out.line("a virtual network delivers an address only to the network interface that the Resource Manager (ARM) names.")
	} else {
		d.out.line("A PG-REX pair on this machine: two nodes with Pacemaker, PostgreSQL and a BMC each.")
	}
	begin := time.Now()
	var err error
	if d.cl, err = cluster.Up(ctx, o); err != nil {
		return err
	}
	if !d.keep {
		defer d.down()
	}
	if err := d.cl.WaitHealthy(ctx, 90*time.Second); err != nil {
		return err
	}
	d.out.line("%6.1fs healthy: a primary, a synchronous standby, all addresses", time.Since(begin).Seconds())
	dir, err := os.MkdirTemp("", "pgrex-demo-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	t := appTarget(d.cl, network.VIPPrimary)
	if err := writer.Prepare(ctx, t); err != nil {
		return err
	}
	if d.w, err = writer.Start(ctx, writer.Config{Target: t, First: writer.Numbers(time.Now()), Log: filepath.Join(dir, "journal")}); err != nil {
		return err
	}
	defer func() { _ = d.w.Stop() }()
	d.out.line("A client writes through %s over four connections.\n", network.VIPPrimary)
	if err := d.watch(ctx, before, func(cluster.View) bool { return false }); err != nil {
		return err
	}
	return d.failover(ctx, t)
}

func (d *demo) failover(ctx context.Context, t writer.Target) error {
	v, err := d.cl.View(ctx)
	if err != nil {
		return err
	}
	old := v.Primary()
	if old == "" {
		return errors.New("the primary is gone before anybody killed it")
	}
	var e fault.Evidence
	if d.power {
		e, err = fault.PowerOff(ctx, d.cl.Site, old)
	} else {
		e, err = fault.Signal(ctx, d.cl.Site, old, "postmaster", fault.Postmaster, unix.SIGKILL)
	}
	if err != nil {
		return err
	}
	d.out.line("\n>>> %s\n", e)
	back := false
	err = d.watch(ctx, after, func(v cluster.View) bool {
		if !back && v.Primary() != "" && v.Primary() != old {
			back = true
			d.out.line(">>> %s is the primary", v.Primary())
		}
		// A server that refuses to come back will go on doing so.
		return back && (v.Healthy(d.cl.NodeNames()) || refused(v))
	})
	if err != nil {
		return err
	}
	return d.summary(ctx, t, e)
}

func refused(v cluster.View) bool {
	for _, f := range v.Failures {
		if strings.HasPrefix(f, "pgsql_start_0") {
			return true
		}
	}
	return false
}

// watch shows the cluster twice a second until done or the time is up.
func (d *demo) watch(ctx context.Context, limit time.Duration, done func(cluster.View) bool) error {
	begin := time.Now()
	for time.Since(begin) < limit {
		v, err := d.cl.View(ctx)
		if err == nil {
			d.out.status(d.describe(v))
			if done(v) {
				break
			}
		}
		if err := life.Pause(ctx, 500*time.Millisecond); err != nil {
			return err
		}
	}
	d.out.end()
	return nil
}

// describe is the cluster in one line.
func (d *demo) describe(v cluster.View) string {
	var b strings.Builder
	now := time.Now()
	fmt.Fprintf(&b, "%s ", now.Format("15:04:05.0"))
	online := map[string]bool{}
	for _, n := range v.Online() {
		online[n] = true
	}
	for _, n := range d.cl.NodeNames() {
		role := word(v.Status(n))
		if !online[n] {
			role = "lost"
		}
		vip := ""
		for _, ip := range [][2]string{{cluster.IPPrimary, "W"}, {cluster.IPStandby, "R"}} {
			for _, on := range v.On(ip[0], "Started") {
				if on == n && online[n] {
					vip += ip[1]
				}
			}
		}
		fmt.Fprintf(&b, "| %s %-12s %-3s", n, role, vip)
	}
	rate := d.w.History().Between(now.Add(-time.Second), now)
	fmt.Fprintf(&b, "| %4d commits/s %s", rate, strings.Repeat("#", min(rate/20, 25)))
	return b.String()
}

func (d *demo) summary(ctx context.Context, t writer.Target, e fault.Evidence) error {
	h := d.w.History()
	gap := h.LongestGap(e.At, time.Now())
	events, err := d.cl.Events(e.At)
	if err == nil && d.cl.Azure {
		events, err = d.cl.WithCloudEvents(ctx, events, e.At)
	}
	if err != nil {
		return err
	}
	d.out.line("\nThe failover, in milliseconds after the fault:")
	d.out.line("%8d  %s", 0, e.Fault)
	first := false
	for _, x := range events {
		if !first && x.At.After(gap.To) {
			d.out.line("%8d  first commit acknowledged", gap.To.Sub(e.At).Milliseconds())
			first = true
		}
		d.out.line("%8d  %s", x.At.Sub(e.At).Milliseconds(), x.Text)
	}
	if !first {
		d.out.line("%8d  first commit acknowledged", gap.To.Sub(e.At).Milliseconds())
	}
	rep, err := d.w.Check(ctx, t)
	if err != nil {
		return err
	}
	d.out.line("\nNo commit was acknowledged for %.2f s.", gap.Length().Seconds())
	d.out.line("Acknowledged %d, in the table %d, lost %d, invented %d.\n", rep.Acknowledged, rep.Rows, len(rep.Lost), len(rep.Invented))
	if err := printStatus(ctx, d.cl); err != nil {
		return err
	}
	if v, err := d.cl.View(ctx); err == nil && refused(v) {
		d.out.line("\nThe old primary had written what nobody else has and nobody was told of; it does not come back over")
		d.out.line("that by itself. It is copied anew with pg_basebackup, then pcs resource cleanup.")
	}
	if d.keep {
		d.lookAround()
	}
	return rep.Err()
}

func (d *demo) lookAround() {
	lab := "bin/lab"
	n := d.cl.Name
	fmt.Printf(`
It goes on running. Look around:
  %[1]s status --name=%[2]s
  %[1]s exec --name=%[2]s n2 pcs status
  %[1]s exec --name=%[2]s n2 runuser -u postgres -- psql app -c 'select count(*) from ledger'
  %[1]s shell --name=%[2]s n1
  %[1]s fault --name=%[2]s cut n2 interconnect
  %[1]s down --name=%[2]s
`, lab, n)
}

func (d *demo) down() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := site.Demolish(ctx, d.cl.Name); err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
	}
}
