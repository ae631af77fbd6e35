package replication_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	r "pgrex/lib/replication"
)

// ending is one way in which both nodes of a pair went away. n1 was the primary,
// n2 its synchronous standby; both are gone when happen returns.
type ending struct {
	what   string
	happen func(w *world, n1, n2 *node)
}

var endings = []ending{
	{"n2 lost power; n1 withdrew its right, served on, and lost power last", func(w *world, n1, n2 *node) {
		w.powerOff(n2, 0, true)
		w.settle(6)
		w.serve(n1)
		w.powerOff(n1, 0, true)
	}},
	{"n2 lost power; n1 lost power last, before it could withdraw the right of n2", func(w *world, n1, n2 *node) {
		w.powerOff(n2, 0, true)
		w.commit(n1)
		w.flush(n1)
		w.powerOff(n1, 0, true)
	}},
	{"n1 lost power; n2, entitled, was promoted, served, and lost power last", func(w *world, n1, n2 *node) {
		w.powerOff(n1, 0, true)
		w.settle(10)
		w.serve(n2)
		w.powerOff(n2, 0, true)
	}},
	{"the same, but n1 had written commits that n2 never received (nobody acknowledged them)", func(w *world, n1, n2 *node) {
		w.cutLinks[link("n1", "n2")] = true
		w.disconnect()
		w.commit(n1)
		w.commit(n1)
		w.flush(n1)
		w.powerOff(n1, 0, true)
		w.heal()
		w.settle(10)
		w.serve(n2)
		w.powerOff(n2, 0, true)
	}},
	{"the right of n2 was withdrawn (replication was cut) and n1 served on; n1 lost power, n2 waited, and lost power last", func(w *world, n1, n2 *node) {
		withdrawn(w, n1)
		w.powerOff(n1, 0, true)
		w.settle(10)
		if n2.server.state == primary {
			w.violate("n2 was promoted without a right")
		}
		w.powerOff(n2, 0, true)
		w.heal()
	}},
	{"the right of n2 was withdrawn (replication was cut) and n1 served on; n2 lost power, then n1", func(w *world, n1, n2 *node) {
		withdrawn(w, n1)
		w.powerOff(n2, 0, true)
		w.settle(6)
		w.powerOff(n1, 0, true)
		w.heal()
	}},
	{"both lost power at the same time, n2 entitled", func(w *world, n1, n2 *node) {
		w.serve(n1)
		w.powerOff(n1, 0, true)
		w.powerOff(n2, 0, true)
	}},
	{"both lost power at the same time, the right of n2 withdrawn", func(w *world, n1, n2 *node) {
		withdrawn(w, n1)
		w.powerOff(n1, 0, true)
		w.powerOff(n2, 0, true)
		w.heal()
	}},
	{"pcs cluster stop --all", func(w *world, n1, n2 *node) {
		w.serve(n1)
		n1.leaving, n2.leaving = true, true
		w.settle(10)
	}},
	{"pcs cluster stop n2, then pcs cluster stop n1 (primary last)", func(w *world, n1, n2 *node) {
		n2.leaving = true
		w.settle(8)
		w.serve(n1)
		n1.leaving = true
		w.settle(8)
	}},
	{"pcs cluster stop n1 (n2 takes over), then pcs cluster stop n2", func(w *world, n1, n2 *node) {
		n1.leaving = true
		w.settle(10)
		w.serve(n2)
		n2.leaving = true
		w.settle(8)
	}},
}

func withdrawn(w *world, n1 *node) {
	w.cutLinks[link("n1", "n2")] = true
	w.disconnect()
	w.settle(6)
	w.serve(n1)
}

// serve has one commit acknowledged by n.
func (w *world) serve(n *node) {
	w.commit(n)
	w.pump()
	if !w.acked[w.commits] {
		w.violate("%s does not acknowledge where the story needs it", n.name)
	}
}

// row is one line of the table: what the first to return does, and what both do
// once the second is there too.
type row struct{ what, first, alone, both string }

func returns(t *testing.T) []row {
	var rows []row
	for _, e := range endings {
		for _, order := range [][2]string{{"n1", "n2"}, {"n2", "n1"}} {
			w := newWorld(2, r.Sync)
			n1, n2 := w.nodes[0], w.nodes[1]
			for _, n := range w.nodes {
				w.stackStart(n)
			}
			w.settle(15)
			if !n1.promoted {
				t.Fatalf("n1 is not the primary to begin with:\n%s", report(w, "", 100))
			}
			e.happen(w, n1, n2)
			if n1.stack || n2.stack || n1.server.state != stopped || n2.server.state != stopped {
				t.Fatalf("%s: not both are gone:\n%s", e.what, report(w, "", 100))
			}
			rows = append(rows, comeBack(t, w, e.what, order))
		}
	}
	for _, order := range [][2]string{{"n1", "n2"}, {"n2", "n1"}} {
		rows = append(rows, comeBack(t, newWorld(2, r.Sync), "first start ever: no record anywhere, n2 a copy of n1", order))
	}
	return rows
}

