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
		{Name: "lsn-boundary", Group: directed, Roles: onPrimary(), Inject: lsnBoundary, Heal: powerOn},
		{Name: "record-durable", Group: directed, Roles: onPrimary(),
			Needs:  func(s Shape) bool { return s.OnDisk },
			Inject: recordDurable, Heal: clusterBoots},
	}
}

// boundary is where the text of an LSN stops to sort as the number does.
const boundary = "0/10000000"

// lsnBoundary brings a standby back whose WAL ends before the boundary while the
// primary's goes on after it, stops it there, and takes the primary's power as soon
// as the standby may be promoted: by then it must hold everything.
func lsnBoundary(ctx context.Context, t Target) (fault.Evidence, error) {
	standby := t.Peers[0]
	reached := func(more string) func() (bool, error) {
		return func() (bool, error) {
			out, err := t.SQL(ctx, t.Node, "select pg_current_wal_insert_lsn() + "+more+" >= '"+boundary+"'")
			return out == "t", err
		}
	}
	fill := func(sql string, until func() (bool, error)) error {
		for {
			if ok, err := until(); ok || err != nil {
				return err
			}
			if _, err := t.SQL(ctx, t.Node, sql); err != nil {
				return err
			}
		}
	}
	const (
		segment = "select pg_switch_wal() from pg_logical_emit_message(true, 'chaos', 'x')"
		some    = "select count(pg_logical_emit_message(false, 'chaos', repeat('x', 8000))) from generate_series(1, 12)"
	)
	if err := errors.Join(fill(segment, reached("33554432")), fill(some, reached("262144"))); err != nil {
		return fault.Evidence{}, err
	}
	away := []string{"crm_attribute", "--node", standby, "--name", "standby"}
	if err := t.anywhere(ctx, append(away, "--update", "on")...); err != nil {
		return fault.Evidence{}, err
	}
	err := t.Wait(ctx, "no server on "+standby, 20*time.Second, func(v cluster.View) bool { return !running(v, standby) })
	if err != nil {
		return fault.Evidence{}, err
	}
	if err := fill(some, reached("-600000")); err != nil {
		return fault.Evidence{}, err
	}
	if err := t.anywhere(ctx, append(away, "--delete")...); err != nil {
		return fault.Evidence{}, err
	}
	receiving := fault.Child("walreceiver streaming 0/F")
	wait, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	err = host.Poll(wait, "a walreceiver before the boundary", time.Millisecond, func() (bool, error) {
		_, err := fault.Signal(ctx, t.Site, standby, "walreceiver", receiving, unix.SIGSTOP)
		return err == nil, nil
	})
	if err != nil {
		return fault.Evidence{}, err
	}
	err = t.Wait(ctx, standby+" to be entitled", 12*time.Second, func(v cluster.View) bool { return v.Score(standby) == "100" })
	entitled := err == nil
	// What it has in its socket must not save it.
	if _, err := fault.Signal(ctx, t.Site, standby, "walreceiver", fault.Child("walreceiver"), unix.SIGKILL); err != nil {
		return fault.Evidence{}, err
	}
	e, err := fault.PowerOff(ctx, t.Site, t.Node)
	e.Detail += fmt.Sprintf("; entitled with WAL up to the boundary: %v", entitled)
	return e, err
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
