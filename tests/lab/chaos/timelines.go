package chaos

import (
	"context"
	"fmt"
	"strings"

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

func word(s string) string {
	if s == "" {
		return "0"
	}
	return s
}
