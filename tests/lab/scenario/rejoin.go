package scenario

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/fault"
	"pgrex/tests/lab/host"
)

// rejoins are returns of a primary that died with commits nobody else has.
func rejoins() []Scenario {
	return []Scenario{
		{
			Name:      "rejoin-rewind",
			Text:      "the primary dies with commits of its own: it is rewound and synchronous again by itself, and a report says what they were",
			Variables: quickForget(),
			Play:      rejoinRewind,
		},
		{
			Name:      "rejoin-clone",
			Text:      "the same where it cannot be rewound: it is cloned in the background, which holds up nothing else, and synchronous again by itself",
			Variables: quickForget(),
			Play:      rejoinClone,
		},
		{
			Name:      "rejoin-long-wait",
			Text:      "why a start does not wait for a clone: one that does keeps the cluster from carrying out anything else",
			Variables: quickForget(),
			Play:      rejoinLongWait,
		},
		{
			Name:      "rejoin-rewind-killed",
			Text:      "pg_rewind is killed while it writes: that data directory is never started, but cloned",
			Variables: quickForget(),
			Play:      rejoinRewindKilled,
		},
		{
			Name:      "rejoin-clone-killed",
			Text:      "the clone is killed half-way, then start in the middle of the exchange: it begins anew, or goes on",
			Variables: quickForget(),
			Play:      rejoinCloneKilled,
		},
		{
			Name:      "rejoin-clone-power-loss",
			Text:      "the node that is being cloned loses its power: it comes back by itself",
			Variables: quickForget(),
			OnDisk:    true,
			Play:      rejoinClonePowerLoss,
		},
		{
			Name:      "rejoin-clone-move",
			Text:      "three nodes: the primary's role is moved while another node is cloned from it: the move goes on at once, and the clone begins anew from the new primary",
			Nodes:     3,
			Variables: quickForget(),
			Play:      rejoinCloneMove,
		},
		{
			Name:      "rejoin-cleanup",
			Text:      "with PG-REX's own failure-timeout=0: a cleanup begins the rewind, its end is shown, and another cleanup brings the node back",
			Variables: map[string]string{"FAILURE_TIMEOUT": "0"},
			Play:      rejoinCleanup,
		},
	}
}

const rejoinPassword = "rejoin-lab"

// prepareRejoin gives rejoin what it needs, as the page says: a role, and its password.
func (r *Run) prepareRejoin(ctx context.Context, primary string) error {
	settings := fmt.Sprintf("psql() { runuser -u postgres -- %s/psql \"$@\"; }\nPASSWORD=%s\ncd /", r.BinDir(), rejoinPassword)
	out, err := r.SQL(ctx, primary, "select count(*) from pg_roles where rolname = 'rejoiner'")
	if err == nil && out == "0" {
		err = r.follow(ctx, primary, "rejoin.md", "rejoin-user", settings)
	}
	if err != nil {
		return err
	}
	for _, n := range r.NodeNames() {
		script := fmt.Sprintf(`set -e; cd /
grep -q rejoiner %[1]s/pg_hba.conf || echo "host postgres rejoiner 192.168.2.0/24 scram-sha-256" >>%[1]s/pg_hba.conf
grep -q rejoiner ~postgres/.pgpass || echo "*:5432:postgres:rejoiner:%[2]s" >>~postgres/.pgpass`, cluster.DataDir, rejoinPassword)
		if _, err := r.Sh(ctx, n, script); err != nil {
			return err
		}
		if _, err := r.SQL(ctx, n, "select pg_reload_conf()"); err != nil {
			return err
		}
	}
	return nil
}

// SetParams sets parameters of the resource, NAME=VALUE, with what they need.
func (r *Run) SetParams(ctx context.Context, primary string, params ...string) error {
	if slices.ContainsFunc(params, func(p string) bool { return strings.HasPrefix(p, "rejoin") }) {
		if err := r.prepareRejoin(ctx, primary); err != nil {
			return err
		}
	}
	if err := r.Pcs(ctx, primary, append([]string{"resource", "update", cluster.ResourcePgsql}, params...)...); err != nil {
		return err
	}
	// A reload is no part of what follows.
	_, err := r.Sh(ctx, primary, "crm_resource --wait --timeout=30")
	return err
}

