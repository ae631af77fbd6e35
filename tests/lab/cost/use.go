package cost

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pgrex/tests/lab/fault"
)

// use is what processes have used so far.
type use struct {
	agents, watchers, servers, daemons time.Duration
	watcherCount                       int
	watcherBytes                       int64
}

// use adds up the node's processes. The kernel adds the time of a process that
// ended, and of those it waited for, to its parent: the actions are the executor's
// children, the sessions the postmaster's.
func (m *Many) use(executor int) (use, error) {
	var u use
	ps, err := fault.Find(m.Cluster.Site, m.node, func(fault.Process) bool { return true })
	if err != nil {
		return u, err
	}
	for _, p := range ps {
		own, children, err := times(p.Pid)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			return u, err
		}
		switch {
		case isWatcher(p):
			u.watchers += own + children
			u.watcherCount++
			u.watcherBytes += proportional(p.Pid)
		case fault.Postgres(p):
			u.servers += own + children
		case fault.Daemon("corosync")(p), fault.Daemon("pacemakerd")(p), strings.HasPrefix(baseName(p.Exe), "pacemaker-"):
			u.daemons += own
			if p.Pid == executor {
				u.agents += children
			}
		}
	}
	return u, nil
}

// isWatcher says whether a process is the watcher of ocf:pgrex:pgsql.
func isWatcher(p fault.Process) bool {
	return baseName(p.Exe) == "pgsql" && len(p.Args) > 1 && p.Args[1] == "watch"
}

func baseName(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// tick is the unit of times in /proc, on every architecture there is.
const tick = 10 * time.Millisecond

// times are a process's own processor time and that of the children it waited for.
func times(pid int) (own, children time.Duration, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	return parseTimes(b)
}

// parseTimes reads a line of /proc/PID/stat.
func parseTimes(stat []byte) (own, children time.Duration, err error) {
	// The name is in brackets and may hold anything; state is the third field.
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(f) < 15 {
		return 0, 0, fmt.Errorf("cannot read the times of a process: %q", stat)
	}
	var n [4]int64
	for i := range n {
		if n[i], err = strconv.ParseInt(f[11+i], 10, 64); err != nil {
			return 0, 0, fmt.Errorf("cannot read the times of a process: %w", err)
		}
	}
	return time.Duration(n[0]+n[1]) * tick, time.Duration(n[2]+n[3]) * tick, nil
}

// proportional are the bytes of a process, of shared pages its part; 0 when it is
// gone.
func proportional(pid int) int64 {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "Pss:" {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n << 10
		}
	}
	return 0
}

// residentBelow are the resident bytes of all descendants of a process.
func residentBelow(pid int) int64 {
	sum := int64(0)
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, child := range strings.Fields(string(b)) {
		n, err := strconv.Atoi(child)
		if err != nil {
			continue
		}
		statm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", n))
		if f := strings.Fields(string(statm)); len(f) > 1 {
			pages, _ := strconv.ParseInt(f[1], 10, 64)
			sum += pages * int64(os.Getpagesize())
		}
		sum += residentBelow(n)
	}
	return sum
}

// pidCounter counts the processes and threads of a node by the numbers they get.
type pidCounter struct {
	at        time.Time
	last, sum int
}

// lowestPid is what numbers begin with anew after the greatest.
const lowestPid = 300

// look asks from time to time: the kernel answers for the namespace of who asks,
// so somebody has to enter it.
func (c *pidCounter) look(ctx context.Context, m *Many) error {
	if time.Since(c.at) < pidInterval {
		return nil
	}
	out, err := m.Cluster.Must(ctx, m.node, "cat", "/proc/sys/kernel/ns_last_pid", "/proc/sys/kernel/pid_max")
	if err != nil {
		return err
	}
	var last, most int
	if _, err := fmt.Sscan(out, &last, &most); err != nil {
		return fmt.Errorf("cannot read the last process number: %w", err)
	}
	if c.at.IsZero() {
		c.last = last
	}
	c.sum += last - c.last
	if last < c.last {
		c.sum += most - lowestPid
	}
	c.last, c.at = last, time.Now()
	return nil
}

// sessionCounter counts monitors by the sessions they open.
type sessionCounter struct {
	perMonitor, before int
	at                 time.Time
}

// sessionsScript prints how many sessions servers have had, up to those that ended.
const sessionsScript = `for port in $(seq %d %d); do
	echo "select sum(sessions) from pg_stat_database" | runuser -u postgres -- %s/psql -XAtq -p $port -d postgres
done`

func (m *Many) sessions(ctx context.Context, servers int) (int, error) {
	out, err := m.Cluster.Must(ctx, m.node, "sh", "-c", "cd /; "+fmt.Sprintf(sessionsScript, firstPort, firstPort+servers-1, m.Cluster.BinDir()))
	if err != nil {
		return 0, err
	}
	sum := 0
	for _, f := range strings.Fields(out) {
		n, err := strconv.Atoi(f)
		if err != nil {
			return 0, fmt.Errorf("cannot read the number of sessions: %w", err)
		}
		sum += n
	}
	return sum, nil
}

// calibration is how many monitors are made to learn how many sessions one opens:
// so many that those of the cluster meanwhile do not matter.
const calibration = 6

func (m *Many) calibrate(ctx context.Context) (sessionCounter, error) {
	var c sessionCounter
	command, err := environment(ctx, m.Cluster, "pg1", m.node, strconv.Itoa(m.Interval*1000))
	if err != nil {
		return c, err
	}
	before, err := m.sessions(ctx, 1)
	if err != nil {
		return c, err
	}
	for range calibration {
		if _, err := m.Cluster.Exec(ctx, m.node, command...); err != nil {
			return c, err
		}
	}
	after, err := m.sessions(ctx, 1)
	if err != nil {
		return c, err
	}
	// One is the question's own.
	if c.perMonitor = (after - before - 1) / calibration; c.perMonitor == 0 {
		return c, fmt.Errorf("%d monitors opened %d sessions: they do not look at the server", calibration, after-before-1)
	}
	return c, nil
}

// begin counts from now on, end says how many monitors there were in a minute.
func (c *sessionCounter) begin(ctx context.Context, m *Many) error {
	// To ask fifty servers takes seconds. The clock is read before, as by end: what
	// counts for each server is the time between its two questions.
	c.at = time.Now()
	var err error
	c.before, err = m.sessions(ctx, m.Count)
	return err
}

func (c *sessionCounter) end(ctx context.Context, m *Many) (perMinute float64, err error) {
	took := time.Since(c.at)
	after, err := m.sessions(ctx, m.Count)
	// The first question was a session of each server, too.
	return float64(after-c.before-m.Count) / float64(c.perMonitor) * float64(time.Minute) / float64(took), err
}
