package scenario

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/fault"
	"pgrex/tests/lab/node"
)

// volume is what breaks: that of data and WAL together, or pg_wal's own.
type volume string

// disks are the same faults of both volumes.
func disks() []Scenario {
	var all []Scenario
	for _, v := range []struct {
		name, of string
		at       volume
	}{
		{"disk", "data and WAL", node.DataVolume},
		{"wal", "pg_wal, which has a volume of its own,", node.WALVolume},
	} {
		for _, s := range []Scenario{
			{Name: "full-primary", Play: v.at.fullPrimary,
				Text: "no room for %s on the primary: its server ends, the standby serves"},
			{Name: "full-standby", Play: v.at.fullStandby,
				Text: "no room for %s on the standby: commits wait for its loss alone; it is back when there is room"},
			{Name: "read-only-primary", Play: v.at.readOnlyPrimary,
				Text: "the file system of %s has become read-only on the primary: its server ends, the standby serves"},
			{Name: "read-only-standby", Play: v.at.readOnlyStandby,
				Text: "the file system of %s has become read-only on the standby: commits wait for its loss alone; it is back after a boot"},
			{Name: "hangs-primary", Play: v.at.hangsPrimary,
				Text: "the volume of %s gives no answer on the primary: noticed, fenced because nothing can be stopped there, the standby serves"},
			{Name: "hangs-standby", Play: v.at.hangsStandby,
				Text: "the volume of %s gives no answer on the standby: commits wait for its loss alone, then it is fenced and comes back"},
		} {
			s.Name, s.Text = v.name+"-"+s.Name, fmt.Sprintf(s.Text, v.of)
			s.OnDisk, s.OwnWAL = true, v.at == node.WALVolume
			all = append(all, s)
		}
	}
	return append(all, Scenario{
		Name: "data-full-primary", OnDisk: true, OwnWAL: true, Play: dataFullPrimary,
		Text: "no room for data on the primary, pg_wal has a volume of its own and room: the standby, which has room, takes over; the old primary is back when there is room",
	}, Scenario{
		Name: "data-full-both", OnDisk: true, OwnWAL: true, Play: dataFullBoth,
		Text: "no room for data on either node, pg_wal has a volume of its own and room: nobody takes over, the primary reads and updates, and takes rows when there is room",
	})
}

// fill takes the room of a volume away.
func (v volume) fill(ctx context.Context, r *Run, on string) error {
	return r.Must(fault.Fill(ctx, r.Site, on, string(v)))
}

// room gives it back.
func (v volume) room(ctx context.Context, r *Run, on string) error {
	_, err := r.Sh(ctx, on, fault.Emptying(string(v)))
	return err
}

// fullPrimary takes the room away and makes the server want some.
func (v volume) fullPrimary(ctx context.Context, r *Run) error {
	was, err := r.before(ctx)
	if err != nil {
		return err
	}
	if err := v.fill(ctx, r, was.primary); err != nil {
		return err
	}
	// Segments that are there in advance are filled first.
	short, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for err == nil && short.Err() == nil {
		err = nextSegment(short, r, was.primary)
	}
	if err := r.failover(ctx, was.standby, was.timeline, time.Minute); err != nil {
		return err
	}
	if err := r.notFenced(ctx, was, was.primary); err != nil {
		return err
	}
	return v.room(ctx, r, was.primary)
}

func nextSegment(ctx context.Context, r *Run, on string) error {
	_, err := r.SQL(ctx, on, "select pg_switch_wal() from (select txid_current()) x")
	return err
}

// fullStandby is noticed where a segment does not fit: WAL is not received any more.
func (v volume) fullStandby(ctx context.Context, r *Run) error {
	was, err := r.before(ctx)
	if err != nil {
		return err
	}
	if err := v.fill(ctx, r, was.standby); err != nil {
		return err
	}
	lost := func(view cluster.View) bool {
		if view.Status(was.standby) != "HS:sync" {
			return true
		}
		_ = nextSegment(ctx, r, was.primary)
		return false
	}
	if err := r.Wait(ctx, was.standby+" to be no synchronous standby", time.Minute, lost); err != nil {
		return err
	}
	if err := r.servesWithout(ctx, was); err != nil {
		return err
	}
	if err := r.notFenced(ctx, was, was.standby); err != nil {
		return err
	}
	if err := v.room(ctx, r, was.standby); err != nil {
		return err
	}
	return r.standbyReturns(ctx, was)
}