// allowRejoin is SetParams, and gives the function that takes it back.
func (r *Run) allowRejoin(ctx context.Context, primary string, params ...string) (func(), error) {
	if err := r.SetParams(ctx, primary, params...); err != nil {
		return nil, err
	}
	return func() {
		var off []string
		for _, p := range params {
			name, _, _ := strings.Cut(p, "=")
			off = append(off, name+"=")
		}
		if v, err := r.View(context.WithoutCancel(ctx)); err == nil {
			_ = r.Pcs(context.WithoutCancel(ctx), v.From, append([]string{"resource", "update", cluster.ResourcePgsql}, off...)...)
		}
	}, nil
}

// diverge has the primary die with a commit that it alone has, under the load of
// the writer, and returns that transaction's number. others are standbys that do not
// take over.
func (r *Run) diverge(ctx context.Context, was before, others ...string) (xid string, err error) {
	receiver := fault.Child("walreceiver")
	// Who takes over has all that the others have, so they are held first.
	standbys := append(slices.Clone(others), was.standby)
	for _, n := range standbys {
		if err := r.Must(fault.Signal(ctx, r.Site, n, "walreceiver", receiver, sigstop)); err != nil {
			return "", err
		}
	}
	xid, err = r.SQL(ctx, was.primary, "set synchronous_commit = local; create table lost_by_rejoin as select pg_current_xact_id()::text as xid; select xid from lost_by_rejoin")
	if err != nil {
		return "", err
	}
	if err := r.Kill(ctx, was.primary, "postmaster", fault.Postmaster); err != nil {
		return "", err
	}
	// They end before they read what is on its way.
	for _, n := range standbys {
		ps, err := fault.Find(r.Site, n, receiver)
		if err != nil {
			return "", err
		}
		for _, p := range ps {
			if err := errors.Join(unix.Kill(p.Pid, unix.SIGTERM), unix.Kill(p.Pid, sigcont)); err != nil {
				return "", err
			}
		}
	}
	if err := r.failover(ctx, was.standby, was.timeline, time.Minute); err != nil {
		return "", err
	}
	out, err := r.SQL(ctx, was.standby, "select count(*) from pg_class where relname = 'lost_by_rejoin'")
	if err == nil && out != "0" {
		err = errors.New("the new primary has what only the old one should have: nothing diverged")
	}
	return xid, err
}

// isBack waits until the old primary is redundancy again without a person, and
// reads the report.
func (r *Run) isBack(ctx context.Context, was before, xid, how string, begin time.Time) error {
	if err := r.WaitSync(ctx, was.primary, 3*time.Minute); err != nil {
		v, _ := r.View(ctx)
		return fmt.Errorf("%w: %v; %s", err, v.Failures, v.Attribute(was.primary, "pgsql-rejoin"))
	}
	r.Log("%s is a synchronous standby again %.1fs after the failover", was.primary, time.Since(begin).Seconds())
	return r.reported(ctx, was, xid, how)
}

// reported reads what a node that is back says of its return, and that it has what
// the primary has.
func (r *Run) reported(ctx context.Context, was before, xid, how string) error {
	v, err := r.View(ctx)
	if err != nil {
		return err
	}
	if got := v.Attribute(was.primary, "pgsql-rejoin"); !strings.HasPrefix(got, how+" done; ") {
		return fmt.Errorf("pgsql-rejoin is %q, want %s", got, how)
	}
	report, err := r.Sh(ctx, was.primary, "cat $(ls -td "+cluster.DataDir+".pgrex-diverged/*/ | head -n1)report.txt")
	if err != nil {
		return err
	}
	head, _, _ := strings.Cut(report, "\n\nThe files")
	r.Log("report: %s", strings.Join(strings.Fields(head), " "))
	if !strings.Contains(report, "\nAcknowledged to clients: none\nBecause: commits waited for the standby") {
		return fmt.Errorf("the report does not say that no client was told, and why: %s", report)
	}
	named := slices.ContainsFunc(strings.Split(report, "\n"), func(l string) bool {
		f := strings.Fields(l)
		return len(f) > 3 && f[0] == "COMMIT" && f[1] == "xid" && f[2] == xid
	})
	if !named {
		return fmt.Errorf("the report does not name the lost transaction %s: %s", xid, report)
	}
	out, err := r.SQL(ctx, was.primary, "select count(*) from pg_class where relname = 'lost_by_rejoin'")
	if err != nil || out != "0" {
		return errors.Join(err, errors.New("the returned node still has what nobody else has"))
	}
	return host.Poll(ctx, "nothing to be left over", time.Second, func() (bool, error) {
		out, err := r.Sh(ctx, was.primary, "ls -d "+cluster.DataDir+".pgrex-* /dbfp/pgwal/pg_wal.pgrex-* 2>/dev/null; true")
		for _, f := range strings.Fields(out) {
			if base := filepath.Base(f); base != "data.pgrex-record" && base != "data.pgrex-diverged" {
				return false, err
			}
		}
		return err == nil, err
	})
}

