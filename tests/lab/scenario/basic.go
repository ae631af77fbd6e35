package scenario

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/fault"
	"pgrex/tests/lab/host"
)

func basic() []Scenario {
	return []Scenario{
		{
			Name: "cold-start",
			Text: "both nodes are stopped, standby first, and started again: the last primary is the primary, nothing is lost",
			Play: coldStart,
		},
		{
			Name: "cold-start-one",
			Text: "both nodes are stopped, primary last; only the old primary starts again, with quorum unblocked: it serves",
			Play: coldStartOne,
		},
		{
			Name: "postmaster-killed",
			Text: "the primary's postmaster is killed: the standby serves, the killed server is a standby again",
			Play: postmasterKilled,
		},
		{
			Name: "postmaster-killed-busy-backend",
			Text: "as before while a backend computes in a transaction: it lives on without postmaster and is ended by stop",
			Play: postmasterKilledBusy,
		},
		{
			Name: "postmaster-hung",
			Text: "the primary's postmaster stands still (SIGSTOP), its sessions go on: that is noticed long before the monitor's timeout",
			Play: noticedSoon(primaryHung("postmaster", fault.Postmaster)),
		},
		{
			Name: "server-hung",
			Text: "all processes of the primary's server stand still: noticed as soon, and the standby serves",
			Play: noticedSoon(primaryHung("PostgreSQL", fault.Postgres)),
		},
		{
			Name: "standby-killed",
			Text: "the standby's postmaster is killed: commits resume without it, it comes back and is synchronous again",
			Play: standbyKilled,
		},
		{
			Name: "standby-long-query",
			Text: "a query on the standby holds up replay when the primary dies: it does not hold up the failover",
			Play: standbyLongQuery,
		},
	}
}

// timeline is the timeline a primary writes.
func (r *Run) timeline(ctx context.Context, node string) (string, error) {
	return r.SQL(ctx, node, "select substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)")
}

// failover waits for the switch of roles and shows that it was one.
func (r *Run) failover(ctx context.Context, to, oldTimeline string, within time.Duration) error {
	if err := r.WaitPrimary(ctx, to, within); err != nil {
		return err
	}
	if err := r.WaitCommits(ctx, within); err != nil {
		return err
	}
	now, err := r.timeline(ctx, to)
	if err != nil {
		return err
	}
	if now <= oldTimeline {
		return fmt.Errorf("%s serves on timeline %s, the primary before on %s: that is no failover", to, now, oldTimeline)
	}
	r.Log("%s is primary on timeline %s, was %s", to, now, oldTimeline)
	return nil
}

func postmasterKilled(ctx context.Context, r *Run) error {
	was, err := r.before(ctx)
	if err != nil {
		return err
	}
	if err := r.Kill(ctx, was.primary, "postmaster", fault.Postmaster); err != nil {
		return err
	}
	return r.failover(ctx, was.standby, was.timeline, time.Minute)
}

// noticedSoon bounds what a hung primary may cost: half of its monitor's timeout was
// waited once.
func noticedSoon(play func(context.Context, *Run) error) func(context.Context, *Run) error {
	const bound = 20 * time.Second
	return func(ctx context.Context, r *Run) error {
		began := time.Now()
		err := play(ctx, r)
		if took := time.Since(began); err == nil && took > bound {
			err = fmt.Errorf("it took %v, want %v at most", took.Round(time.Millisecond), bound)
		}
		return err
	}
}

// busyBackend keeps a processor busy inside a transaction that has written, so
// that it does not look whether the postmaster is there.
const busyBackend = `runuser -u postgres -- psql -XAtqd app -c "begin; insert into ledger (id) values (-1);
do \$\$ declare x bigint := 0; begin loop x := (x + 1) % 7; end loop; end \$\$; commit"`

func postmasterKilledBusy(ctx context.Context, r *Run) error {
	was, err := r.before(ctx)
	if err != nil {
		return err
	}
	p, s := was.primary, was.standby
	if err := r.Background(ctx, p, busyBackend); err != nil {
		return err
	}
	busy := fault.Child("postgres app [local] DO")
	err = host.Poll(ctx, "the busy backend", 50*time.Millisecond, func() (bool, error) {
		ps, err := fault.Find(r.Site, p, busy)
		return len(ps) == 1, err
	})
	if err != nil {
		return err
	}
	if err := r.Kill(ctx, p, "postmaster", fault.Postmaster); err != nil {
		return err
	}
	ps, err := fault.Find(r.Site, p, busy)
	if err != nil {
		return err
	}
	if len(ps) != 1 {
		return errors.New("the fault did not happen: the busy backend died with its postmaster")
	}
	r.Log("living on without postmaster: %v", ps[0])
	if err := r.failover(ctx, s, was.timeline, time.Minute); err != nil {
		return err
	}
	// Demote and stop came before promote: nothing of the old server may be
	// left by now, unless a new one is there already.
	if left, err := fault.Find(r.Site, p, busy); err != nil || len(left) != 0 {
		return fmt.Errorf("%s was promoted while %v still ran on %s (%w)", s, left, p, err)
	}
	return nil
}

