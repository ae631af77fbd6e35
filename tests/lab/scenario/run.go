package scenario

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"pgrex/lib/life"
	"pgrex/lib/proc"
	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/fault"
	"pgrex/tests/lab/host"
	"pgrex/tests/lab/network"
	"pgrex/tests/lab/site"
	"pgrex/tests/lab/writer"
)

// Run is a scenario being played.
type Run struct {
	*cluster.Cluster
	// W writes through the virtual address.
	W *writer.Writer
	// Log says what happens, for the person who reads a failure.
	Log func(format string, args ...any)

	scenario Scenario
	bin      string // where our agents are
	journals string
	started  time.Time                 // when an order was given that is measured; zero: at the fault
	faulted  time.Time                 // of the first fault
	tail     *writer.Tail              // what may be lost, nil for nothing
	times    map[Measure]time.Duration // see Result
}

// Target is an address as clients on the service LAN reach it.
func (r *Run) Target(address string) writer.Target {
	return writer.Target{Netns: r.ClientNetns, Host: address,
		User: cluster.AppUser, Password: cluster.AppPassword, Database: cluster.AppDB}
}

// Must logs the evidence of a fault, and remembers when the first was.
func (r *Run) Must(e fault.Evidence, err error) error {
	if err != nil {
		return fmt.Errorf("the fault did not happen: %s: %w", e.Fault, err)
	}
	if r.faulted.IsZero() && !e.At.IsZero() {
		r.faulted = e.At
	}
	r.Log("fault: %s", e)
	return nil
}

// Begin marks the beginning of what interrupts service without a fault.
func (r *Run) Begin(what string) {
	r.Log("begin: %s", what)
	if r.faulted.IsZero() {
		r.faulted = time.Now()
	}
}

// Kill sends SIGKILL, see fault.Signal.
func (r *Run) Kill(ctx context.Context, node, what string, match fault.Pattern) error {
	return r.Must(fault.Signal(ctx, r.Site, node, what, match, sigkill))
}

// Roles are the primary and the standbys before the fault.
func (r *Run) Roles(ctx context.Context) (primary string, standbys []string, err error) {
	v, err := r.View(ctx)
	if err != nil {
		return "", nil, err
	}
	primary = v.Primary()
	for _, n := range r.NodeNames() {
		if n != primary {
			standbys = append(standbys, n)
		}
	}
	if primary == "" {
		err = errors.New("there is no primary to begin with")
	}
	return primary, standbys, err
}

// Pair is Roles for two nodes.
func (r *Run) Pair(ctx context.Context) (primary, standby string, err error) {
	p, s, err := r.Roles(ctx)
	if err == nil && len(s) != 1 {
		err = fmt.Errorf("want one standby, have %v", s)
	}
	if err != nil {
		return "", "", err
	}
	return p, s[0], nil
}

// before is a healthy pair as its scenario found it: what it is compared with.
type before struct {
	primary, standby string
	timeline         string         // that the primary writes
	boots            map[string]int // of each node
}

func (r *Run) before(ctx context.Context) (before, error) {
	b := before{boots: map[string]int{}}
	var err error
	if b.primary, b.standby, err = r.Pair(ctx); err != nil {
		return b, err
	}
	if b.timeline, err = r.timeline(ctx, b.primary); err != nil {
		return b, err
	}
	st, err := r.Room(ctx)
	for _, n := range st.Nodes {
		b.boots[n.Name] = n.Boots
	}
	return b, err
}

// stillPrimary shows that the primary is the one it was, or has to be.
func (r *Run) stillPrimary(ctx context.Context, node string) error {
	v, err := r.View(ctx)
	if err == nil && v.Primary() != node {
		err = fmt.Errorf("the primary is %q, not %s; the cluster says: %s", v.Primary(), node, v.Line())
	}
	return err
}

// WaitPrimary waits until a node is the primary.
func (r *Run) WaitPrimary(ctx context.Context, node string, within time.Duration) error {
	return r.Wait(ctx, node+" to be primary", within, func(v cluster.View) bool { return v.Primary() == node })
}