func comeBack(t *testing.T, w *world, what string, order [2]string) row {
	first, second := w.node(order[0]), w.node(order[1])
	first.power = true
	w.stackStart(first)
	w.settle(6)
	// two_node implies wait_for_all: nothing starts until both were seen, or
	// until an operator says that the other is surely not running.
	if w.quorate([]*node{first}) || first.running {
		t.Fatalf("%s: %s acts without having seen the other node", what, first.name)
	}
	w.logf("-- pcs quorum unblock on %s", first.name)
	first.quorumSeen = true
	w.settle(16)
	out := row{what: what, first: first.name, alone: w.describe(first)}
	second.power = true
	w.stackStart(second)
	w.settle(16)
	for _, n := range w.nodes {
		n.banned = false // failure-timeout
	}
	w.settle(16)
	for _, n := range w.nodes {
		if n.promoted {
			w.serve(n)
			w.settle(2)
		}
	}
	out.both = w.describe(first, second)
	if w.violation != "" {
		t.Fatalf("%s, %s first: %s", what, first.name, report(w, w.violation, 200))
	}
	return out
}

// describe says what the nodes do, primary first.
func (w *world) describe(nodes ...*node) string {
	var says []string
	for _, n := range nodes {
		var s string
		switch {
		case n.promoted:
			says = append([]string{n.name + " is promoted"}, says...)
			continue
		case w.streaming(n):
			s = n.name + " follows"
		case n.running:
			s = n.name + " waits: " + n.waits
		default:
			s = n.name + " is not started: " + n.reason
		}
		says = append(says, s)
	}
	return strings.Join(says, "; ")
}

const (
	tableFile = "testdata/returns.txt"
	tableDoc  = "../../docs/returning-nodes.md"
	begin     = "<!-- generated from lib/replication/testdata/returns.txt by: go test ./lib/replication -run Returns -update -->\n"
	end       = "<!-- end of the generated part -->\n"
)

// TestReturns compares the committed table, and its form in the documentation,
// byte by byte with what the rules do now.
func TestReturns(t *testing.T) {
	rows := returns(t)
	compare(t, tableFile, tableText(rows))
	doc, err := os.ReadFile(tableDoc)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(doc), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has lost the marks of its generated part", tableDoc)
	}
	compare(t, tableDoc, head+begin+"\n"+tableMarkdown(rows)+"\n"+end+tail)
}

func compare(t *testing.T, file, got string) {
	t.Helper()
	want, err := os.ReadFile(file)
	if err != nil && !*update {
		t.Fatal(err)
	}
	if string(want) == got {
		return
	}
	if !*update {
		t.Errorf("%s differs (go test ./lib/replication -run Returns -update, then read the difference):\n%s", file, firstDifference(string(want), got))
		return
	}
	if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
		t.Fatal(err)
	}
}

func tableText(rows []row) string {
	var b strings.Builder
	what := ""
	for _, row := range rows {
		if row.what != what {
			what = row.what
			fmt.Fprintf(&b, "%s\n", what)
		}
		other := map[string]string{"n1": "n2", "n2": "n1"}[row.first]
		fmt.Fprintf(&b, "  %s alone: %s\n  then %s too: %s\n", row.first, row.alone, other, row.both)
	}
	return b.String()
}

func tableMarkdown(rows []row) string {
	var b strings.Builder
	b.WriteString("| how it ended | returns alone | it | and when the other is back too |\n|---|---|---|---|\n")
	what := ""
	for _, row := range rows {
		name := row.what
		if name == what {
			name = ""
		} else {
			what = name
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", name, row.first, short(row.alone), short(row.both))
	}
	return b.String()
}

// short leaves out of a reason what it says to do: the page says it in words.
func short(s string) string {
	var out []string
	for _, part := range strings.Split(s, "; ") {
		if strings.HasPrefix(part, "to go on without") || strings.HasPrefix(part, "to start with the data") ||
			strings.HasPrefix(part, "keep what you need") || strings.HasPrefix(part, "the start is tried again") {
			continue
		}
		before, _, _ := strings.Cut(part, "; or accept the loss")
		out = append(out, before)
	}
	return strings.Join(out, "; ")
}
