package cost

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"pgrex/tests/lab/cluster"
)

// count reads a trace: processes created and programs executed, the agent itself
// among both. Threads are not processes; "env", which only sets the stage, is
// executed in the agent's own process and not counted.
func count(trace string) (processes, execs int) {
	processes = 1
	execs = -1
	for line := range strings.Lines(trace) {
		_, result, ok := strings.Cut(line, ") = ")
		if strings.Contains(line, "resumed>") {
			i := strings.LastIndex(line, "= ")
			if i < 0 {
				continue
			}
			result, ok = line[i+2:], true
		}
		n, err := strconv.Atoi(strings.TrimSpace(firstWord(result)))
		switch {
		case !ok || err != nil || n < 0:
		case strings.Contains(line, "execve"):
			execs++
		case strings.Contains(line, "CLONE_THREAD"):
		case n > 0:
			processes++
		}
	}
	return processes, execs
}

func firstWord(s string) string {
	word, _, _ := strings.Cut(strings.TrimSpace(s), " ")
	return word
}

// entryCost is what entering the node costs by itself: the median of running
// "true" there, to be taken off.
func entryCost(ctx context.Context, c *cluster.Cluster, node string) (time.Duration, error) {
	var best time.Duration
	for i := range Runs {
		begin := time.Now()
		if _, err := c.Exec(ctx, node, "env", "true"); err != nil {
			return 0, err
		}
		if d := time.Since(begin); i == 0 || d < best {
			best = d
		}
	}
	return best, nil
}

// Print writes the table.
func Print(w io.Writer, rows []Row) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%-22s %-8s %4s %10s %6s %10s %10s\n", "one monitor", "role", "rc", "processes", "execs", "median ms", "min ms")
	for _, r := range rows {
		fmt.Fprintf(&b, "%-22s %-8s %4d %10d %6d %10.1f %10.1f\n", r.Agent, r.Role, r.Code, r.Processes, r.Execs,
			float64(r.Median.Microseconds())/1000, float64(r.Minimum.Microseconds())/1000)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
