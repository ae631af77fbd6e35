package cost

import (
	"testing"
	"time"

	"pgrex/tests/lab/fault"
)

func TestParseTimes(t *testing.T) {
	tests := []struct {
		stat          string
		own, children time.Duration // 0 and 0 with bad for an error
		bad           bool
	}{
		{stat: "12 (post master) x) S 1 12 12 0 -1 4 1 2 3 4 5 6 70 80 20 0 1 0 99", own: 110 * time.Millisecond, children: 1500 * time.Millisecond},
		{stat: "12 (x) S 1 12 12 0 -1 4 1 2 3 4 5 6 70", bad: true},
		{stat: "12 (x) S 1 12 12 0 -1 4 1 2 3 4 five 6 70 80 20 0", bad: true},
		{stat: "", bad: true},
	}
	for _, tt := range tests {
		own, children, err := parseTimes([]byte(tt.stat))
		if own != tt.own || children != tt.children || (err != nil) != tt.bad {
			t.Errorf("%q: %v, %v, %v", tt.stat, own, children, err)
		}
	}
}

func TestIsWatcher(t *testing.T) {
	const exe = "/usr/lib/ocf/resource.d/pgrex/pgsql"
	for _, tt := range []struct {
		p    fault.Process
		want bool
	}{
		{fault.Process{Exe: exe, Args: []string{exe, "watch", "x"}}, true},
		{fault.Process{Exe: exe, Args: []string{exe, "monitor"}}, false},
		{fault.Process{Exe: exe, Args: []string{exe}}, false},
		{fault.Process{Exe: "/usr/bin/watch", Args: []string{"watch", "watch"}}, false},
	} {
		if got := isWatcher(tt.p); got != tt.want {
			t.Errorf("%v: %v", tt.p, got)
		}
	}
}