// servesWithout shows that the loss of the standby does not stall commits.
func (r *Run) servesWithout(ctx context.Context, was before) error {
	if err := r.WaitCommits(ctx, time.Minute); err != nil {
		return err
	}
	return r.stillPrimary(ctx, was.primary)
}

// standbyReturns shows that the standby comes back by itself, and to the same primary.
func (r *Run) standbyReturns(ctx context.Context, was before) error {
	if err := r.WaitSync(ctx, was.standby, 2*time.Minute); err != nil {
		return err
	}
	return r.stillPrimary(ctx, was.primary)
}

// readOnly makes the file system of a volume read-only.
func (v volume) readOnly(ctx context.Context, r *Run, on string) error {
	return r.Must(fault.ReadOnly(ctx, r.Site, on, string(v)))
}

// repaired boots a node whose file system is read-only, if it was not fenced for it.
func (r *Run) repaired(ctx context.Context, was before, name string) error {
	if n, err := r.Node(ctx, name); err != nil || n.Boots != was.boots[name] {
		return err
	}
	if err := r.Must(fault.PowerOff(ctx, r.Site, name)); err != nil {
		return err
	}
	return r.Wait(ctx, name+" to boot", time.Minute, func(cluster.View) bool { return r.booted(ctx, was, name) })
}

func (v volume) readOnlyPrimary(ctx context.Context, r *Run) error {
	was, err := r.before(ctx)
	if err != nil {
		return err
	}
	if err := v.readOnly(ctx, r, was.primary); err != nil {
		return err
	}
	if err := r.failover(ctx, was.standby, was.timeline, time.Minute); err != nil {
		return err
	}
	return r.repaired(ctx, was, was.primary)
}

func (v volume) readOnlyStandby(ctx context.Context, r *Run) error {
	was, err := r.before(ctx)
	if err != nil {
		return err
	}
	if err := v.readOnly(ctx, r, was.standby); err != nil {
		return err
	}
	err = r.Wait(ctx, was.standby+" to be no synchronous standby", time.Minute, func(view cluster.View) bool {
		return view.Status(was.standby) != "HS:sync"
	})
	if err != nil {
		return err
	}
	if err := r.servesWithout(ctx, was); err != nil {
		return err
	}
	if err := r.repaired(ctx, was, was.standby); err != nil {
		return err
	}
	return r.standbyReturns(ctx, was)
}

// dataFullPrimary is about a server that goes on, and refuses whoever needs a page.
func dataFullPrimary(ctx context.Context, r *Run) error {
	was, err := r.before(ctx)
	if err != nil {
		return err
	}
	const data = volume(node.DataVolume)
	// One that falls due without room ends the server, and would do the agent's work.
	if _, err := r.SQL(ctx, was.primary, "checkpoint"); err != nil {
		return err
	}
	since := time.Now()
	if err := data.fill(ctx, r, was.primary); err != nil {
		return err
	}
	if err := r.failover(ctx, was.standby, was.timeline, time.Minute); err != nil {
		return err
	}
	if n, err := r.countLog(was.primary, "make room on it; "+was.standby+" takes over", since); err != nil || n == 0 {
		return errors.Join(err, errors.New("the primary did not give way, its server ended"))
	}
	if err := r.notFenced(ctx, was, was.primary); err != nil {
		return err
	}
	// It may not start without room, or may be a standby; the role does not come back.
	err = r.Stays(ctx, was.standby+" is the primary", 20*time.Second, func(view cluster.View) bool {
		return view.Primary() == was.standby
	})
	if err != nil {
		return err
	}
	if err := data.room(ctx, r, was.primary); err != nil {
		return err
	}
	if err := r.WaitSync(ctx, was.primary, 3*time.Minute); err != nil {
		return err
	}
	if err := r.stillPrimary(ctx, was.standby); err != nil {
		return err
	}
	return r.saysFull(ctx, "", was.primary, was.standby)
}