// rejoinAfter plays a return: meanwhile is what happens while the node comes back.
func (r *Run) rejoinAfter(ctx context.Context, how string, params []string, meanwhile func(was before) error) error {
	was, err := r.before(ctx)
	if err != nil {
		return err
	}
	undo, err := r.allowRejoin(ctx, was.primary, params...)
	if err != nil {
		return err
	}
	defer undo()
	xid, err := r.diverge(ctx, was)
	if err != nil {
		return err
	}
	begin := time.Now()
	if meanwhile != nil {
		if err := meanwhile(was); err != nil {
			return err
		}
	}
	return r.isBack(ctx, was, xid, how, begin)
}

func rejoinRewind(ctx context.Context, r *Run) error {
	return r.rejoinAfter(ctx, "rewind", []string{"rejoin=rewind", "rejoin_user=rejoiner"}, nil)
}

// slowClone is a clone, since pg_rewind may not log in, that takes longer than a
// start waits. rate is that of its copy, in kB/s.
func slowClone(rate int) []string {
	return []string{"rejoin=clone", "rejoin_user=nobody_of_that_name", fmt.Sprintf("rejoin_rate=%d", rate), "rejoin_wait=2"}
}

// copying waits until a node is being cloned.
func (r *Run) copying(ctx context.Context, node string) error {
	program := fault.Daemon("pg_basebackup")
	return r.awaitProcess(ctx, node, "pg_basebackup", program)
}

// gaveUp reports whether a start has left a clone to go on by itself.
func gaveUp(v cluster.View) bool {
	return slices.ContainsFunc(v.Failures, func(f string) bool { return strings.Contains(f, "not started yet") })
}

func (r *Run) awaitProcess(ctx context.Context, node, what string, match fault.Pattern) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	return host.Poll(ctx, what+" on "+node, 5*time.Millisecond, func() (bool, error) {
		ps, err := fault.Find(r.Site, node, match)
		return len(ps) > 0, err
	})
}

func rejoinClone(ctx context.Context, r *Run) error {
	return r.rejoinAfter(ctx, "clone", slowClone(1500), func(was before) error {
		if err := r.copying(ctx, was.primary); err != nil {
			return err
		}
		if err := r.Wait(ctx, "the start to have given up its wait", 20*time.Second, gaveUp); err != nil {
			return err
		}
		err := r.Wait(ctx, "everybody to see how far it is", 20*time.Second, func(v cluster.View) bool {
			return strings.Contains(v.Attribute(was.primary, "pgsql-rejoin"), "% of ")
		})
		if err != nil {
			return err
		}
		// What else the cluster is asked to do, it does at once.
		order := time.Now()
		if err := r.Pcs(ctx, was.standby, "resource", "restart", "ipaddr-standby", "--wait=30"); err != nil {
			return err
		}
		took := time.Since(order)
		ps, err := fault.Find(r.Site, was.primary, fault.Daemon("pg_basebackup"))
		if err != nil || len(ps) == 0 {
			return errors.Join(err, errors.New("the clone was over before the cluster was asked for something else"))
		}
		r.Log("while the clone went on, another virtual address was restarted in %.1fs", took.Seconds())
		if took > 10*time.Second {
			return fmt.Errorf("the clone held up the cluster for %v", took)
		}
		return r.WaitCommits(ctx, 20*time.Second)
	})
}

