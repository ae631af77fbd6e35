package scenario

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/fault"
	"pgrex/tests/lab/host"
)

// seldom keeps the monitors out of the way: what is noticed, the watcher has noticed.
// A failure is forgotten soon, for the case in which nobody else may serve.
func seldom() map[string]string {
	m := quickForget()
	m["MONITOR_PROMOTED"], m["MONITOR"] = "7s", "8s"
	return m
}

func watchers() []Scenario {
	return []Scenario{
		{
			Name:      "watcher-one-failure",
			Variables: seldom(),
			Text:      "the primary's postmaster is killed: the watcher tells the cluster, and with the monitor together it costs one failure",
			Play:      watcherOneFailure,
		},
		{
			Name:      "watcher-disable",
			Variables: seldom(),
			Text:      "pcs resource disable stops both servers: no failure is recorded, and no watcher is left",
			Play:      watcherDisable,
		},
		{
			Name:      "watcher-pacemakerd-killed",
			Variables: seldom(),
			Text:      "the watcher outlives pacemakerd, which is killed and comes back; the death that follows is told",
			Play:      watcherPacemakerd,
		},
		{
			Name:      "watcher-dc-dies-too",
			Variables: seldom(),
			Text:      "the designated controller's node loses its power together with the primary's postmaster: one failure at most, the primary is recovered where it is",
			Play:      watcherDC,
		},
		{
			Name:      "watcher-killed",
			Variables: seldom(),
			Text:      "a watcher that is killed is started again by the monitor; killed together with the postmaster, the monitor tells",
			Play:      watcherKilled,
		},
	}
}

// toldByWatcher are the words of the agent's log when the watcher has told of a death.
const toldByWatcher = "the cluster was told that it failed"

// toldOn is how often the watchers of a node have told of a death since its boot.
func (r *Run) toldOn(ctx context.Context, node string) (int, error) {
	out, err := r.Sh(ctx, node, "grep -c '"+toldByWatcher+"' /var/log/pacemaker/pacemaker.log || true")
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(out))
}

// watchersOn are the watchers of a node.
func (r *Run) watchersOn(node string) ([]fault.Process, error) {
	return fault.Find(r.Site, node, fault.Action("watch"))
}

// watched waits until one watcher runs on a node.
func (r *Run) watched(ctx context.Context, node string, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return host.Poll(ctx, "one watcher on "+node, 50*time.Millisecond, func() (bool, error) {
		ps, err := r.watchersOn(node)
		return len(ps) == 1, err
	})
}

// freshWatcher waits until one watcher runs on a node, of the program that is
// installed there now.
func (r *Run) freshWatcher(ctx context.Context, node string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	return host.Poll(ctx, "a watcher of the installed agent on "+node, 200*time.Millisecond, func() (bool, error) {
		ps, err := r.watchersOn(node)
		return len(ps) == 1 && !ps[0].Replaced, err
	})
}

// failuresOn is how many failures of the server the cluster counts on a node.
func (r *Run) failuresOn(ctx context.Context, node string) (int, error) {
	out, err := r.Sh(ctx, node, "cibadmin --query --xpath \"//node_state[@uname='"+node+"']//nvpair[starts-with(@name,'fail-count-pgsql')]\" 2>/dev/null || true")
	if err != nil {
		return 0, err
	}
	sum := 0
	for _, f := range strings.Fields(out) {
		if v, ok := strings.CutPrefix(f, `value="`); ok {
			n, err := strconv.Atoi(strings.TrimRight(v, `"/>`))
			if err != nil {
				return 0, fmt.Errorf("failures of %s: %q", node, out)
			}
			sum += n
		}
	}
	return sum, nil
}

// tellsOnce kills a node's server and shows that its watcher tells of that, once, and
// that it costs one failure when happens is over.
func (r *Run) tellsOnce(ctx context.Context, node string, happens func() error) error {
	before, err := r.toldOn(ctx, node)
	if err != nil {
		return err
	}
	// A monitor that comes just then may be the first to know: the next one is seconds away.
	if err := r.afterMonitor(ctx, node); err != nil {
		return err
	}
	if err := r.Kill(ctx, node, "postmaster", fault.Postmaster); err != nil {
		return err
	}
	if err := happens(); err != nil {
		return err
	}
	after, err := r.toldOn(ctx, node)
	if err == nil && after != before+1 {
		err = fmt.Errorf("the watcher on %s has told of one death %d times", node, after-before)
	}
	if err != nil {
		return err
	}
	return r.countedOnce(ctx, node)
}

