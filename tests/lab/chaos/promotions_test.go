package chaos

import (
	"testing"

	"pgrex/tests/lab/cluster"
)

// Two generations of Pacemaker say the same in other words.
func TestEventOf(t *testing.T) {
	const by = "Nov 21 18:24:36.716 n1 pacemaker-controld  [112] (log_executor_event) \tnotice: "
	for _, tt := range []struct{ text, what, node string }{
		{by + "Result of promote operation for pgsql on n1: ok | CIB update 46", "promoted", "n1"},
		{by + "Result of promote operation for pgsql on n1: OK | graph action confirmed; call=46", "promoted", "n1"},
		{by + "Result of demote operation for pgsql on n2: ok | CIB update 46", "ended", "n2"},
		{by + "Result of demote operation for pgsql on n2: OK | graph action confirmed; call=67", "ended", "n2"},
		{by + "Result of stop operation for pgsql on n2: OK | graph action confirmed; call=72", "ended", "n2"},
		{by + "Result of probe operation for pgsql on n1: not running | rc=7", "ended", "n1"},
		{by + "Result of probe operation for pgsql on n1: Not running | graph action confirmed; call=9", "ended", "n1"},
		{by + "Initiating promote operation pgsql_promote_0 locally on n1 | action 10", "promoting", "n1"},
		{by + "Operation 'reboot' targeting n2 by n1 for pacemaker-controld.112@n1: OK (Done) | id=faeabf02", "fenced", "n2"},
		{by + "Result of demote operation for pgsql on n2: error | CIB update 46", "", ""},
		{by + "Result of demote operation for pgsql on n2: Error occurred (no) | graph action failed", "", ""},
		{by + "Result of monitor operation for pgsql on n1: Promoted | graph action unconfirmed", "", ""},
	} {
		e, ok := eventOf(cluster.LogLine{Text: tt.text})
		if ok != (tt.what != "") || e.what != tt.what || e.node != tt.node {
			t.Errorf("%s: is %q of %q, want %q of %q", tt.text, e.what, e.node, tt.what, tt.node)
		}
	}
}
