package pg

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// StallLimit is how long a process of the server may wait for its storage in one
// sleep, without being woken once, until the storage counts as one that gives no
// answer at all. A slow one wakes whoever waits for it page by page.
const StallLimit = 20 * time.Second

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
	s, began := stalls{}, time.Now()
	s.look(waiting, 0)
	_ = every(ctx, stallPoll, "watch", func() (bool, error) {
		first := maps.Clone(s)
		s.look(slices.Collect(maps.Keys(first)), time.Since(began))
		// Who moved has shown that there are answers.
		maps.DeleteFunc(s, func(pid int, x stall) bool { return x != first[pid] })
		return len(s) == 0 || time.Since(began) >= patience, nil
	})
	return s.longer(patience, time.Since(began))
}

const stallPoll = 20 * time.Millisecond

// OnStorage tells of processes what they wait for: the names of those that are at
// work on the server's own files, such as "walwriter" or "client backend in WALSync".
// A session that reads a file for COPY waits for something else.
func (c *Conn) OnStorage(ctx context.Context, pids []int) ([]string, error) {
	rows, err := c.Exec(ctx, fmt.Sprintf(`SELECT pid || ' (' || backend_type || coalesce(' in ' || wait_event, '') || ')' FROM pg_stat_get_activity(NULL)
WHERE pid = ANY ('{%s}'::int[]) AND (backend_type IN ('checkpointer', 'background writer', 'walwriter', 'walreceiver', 'startup')
OR wait_event_type = 'IO' AND wait_event NOT LIKE 'Copy%%') ORDER BY pid`, strings.Trim(strings.Join(strings.Fields(fmt.Sprint(pids)), ","), "[]")))
	if err != nil {
		return nil, fmt.Errorf("ask what processes wait for: %w", err)
	}
	var names []string
	for _, r := range rows {
		names = append(names, r[0])
	}
	return names, nil
}
