package fence

import (
	"strings"
	"testing"
)

// delay comes before anything is asked of the device, and unknown keys only warn.
func TestDelay(t *testing.T) {
	t.Parallel()
	r := call(t, agent, "delay=3\nlogin=test\npasswd=test\nipaddr=192.0.2.1\nport=1\nmanaged=1\ndevices=test\nsession_url=http://test\nipmitool_timeout=0.1\n")
	if r.code != 1 || r.took.Seconds() < 3 || !strings.Contains(r.stderr, "Ignoring unknown option 'session_url'") || strings.Contains(r.stderr, "http://test") {
		t.Errorf("%+v", r)
	}
}
