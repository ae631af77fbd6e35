// Package cluster makes a PG-REX cluster out of the machines of a lab: corosync,
// Pacemaker, PostgreSQL with its first standby, and the documented
// configuration. It also says what the cluster looks like.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"pgrex/tests/lab/host"
	"pgrex/tests/lab/site"
)

// Agents says whose agents run PostgreSQL, the addresses and fencing.
type Agents string

// The choices of agents.
const (
	Ours      Agents = "ours"      // ocf:pgrex:pgsql and cloudip, fence_ipmi
	Reference Agents = "reference" // ocf:heartbeat:pgsql, IPaddr2, fence_ipmilan
)

// The agents of the virtual addresses.
const (
	IPOurs      = "ocf:pgrex:cloudip"
	IPReference = "ocf:heartbeat:IPaddr2"
)

// ParseAgents accepts the words above.
func ParseAgents(s string) (Agents, error) {
	switch a := Agents(s); a {
	case Ours, Reference:
		return a, nil
	}
	return "", fmt.Errorf("no agents %q: use ours or reference", s)
}

// Provider is the OCF provider of the pgsql agent.
func (a Agents) Provider() string {
	if a == Reference {
		return "heartbeat"
	}
	return "pgrex"
}

// Options says how to build a cluster.
type Options struct {
	site.Plan
	// Agents are used in the configuration.
	Agents Agents
	// Bin is where our built agents are.
	Bin string
	// Example is the configuration below docs/examples, "" for that of the place:
	// pgrex.pcs on a LAN, pgrex-azure.pcs in Azure.
	Example string
	// Variables override variables of the configuration.
	Variables map[string]string
	// Clocks are how far the time of day of a node's daemons is off, whole seconds.
	Clocks map[string]time.Duration
	// Bare stops after corosync and Pacemaker are online: no PostgreSQL, no
	// resources.
	Bare bool
	// Unconfigured stops when the cluster is online and the servers' data are there: no
	// resources.
	Unconfigured bool
	// Fresh stops when machines are on that nobody has worked on yet: no cluster, and
	// of files only those in Carried. A guide begins there. Lower has to be a complete
	// system, see tests/debian/root.sh.
	Fresh bool
	// Carried are files, by their path on the machines.
	Carried map[string]string
	// Progress is told each step that is done, for people.
	Progress func(format string, args ...any)
}

// Cluster is a cluster in a lab.
type Cluster struct {
	*site.Site
	// Agents is what it was built with.
	Agents Agents
	// OnlineAfter is how long it took from the beginning until all nodes were
	// online, for the one that built it.
	OnlineAfter time.Duration

	clocks  map[string]time.Duration
	options Options
	example string // the configuration it gets
	vars    map[string]string
	mode    string                 // pgsql's rep_mode
	dc      atomic.Pointer[string] // the DC when last asked
}

// Up builds a lab and a cluster in it. It returns once the configuration is in
// force; see WaitHealthy for the rest. On failure nothing is left, except that
// the logs are kept in the directory the error names.
func Up(ctx context.Context, o Options) (*Cluster, error) {
	if o.Progress == nil {
		o.Progress = func(string, ...any) {}
	}
	if o.Lower == "" {
		o.Lower = "/"
	}
	if o.Fresh {
		if err := hasFresh(o.Lower); err != nil {
			return nil, err
		}
	}
	o.Boot = bootScript
	begin := time.Now()
	s, err := site.Build(ctx, o.Plan)
	if err != nil {
		return nil, err
	}
	c := &Cluster{Site: s, Agents: o.Agents, clocks: o.Clocks, options: o, example: o.example(), vars: variables(o)}
	c.mode = c.vars["REP_MODE"]
	if err := c.up(ctx, o, begin); err != nil {
		dir, _ := c.KeepLogs("up-" + o.Name)
		down, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		defer cancel()
		return nil, errors.Join(fmt.Errorf("%w (logs: %s)", err, dir), site.Demolish(down, o.Name))
	}
	return c, nil
}

