package chaos

import (
	"strings"
	"testing"
	"time"

	"pgrex/tests/lab/cluster"
)

func ms(n int) time.Duration { return time.Duration(n) * time.Millisecond }

func read(begin, end int, value int64) Op {
	return Op{Key: 1, Kind: opRead, Value: value, Begin: ms(begin), End: ms(end), Known: true}
}

func write(begin, end int, value int64) Op {
	return Op{Key: 1, Kind: opWrite, Value: value, Begin: ms(begin), End: ms(end), Known: true}
}

func swap(begin, end int, old, value int64, done bool) Op {
	return Op{Key: 1, Kind: opSwap, Old: old, Value: value, Begin: ms(begin), End: ms(end), Known: true, Swapped: done}
}

func unknown(o Op) Op {
	o.Known = false
	return o
}

func TestRegister(t *testing.T) {
	for _, c := range []struct {
		name   string
		ops    []Op
		broken bool
	}{
		{"in turn", []Op{write(0, 1, 7), read(2, 3, 7), swap(4, 5, 7, 8, true), read(6, 7, 8), swap(8, 9, 7, 9, false), read(10, 11, 8)}, false},
		{"at once, either", []Op{write(0, 10, 7), write(0, 10, 8), read(11, 12, 7)}, false},
		{"an acknowledged write is gone", []Op{write(0, 1, 7), read(2, 3, 7), write(4, 5, 8), read(6, 7, 7)}, true},
		{"a stale read", []Op{write(0, 1, 7), read(2, 3, 0)}, true},
		{"an unknown write takes effect late", []Op{unknown(write(0, 1, 7)), read(5, 6, 0), read(7, 8, 7)}, false},
		{"an unknown write takes effect and is gone", []Op{unknown(write(0, 1, 7)), read(2, 3, 7), read(4, 5, 0)}, true},
		{"an unknown write never takes effect", []Op{unknown(write(0, 1, 7)), read(2, 3, 0), write(4, 5, 8), read(6, 7, 8)}, false},
		{"an unknown swap that could not happen", []Op{unknown(swap(0, 1, 5, 7, true)), read(2, 3, 7)}, true},
		{"a swap that must not have happened", []Op{write(0, 1, 7), swap(2, 3, 6, 8, true)}, true},
		{"a swap that must have happened", []Op{write(0, 1, 7), swap(2, 3, 7, 8, false)}, true},
		{"a value nobody wrote", []Op{read(0, 1, 99)}, true},
		{"an unknown read", []Op{unknown(read(0, 1, 99)), read(2, 3, 0)}, false},
	} {
		v := checkRegister(c.ops, time.Second)
		if got := len(v.Broken) > 0; got != c.broken || len(v.Undecided) > 0 {
			t.Errorf("%s: %+v", c.name, v)
		}
	}
}