// WaitSync waits until a node holds a synchronous standby that may be promoted.
func (r *Run) WaitSync(ctx context.Context, node string, within time.Duration) error {
	return r.Wait(ctx, node+" to be a synchronous standby", within, func(v cluster.View) bool {
		return v.Status(node) == "HS:sync" && v.Score(node) == "100"
	})
}

// booted says whether a node has booted since then.
func (r *Run) booted(ctx context.Context, since before, node string) bool {
	n, err := r.Node(ctx, node)
	return err == nil && n.Boots > since.boots[node]
}

// gone waits until nothing of a kind runs on a node any more.
func (r *Run) gone(ctx context.Context, node string, what fault.Pattern, within time.Duration) error {
	return r.Wait(ctx, "processes to end on "+node, within, func(cluster.View) bool {
		ps, err := fault.Find(r.Site, node, what)
		return err == nil && len(ps) == 0
	})
}

// WaitCommits waits for a commit that was asked for after now.
func (r *Run) WaitCommits(ctx context.Context, within time.Duration) error {
	if r.W == nil {
		return nil
	}
	if err := r.W.WaitAcknowledgedBy(ctx, time.Now(), within); err != nil {
		return fmt.Errorf("no commit is acknowledged again: %w (clients say: %s)", err, clientsSay(r.W))
	}
	return nil
}

func clientsSay(w *writer.Writer) string {
	var b strings.Builder
	for text, n := range w.Errors() {
		fmt.Fprintf(&b, "%d x %s; ", n, text)
	}
	return b.String()
}

