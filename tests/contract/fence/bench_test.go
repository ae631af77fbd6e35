package fence

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgrex/tests/contract/sandbox"
)

// benchEnv asks for the measurement; without it only its shape is tested, with one round.
const benchEnv = "PGREX_BENCH"

// measured is the median of some calls of one agent for one action.
type measured struct {
	wall      time.Duration
	processes int
}

// TestBench prints wall time and processes of the agents, side by side in one run. The simulator
// switches at once, so that what is measured is the agents.
func TestBench(t *testing.T) {
	rounds := 1
	if os.Getenv(benchEnv) != "" {
		rounds = 9
	}
	s := startSimulator(t)
	rows := []struct {
		action string
		extra  []string
		// factor is by how much ours has to be the faster.
		factor float64
	}{
		{action: "metadata", factor: 2},
		{action: "status", factor: 5},
		{action: "monitor", factor: 5},
		{action: "off", factor: 10},
		{action: "on", factor: 10},
		{action: "reboot", factor: 20},
	}
	var table strings.Builder
	fmt.Fprintf(&table, "\n| action | %s | processes | %s | processes | faster |\n|---|---|---|---|---|---|\n", "fence_ipmilan", "fence_ipmi")
	for _, row := range rows {
		theirs := s.measure(t, original, row.action, rounds)
		ours := s.measure(t, agent, row.action, rounds)
		factor := float64(theirs.wall) / float64(ours.wall)
		fmt.Fprintf(&table, "| %s | %s | %d | %s | %d | %.0f times |\n", row.action, ms(theirs.wall), theirs.processes, ms(ours.wall), ours.processes, factor)
		if ours.processes != 1 {
			t.Errorf("%s: fence_ipmi was %d processes", row.action, ours.processes)
		}
		// One round on a busy machine proves nothing about time.
		if rounds > 1 && factor < row.factor {
			t.Errorf("%s: only %.1f times faster, want %.0f", row.action, factor, row.factor)
		}
	}
	t.Log(table.String())
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond)) }

func (s *simulator) measure(t *testing.T, program, action string, rounds int) measured {
	t.Helper()
	var walls []time.Duration
	for range rounds {
		s.reset(action != "on")
		r := call(t, program, s.lines("action="+action))
		if r.code != 0 {
			t.Fatalf("%s %s: code %d: %s", program, action, r.code, r.stderr)
		}
		walls = append(walls, r.took)
	}
	slices.Sort(walls)
	s.reset(action != "on")
	return measured{walls[len(walls)/2], sandbox.Processes(t, s.lines("action="+action), program)}
}