func TestEpochs(t *testing.T) {
	by := func(o Op, server, timeline string) Op {
		o.Server, o.Timeline, o.Via = server, timeline, "x"
		return o
	}
	one := []Op{by(read(0, 1, 0), "a", "01"), by(read(2, 9, 0), "a", "01"), by(write(8, 12, 0), "b", "02"), by(read(13, 14, 0), "b", "02")}
	for _, c := range []struct {
		name string
		ops  []Op
		want string
	}{
		{"one after the other", one, ""},
		{"the old one still answers", append([]Op{by(read(13, 20, 0), "a", "01")}, one...), "timeline 01 answered"},
		{"the old one's answer is unknown", append([]Op{unknown(by(read(13, 20, 0), "a", "01"))}, one...), ""},
		{"two servers of one timeline", []Op{by(read(0, 1, 0), "a", "01"), by(read(2, 3, 0), "b", "01"), by(read(4, 5, 0), "a", "01"), by(read(6, 7, 0), "b", "01")}, "took turns"},
		{"a restart", []Op{by(read(0, 1, 0), "a", "01"), by(read(2, 3, 0), "b", "01")}, ""},
	} {
		got := strings.Join(checkEpochs(c.ops), "\n")
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

func TestPromotions(t *testing.T) {
	say := func(text string) event {
		e, ok := eventOf(cluster.LogLine{Text: text})
		if !ok {
			t.Fatalf("not recognised: %s", text)
		}
		return e
	}
	begins := say("(execute_rsc_action) notice: Initiating promote operation pgsql_promote_0 on n2 | action 9")
	local := say("Initiating promote operation pgsql_promote_0 locally on n2 | action 9")
	isDone := say("Result of promote operation for pgsql on n2: ok | CIB update 46")
	demoted := say("Result of demote operation for pgsql on n1: ok | CIB update 65")
	fenced := say("(finalize_op) notice: Operation 'reboot' targeting n1 by n2 for pacemaker-controld.123@n2: OK (complete) | id=1234")
	probed := say("Result of probe operation for pgsql on n1: not running | CIB update 18")
	again := say("Initiating promote operation pgsql_promote_0 on n1 | action 9")
	for _, c := range []struct {
		name  string
		all   []event
		done  int
		wrong int
	}{
		{"demoted", []event{demoted, begins, isDone}, 1, 0},
		{"fenced", []event{fenced, local, isDone}, 1, 0},
		{"probed", []event{probed, begins, isDone}, 1, 0},
		{"nothing", []event{begins, isDone}, 1, 1},
		{"too late", []event{begins, demoted, isDone}, 1, 1},
		{"promoted where it was", []event{again}, 0, 0},
		{"a promotion that never ended", []event{demoted, begins, again}, 0, 1},
	} {
		done, wrong := checkPromotions(c.all, "n1")
		if done != c.done || len(wrong) != c.wrong {
			t.Errorf("%s: %d done, wrong %v", c.name, done, wrong)
		}
	}
	if _, ok := eventOf(cluster.LogLine{Text: "Result of demote operation for pgsql on n1: error (x)"}); ok {
		t.Error("a failed demote is taken for the end of the primary")
	}
	if _, ok := eventOf(cluster.LogLine{Text: "Operation 'reboot' targeting n1 by n2 for pacemaker-controld.1@n2: Timed out"}); ok {
		t.Error("a failed fencing is taken for the end of the primary")
	}
}

func TestIsPath(t *testing.T) {
	history := branches("1\t0/3000180\tno recovery target specified\n\n2\t0/4000000\tx\n")
	if len(history) != 2 || history[1] != "2 0/4000000" {
		t.Fatalf("read %q", history)
	}
	for _, c := range []struct {
		short, long []string
		want        bool
	}{
		{history[:1], history, true},
		{history, history, true},
		{history, history[:1], false},
		{[]string{"1 0/3000181"}, history, false},
	} {
		if got := isPath(c.short, c.long); got != c.want {
			t.Errorf("%v in %v: %v", c.short, c.long, got)
		}
	}
}

func TestLeftAt(t *testing.T) {
	history := branches("1\t0/3000180\tx\n2\t0/FFFF000\tx\n")
	for _, c := range []struct {
		timeline, lsn string
		want          bool
	}{
		{"2", "0/10000100", true},
		{"2", "0/FFFF000", false},
		{"1", "0/3000181", true},
		{"3", "0/20000000", false},
		{"2", "nonsense", false},
	} {
		if _, got := leftAt(history, c.timeline, c.lsn); got != c.want {
			t.Errorf("%s on timeline %s: %v", c.lsn, c.timeline, got)
		}
	}
}

// A node that is back and looks healthy may still be about to be fenced.
func TestDoomed(t *testing.T) {
	now := time.Now()
	line := func(ago int, text string) cluster.LogLine {
		return cluster.LogLine{At: now.Add(-ms(ago)), Text: "(x) \tnotice: " + text}
	}
	asked := "Requesting peer fencing (reboot) targeting n1 | id=74ca7572 state=querying base_timeout=300"
	tried := "Operation 'reboot' [2215] targeting n1 using fence-n1 returned 1 | call 7 from pacemaker-controld.47"
	over := "Operation 'reboot' targeting n1 by n2 for pacemaker-controld.48@n2: OK (complete) | id=74ca7572"
	for _, c := range []struct {
		name  string
		lines []cluster.LogLine
		want  string
	}{
		{"nothing", nil, ""},
		{"asked", []cluster.LogLine{line(500, asked)}, "n1"},
		{"asked twice", []cluster.LogLine{line(500, asked), line(400, asked)}, "n1"},
		{"one device has failed", []cluster.LogLine{line(500, asked), line(300, tried)}, "n1"},
		{"over", []cluster.LogLine{line(300, over), line(500, asked)}, ""},
		{"again", []cluster.LogLine{line(500, asked), line(300, over), line(200, asked)}, "n1"},
		{"whoever asked is dead", []cluster.LogLine{line(25_000, asked)}, ""},
	} {
		if got := strings.Join(doomed(c.lines, now), " "); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// TestLastStart is of a log by Pacemaker 2.1: what came of the last start counts.
func TestLastStart(t *testing.T) {
	const refused = "Result of start operation for pgsql on n2: error (not started: rebuild it with pg_basebackup: its WAL ends on timeline 4 at 0/5411C98)"
	line := func(text string) cluster.LogLine { return cluster.LogLine{Node: "n2", Text: text} }
	for _, c := range []struct {
		lines []cluster.LogLine
		want  bool
	}{
		{nil, false},
		{[]cluster.LogLine{line("notice: " + refused)}, true},
		{[]cluster.LogLine{line("notice: " + refused), line("notice: Result of monitor operation for pgsql on n2: ok")}, true},
		{[]cluster.LogLine{line("notice: " + refused), line("notice: Result of start operation for pgsql on n2: ok")}, false},
		{[]cluster.LogLine{line("notice: " + strings.ReplaceAll(refused, "n2", "n1"))}, false},
	} {
		if got := lastStart(c.lines, "n2"); strings.Contains(got, "rebuild") != c.want {
			t.Errorf("%v: %q", c.lines, got)
		}
	}
}
