package contract

import (
	"context"
	"os/exec"
	"regexp"
	"sort"
	"strings"
	"testing"
	"time"
)

// ocfTester are the arguments for ocf-tester with these parameters.
func ocfTester(p params) []string {
	args := []string{"-v", "-n", "pgsql"}
	names := make([]string, 0, len(p))
	for name := range p {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		args = append(args, "-o", name+"="+p[name])
	}
	return append(args, agent)
}

// checkOCFTester reads its report: passed, nothing complained about, and every
// check that roles bring with them made.
func checkOCFTester(t *testing.T, out string, err error, roles bool) {
	t.Helper()
	if err != nil {
		t.Errorf("ocf-tester: %v", err)
	}
	if !strings.Contains(out, agent+" passed all tests") {
		t.Error("ocf-tester does not say that all tests are passed")
	}
	// A line with a star is a complaint, or tells of an action that does not exist.
	for _, line := range regexp.MustCompile(`(?m)^\* .*$`).FindAllString(out, -1) {
		switch {
		case strings.Contains(line, "(optional)") && (strings.Contains(line, "migrate") || strings.Contains(line, " reload ")):
		case strings.Contains(line, "(optional)") && !roles &&
			(strings.Contains(line, "demote") || strings.Contains(line, "promote") || strings.Contains(line, "promotable")):
		default:
			t.Errorf("ocf-tester: %s", line)
		}
	}
	if again := strings.Contains(out, "Testing: promotion of promoted resource"); again != roles {
		t.Errorf("ocf-tester promotes: %v, want %v", again, roles)
	}
	if t.Failed() {
		t.Logf("%s", out)
	}
}

// Outside a cluster: a shell, no cluster memory.
func TestOCFTester(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		params func(*server) params
		roles  bool
	}{
		{"none", (*server).params, false},
		{"sync", (*server).replicated, true},
		{"async", func(s *server) params { return s.replicated().with(params{"rep_mode": "async"}) }, true},
		{"slave", func(s *server) params { return s.replicated().with(params{"rep_mode": "slave"}) }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, "ocf-tester", ocfTester(tt.params(s))...)
			cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "HA_LOGFACILITY=none"}
			out, err := cmd.CombinedOutput()
			checkOCFTester(t, string(out), err, tt.roles)
			s.mustBeGone(t)
		})
	}
}