// rejoinLongWait shows what rejoin_wait is for.
func rejoinLongWait(ctx context.Context, r *Run) error {
	params := []string{"rejoin=clone", "rejoin_user=nobody_of_that_name", "rejoin_rate=2000", "rejoin_wait=100"}
	return r.rejoinAfter(ctx, "clone", params, func(was before) error {
		if err := r.copying(ctx, was.primary); err != nil {
			return err
		}
		order := time.Now()
		if err := r.Pcs(ctx, was.standby, "resource", "restart", "ipaddr-standby", "--wait=90"); err != nil {
			return err
		}
		took := time.Since(order)
		r.Log("while a start waited for a clone, another virtual address was restarted in %.1fs", took.Seconds())
		ps, err := fault.Find(r.Site, was.primary, fault.Action("start"))
		if err != nil || len(ps) != 0 {
			return errors.Join(err, fmt.Errorf("the cluster carried out an order while a start was under way (%v): then start may wait", ps))
		}
		return nil
	})
}

// killWorker kills the worker and what it runs.
func (r *Run) killWorker(ctx context.Context, node, program string) error {
	if err := r.Kill(ctx, node, "the rejoin worker", fault.Action("rejoin")); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return host.Poll(ctx, program+" to end with it", 20*time.Millisecond, func() (bool, error) {
		ps, err := fault.Find(r.Site, node, fault.Daemon(program))
		return len(ps) == 0, err
	})
}

func rejoinRewindKilled(ctx context.Context, r *Run) error {
	return r.rejoinAfter(ctx, "clone", []string{"rejoin=clone", "rejoin_user=rejoiner"}, func(was before) error {
		writes := func(p fault.Process) bool {
			return fault.Daemon("pg_rewind")(p) && !slices.Contains(p.Args, "--dry-run")
		}
		if err := r.awaitProcess(ctx, was.primary, "pg_rewind", writes); err != nil {
			return err
		}
		if err := r.killWorker(ctx, was.primary, "pg_rewind"); err != nil {
			return err
		}
		out, err := r.Sh(ctx, was.primary, "cat "+cluster.DataDir+".pgrex-rejoin")
		if err != nil || !strings.Contains(out, "broken: a rewind that was interrupted") {
			return errors.Join(err, fmt.Errorf("the kill came too late or too early: %s", out))
		}
		return nil
	})
}

func rejoinCloneKilled(ctx context.Context, r *Run) error {
	return r.rejoinAfter(ctx, "clone", slowClone(3000), func(was before) error {
		if err := r.copying(ctx, was.primary); err != nil {
			return err
		}
		if err := r.killWorker(ctx, was.primary, "pg_basebackup"); err != nil {
			return err
		}
		if err := r.Pcs(ctx, was.standby, "resource", "update", cluster.ResourcePgsql, "rejoin_rate=20000"); err != nil {
			return err
		}
		// Again, and then a start in which the copy may just be put in its place.
		if err := r.awaitFile(ctx, was.primary, "phase: copied"); err != nil {
			return err
		}
		if err := r.awaitProcess(ctx, was.primary, "start", fault.Action("start")); err != nil {
			return err
		}
		// Where it was killed is chance; each place has its own test.
		ps, err := fault.Find(r.Site, was.primary, fault.Action("start"))
		for _, p := range ps {
			r.Log("killing %v", p)
			err = errors.Join(err, unix.Kill(p.Pid, unix.SIGKILL))
		}
		if err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
		return nil
	})
}

// awaitFile waits until the mark beside a node's data directory has a line.
func (r *Run) awaitFile(ctx context.Context, node, line string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	return host.Poll(ctx, line, 10*time.Millisecond, func() (bool, error) {
		out, err := r.Sh(ctx, node, "cat "+cluster.DataDir+".pgrex-rejoin 2>/dev/null; true")
		return strings.Contains(out, line), err
	})
}

