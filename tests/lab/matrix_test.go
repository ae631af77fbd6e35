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
	args := []string{"lab", "matrix", "--name", "NO LAB HAS THIS NAME", "--only", "cold-start,readme"}
	for _, release := range []string{"bookworm", "trixie"} {
		root := t.TempDir()
		if err := os.Mkdir(filepath.Join(root, "etc"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, "etc/os-release"), []byte("X=y\nVERSION_CODENAME="+release+"\nID=debian\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		args = append(args, root)
	}
	// What fails here on purpose must not be read as a result.
	var out bytes.Buffer
	run := func(args []string) error {
		app := application()
		app.Writer = &out
		return app.Run(args)
	}
	err := run(args)
	if err == nil {
		t.Fatal("it passes without a lab")
	}
	for _, want := range []string{"bookworm: failed: cold-start readme", "trixie: failed: cold-start readme"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("want %q in: %v", want, err)
		}
	}
	if got := out.String(); strings.Count(got, "--- FAIL: cold-start") != 2 {
		t.Errorf("it prints\n%s", got)
	}
	if err := run([]string{"lab", "matrix"}); err == nil {
		t.Error("it passes without a release")
	}
	if err := run([]string{"lab", "matrix", "--only", "no-such", args[len(args)-1]}); err == nil {
		t.Error("it passes with a scenario that is none")
	}
}