func standbyKilled(ctx context.Context, r *Run) error {
	p, s, err := r.Pair(ctx)
	if err != nil {
		return err
	}
	if err := r.Kill(ctx, s, "postmaster", fault.Postmaster); err != nil {
		return err
	}
	if err := r.WaitCommits(ctx, time.Minute); err != nil {
		return err
	}
	// Once it is noticed, it need not wait for failure-timeout.
	err = r.Wait(ctx, "the failure to be noticed", 30*time.Second, func(v cluster.View) bool { return len(v.Failures) > 0 })
	if err != nil {
		return err
	}
	if err := r.cleanup(ctx); err != nil {
		return err
	}
	if err := r.WaitSync(ctx, s, time.Minute); err != nil {
		return err
	}
	return r.stillPrimary(ctx, p)
}

// holdUpReplay reads a table and keeps the transaction open.
const holdUpReplay = `runuser -u postgres -- psql -XAtqd app -c "begin isolation level repeatable read; select count(*) from held; select pg_sleep(600)"`

func standbyLongQuery(ctx context.Context, r *Run) error {
	was, err := r.before(ctx)
	if err != nil {
		return err
	}
	p, s := was.primary, was.standby
	psql := "runuser -u postgres -- psql -XAtqd app -c "
	if _, err := r.Sh(ctx, p, psql+`"create table if not exists held as select 1 as x"`); err != nil {
		return err
	}
	if err := r.Background(ctx, s, holdUpReplay); err != nil {
		return err
	}
	reading := fault.Child("postgres app [local] SELECT")
	err = host.Poll(ctx, "the query on the standby", 50*time.Millisecond, func() (bool, error) {
		ps, err := fault.Find(r.Site, s, reading)
		return len(ps) > 0, err
	})
	if err != nil {
		return err
	}
	if _, err := r.Sh(ctx, p, psql+`"drop table held"`); err != nil {
		return err
	}
	// The replay of the drop waits for the query, and everything after it.
	lsn, err := r.SQL(ctx, p, "select pg_current_wal_flush_lsn()")
	if err != nil {
		return err
	}
	short, cancel := context.WithTimeout(ctx, 1500*time.Millisecond)
	defer cancel()
	if r.replayed(short, s, lsn) == nil {
		return errors.New("the fault did not happen: the query does not hold up replay")
	}
	r.Log("replay on %s is held up before %s", s, lsn)
	if err := r.Kill(ctx, p, "postmaster", fault.Postmaster); err != nil {
		return err
	}
	return r.failover(ctx, s, was.timeline, time.Minute)
}

// stopAll stops both nodes, the primary last, and shows that nothing runs.
func (r *Run) stopAll(ctx context.Context, order ...string) error {
	r.Begin("cluster stop")
	for _, n := range order {
		if err := r.StopNode(ctx, n); err != nil {
			return err
		}
	}
	for _, n := range order {
		ps, err := fault.Find(r.Site, n, func(p fault.Process) bool {
			return fault.Postgres(p) || fault.Daemon("corosync")(p) || fault.Daemon("pacemakerd")(p)
		})
		if err != nil {
			return err
		}
		if len(ps) != 0 {
			return fmt.Errorf("%s was stopped but runs %v", n, ps)
		}
	}
	r.Log("nothing of the cluster runs on %v", order)
	return nil
}

func coldStart(ctx context.Context, r *Run) error {
	p, s, err := r.Pair(ctx)
	if err != nil {
		return err
	}
	if err := r.stopAll(ctx, s, p); err != nil {
		return err
	}
	for _, n := range []string{s, p} {
		if err := r.StartNode(ctx, n); err != nil {
			return err
		}
	}
	if err := r.WaitHealthy(ctx, 90*time.Second); err != nil {
		return err
	}
	return r.stillPrimary(ctx, p)
}

func coldStartOne(ctx context.Context, r *Run) error {
	p, s, err := r.Pair(ctx)
	if err != nil {
		return err
	}
	if err := r.stopAll(ctx, s, p); err != nil {
		return err
	}
	if err := r.Power(ctx, s, false); err != nil {
		return err
	}
	if err := r.startUnblocked(ctx, p); err != nil {
		return err
	}
	if err := r.WaitPrimary(ctx, p, time.Minute); err != nil {
		return err
	}
	return r.WaitCommits(ctx, 20*time.Second)
}

// Signals by their names in this package.
const (
	sigstop = unix.SIGSTOP
	sigcont = unix.SIGCONT
)
