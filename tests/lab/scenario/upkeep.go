package scenario

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/fault"
	"pgrex/tests/lab/host"
)

func upkeep() []Scenario {
	return []Scenario{
		{
			Name: "maintenance-restart",
			Text: "in maintenance mode PostgreSQL is restarted by hand on the primary: no role changes",
			Play: maintenanceRestart,
		},
		{
			Name: "rolling-upgrade",
			Text: "a minor upgrade: the standby first, then switchover, then the old primary",
			Play: rollingUpgrade,
		},
		{
			Name:      "failure-not-forgotten",
			Text:      "with PG-REX's own failure-timeout=0 a failed node stays out until cleanup, and then comes back",
			Variables: map[string]string{"FAILURE_TIMEOUT": "0"},
			Play:      failureNotForgotten,
		},
		{
			Name:      "standby-crash-loop",
			Text:      "the standby crashes at every start: it is tried again each failure-timeout, the primary does not feel it, and it comes back once mended",
			Variables: quickForget(),
			Play:      crashLoop,
		},
	}
}

// postmaster is the one of a node. A child that was forked a moment ago looks like
// one too.
func (r *Run) postmaster(ctx context.Context, node string) (p fault.Process, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err = host.Poll(ctx, "one postmaster on "+node, 5*time.Millisecond, func() (bool, error) {
		ps, err := fault.Find(r.Site, node, fault.Postmaster)
		if err != nil || len(ps) != 1 {
			return false, err
		}
		p = ps[0]
		return true, nil
	})
	return p, err
}

func maintenanceRestart(ctx context.Context, r *Run) error {
	was, err := r.before(ctx)
	if err != nil {
		return err
	}
	p, s := was.primary, was.standby
	if err := r.Pcs(ctx, p, "property", "set", "maintenance-mode=true"); err != nil {
		return err
	}
	err = r.Wait(ctx, "maintenance mode", 10*time.Second, func(v cluster.View) bool { return v.Maintenance })
	if err != nil {
		return err
	}
	// As an operator must: a monitor that is still running would see the restart.
	if _, err := r.Sh(ctx, p, "crm_resource --wait --timeout=30"); err != nil {
		return err
	}
	before, err := r.postmaster(ctx, p)
	if err != nil {
		return err
	}
	if err := r.watched(ctx, p, 10*time.Second); err != nil {
		return err
	}
	told, err := r.toldOn(ctx, p)
	if err != nil {
		return err
	}
	r.Begin("restart by hand")
	if _, err := r.Sh(ctx, p, "runuser -u postgres -- "+r.BinDir()+"/pg_ctl -D "+cluster.DataDir+" restart -w -m fast -l /var/log/postgresql/byhand.log >/dev/null 2>&1"); err != nil {
		return err
	}
	after, err := r.postmaster(ctx, p)
	if err != nil {
		return err
	}
	if after.Pid == before.Pid {
		return fmt.Errorf("it was not restarted: %v, then %v", before, after)
	}
	if err := r.WaitCommits(ctx, 30*time.Second); err != nil {
		return err
	}
	if err := r.Pcs(ctx, p, "property", "set", "maintenance-mode=false"); err != nil {
		return err
	}
	if err := r.WaitHealthy(ctx, 30*time.Second); err != nil {
		return err
	}
	err = r.Stays(ctx, p+" primary, "+s+" standby", 5*time.Second, func(v cluster.View) bool { return v.Primary() == p })
	if err != nil {
		return err
	}
	now, err := r.timeline(ctx, p)
	if err == nil && now != was.timeline {
		err = fmt.Errorf("timeline %s became %s", was.timeline, now)
	}
	if err != nil {
		return err
	}
	last, err := r.postmaster(ctx, p)
	if err == nil && last.Pid != after.Pid {
		err = errors.New("the server was restarted again when maintenance ended")
	}
	if err != nil {
		return err
	}
	if err := r.watched(ctx, p, time.Second); err != nil {
		return err
	}
	return r.ordered(ctx, p, told)
}

