package chaos

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"pgrex/lib/life"
	"pgrex/tests/lab/bmc"
	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/fault"
	"pgrex/tests/lab/network"
	"pgrex/tests/lab/node"
	"pgrex/tests/lab/scenario"
)

const (
	// aloneLimit is how long a cluster may take to be healthy again by itself once
	// nothing is broken any more, operatorLimit after an operator has helped.
	aloneLimit    = 100 * time.Second
	operatorLimit = 3 * time.Minute
	// helpAfter is when an operator looks for what is plainly missing.
	helpAfter = 20 * time.Second
	// healthStays is how long health must last. What has just been broken is noticed
	// after corosync's token of a second.
	healthStays = 2 * time.Second
	// refusalStays is how long a start that was refused must be the last word.
	refusalStays = 5 * time.Second
	// refusalLook is how often it is looked for: it is in logs.
	refusalLook = time.Second
)

// repair takes back all that the lab itself has broken, like an electrician: it
// gives no order to the cluster.
func (r *Run) repair(ctx context.Context) error {
	if err := r.C.HealAll(ctx); err != nil {
		return err
	}
	st, err := r.C.Room(ctx)
	if err != nil {
		return err
	}
	var errs []error
	if r.C.Azure {
		errs = append(errs, r.C.Cloud().ClearFaults(ctx))
	}
	for _, n := range st.Nodes {
		if n.Frozen {
			errs = append(errs, r.C.Freeze(ctx, n.Name, false))
		}
		if n.Hangs {
			errs = append(errs, r.C.Release(ctx, n.Name))
		}
		if !r.C.Azure {
			errs = append(errs, r.C.BMC(ctx, n.Name, true), r.C.Site.Heal(ctx, bmc.MachineOf(n.Name), network.Management),
				fault.BMCSwift(ctx, r.C.Site, n.Name))
		}
		if !n.On() {
			errs = append(errs, r.C.Power(ctx, n.Name, true))
		}
		if r.Plan.Shape.OnDisk {
			r.makeRoom(ctx, n.Name)
		}
	}
	return errors.Join(errs...)
}

// makeRoom takes away what fills the volumes of a node: it was without power, perhaps,
// when that was over.
func (r *Run) makeRoom(ctx context.Context, name string) {
	short, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if _, err := r.C.Must(short, name, "sh", "-c", fault.Emptying(node.DataVolume, node.WALVolume)); err != nil {
		r.Log("no room made on %s: %v", name, err)
	}
}

// healthy says whether a view is of a cluster that can lose any node.
func (r *Run) healthy(v cluster.View) bool {
	if !v.Healthy(r.C.NodeNames()) {
		return false
	}
	for _, n := range r.C.NodeNames() {
		// For a second after a node died the cluster still believes in it.
		for _, p := range []fault.Pattern{fault.Postmaster, fault.Daemon("corosync"), fault.Daemon("pacemakerd")} {
			if ps, err := fault.Find(r.C.Site, n, p); err != nil || len(ps) == 0 {
				return false
			}
		}
	}
	return true
}

// converge waits until the cluster is healthy, by itself or by the documented acts
// of an operator, which it names. since is when the round began, at when health did.
func (r *Run) converge(ctx context.Context, since time.Time) (acts []string, at time.Time, err error) {
	begin := time.Now()
	var refused, looked time.Time
	refusal := ""
	waiting, cancel := context.WithTimeout(ctx, aloneLimit)
	defer cancel()
	why := "it did not become healthy"
	for {
		v, err := r.C.View(waiting)
		if err == nil && r.healthy(v) {
			doomed, err := r.doomed(since)
			switch {
			case err != nil || len(doomed) > 0:
				at = time.Time{}
				why = fmt.Sprintf("%v is being fenced: %v", doomed, err)
			case at.IsZero():
				at = time.Now()
			case time.Since(at) > healthStays:
				return acts, at, nil
			}
			if life.Pause(waiting, 200*time.Millisecond) == nil {
				continue
			}
		}
		at = time.Time{}
		if ctx.Err() != nil {
			return acts, at, ctx.Err()
		}
		if waiting.Err() != nil {
			break
		}
		if err == nil && time.Since(looked) > refusalLook {
			looked, refusal = time.Now(), r.refusal(v, since)
		}
		switch {
		case refusal == "":
			refused = time.Time{}
		case refused.IsZero():
			refused = time.Now()
		}
		if refusal != "" && time.Since(refused) > refusalStays {
			why = refusal
			break
		}
		if time.Since(begin) > helpAfter {
			acts = append(acts, r.help(waiting, v)...)
			if p := v.Primary(); p != "" {
				if wrong := checkDiverged(waiting, r.C, p); len(wrong) > 0 {
					return acts, at, violation("%s", strings.Join(wrong, "; "))
				}
			}
		}
		_ = life.Pause(waiting, 200*time.Millisecond)
	}
	r.Log("an operator helps after %.0fs: %s", time.Since(begin).Seconds(), why)
	helper := &scenario.Run{Cluster: r.C, Log: func(format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		r.Log("operator: %s", text)
		switch {
		case strings.HasPrefix(text, "copying the standby"):
			acts = append(acts, "rebuild the standby")
		case strings.HasPrefix(text, "starting the cluster"):
			acts = append(acts, "pcs cluster start")
		}
	}}
	acts = append(acts, "pcs resource cleanup")
	if err := helper.Heal(ctx, operatorLimit); err != nil {
		return acts, at, err
	}
	return acts, time.Now(), nil
}