// afterMonitor waits until a monitor of a node's server has come and gone.
func (r *Run) afterMonitor(ctx context.Context, node string) error {
	monitor := fault.Action("monitor")
	if err := r.awaitProcess(ctx, node, "a monitor of the server", monitor); err != nil {
		return err
	}
	return host.Poll(ctx, "the monitor on "+node+" to end", 5*time.Millisecond, func() (bool, error) {
		ps, err := fault.Find(r.Site, node, monitor)
		return len(ps) == 0, err
	})
}

// countedOnce shows that the death of a node's server cost one failure.
func (r *Run) countedOnce(ctx context.Context, node string) error {
	n, err := r.failuresOn(ctx, node)
	if err == nil && n != 1 {
		err = fmt.Errorf("one death on %s counts as %d failures", node, n)
	}
	return err
}

// failureCounted is how the attribute manager logs a count of the server's failures.
// Since Pacemaker 3 it says where it keeps the count.
var failureCounted = regexp.MustCompile(`Setting fail-count-pgsql#(\S+)\[(\S+)\](?: in \w+)?: \S+ -> (\d+)\b`)

// failuresLogged are the lines of a node's log since its boot that count failures of
// its server, also those that were forgotten since.
func (r *Run) failuresLogged(ctx context.Context, node string) ([]string, error) {
	out, err := r.Sh(ctx, node, "grep 'Setting fail-count-pgsql#' /var/log/pacemaker/pacemaker.log || true")
	if err != nil {
		return nil, err
	}
	var lines []string
	for line := range strings.Lines(out) {
		if m := failureCounted.FindStringSubmatch(line); m != nil && m[2] == node {
			lines = append(lines, line)
		}
	}
	return lines, nil
}

// oneDeath shows that the lines, which are of one death, count it at most once: the
// report of the watcher and the failure of a monitor together. What fails later, as
// a start that has to wait for another node, is something else.
func oneDeath(lines []string) error {
	last, sum := map[string]string{}, 0
	for _, line := range lines {
		m := failureCounted.FindStringSubmatch(line)
		if m != nil && (strings.HasPrefix(m[1], "asyncmon_") || strings.HasPrefix(m[1], "monitor_")) {
			last[m[1]] = m[3]
		}
	}
	for _, n := range last {
		count, err := strconv.Atoi(n)
		if err != nil {
			return err
		}
		sum += count
	}
	if sum > 1 {
		return fmt.Errorf("one death is counted as %v", last)
	}
	return nil
}

// ordered shows that nothing on a node has been told of since, or counts as a failure.
func (r *Run) ordered(ctx context.Context, node string, toldBefore int) error {
	told, err := r.toldOn(ctx, node)
	count, cerr := r.failuresOn(ctx, node)
	if err := errors.Join(err, cerr); err != nil {
		return err
	}
	if told != toldBefore || count != 0 {
		return fmt.Errorf("an ordered stop on %s was told %d times and counts as %d failures", node, told-toldBefore, count)
	}
	return nil
}

func watcherOneFailure(ctx context.Context, r *Run) error {
	b, err := r.before(ctx)
	if err != nil {
		return err
	}
	if err := r.watched(ctx, b.primary, 20*time.Second); err != nil {
		return err
	}
	return r.tellsOnce(ctx, b.primary, func() error {
		return r.failover(ctx, b.standby, b.timeline, time.Minute)
	})
}

func watcherDisable(ctx context.Context, r *Run) error {
	p, s, err := r.Pair(ctx)
	if err != nil {
		return err
	}
	told := map[string]int{}
	for _, n := range []string{p, s} {
		if told[n], err = r.toldOn(ctx, n); err != nil {
			return err
		}
	}
	r.Begin("disable")
	if err := r.Pcs(ctx, s, "resource", "disable", cluster.ClonePgsql); err != nil {
		return err
	}
	err = r.Wait(ctx, "both servers to be stopped", time.Minute, func(v cluster.View) bool {
		return len(v.On(cluster.ResourcePgsql, "")) == 0
	})
	if err != nil {
		return err
	}
	for _, n := range []string{p, s} {
		ps, err := r.watchersOn(n)
		if err != nil || len(ps) != 0 {
			return errors.Join(err, fmt.Errorf("%s still has watchers %v", n, ps))
		}
		if err := r.ordered(ctx, n, told[n]); err != nil {
			return err
		}
	}
	if err := r.Pcs(ctx, s, "resource", "enable", cluster.ClonePgsql); err != nil {
		return err
	}
	if err := r.WaitHealthy(ctx, time.Minute); err != nil {
		return err
	}
	for _, n := range []string{p, s} {
		if err := r.watched(ctx, n, 20*time.Second); err != nil {
			return err
		}
	}
	return nil
}

