package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A matrix in which something failed has failed, and has played the other release
// all the same.
func TestMatrixFails(t *testing.T) {
	var roots []string
	for _, release := range []string{"bookworm", "trixie"} {
		root := t.TempDir()
		if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, "etc/os-release"), []byte("X=y\nVERSION_CODENAME="+release+"\nID=debian\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		roots = append(roots, root)
	}
	// What fails here on purpose must not be read as a result.
	var out bytes.Buffer
	run := func(args ...string) error {
		out.Reset()
		app := application()
		app.Writer = &out
		return app.Run(append([]string{"lab", "matrix", "--name", "NO LAB HAS THIS NAME"}, args...))
	}
	for _, tt := range []struct {
		jobs string
		fail []string // lines that are there
	}{
		{"1", []string{"=== trixie\n--- FAIL"}},
		{"2", []string{"bookworm/", "trixie/"}},
	} {
		err := run(append([]string{"--jobs", tt.jobs, "--only", "cold-start,readme"}, roots...)...)
		if err == nil {
			t.Fatal("it passes without a lab")
		}
		for _, want := range []string{"bookworm: failed: cold-start readme", "trixie: failed: cold-start readme"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("--jobs %s: want %q in: %v", tt.jobs, want, err)
			}
		}
		got := out.String()
		if strings.Count(got, "--- FAIL: cold-start") != 2 || !strings.Contains(got, "0 passed, 4 failed, 0 not played\n") {
			t.Errorf("--jobs %s: it prints\n%s", tt.jobs, got)
		}
		for _, want := range tt.fail {
			if !strings.Contains(strings.ReplaceAll(got, "=== RUN   cold-start\n", ""), want) {
				t.Errorf("--jobs %s: want %q in\n%s", tt.jobs, want, got)
			}
		}
	}
	for _, tt := range []struct {
		what string
		args []string
	}{
		{"without a release", nil},
		{"with a scenario that is none", []string{"--only", "no-such", roots[0]}},
		{"without a lab to play in", []string{"--jobs", "0", roots[0]}},
		{"with two labs to keep", []string{"--keep", "--jobs", "2", roots[0]}},
		{"with a release twice", []string{"--only", "readme", roots[0], roots[0]}},
	} {
		if err := run(tt.args...); err == nil || strings.Contains(out.String(), "RUN") {
			t.Errorf("%s it comes to %v and\n%s", tt.what, err, out.String())
		}
	}
}
