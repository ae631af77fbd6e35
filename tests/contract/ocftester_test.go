package contract

import (
	"regexp"
	"strings"
	"testing"
)

// checkOCFTester reads its report: passed, nothing complained about, and every
// check that roles bring with them made.
func checkOCFTester(t *testing.T, out string, err error, roles bool) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
	if !strings.Contains(out, pgsql.Path+" passed all tests") {
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
		{"async", func(s *server) params { return s.replicated().With(params{"rep_mode": "async"}) }, true},
		{"slave", func(s *server) params { return s.replicated().With(params{"rep_mode": "slave"}) }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			out, err := pgsql.RunTester(t, tt.params(s))
			checkOCFTester(t, out, err, tt.roles)
			s.mustBeGone(t)
		})
	}
}
