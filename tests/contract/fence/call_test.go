package fence

import (
	"strings"
	"testing"
	"time"

	"pgrex/tests/contract/sandbox"
)

// delay comes before anything is asked of the device, and unknown keys only warn.
func TestDelay(t *testing.T) {
	t.Parallel()
	r := call(t, agent, "delay=3\nlogin=test\npasswd=test\nipaddr=192.0.2.1\nport=1\nmanaged=1\ndevices=test\nsession_url=http://test\nipmitool_timeout=0.1\n")
	if r.code != 1 || r.took.Seconds() < 3 || !strings.Contains(r.stderr, "Ignoring unknown option 'session_url'") || strings.Contains(r.stderr, "http://test") {
		t.Errorf("%+v", r)
	}
}

// SIGTERM ends an action at once, in the middle of a wait, and closes the session: a controller has few.
func TestSignal(t *testing.T) {
	t.Parallel()
	s := startSimulator(t)
	s.write("ignore", "")
	for range 3 {
		r := sandbox.Terminate(t, 500*time.Millisecond, s.lines("action=off"), agent)
		if r.Code != 1 || r.Stdout != "" || r.Took > time.Second || !strings.Contains(r.Stderr, "told to stop by a signal") {
			t.Errorf("%+v", r)
		}
	}
	if r := call(t, agent, s.lines("action=status")); r.code != 0 {
		t.Errorf("%+v", r)
	}
}