// rollingUpgrade does what an operator does around the package manager.
func rollingUpgrade(ctx context.Context, r *Run) error {
	p, s, err := r.Pair(ctx)
	if err != nil {
		return err
	}
	upgrade := func(n string) error {
		r.Begin("upgrade of " + n)
		if err := r.Pcs(ctx, n, "node", "standby", n); err != nil {
			return err
		}
		if err := r.gone(ctx, n, fault.Postgres, time.Minute); err != nil {
			return err
		}
		// Here the packages would be replaced; the server is down.
		if err := r.Pcs(ctx, n, "node", "unstandby", n); err != nil {
			return err
		}
		return r.WaitSync(ctx, n, time.Minute)
	}
	if err := upgrade(s); err != nil {
		return err
	}
	if err := r.WaitHealthy(ctx, 20*time.Second); err != nil {
		return err
	}
	if err := r.moveTo(ctx, s); err != nil {
		return err
	}
	if err := upgrade(p); err != nil {
		return err
	}
	return r.stillPrimary(ctx, s)
}

func crashLoop(ctx context.Context, r *Run) error {
	p, s, err := r.Pair(ctx)
	if err != nil {
		return err
	}
	conf := cluster.DataDir + "/postgresql.conf"
	if _, err := r.Sh(ctx, s, "echo \"shared_preload_libraries = 'no_such_library'\" >>"+conf); err != nil {
		return err
	}
	if err := r.Kill(ctx, s, "postmaster", fault.Postmaster); err != nil {
		return err
	}
	if err := r.WaitCommits(ctx, time.Minute); err != nil {
		return err
	}
	begin := time.Now()
	const watch = 40 * time.Second
	if err := r.Stays(ctx, p+" primary", watch, func(v cluster.View) bool { return v.Primary() == p }); err != nil {
		return err
	}
	starts, err := r.countLog(s, "Result of start operation for pgsql on "+s, begin)
	if err != nil {
		return err
	}
	r.Log("%d starts failed in %v", starts, watch)
	if starts < 1 || starts > 4 {
		return fmt.Errorf("%d starts in %v with failure-timeout 15s: want 2 or 3", starts, watch)
	}
	// What would be felt is a stall for as long as the standby is away between
	// two of its crashes; a busy machine pauses for less.
	g := r.W.History().LongestGap(begin, time.Now())
	r.Log("longest gap meanwhile %.3fs", g.Length().Seconds())
	if g.Length() > 10*time.Second {
		return fmt.Errorf("the primary felt it: no commit for %v", g.Length())
	}
	if _, err := r.Sh(ctx, s, "sed -i /no_such_library/d "+conf); err != nil {
		return err
	}
	// By itself: nobody cleans up.
	return r.WaitSync(ctx, s, time.Minute)
}

// countLog counts lines of a node's Pacemaker log since a time. Small letters and
// capitals are the same: Pacemaker 3 begins a result with a capital.
func (r *Run) countLog(node, text string, since time.Time) (int, error) {
	lines, err := r.LogSince(node, since)
	n := 0
	for _, l := range lines {
		if strings.Contains(strings.ToLower(l.Text), strings.ToLower(text)) {
			n++
		}
	}
	return n, err
}

// followLog returns what waits for a text in the lines that a node's Pacemaker log gets
// from now on, for those who have to act within milliseconds.
func (r *Run) followLog(ctx context.Context, node, text string) (func(time.Duration) error, error) {
	f, err := os.Open(filepath.Join(r.Logs(node), "pacemaker", "pacemaker.log"))
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(0, io.SeekEnd); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	context.AfterFunc(ctx, func() { _ = f.Close() })
	return func(within time.Duration) error {
		ctx, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		var seen []byte
		return host.Poll(ctx, fmt.Sprintf("%q in the log of %s", text, node), 2*time.Millisecond, func() (bool, error) {
			more, err := io.ReadAll(f)
			seen = append(seen, more...)
			return bytes.Contains(seen, []byte(text)), err
		})
	}, nil
}

func failureNotForgotten(ctx context.Context, r *Run) error {
	p, s, err := r.Pair(ctx)
	if err != nil {
		return err
	}
	if err := r.Kill(ctx, s, "postmaster", fault.Postmaster); err != nil {
		return err
	}
	err = r.Wait(ctx, "the failure to be noticed", 30*time.Second, func(v cluster.View) bool {
		return len(v.Failures) > 0 && !contains(v.On(cluster.ResourcePgsql, ""), s)
	})
	if err != nil {
		return err
	}
	err = r.Stays(ctx, s+" stays out", 20*time.Second, func(v cluster.View) bool {
		return v.Primary() == p && !contains(v.On(cluster.ResourcePgsql, ""), s)
	})
	if err != nil {
		return err
	}
	if err := r.Pcs(ctx, p, "resource", "cleanup", cluster.ResourcePgsql); err != nil {
		return err
	}
	return r.WaitSync(ctx, s, time.Minute)
}
