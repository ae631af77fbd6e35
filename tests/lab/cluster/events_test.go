package cluster

import (
	"slices"
	"testing"
)

// The steps have the same words whichever Pacemaker has logged them.
func TestStepsOf(t *testing.T) {
	const by = "Nov 21 18:24:36.716 n1 pacemaker-controld  [112] (log_executor_event) \tnotice: "
	for _, tt := range []struct{ old, now, want string }{
		{"Result of promote operation for pgsql on n1: ok | CIB update 46", "Result of promote operation for pgsql on n1: OK | graph action confirmed; call=46", "promote of pgsql on n1: ok"},
		{"Result of start operation for ipaddr-primary on n2: ok | CIB update 9", "Result of start operation for ipaddr-primary on n2: OK | graph action confirmed", "start of ipaddr-primary on n2: ok"},
		{"Result of monitor operation for pgsql on n1: not running | CIB update 4", "Result of monitor operation for pgsql on n1: Not running (no server) | graph action unconfirmed", "monitor on n1: not running"},
		{"Result of monitor operation for pgsql on n1: error | CIB update 4", "Result of monitor operation for pgsql on n1: Error occurred (why) | graph", "monitor on n1: error"},
		{"Result of monitor operation for pgsql on n1: promoted (failed) | CIB", "Result of monitor operation for pgsql on n1: Failed in promoted role (why) | graph", "monitor on n1: promoted (failed)"},
		{"Result of monitor operation for pgsql on n1: promoted | CIB", "Result of monitor operation for pgsql on n1: Promoted | graph", "monitor on n1: promoted"},
		{"Result of monitor operation for pgsql on n1: Timed Out | CIB", "Result of monitor operation for pgsql on n1: Timed out | graph", "monitor on n1: Timed Out"},
		{"Result of asyncmon operation for pgsql on n1: error | CIB", "Result of asyncmon operation for pgsql on n1: Error occurred | graph", "failure reported on n1"},
		{"Requesting fencing (reboot) of node n2 | action=1 timeout=60000", "Requesting fencing (reboot) targeting node n2 | action=1 timeout=60", "fencing of n2 is asked for"},
	} {
		for _, line := range []string{tt.old, tt.now} {
			if got := stepsOf(by + line); !slices.Equal(got, []string{tt.want}) {
				t.Errorf("%s: %q, want %q", line, got, tt.want)
			}
		}
	}
	if got := stepsOf(by + "Result of monitor operation for ping on n1: OK | graph"); got != nil {
		t.Errorf("ping's is none: %q", got)
	}
}