// Stays checks for a while that a condition holds all the time.
func (r *Run) Stays(ctx context.Context, what string, d time.Duration, cond func(cluster.View) bool) error {
	end := time.Now().Add(d)
	for time.Now().Before(end) {
		v, err := r.View(ctx)
		if err == nil && !cond(v) {
			return fmt.Errorf("%s: no longer so: %s", what, v.Line())
		}
		if err := life.Pause(ctx, 200*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// Pcs runs pcs on a node.
func (r *Run) Pcs(ctx context.Context, node string, args ...string) error {
	_, err := r.Cluster.Must(ctx, node, append([]string{"pcs"}, args...)...)
	return err
}

// Sh runs a shell command on a node; another status than zero is an error.
func (r *Run) Sh(ctx context.Context, node, script string) (string, error) {
	return r.Cluster.Must(ctx, node, "sh", "-c", script)
}

// Background starts a shell command on a node that goes on until ctx ends.
func (r *Run) Background(ctx context.Context, node, script string) error {
	enter, err := r.Enter(ctx, node)
	if err != nil {
		return err
	}
	go func() {
		_, _ = proc.OS{}.Run(ctx, proc.Cmd{Path: enter[0], Args: append(enter[1:], "sh", "-c", script)})
	}()
	return nil
}

// LocalWriter writes to a node's own server from that node, past all addresses:
// what it has acknowledged is what a client there would have believed.
func (r *Run) LocalWriter(ctx context.Context, node string, netns string) (*writer.Writer, error) {
	i := 0
	for k, n := range r.NodeNames() {
		if n == node {
			i = k + 1
		}
	}
	t := r.Target(network.Address(network.Service, i))
	t.Netns = netns
	return writer.Start(ctx, writer.Config{Target: t, Connections: 2, Patience: 3 * time.Second,
		Log: filepath.Join(r.journals, "local-"+node), First: writer.Numbers(time.Now().Add(time.Hour))})
}

// Heal takes back everything that is broken and waits for health: what an
// operator would do. A standby whose WAL diverged is copied anew.
func (r *Run) Heal(ctx context.Context, within time.Duration) error {
	if err := r.repairRoom(ctx); err != nil {
		return err
	}
	if err := r.cleanup(ctx); err != nil {
		return err
	}
	first := within / 2
	refused := ""
	err := r.Wait(ctx, "health", first, func(v cluster.View) bool {
		refused = r.refusal(v)
		return refused != "" || v.Healthy(r.NodeNames()) && r.serversRun()
	})
	if err == nil && refused == "" {
		return nil
	}
	r.Log("not healthy by itself: %v %s", err, refused)
	if err := r.recopy(ctx); err != nil {
		return fmt.Errorf("cannot copy the standby: %w", err)
	}
	return r.WaitHealthy(ctx, within-first)
}

// refusal is a start that failed since the last cleanup, once it is over.
func (r *Run) refusal(v cluster.View) string {
	for _, n := range r.NodeNames() {
		for _, f := range v.Failures {
			if strings.HasPrefix(f, "pgsql_start_0 on "+n+":") && !contains(v.On(cluster.ResourcePgsql, ""), n) {
				return f
			}
		}
	}
	return ""
}

// serversRun says whether there is a server on every node: for a second after a
// node died, the cluster still believes in it.
func (r *Run) serversRun() bool {
	for _, n := range r.NodeNames() {
		if ps, err := fault.Find(r.Site, n, fault.Postmaster); err != nil || len(ps) != 1 {
			return false
		}
	}
	return true
}

func (r *Run) repairRoom(ctx context.Context) error {
	if err := r.HealAll(ctx); err != nil {
		return err
	}
	st, err := r.Room(ctx)
	if err != nil {
		return err
	}
	for _, n := range st.Nodes {
		if n.Frozen {
			if err := r.Freeze(ctx, n.Name, false); err != nil {
				return err
			}
		}
		if n.Hangs {
			if err := r.Release(ctx, n.Name); err != nil {
				return err
			}
		}
		if n.BMC == 0 && !r.Azure {
			if err := r.BMC(ctx, n.Name, true); err != nil {
				return err
			}
		}
		if !n.On() {
			if err := r.Power(ctx, n.Name, true); err != nil {
				return err
			}
		}
	}
	if err := r.WaitOnline(ctx); err != nil {
		// A node that noticed it was cut off and left may need a start.
		if err := r.startStopped(ctx, st); err != nil {
			return err
		}
		return r.WaitOnline(ctx)
	}
	return nil
}

func (r *Run) startStopped(ctx context.Context, st site.Status) error {
	for _, n := range st.Nodes {
		ps, err := fault.Find(r.Site, n.Name, fault.Daemon("pacemakerd"))
		if err != nil {
			return err
		}
		if len(ps) == 0 {
			r.Log("starting the cluster on %s", n.Name)
			if err := r.StartNode(ctx, n.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *Run) cleanup(ctx context.Context) error {
	v, err := r.View(ctx)
	if err != nil {
		return err
	}
	_, err = r.Sh(ctx, v.From, "crm_resource --cleanup; stonith_admin --cleanup --history='*'; true")
	return err
}

// recopy makes the data of nodes that hold no standby anew from the primary.
func (r *Run) recopy(ctx context.Context) error {
	v, err := r.View(ctx)
	if err != nil {
		return err
	}
	p := v.Primary()
	if p == "" {
		return errors.New("there is no primary to copy from")
	}
	for _, n := range r.NodeNames() {
		if n == p || contains(v.On(cluster.ResourcePgsql, ""), n) && v.Status(n) != "HS:alone" {
			continue
		}
		r.Log("copying the standby on %s anew: %v", n, v.Failures)
		if _, err := r.Sh(ctx, v.From, "crm_resource --ban --resource "+cluster.ClonePgsql+" --node "+n); err != nil {
			return err
		}
		err := r.Wait(ctx, "pgsql to stop on "+n, 30*time.Second, func(v cluster.View) bool {
			return !contains(v.On(cluster.ResourcePgsql, ""), n)
		})
		if err != nil {
			return err
		}
		if err := r.CopyStandby(ctx, n); err != nil {
			return err
		}
		if _, err := r.Sh(ctx, n, "rm -f /var/lib/pgsql/tmp/PGSQL.lock"); err != nil {
			return err
		}
		if _, err := r.Sh(ctx, v.From, "crm_resource --clear --resource "+cluster.ClonePgsql+"; crm_resource --cleanup"); err != nil {
			return err
		}
	}
	return nil
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

// replayed waits until a standby has replayed up to an LSN of the primary.
func (r *Run) replayed(ctx context.Context, node, lsn string) error {
	return host.Poll(ctx, node+" to replay "+lsn, 100*time.Millisecond, func() (bool, error) {
		out, err := r.SQL(ctx, node, "select pg_last_wal_replay_lsn() >= '"+lsn+"'::pg_lsn")
		return out == "t", err
	})
}