// saysFull waits until nodes say that their volumes have run out of something.
func (r *Run) saysFull(ctx context.Context, of string, nodes ...string) error {
	return r.Wait(ctx, fmt.Sprintf("pgsql-full to be %q on %v", of, nodes), 30*time.Second, func(view cluster.View) bool {
		for _, n := range nodes {
			if view.Attribute(n, cluster.ResourcePgsql+"-full") != of {
				return false
			}
		}
		return true
	})
}

// dataFullBoth is the same with nobody who could do better. PostgreSQL ends a standby
// that cannot replay without room, such as when it has to note where a page has some.
func dataFullBoth(ctx context.Context, r *Run) error {
	was, err := r.before(ctx)
	if err != nil {
		return err
	}
	if _, err := r.SQL(ctx, was.primary, "create table counter with (fillfactor = 10) as select 0 as n"); err != nil {
		return err
	}
	// Without room the next one ends the server, so it is not to be due soon.
	if _, err := r.SQL(ctx, was.primary, "checkpoint"); err != nil {
		return err
	}
	const data = volume(node.DataVolume)
	// The primary first: a page that it still gets, the standby must have too.
	for _, n := range []string{was.primary, was.standby} {
		if err := data.fill(ctx, r, n); err != nil {
			return err
		}
	}
	err = r.Wait(ctx, "both nodes to say that they are full, or the standby to have ended for it", 20*time.Second, func(view cluster.View) bool {
		full := func(n string) bool { return view.Attribute(n, cluster.ResourcePgsql+"-full") == "blocks" }
		return full(was.primary) && (full(was.standby) || view.Status(was.standby) == "STOP")
	})
	if err != nil {
		return err
	}
	// Longer than a primary without room stays if a standby has some.
	updates := 0
	var failed error
	err = r.Stays(ctx, was.primary+" is the primary", 45*time.Second, func(view cluster.View) bool {
		_, failed = r.SQL(ctx, was.primary, "update counter set n = n + 1")
		updates++
		return failed == nil && view.Status(was.primary) == "PRI"
	})
	if err != nil || failed != nil {
		return errors.Join(err, failed)
	}
	if n, err := r.SQL(ctx, was.primary, "select n from counter"); err != nil || n != strconv.Itoa(updates) {
		return errors.Join(fmt.Errorf("%d updates were made, the row says %q", updates, n), err)
	}
	r.Log("%d updates without room", updates)
	if now, err := r.timeline(ctx, was.primary); err != nil || now != was.timeline {
		return errors.Join(fmt.Errorf("%s writes timeline %s, it wrote %s", was.primary, now, was.timeline), err)
	}
	for _, n := range []string{was.primary, was.standby} {
		if err := data.room(ctx, r, n); err != nil {
			return err
		}
	}
	if err := r.standbyReturns(ctx, was); err != nil {
		return err
	}
	if err := r.saysFull(ctx, "", was.primary, was.standby); err != nil {
		return err
	}
	if _, err := r.SQL(ctx, was.primary, "drop table counter"); err != nil {
		return err
	}
	if err := r.WaitCommits(ctx, time.Minute); err != nil {
		return err
	}
	return errors.Join(r.notFenced(ctx, was, was.primary), r.notFenced(ctx, was, was.standby))
}

// hangNoticed is how long a volume may give no answer until its node is fenced: for 40 s
// of it a sound one may be slow, another 20 s are the demotion's. On a busy machine the
// cluster is a second late, a monitor has begun again by then, and nothing else is done
// with the server until that has waited for 40 s too.
const hangNoticed = 160 * time.Second

func (v volume) hangsPrimary(ctx context.Context, r *Run) error {
	return r.primaryFenced(ctx, fault.Hang(string(v)), hangNoticed)
}

func (v volume) hangsStandby(ctx context.Context, r *Run) error {
	was, err := r.before(ctx)
	if err != nil {
		return err
	}
	if err := r.Must(fault.Hang(string(v))(ctx, r.Site, was.standby)); err != nil {
		return err
	}
	if err := r.servesWithout(ctx, was); err != nil {
		return err
	}
	if err := r.fencedWithin(ctx, was, was.standby, hangNoticed); err != nil {
		return err
	}
	return r.standbyReturns(ctx, was)
}
