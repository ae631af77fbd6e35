package pg

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// StallLimit is how long a process of the server may wait for its storage in one
// sleep, without being woken once, until the storage counts as one that gives no
// answer at all. A slow one wakes whoever waits for pages; but a commit of the file
// system's journal, or a flush of a disk's cache, is one sleep however long it takes,
// and Linux gives a SCSI or NVMe command 30 s before it tries another time.
const StallLimit = 40 * time.Second

// stalls follows processes that wait in the kernel in a sleep that no signal ends
// (state D). The kernel does not tell since when one waits; that its pulse has not
// changed between two looks tells that it waited all the time between them.
type stalls map[int]stall

type stall struct {
	pulse Pulse
	since time.Duration
}

// look takes up who waits now, at the time now, and forgets all that do not or have
// moved.
func (s stalls) look(waiting []int, now time.Duration) {
	maps.DeleteFunc(s, func(pid int, _ stall) bool { return !slices.Contains(waiting, pid) })
	for _, pid := range waiting {
		id, err := IdentifyProcess(pid)
		if err != nil {
			delete(s, pid)
			continue
		}
		p, err := id.Pulse()
		switch {
		case err != nil || p.State != waitsForDisk:
			delete(s, pid)
		case s[pid].pulse != p:
			s[pid] = stall{p, now}
		}
	}
}

// longer lists those that have waited for d at least, in order.
func (s stalls) longer(d, now time.Duration) []int {
	var pids []int
	for pid, x := range s {
		if now-x.since >= d {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

// Stalled watches processes that were seen Waiting and lists those that waited all
// the time, in one sleep, until patience was over. It returns nil at once when none
// does any more, and as soon as each of them was seen to move; nil too when ctx ends.
func Stalled(ctx context.Context, waiting []int, patience time.Duration) []int {
	if len(waiting) == 0 {
		return nil
	}
	s, w := stalls{}, watch{last: time.Now()}
	s.look(waiting, 0)
	_ = every(ctx, stallPoll, "watch", func() (bool, error) {
		first, now := maps.Clone(s), w.now()
		s.look(slices.Collect(maps.Keys(first)), now)
		// Who moved has shown that there are answers.
		maps.DeleteFunc(s, func(pid int, x stall) bool { return x != first[pid] })
		return len(s) == 0 || now >= patience, nil
	})
	return s.longer(patience, w.seen)
}

const stallPoll = 20 * time.Millisecond

// watch adds up the time in which somebody was looking. A machine that stood still
// as a whole, for a migration, has not waited for its storage meanwhile.
type watch struct {
	last time.Time
	seen time.Duration
}

// now is the time watched until this look.
func (w *watch) now() time.Duration {
	t := time.Now()
	w.seen += min(t.Sub(w.last), longestLook)
	w.last = t
	return w.seen
}

// longestLook is how much time between two looks counts: what a busy machine may
// take to let a process go on.
const longestLook = 500 * time.Millisecond

// Waits is what the server says of processes that wait, and of its WAL.
type Waits struct {
	// Names are those at work on the server's own files, such as "12 (walwriter)"
	// or "13 (client backend in WALSync)", PIDs their numbers.
	Names []string
	PIDs  []int
	// Flushed is the end of the WAL that is safe on this server's storage: while it
	// moves, the storage answers.
	Flushed LSN
	// InRecovery is whether this is a standby.
	InRecovery bool
}

// OnStorage asks who of these processes is at work on the server's own files. A
// session that reads a file for COPY waits for something else, and so does one that
// writes a base backup somewhere. A role without pg_monitor is told of nobody.
func (c *Conn) OnStorage(ctx context.Context, pids []int) (Waits, error) {
	rows, err := c.Exec(ctx, fmt.Sprintf(`SELECT CASE WHEN pg_is_in_recovery() THEN 1 ELSE 0 END,
coalesce(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() ELSE pg_current_wal_flush_lsn() END, '0/0'),
coalesce(a.pid, 0), a.pid || ' (' || a.backend_type || coalesce(' in ' || a.wait_event, '') || ')'
FROM (VALUES (1)) AS one LEFT JOIN pg_stat_get_activity(NULL) AS a
ON a.pid = ANY ('{%s}'::int[]) AND (a.backend_type IN ('checkpointer', 'background writer', 'walwriter', 'walreceiver', 'startup')
OR a.wait_event_type = 'IO' AND a.wait_event NOT LIKE 'Copy%%' AND a.wait_event NOT LIKE 'BaseBackup%%') ORDER BY a.pid`,
		strings.Trim(strings.Join(strings.Fields(fmt.Sprint(pids)), ","), "[]")))
	if err != nil {
		return Waits{}, fmt.Errorf("ask what processes wait for: %w", err)
	}
	var w Waits
	for _, r := range rows {
		if w.Flushed, err = ParseLSN(r[1]); err != nil {
			return Waits{}, fmt.Errorf("ask what processes wait for: %w", err)
		}
		w.InRecovery = r[0] == "1"
		if pid, err := strconv.Atoi(r[2]); err == nil && pid > 0 {
			w.PIDs, w.Names = append(w.PIDs, pid), append(w.Names, r[3])
		}
	}
	return w, nil
}
