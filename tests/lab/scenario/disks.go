package scenario

import (
	"context"
	"fmt"
	"strings"
	"time"

	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/fault"
	"pgrex/tests/lab/node"
)

func disks() []Scenario {
	return []Scenario{
		{
			Name:   "disk-full-primary",
			Text:   "no room for data and WAL on the primary: its server ends, the standby serves",
			OnDisk: true,
			Play:   diskFullPrimary,
		},
		{
			Name:   "disk-read-only-primary",
			Text:   "the primary's file system has become read-only: its server ends, the standby serves",
			OnDisk: true,
			Play:   diskReadOnlyPrimary,
		},
		{
			Name:   "disk-hangs-primary",
			Text:   "the primary's volume gives no answer: noticed, fenced because nothing can be stopped there, the standby serves",
			OnDisk: true,
			Play:   func(ctx context.Context, r *Run) error { return r.primaryFenced(ctx, fault.Hang, hangNoticed) },
		},
		{
			Name:   "disk-hangs-standby",
			Text:   "the standby's volume gives no answer: commits wait for its loss alone, then it is fenced and comes back",
			OnDisk: true,
			Play:   diskHangsStandby,
		},
	}
}

// diskFullPrimary takes the room away and makes the server want some.
func diskFullPrimary(ctx context.Context, r *Run) error {
	was, err := r.before(ctx)
	if err != nil {
		return err
	}
	const fill = `fallocate -l $(df --output=avail -B1 %[1]s | tail -1) %[1]s/filled && df --output=avail -B1 %[1]s | tail -1`
	begin := time.Now()
	out, err := r.Sh(ctx, was.primary, fmt.Sprintf(fill, node.DataVolume))
	e := fault.Evidence{At: begin, InForce: time.Now(), Fault: "data volume of " + was.primary + " full", Detail: "bytes left: " + strings.TrimSpace(out)}
	if err := r.Must(e, err); err != nil {
		return err
	}
	// Segments that are there in advance are filled first.
	short, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for short.Err() == nil {
		if _, err := r.SQL(short, was.primary, "select pg_switch_wal() from (select txid_current()) x"); err != nil {
			break
		}
	}
	if err := r.failover(ctx, was.standby, was.timeline, time.Minute); err != nil {
		return err
	}
	if err := r.notFenced(ctx, was, was.primary); err != nil {
		return err
	}
	_, err = r.Sh(ctx, was.primary, "rm "+node.DataVolume+"/filled")
	return err
}

// diskReadOnlyPrimary does what ext4 does by itself when it finds an error.
func diskReadOnlyPrimary(ctx context.Context, r *Run) error {
	was, err := r.before(ctx)
	if err != nil {
		return err
	}
	begin := time.Now()
	out, err := r.Sh(ctx, was.primary, fmt.Sprintf("mount -o remount,abort %[1]s; touch %[1]s/probe 2>&1; true", node.DataVolume))
	e := fault.Evidence{At: begin, InForce: time.Now(), Fault: "file system of " + was.primary + " read-only", Detail: strings.TrimSpace(out)}
	if err == nil && !strings.Contains(out, "Read-only") {
		err = fmt.Errorf("it takes writes: %q", out)
	}
	if err := r.Must(e, err); err != nil {
		return err
	}
	if err := r.failover(ctx, was.standby, was.timeline, time.Minute); err != nil {
		return err
	}
	// The file system is repaired at a boot.
	if n, err := r.Node(ctx, was.primary); err != nil || n.Boots != was.boots[was.primary] {
		return err
	}
	if err := r.Must(fault.PowerOff(ctx, r.Site, was.primary)); err != nil {
		return err
	}
	return r.Wait(ctx, was.primary+" to boot", time.Minute, func(cluster.View) bool {
		n, err := r.Node(ctx, was.primary)
		return err == nil && n.Boots > was.boots[was.primary]
	})
}

// hangNoticed is how long a volume may give no answer until its node is fenced: for 40 s
// of it a sound one may be slow, another 20 s are the demotion's.
const hangNoticed = 2 * time.Minute

func diskHangsStandby(ctx context.Context, r *Run) error {
	was, err := r.before(ctx)
	if err != nil {
		return err
	}
	if err := r.Must(fault.Hang(ctx, r.Site, was.standby)); err != nil {
		return err
	}
	if err := r.WaitCommits(ctx, time.Minute); err != nil {
		return err
	}
	if err := r.stillPrimary(ctx, was.primary); err != nil {
		return err
	}
	if err := r.fencedWithin(ctx, was, was.standby, hangNoticed); err != nil {
		return err
	}
	if err := r.WaitSync(ctx, was.standby, 2*time.Minute); err != nil {
		return err
	}
	return r.stillPrimary(ctx, was.primary)
}
