package scenario

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/host"
	"pgrex/tests/lab/network"
	"pgrex/tests/lab/writer"
)

// Floor is what no agents can go below on this machine.
type Floor struct {
	// Move is from the failure of a promoted agent that does nothing until its
	// promotion on the other node is over: what Pacemaker needs.
	Move time.Duration
	// Promotion is from "pg_ctl promote" of a bare streaming standby until it has
	// taken a write: what PostgreSQL needs.
	Promotion time.Duration
}

// floorLimit bounds each of the two.
const floorLimit = time.Minute

// Floor measures it in the lab of the last trial, beside the cluster's resources,
// which run on. The lab must be healthy, or is made anew.
func (r *Runner) Floor(ctx context.Context) (Floor, error) {
	log := func(format string, args ...any) {
		if r.Verbose {
			r.printf("    floor: "+format+"\n", args...)
		}
	}
	if err := r.fit(ctx, Scenario{OnDisk: r.Options.OnDisk}, log); err != nil {
		return Floor{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, floorLimit)
	defer cancel()
	run := &Run{Cluster: r.lab, Log: log}
	var f Floor
	var err error
	if f.Move, err = run.moveNothing(ctx); err != nil {
		return f, fmt.Errorf("the agent that does nothing: %w", err)
	}
	if f.Promotion, err = run.promoteBare(ctx); err != nil {
		return f, fmt.Errorf("the bare promotion: %w", err)
	}
	return f, nil
}

// idle is the promotable clone that does nothing, on both nodes, promoted on one,
// with notifications, as PostgreSQL's.
const idle = `<clone id="idle-clone"><meta_attributes id="idle-clone-m">
<nvpair id="idle-clone-m-p" name="promotable" value="true"/><nvpair id="idle-clone-m-n" name="notify" value="true"/>
</meta_attributes><primitive id="idle" class="ocf" provider="pacemaker" type="Stateful"><operations>
<op id="idle-u" name="monitor" interval="10s" timeout="20s"/><op id="idle-p" name="monitor" interval="9s" role="Promoted" timeout="20s"/>
</operations></primitive></clone>`

func (r *Run) moveNothing(ctx context.Context) (time.Duration, error) {
	p, _, err := r.Pair(ctx)
	if err != nil {
		return 0, err
	}
	if _, err := r.Cluster.Must(ctx, p, "cibadmin", "--create", "--scope", "resources", "--xml-text", idle); err != nil {
		return 0, err
	}
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		defer cancel()
		if err := r.removeIdle(last, p); err != nil {
			r.Log("cannot take the agent away that does nothing: %v", err)
		}
	}()
	from := ""
	err = r.Wait(ctx, "an agent that does nothing to be promoted", floorLimit, func(v cluster.View) bool {
		on := v.On("idle", "Promoted")
		if len(on) == 1 && len(v.On("idle", "Unpromoted")) == 1 {
			from = on[0]
		}
		return from != ""
	})
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	if _, err := r.Cluster.Must(ctx, from, "crm_resource", "--fail", "--resource", "idle", "--node", from); err != nil {
		return 0, err
	}
	var took time.Duration
	err = host.Poll(ctx, "the other node's promotion", 100*time.Millisecond, func() (bool, error) {
		for _, n := range r.NodeNames() {
			lines, err := r.LogSince(n, begin)
			if err != nil {
				return false, err
			}
			for _, l := range lines {
				if n != from && strings.Contains(strings.ToLower(l.Text), "result of promote operation for idle on "+n+": ok") {
					took = l.At.Sub(begin)
					return true, nil
				}
			}
		}
		return false, nil
	})
	return took, err
}

// removeIdle stops the agent that does nothing and forgets it.
func (r *Run) removeIdle(ctx context.Context, node string) error {
	if _, err := r.Cluster.Must(ctx, node, "cibadmin", "--delete", "--xml-text", `<clone id="idle-clone"/>`); err != nil {
		return err
	}
	err := r.Wait(ctx, "the agent that does nothing to be gone", floorLimit, func(v cluster.View) bool { return len(v.On("idle", "")) == 0 })
	return errors.Join(err, r.cleanup(ctx))
}

// bare makes a primary and a standby that streams from it, with the lab's
// settings, apart from the cluster. Ports are those of nobody else.
const bare = `set -e
export PATH=%[1]s:$PATH
rm -rf /dbfp/floor; install -d -o postgres -g postgres -m 700 /dbfp/floor
cd /dbfp/floor
pg() { runuser -u postgres -- "$@"; }
pg initdb --pgdata=one --encoding=UTF8 --locale=C --data-checksums --auth=trust >/dev/null
grep -v archive /etc/lab/postgresql.conf | sed "s/^logging_collector.*/logging_collector = off/" >>one/postgresql.conf
echo "host all all all trust" >>one/pg_hba.conf
pg pg_ctl start -w -D one -l one.log -o "-p 5441" >/dev/null
pg pg_basebackup -h /run/postgresql -p 5441 -D two -X stream -R -c fast
pg pg_ctl start -w -D two -l two.log -o "-p 5442" >/dev/null
pg psql -XAtq -p 5441 -d postgres -c "create table x (at timestamptz)"
`

const bareGone = `cd /dbfp/floor && for d in two one; do runuser -u postgres -- %[1]s/pg_ctl stop -m immediate -D $d; done; rm -rf /dbfp/floor`

// promoteBare does it on the node that has the settings: the first.
func (r *Run) promoteBare(ctx context.Context) (time.Duration, error) {
	node := r.NodeNames()[0]
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		defer cancel()
		if _, err := r.Sh(last, node, fmt.Sprintf(bareGone, r.BinDir())); err != nil {
			r.Log("cannot take the bare servers away: %v", err)
		}
	}()
	if _, err := r.Sh(ctx, node, fmt.Sprintf(bare, r.BinDir())); err != nil {
		return 0, err
	}
	t := writer.Target{Netns: r.ClientNetns, Host: network.Address(network.Service, 1), Port: 5442, User: "postgres", Database: "postgres"}
	c, err := t.Connect(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	err = host.Poll(ctx, "the bare standby to stream", 20*time.Millisecond, func() (bool, error) {
		var streaming bool
		err := c.QueryRow(ctx, "select exists (select from pg_stat_wal_receiver where status = 'streaming') and to_regclass('x') is not null").Scan(&streaming)
		return streaming, err
	})
	if err != nil {
		return 0, err
	}
	// Writing is tried from before the order on; the server is read-only until it
	// is done.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	written := make(chan time.Time, 1)
	go func() {
		err := host.Poll(ctx, "the promoted server to take a write", 2*time.Millisecond, func() (bool, error) {
			_, err := c.Exec(ctx, "insert into x values (now())")
			return err == nil, nil
		})
		if err == nil {
			written <- time.Now()
		}
		close(written)
	}()
	// The node says when the order was given: entering it takes time too.
	out, err := r.Sh(ctx, node, fmt.Sprintf("cd / && date +%%s%%N && runuser -u postgres -- %s/pg_ctl promote -W -D /dbfp/floor/two >/dev/null", r.BinDir()))
	if err != nil {
		return 0, err
	}
	ns, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("the order's time is %q: %w", out, err)
	}
	at, ok := <-written
	if !ok {
		return 0, errors.New("the promoted server takes no write")
	}
	return at.Sub(time.Unix(0, ns)), nil
}
