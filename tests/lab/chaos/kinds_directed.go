package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pgrex/lib/replication"
	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/fault"
	"pgrex/tests/lab/host"
	"pgrex/tests/lab/network"
)

// directed is the group of what only rounds by hand use, unless it is named.
const directed = "directed"

// directedKinds set a stage more than they break.
func directedKinds() []Kind {
	return []Kind{
		{Name: "end-walsender", Group: directed, Roles: onPrimary(),
			Inject: func(ctx context.Context, t Target) (fault.Evidence, error) {
				out, err := t.SQL(ctx, t.Node, "select count(pg_terminate_backend(pid)) from pg_stat_replication")
				return t.evidence(out + " ended"), err
			}},
		{Name: "lsn-boundary", Group: directed, Roles: onPrimary(), Longest: 12 * time.Second,
			Inject: lsnBoundary, Heal: func(ctx context.Context, t Target) error { return t.Site.Heal(ctx, t.Node, network.LANs()...) }},
		{Name: "record-durable", Group: directed, Roles: onPrimary(),
			Needs:  func(s Shape) bool { return s.OnDisk },
			Inject: recordDurable, Heal: clusterBoots},
	}
}

// boundary is where the text of an LSN stops to sort as the number does.
const boundary = "0/10000000"

// lsnBoundary isolates the primary just before the boundary and lets it write WAL
// over it that nobody else gets and nobody is told of: what it holds is beyond the
// point at which its successor begins, by number and not by text.
func lsnBoundary(ctx context.Context, t Target) (fault.Evidence, error) {
	const (
		segment = "select pg_switch_wal() from pg_logical_emit_message(true, 'chaos', 'x')"
		// One statement for all that is missing: with one for each bit, a machine at
		// work needs minutes to get there.
		upTo = "set synchronous_commit = local; select count(pg_logical_emit_message(true, 'chaos', repeat('x', 8000))) " +
			"from generate_series(1, (greatest(%[1]s - pg_current_wal_insert_lsn(), 0) / 8100)::int + 1)"
	)
	fill := func(sql, to string) error {
		for {
			out, err := t.SQL(ctx, t.Node, "select pg_current_wal_insert_lsn() >= "+to)
			if err != nil || out == "t" {
				return err
			}
			if _, err := t.SQL(ctx, t.Node, sql); err != nil {
				return err
			}
		}
	}
	near, before, beyond := fromBoundary(-2<<24), fromBoundary(-1<<20), fromBoundary(100000)
	if err := errors.Join(fill(segment, near), fill(fmt.Sprintf(upTo, before), before)); err != nil {
		return fault.Evidence{}, err
	}
	e, err := fault.CutOff(ctx, t.Site, t.Node, network.Interconnect, network.Replication, network.Management)
	if err != nil {
		return e, err
	}
	// Commits of clients come this far only when the cut was late.
	at, err := t.SQL(ctx, t.Node, "select pg_current_wal_insert_lsn(), pg_current_wal_insert_lsn() < '"+boundary+"'")
	if err != nil {
		return e, err
	}
	if !strings.HasSuffix(at, "|t") {
		return e, fmt.Errorf("the primary is at %s already when it is cut off", at)
	}
	err = fill(fmt.Sprintf(upTo, beyond), beyond)
	e.Detail = fmt.Sprintf("cut off at %s, it alone has written beyond %s", strings.TrimSuffix(at, "|t"), boundary)
	return e, err
}

// fromBoundary is a place some bytes from the boundary, for SQL.
func fromBoundary(bytes int) string {
	return fmt.Sprintf("('%s'::pg_lsn + (%d)::numeric)", boundary, bytes)
}

// recordFile is the durable copy of the record on a node.
const recordFile = cluster.DataDir + ".pgrex-record"

// recordDurable makes the primary write a new record, takes its power at that
// moment, and looks before anything else at what its disk holds.
func recordDurable(ctx context.Context, t Target) (fault.Evidence, error) {
	n, err := t.Site.Node(ctx, t.Node)
	if err != nil {
		return fault.Evidence{}, err
	}
	// It comes back without its cluster, which would write the record again.
	if _, err := t.sh(ctx, "rm -f /etc/lab/autostart"); err != nil {
		return fault.Evidence{}, err
	}
	path := filepath.Join(fmt.Sprintf("/proc/%d/root", n.Pid), recordFile)
	before, err := readRecord(path)
	if err != nil {
		return fault.Evidence{}, err
	}
	if _, err := fault.Signal(ctx, t.Site, t.peer(), "postgres", fault.Postgres, unix.SIGKILL); err != nil {
		return fault.Evidence{}, err
	}
	now := before
	wait, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	err = host.Poll(wait, "another record", 2*time.Millisecond, func() (bool, error) {
		now, err = readRecord(path)
		return err == nil && now.Newer(before), err
	})
	if err != nil {
		return fault.Evidence{}, err
	}
	e, err := fault.PowerOff(ctx, t.Site, t.Node)
	if err != nil {
		return e, err
	}
	if err := t.Power(ctx, t.Node, true); err != nil {
		return e, err
	}
	text, err := t.sh(ctx, "until [ -e /run/lab-booted ]; do sleep 0.02; done; cat "+recordFile)
	if err != nil {
		return e, violation("the record, epoch %d, is not on the disk after a loss of power: %v", now.Epoch, err)
	}
	kept, err := replication.ParseRecord(strings.TrimSpace(text))
	if err != nil || kept.Epoch < now.Epoch {
		return e, violation("the record had epoch %d, after a loss of power its file has %q", now.Epoch, text)
	}
	e.Detail += fmt.Sprintf("; the record of epoch %d (before: %d) is on its disk", kept.Epoch, before.Epoch)
	return e, nil
}

func readRecord(path string) (replication.Record, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return replication.Record{}, err
	}
	return replication.ParseRecord(strings.TrimSpace(string(b)))
}

// clusterBoots gives a node back what it starts at boot, and starts it.
func clusterBoots(ctx context.Context, t Target) error {
	n, err := t.Site.Node(ctx, t.Node)
	if err != nil || !n.On() {
		return err
	}
	if _, err := t.sh(ctx, "touch /etc/lab/autostart"); err != nil {
		return err
	}
	return clusterStart(ctx, t)
}
