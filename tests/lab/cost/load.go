package cost

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"pgrex/lib/life"
	"pgrex/tests/lab/fault"
)

// Load is what a number of resources costs a node in steady state.
type Load struct {
	// Provider is whose agent it is, Count how many resources there are, Interval
	// that of their monitors in seconds.
	Provider        string
	Count, Interval int
	// Took is how long was measured.
	Took time.Duration
	// Monitors is how many were done in a minute, Processes how many processes and
	// threads the node created in all the time, for whatever.
	Monitors  float64
	Processes int
	// Agents is the processor time of the actions with all they ran, Watchers that of
	// the watchers, Servers that of PostgreSQL with the monitors' sessions, Daemons
	// that of Pacemaker and corosync.
	Agents, Watchers, Servers, Daemons time.Duration
	// AgentsMost and AgentsMean are the resident bytes of the actions under way,
	// with all they ran.
	AgentsMost, AgentsMean int64
	// WatcherCount is how many watchers there are, WatcherBytes what they take:
	// pages that they share count once.
	WatcherCount int
	WatcherBytes int64
}

// sampling is how often the memory of actions under way is looked at, pidInterval
// how often it is asked how many processes there were: before the numbers begin
// anew.
const (
	sampling    = 100 * time.Millisecond
	pidInterval = 5 * time.Second
)

// Measure measures for a while.
func (m *Many) Measure(ctx context.Context, d time.Duration) (Load, error) {
	l := Load{Provider: m.Cluster.Agents.Provider(), Count: m.Count, Interval: m.Interval}
	executor, err := fault.Find(m.Cluster.Site, m.node, fault.Daemon("pacemaker-execd"))
	if err != nil || len(executor) != 1 {
		return l, fmt.Errorf("want one executor, have %v (%w)", executor, err)
	}
	monitors, err := m.calibrate(ctx)
	if err != nil {
		return l, err
	}
	if err := monitors.begin(ctx, m); err != nil {
		return l, err
	}
	before, err := m.use(executor[0].Pid)
	if err != nil {
		return l, err
	}
	var memory []int64
	pids := pidCounter{}
	begin := time.Now()
	for time.Since(begin) < d {
		memory = append(memory, residentBelow(executor[0].Pid))
		if err := pids.look(ctx, m); err != nil {
			return l, err
		}
		if err := life.Pause(ctx, sampling); err != nil {
			return l, err
		}
	}
	l.Took = time.Since(begin)
	after, err := m.use(executor[0].Pid)
	if err != nil {
		return l, err
	}
	if l.Monitors, err = monitors.end(ctx, m); err != nil {
		return l, err
	}
	l.Processes = pids.sum
	l.Agents, l.Watchers = after.agents-before.agents, after.watchers-before.watchers
	l.Servers, l.Daemons = after.servers-before.servers, after.daemons-before.daemons
	l.WatcherCount, l.WatcherBytes = after.watcherCount, after.watcherBytes
	for _, x := range memory {
		l.AgentsMost = max(l.AgentsMost, x)
		l.AgentsMean += x / int64(len(memory))
	}
	return l, nil
}

// PrintLoads writes the table, everything for one minute.
func PrintLoads(w io.Writer, loads []Load) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(t, "servers\tagent\tmonitors\tof due\tprocesses\tCPU s:\tagents\twatchers\tPostgreSQL\tdaemons\tMB:\tactions, mean\tmost\twatchers\t")
	for _, l := range loads {
		minute := float64(time.Minute) / float64(l.Took)
		due := float64(l.Count) * 60 / float64(l.Interval)
		cpu := func(d time.Duration) string { return fmt.Sprintf("%.2f", d.Seconds()*minute) }
		mb := func(n int64) string { return fmt.Sprintf("%.1f", float64(n)/(1<<20)) }
		_, _ = fmt.Fprintf(t, "%d\t%s\t%.0f\t%.0f\t%.0f\t\t%s\t%s\t%s\t%s\t\t%s\t%s\t%s\t\n", l.Count, l.Provider,
			l.Monitors, due, float64(l.Processes)*minute,
			cpu(l.Agents), cpu(l.Watchers), cpu(l.Servers), cpu(l.Daemons), mb(l.AgentsMean), mb(l.AgentsMost), mb(l.WatcherBytes))
	}
	return t.Flush()
}