func rejoinClonePowerLoss(ctx context.Context, r *Run) error {
	return r.rejoinAfter(ctx, "clone", slowClone(3000), func(was before) error {
		if err := r.copying(ctx, was.primary); err != nil {
			return err
		}
		now, err := r.Room(ctx)
		if err != nil {
			return err
		}
		for _, n := range now.Nodes {
			was.boots[n.Name] = n.Boots
		}
		if err := r.Must(fault.PowerOff(ctx, r.Site, was.primary)); err != nil {
			return err
		}
		return r.fenced(ctx, was, was.primary)
	})
}

// rejoinCloneMove moves the role away from the node that a third one is copied from.
func rejoinCloneMove(ctx context.Context, r *Run) error {
	p, sync, others, err := r.crowd(ctx)
	if err != nil {
		return err
	}
	was := before{primary: p, standby: sync}
	if was.timeline, err = r.timeline(ctx, p); err != nil {
		return err
	}
	undo, err := r.allowRejoin(ctx, p, slowClone(1500)...)
	if err != nil {
		return err
	}
	defer undo()
	xid, err := r.diverge(ctx, was, others...)
	if err != nil {
		return err
	}
	to := others[0]
	err = r.Wait(ctx, to+" to be the synchronous standby", time.Minute, func(v cluster.View) bool {
		return v.Status(to) == "HS:sync" && v.Score(to) == "100"
	})
	if err == nil {
		err = r.copying(ctx, p)
	}
	if err != nil {
		return err
	}
	tl, err := r.timeline(ctx, sync)
	if err != nil {
		return err
	}
	// A former primary that failed to start counts as promoted for Pacemaker until it is stopped, and pcs
	// refuses to move what is promoted twice.
	err = r.Wait(ctx, p+" to be out, and "+sync+" to be the only primary", time.Minute, func(v cluster.View) bool {
		return gaveUp(v) && v.Primary() == sync && !contains(v.On(cluster.ResourcePgsql, ""), p)
	})
	if err == nil {
		err = r.copying(ctx, p)
	}
	if err != nil {
		return err
	}
	order := time.Now()
	if err := r.Pcs(ctx, sync, "resource", "move", cluster.ClonePgsql, to, "--promoted"); err != nil {
		return err
	}
	if err := r.failover(ctx, to, tl, 20*time.Second); err != nil {
		return err
	}
	r.Log("while %s was cloned from %s, the primary moved to %s in %.1fs", p, sync, to, time.Since(order).Seconds())
	err = r.Wait(ctx, p+" to follow", 3*time.Minute, func(v cluster.View) bool {
		return v.Primary() == to && strings.HasPrefix(v.Status(p), "HS:") && v.Status(p) != "HS:alone"
	})
	if err != nil {
		return err
	}
	return r.reported(ctx, was, xid, "clone")
}

// rejoinCleanup is a return for which nothing happens without a person, who is told
// when it is time.
func rejoinCleanup(ctx context.Context, r *Run) error {
	params := []string{"rejoin=rewind", "rejoin_user=rejoiner", "rejoin_wait=0"}
	return r.rejoinAfter(ctx, "rewind", params, func(was before) error {
		cleanup := func() error { return r.Pcs(ctx, was.standby, "resource", "cleanup", cluster.ResourcePgsql) }
		out := func(v cluster.View) bool {
			return v.Primary() == was.standby && !contains(v.On(cluster.ResourcePgsql, ""), was.primary)
		}
		if err := r.Stays(ctx, was.primary+" stays out", 10*time.Second, out); err != nil {
			return err
		}
		if err := cleanup(); err != nil {
			return err
		}
		// The start that did not wait for it counts as a server until it is stopped.
		err := r.Wait(ctx, "the rewind to be complete, and to say so", time.Minute, func(v cluster.View) bool {
			return out(v) && strings.HasPrefix(v.Attribute(was.primary, "pgsql-rejoin"), "rewind complete: waits for the next start")
		})
		if err != nil {
			return err
		}
		if err := r.Stays(ctx, was.primary+" stays out", 10*time.Second, out); err != nil {
			return err
		}
		return cleanup()
	})
}