func watcherPacemakerd(ctx context.Context, r *Run) error {
	b, err := r.before(ctx)
	if err != nil {
		return err
	}
	if err := r.watched(ctx, b.primary, 20*time.Second); err != nil {
		return err
	}
	was, err := r.watchersOn(b.primary)
	if err != nil {
		return err
	}
	if err := r.Kill(ctx, b.primary, "pacemakerd", fault.Daemon("pacemakerd")); err != nil {
		return err
	}
	if _, err := r.Sh(ctx, b.primary, "setsid pacemakerd >>/var/log/pacemaker/pacemakerd.out 2>&1 </dev/null &"); err != nil {
		return err
	}
	err = r.Stays(ctx, "the primary where it was", 4*time.Second, func(v cluster.View) bool { return v.Primary() == b.primary })
	if err != nil {
		return err
	}
	now, err := r.watchersOn(b.primary)
	if err != nil || len(now) != 1 || now[0].Pid != was[0].Pid {
		return errors.Join(err, fmt.Errorf("the watcher was %v and is %v", was, now))
	}
	return r.tellsOnce(ctx, b.primary, func() error {
		return r.failover(ctx, b.standby, b.timeline, time.Minute)
	})
}

func watcherDC(ctx context.Context, r *Run) error {
	p, s, err := r.Pair(ctx)
	if err != nil {
		return err
	}
	v, err := r.View(ctx)
	if err != nil {
		return err
	}
	if v.DC == p {
		if err := r.moveTo(ctx, s); err != nil {
			return err
		}
		p, s = s, p
	}
	if err := r.watched(ctx, p, 20*time.Second); err != nil {
		return err
	}
	before, err := r.failuresLogged(ctx, p)
	if err != nil {
		return err
	}
	told, err := r.toldOn(ctx, p)
	if err != nil {
		return err
	}
	since := time.Now()
	died := make(chan error, 1)
	go func() { died <- r.Must(fault.PowerOff(ctx, r.Site, s)) }()
	err = r.Kill(ctx, p, "postmaster", fault.Postmaster)
	if err := errors.Join(err, <-died); err != nil {
		return err
	}
	// The only one that is left holds everything, once the other one is fenced. The
	// cluster shows it as primary for a while yet: only a commit tells that it is.
	if err := r.WaitCommits(ctx, 3*time.Minute); err != nil {
		return err
	}
	if err := r.stillPrimary(ctx, p); err != nil {
		return err
	}
	// It is told by the watcher or by a monitor, and may count once. It need not count
	// at all: a designated controller counts what is recorded while it is one, and
	// the failure was recorded while there was none. The node's log is read because
	// a count is forgotten by now: it had to be, for p to serve again.
	now, err := r.toldOn(ctx, p)
	if err == nil && now > told+1 {
		err = fmt.Errorf("the watcher on %s has told of one death %d times", p, now-told)
	}
	if err != nil {
		return err
	}
	counted, err := r.failuresLogged(ctx, p)
	if err != nil {
		return err
	}
	noticed, err := r.noticedBy(p, since)
	if err != nil {
		return err
	}
	r.Log("told by the watcher %d times; seen by %q", now-told, noticed)
	return oneDeath(counted[len(before):])
}

// noticedBy are the monitors, by their results, that saw a node's server fail since a
// time. The one that follows a promotion may be at it when the server dies: who asks
// first, it or the watcher, tells.
func (r *Run) noticedBy(node string, since time.Time) ([]string, error) {
	events, err := r.Events(since)
	var seen []string
	for _, e := range events {
		if strings.HasPrefix(e.Text, "monitor on "+node+":") && !strings.HasSuffix(e.Text, ": promoted") {
			seen = append(seen, e.Text)
		}
	}
	return seen, err
}

func watcherKilled(ctx context.Context, r *Run) error {
	b, err := r.before(ctx)
	if err != nil {
		return err
	}
	if err := r.watched(ctx, b.primary, 20*time.Second); err != nil {
		return err
	}
	if err := r.Kill(ctx, b.primary, "watcher", fault.Action("watch")); err != nil {
		return err
	}
	if err := r.watched(ctx, b.primary, 20*time.Second); err != nil {
		return err
	}
	if err := r.stillPrimary(ctx, b.primary); err != nil {
		return err
	}
	if err := r.Kill(ctx, b.primary, "watcher", fault.Action("watch")); err != nil {
		return err
	}
	if err := r.Kill(ctx, b.primary, "postmaster", fault.Postmaster); err != nil {
		return err
	}
	if err := r.failover(ctx, b.standby, b.timeline, time.Minute); err != nil {
		return err
	}
	return r.countedOnce(ctx, b.primary)
}
