package chaos

import (
	"context"
	"fmt"
	"strings"

	"pgrex/lib/replication"
	"pgrex/tests/lab/cluster"
)

// branches are the points at which a history left its timelines, as "1 0/3000180".
func branches(text string) []string {
	var out []string
	for _, line := range strings.Split(text, "\n") {
		if f := strings.Fields(line); len(f) >= 2 {
			out = append(out, f[0]+" "+f[1])
		}
	}
	return out
}

// isPath says whether a history is the beginning of another.
func isPath(short, long []string) bool {
	if len(short) > len(long) {
		return false
	}
	for i := range short {
		if short[i] != long[i] {
			return false
		}
	}
	return true
}

const ownTimeline = `select case when pg_is_in_recovery() then (select received_tli from pg_stat_wal_receiver)::text
else (('x' || substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8))::bit(32)::int)::text end`

// checkTimelines says which node is on another path than the primary: all must write
// and stream one timeline, whose history is the same everywhere.
func checkTimelines(ctx context.Context, c *cluster.Cluster, primary string) (timeline string, wrong []string, err error) {
	history := func(node string) (string, []string, error) {
		tli, err := c.SQL(ctx, node, ownTimeline)
		if err != nil {
			return "", nil, err
		}
		text, err := c.Must(ctx, node, "sh", "-c", fmt.Sprintf(`f=%s/pg_wal/$(printf '%%08X' %s).history; if [ -e $f ]; then cat $f; fi`, cluster.DataDir, word(tli)))
		return tli, branches(text), err
	}
	timeline, path, err := history(primary)
	if err != nil {
		return "", nil, err
	}
	for _, n := range c.NodeNames() {
		tli, h, err := history(n)
		switch {
		case err != nil:
			return timeline, wrong, err
		case tli != timeline:
			wrong = append(wrong, fmt.Sprintf("%s is on timeline %s, the primary %s on %s", n, word(tli), primary, timeline))
		case len(h) > 0 && !isPath(h, path):
			wrong = append(wrong, fmt.Sprintf("the history of timeline %s on %s is %v, on the primary %s %v", tli, n, h, primary, path))
		}
	}
	return timeline, wrong, nil
}

// A server that streams is on the timeline that it streams: what its control file
// says is older. So it is for one that has just followed a timeline to its end and
// looks for the next: then the newest timeline of which it has WAL is its own. One
// that has diverged gets no WAL of a newer timeline.
const reached = `select pg_is_in_recovery() and not exists (select from pg_stat_wal_receiver where status = 'streaming'), greatest((select timeline_id from pg_control_checkpoint()), (select min_recovery_end_timeline from pg_control_recovery()),
(select max(('x' || substr(name, 1, 8))::bit(32)::int) from pg_ls_waldir() where name ~ '^[0-9A-F]{24}$')),
coalesce(greatest(pg_last_wal_replay_lsn(), pg_last_wal_receive_lsn()), '0/0')`

// checkDiverged says which standby runs over WAL that is not in the history of the
// primary: it can never follow, and serves what the cluster went on without. Servers
// that do not answer are passed over.
func checkDiverged(ctx context.Context, c *cluster.Cluster, primary string) (wrong []string) {
	tli, err := c.SQL(ctx, primary, ownTimeline)
	if err != nil {
		return nil
	}
	text, err := c.Must(ctx, primary, "sh", "-c", fmt.Sprintf(`cat %s/pg_wal/$(printf '%%08X' %s).history`, cluster.DataDir, word(tli)))
	if err != nil {
		return nil
	}
	for _, n := range c.NodeNames() {
		if n == primary {
			continue
		}
		out, err := c.SQL(ctx, n, reached)
		f := strings.Split(out, "|")
		if err != nil || len(f) != 3 || f[0] != "t" {
			continue
		}
		if end, left := leftAt(branches(text), f[1], f[2]); left {
			wrong = append(wrong, fmt.Sprintf("the server of %s has diverged and runs: it is at %s on timeline %s, which the primary %s left at %s", n, f[2], f[1], primary, end))
		}
	}
	return wrong
}

// leftAt says whether a position on a timeline is beyond the point at which a history
// left that.
func leftAt(history []string, timeline, lsn string) (end string, beyond bool) {
	at, err := replication.ParseLSN(lsn)
	if err != nil {
		return "", false
	}
	for _, b := range history {
		tli, point, _ := strings.Cut(b, " ")
		if p, err := replication.ParseLSN(point); err == nil && tli == timeline {
			return point, at > p
		}
	}
	return "", false
}

func word(s string) string {
	if s == "" {
		return "0"
	}
	return s
}