// fencingPatience is how long a fencing that was asked for and never reported is
// waited for: whoever asked may be dead.
const fencingPatience = 20 * time.Second

var (
	fencingAsked = regexp.MustCompile(`Requesting peer fencing \((?:reboot|off)\) targeting (\w+)`)
	fencingOver  = regexp.MustCompile(`Operation '(?:reboot|off)' targeting (\w+) `)
)

// doomed are the nodes that are being fenced. A node that was silent for a moment
// and is back looks healthy, while the other one's order to fence it waits for its
// delay.
func (r *Run) doomed(since time.Time) ([]string, error) {
	var all []cluster.LogLine
	for _, n := range r.C.NodeNames() {
		lines, err := r.C.LogSince(n, since)
		if err != nil {
			return nil, err
		}
		all = append(all, lines...)
	}
	return doomed(all, time.Now()), nil
}

func doomed(lines []cluster.LogLine, now time.Time) (nodes []string) {
	slices.SortStableFunc(lines, func(a, b cluster.LogLine) int { return a.At.Compare(b.At) })
	for _, l := range lines {
		if m := fencingAsked.FindStringSubmatch(l.Text); m != nil && now.Sub(l.At) < fencingPatience && !slices.Contains(nodes, m[1]) {
			nodes = append(nodes, m[1])
		}
		if m := fencingOver.FindStringSubmatch(l.Text); m != nil {
			nodes = slices.DeleteFunc(nodes, func(n string) bool { return n == m[1] })
		}
	}
	return nodes
}

// refusal is a start that was refused for good: the reason asks for a rebuild. It is
// read from the log: what the cluster shows of a failure is over with its
// failure-timeout, by the clock of the node that looks, and that may be hours ahead.
func (r *Run) refusal(v cluster.View, since time.Time) string {
	if v.Primary() == "" {
		return ""
	}
	for _, n := range r.C.NodeNames() {
		if running(v, n) {
			continue
		}
		lines, err := r.C.LogSince(n, since)
		if err != nil {
			r.Log("cannot look for a refusal on %s: %v", n, err)
			continue
		}
		if text := lastStart(lines, n); strings.Contains(text, "rebuild") {
			return text
		}
	}
	return ""
}

// lastStart is what came of the last start of the server on a node, "" for none.
func lastStart(lines []cluster.LogLine, node string) (text string) {
	const result = "Result of start operation for pgsql on "
	for _, l := range lines {
		if _, after, ok := strings.Cut(l.Text, result+node+": "); ok {
			text = "start on " + node + ": " + after
		}
	}
	return text
}

// help does what needs doing at once when it is seen: it starts the cluster on nodes
// that are on and have none, and has attributes written again that Pacemaker has
// lost. It names what it did.
func (r *Run) help(ctx context.Context, v cluster.View) (acts []string) {
	for _, n := range r.C.NodeNames() {
		m, err := r.C.Site.Node(ctx, n)
		if err != nil || !m.On() || m.Frozen {
			continue
		}
		corosync, err := fault.Find(r.C.Site, n, fault.Daemon("corosync"))
		pacemakerd, perr := fault.Find(r.C.Site, n, fault.Daemon("pacemakerd"))
		switch {
		case err != nil || perr != nil:
			r.Log("cannot look at %s: %v", n, errors.Join(err, perr))
		case len(corosync) == 0:
			r.Log("operator: pcs cluster start on %s", n)
			acts = append(acts, "pcs cluster start")
			if err := r.startCluster(ctx, n, len(pacemakerd) > 0); err != nil {
				r.Log("cannot start the cluster on %s: %v", n, err)
			}
		// The controller of a node was killed: its attributes were taken out of the
		// configuration, the attribute manager has them still, and whoever writes the
		// same value again changes nothing.
		case slices.Contains(v.Online(), n) && v.Attribute(n, "ping-status") == "" && slices.Contains(v.On("ping", ""), n):
			r.Log("operator: attrd_updater --refresh on %s, whose ping-status is lost", n)
			acts = append(acts, "attrd_updater --refresh")
			if _, err := r.C.Must(ctx, n, "attrd_updater", "--refresh"); err != nil {
				r.Log("%v", err)
			}
		}
	}
	return acts
}

// startCluster starts the cluster on a node. Pacemaker's first process may be there and
// wait for a corosync that was killed, if nobody was left to fence the node for that.
func (r *Run) startCluster(ctx context.Context, node string, waits bool) error {
	if !waits {
		return r.C.StartNode(ctx, node)
	}
	_, err := r.C.Must(ctx, node, "sh", "-c", "if [ -e /etc/lab/clock ]; then . /etc/lab/clock; fi; corosync")
	return err
}
