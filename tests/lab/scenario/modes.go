package scenario

import (
	"context"
	"errors"
	"fmt"
	"time"

	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/fault"
	"pgrex/tests/lab/host"
	"pgrex/tests/lab/network"
	"pgrex/tests/lab/writer"
)

func modes() []Scenario {
	return []Scenario{
		{
			Name: "monitor-role",
			Text: "the monitor gets a role that may only look: nothing is restarted, the primary dies, the standby serves",
			Play: monitorRole,
		},
		{
			Name:      "async-failover",
			Text:      "rep_mode=async: the primary loses its power while WAL is on its way: the standby serves with what it has, only the end of the history is lost",
			Variables: map[string]string{"REP_MODE": "async"},
			Play:      asyncFailover,
		},
	}
}

// asyncFailover makes the tail long enough to be seen: replication is cut, and
// commits go on, for less than the time after which anybody notices.
func asyncFailover(ctx context.Context, r *Run) error {
	was, err := r.before(ctx)
	if err != nil {
		return err
	}
	p, s := was.primary, was.standby
	from := time.Now()
	lsn, err := r.SQL(ctx, p, "select pg_current_wal_flush_lsn()")
	if err != nil {
		return err
	}
	if err := r.replayed(ctx, s, lsn); err != nil {
		return err
	}
	cut, err := fault.CutOff(ctx, r.Site, p, network.Replication)
	if err := r.Must(cut, err); err != nil {
		return err
	}
	// They do not wait for the standby: this is the mode's whole point.
	const tail = 100
	if err := r.commitsSince(ctx, "commits without the standby", cut.InForce, tail); err != nil {
		return err
	}
	v, err := r.View(ctx)
	if err != nil {
		return err
	}
	if v.Status(s) != "HS:async" || v.Score(s) != "100" {
		return fmt.Errorf("%s should be a standby that may be promoted: %s", s, v.Line())
	}
	dead, err := fault.PowerOff(ctx, r.Site, p)
	if err := r.Must(dead, err); err != nil {
		return err
	}
	r.tail = &writer.Tail{From: from, Dying: dead.At, Dead: dead.InForce}
	if err := r.fenced(ctx, was, p); err != nil {
		return err
	}
	if err := r.failover(ctx, s, was.timeline, time.Minute); err != nil {
		return err
	}
	rep, err := r.W.Check(ctx, r.Target(network.VIPPrimary))
	if err != nil {
		return err
	}
	if len(rep.Lost) < tail {
		return errors.Join(fmt.Errorf("the fault did not happen: %d commits were acknowledged without the standby and %d are lost", r.W.History().Between(cut.InForce, time.Now()), len(rep.Lost)), rep.Err())
	}
	return nil
}

// commitsSince waits until so many commits were acknowledged since a moment.
func (r *Run) commitsSince(ctx context.Context, what string, since time.Time, some int) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return host.Poll(ctx, what, 20*time.Millisecond, func() (bool, error) {
		return r.W.History().Between(since, time.Now()) >= some, nil
	})
}

// monitorRole gives the agent a role of its own as docs/pgsql.md says, and shows by the
// servers' logs that it is used before and after a failover.
func monitorRole(ctx context.Context, r *Run) error {
	was, err := r.before(ctx)
	if err != nil {
		return err
	}
	if _, err := r.SQL(ctx, was.primary, "create role watcher login password 'only-looks'; grant pg_monitor to watcher"); err != nil {
		return err
	}
	const perNode = `set -e
sed -i '1i local template1 watcher scram-sha-256' %[1]s/pg_hba.conf
echo "log_connections = on" >>%[1]s/postgresql.conf
echo '*:5432:template1:watcher:only-looks' >>~postgres/.pgpass
kill -HUP $(head -1 %[1]s/postmaster.pid)`
	for _, n := range []string{was.primary, was.standby} {
		if _, err := r.Sh(ctx, n, fmt.Sprintf(perNode, cluster.DataDir)); err != nil {
			return err
		}
	}
	logins := func(node string) error {
		const count = `grep -c "authorized: user=watcher database=template1" /var/log/postgresql/postgresql.log || true`
		before, err := r.Sh(ctx, node, count)
		if err != nil {
			return err
		}
		return r.Wait(ctx, "a monitor by the role on "+node, 20*time.Second, func(cluster.View) bool {
			now, err := r.Sh(ctx, node, count)
			return err == nil && now != before
		})
	}
	if err := r.Pcs(ctx, was.primary, "resource", "update", cluster.ResourcePgsql, "monitor_user=watcher"); err != nil {
		return err
	}
	for _, n := range []string{was.primary, was.standby} {
		if err := logins(n); err != nil {
			return err
		}
	}
	if err := r.WaitSync(ctx, was.standby, 20*time.Second); err != nil {
		return err
	}
	if now, err := r.timeline(ctx, was.primary); err != nil || now != was.timeline {
		return fmt.Errorf("the primary was on timeline %s and is on %s (%v): the role alone was changed", was.timeline, now, err)
	}
	if err := r.Kill(ctx, was.primary, "postmaster", fault.Postmaster); err != nil {
		return err
	}
	if err := r.failover(ctx, was.standby, was.timeline, time.Minute); err != nil {
		return err
	}
	return logins(was.standby)
}