func (c *Cluster) up(ctx context.Context, o Options, begin time.Time) error {
	step := func(what string) { o.Progress("%6.1fs %s", time.Since(begin).Seconds(), what) }
	if err := c.furnish(o); err != nil {
		return err
	}
	if err := c.each(func(n string) error { return c.boot(ctx, n) }); err != nil {
		return err
	}
	step("nodes booted")
	if o.Fresh {
		return errors.Join(c.save(), c.Keep(ctx))
	}
	if o.Bare {
		if err := c.WaitOnline(ctx); err != nil {
			return err
		}
		c.OnlineAfter = time.Since(begin)
		step("cluster online")
		return c.Keep(ctx)
	}
	// The three things a cluster is made of do not need each other.
	cib := make(chan error, 1)
	go func() {
		if o.Unconfigured {
			cib <- nil
			return
		}
		cib <- c.prepareConfiguration(ctx)
	}()
	data := make(chan error, 1)
	go func() { data <- c.preparePostgres(ctx) }()
	if err := c.WaitOnline(ctx); err != nil {
		return err
	}
	c.OnlineAfter = time.Since(begin)
	step("cluster online")
	if err := <-data; err != nil {
		return err
	}
	step("PostgreSQL initialised, standbys copied")
	if err := <-cib; err != nil {
		return err
	}
	if o.Unconfigured {
		// The seed has the oldest schema every Pacemaker takes.
		_, err := c.Must(ctx, c.NodeNames()[0], "cibadmin", "--upgrade", "--force")
		return errors.Join(err, c.save(), c.Keep(ctx))
	}
	if err := c.pushConfiguration(ctx); err != nil {
		return err
	}
	step("configuration in force")
	return errors.Join(c.save(), c.Keep(ctx))
}

// boot switches a node on and waits until its boot script is through.
func (c *Cluster) boot(ctx context.Context, node string) error {
	if err := c.Power(ctx, node, true); err != nil {
		return err
	}
	_, err := c.Must(ctx, node, "sh", "-c", "until [ -e /run/lab-booted ]; do sleep 0.02; done")
	return err
}

// each calls f for all nodes at once.
func (c *Cluster) each(f func(node string) error) error {
	var wg sync.WaitGroup
	errs := make([]error, c.Nodes)
	for i, n := range c.NodeNames() {
		wg.Add(1)
		go func() {
			defer wg.Done()
			errs[i] = f(n)
		}()
	}
	wg.Wait()
	return errors.Join(errs...)
}

// agentsFile remembers which agents a lab was built with, and their rep_mode.
func (c *Cluster) agentsFile() string { return filepath.Join(c.Dir(), "agents") }

func (c *Cluster) save() error {
	return os.WriteFile(c.agentsFile(), []byte(string(c.Agents)+" "+c.mode), 0o644)
}

// Open finds the cluster of a living lab.
func Open(name string) (*Cluster, error) {
	s, err := site.Open(name)
	if err != nil {
		return nil, err
	}
	c := &Cluster{Site: s, Agents: Ours, mode: modeSync}
	// A bare one has none.
	b, err := os.ReadFile(c.agentsFile())
	if f := strings.Fields(string(b)); err == nil && len(f) == 2 {
		c.Agents, c.mode = Agents(f[0]), f[1]
	}
	return c, nil
}

// WaitOnline waits until all nodes are members of one cluster that has a DC.
func (c *Cluster) WaitOnline(ctx context.Context) error {
	return c.wait(ctx, "all nodes online", 30*time.Second, func(v View) bool {
		return v.DC != "" && v.Quorate && len(v.Online()) == c.Nodes
	})
}

// WaitHealthy waits until there is a primary that takes writes, every other
// node has a streaming standby, one of them at least synchronous, and the
// addresses are up.
func (c *Cluster) WaitHealthy(ctx context.Context, within time.Duration) error {
	return c.wait(ctx, "a primary with a synchronous standby and all addresses", within, func(v View) bool {
		return v.Healthy(c.NodeNames())
	})
}

// wait polls the cluster's view from any living node.
func (c *Cluster) wait(ctx context.Context, what string, within time.Duration, cond func(View) bool) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	var last View
	err := host.Poll(ctx, what, 150*time.Millisecond, func() (bool, error) {
		v, err := c.View(ctx)
		if err != nil {
			return false, nil // not up yet, or just going down
		}
		last = v
		return cond(v), nil
	})
	if err != nil {
		return fmt.Errorf("%w; the cluster says: %s", err, last.Line())
	}
	return nil
}

// Wait polls the cluster's view until cond is true.
func (c *Cluster) Wait(ctx context.Context, what string, within time.Duration, cond func(View) bool) error {
	return c.wait(ctx, what, within, cond)
}

// StartNode starts corosync and Pacemaker on a node.
func (c *Cluster) StartNode(ctx context.Context, node string) error {
	_, err := c.Must(ctx, node, startScript)
	return err
}

// StopNode stops them in order, as "pcs cluster stop" does.
func (c *Cluster) StopNode(ctx context.Context, node string) error {
	_, err := c.Must(ctx, node, stopScript)
	return err
}
