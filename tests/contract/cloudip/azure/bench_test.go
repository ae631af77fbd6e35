package azure

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	fake "pgrex/tests/fakes/azure"
)

const benchRounds = 3

// benchLatency is of the order that users have reported of the real cloud: a change of an interface takes
// seconds, of which the packets follow after a part. Times of the stand-in say nothing about Azure; what they
// show is what the agent adds, and what waits for what.
var benchLatency = fake.Latency{Answer: ms(60), Update: ms(8000), Program: ms(5000), Tail: ms(2000), Metadata: ms(1000)}

// bill is what one take-over cost.
type bill struct {
	// before is how many requests of the Resource Manager, one after the other, it took until the change that
	// gives the address was accepted, all how many in all, looks how many of them were at operations.
	before, all, looks int
	// accepted is the time until then, silence how long a client heard nothing, start how long the action took.
	accepted, silence, start time.Duration
}

// TestBench prints a table of what taking an address from a machine without power costs, by both methods. It
// runs for `make bench-ip` only.
func TestBench(t *testing.T) {
	if os.Getenv("PGREX_BENCH") == "" {
		t.Skip("a benchmark; make bench-ip runs it")
	}
	rows := []string{fmt.Sprintf("an answer takes %v, a change of an interface %v, packets follow it after %v; IPaddr2 alone: for ever",
		time.Duration(benchLatency.Answer), time.Duration(benchLatency.Update), time.Duration(benchLatency.Program)),
		fmt.Sprintf("%-8s %-8s %8s %8s %8s %10s %10s %10s", "method", "holder", "serial", "requests", "looks", "accepted", "silence", "start")}
	for _, method := range []string{"move", "put"} {
		for _, known := range []bool{false, true} {
			var all []bill
			for range benchRounds {
				all = append(all, takeOver(t, methods[method], known))
			}
			slices.SortFunc(all, func(a, b bill) int { return int(a.start - b.start) })
			m := all[benchRounds/2]
			who := map[bool]string{false: "unknown", true: "known"}[known]
			rows = append(rows, fmt.Sprintf("%-8s %-8s %8d %8d %8d %10v %10v %10v", method, who, m.before, m.all, m.looks,
				m.accepted.Round(ms10), m.silence.Round(ms10), m.start.Round(ms10)))
		}
	}
	t.Log("\n" + strings.Join(rows, "\n"))
}

const ms10 = 10 * time.Millisecond

// takeOver measures one. A holder is known to a machine that has taken the address from it before.
func takeOver(t *testing.T, move fake.Move, known bool) bill {
	t.Helper()
	w := begin(t, func(c *fake.Config) { c.Move = move })
	n1, n2 := w.nodes["n1"], w.nodes["n2"]
	n1.does("start")
	if known {
		n1.does("stop")
		n2.does("start")
		n2.does("stop")
		n1.does("start")
	}
	c := w.calls()
	c.from("n1", time.Second)
	n1.die()
	w.SetLatency(benchLatency)
	w.ForgetRequests()
	start := n2.begin(agent, "start", 2*time.Minute, params("request_timeout=20")...)
	if start.code() != 0 {
		t.Fatal(start)
	}
	c.from("n2", 2*time.Second)
	b := bill{silence: c.gap(), start: start.took}
	for _, r := range w.Requests() {
		if r.Service != fake.ARM {
			continue
		}
		b.all++
		if strings.Contains(r.Path, "/operations/") {
			b.looks++
		}
		given := r.Method == "POST" || r.Method == "PUT" && r.Is("PUT", "/networkInterfaces/n2-service")
		if given && r.Status < 300 && b.before == 0 {
			b.before, b.accepted = b.all, r.When.Add(time.Duration(r.Took)).Sub(start.began)
		}
	}
	return b
}
