package proc

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// takesOver names, in the environment of a child, the program that is to take its place.
const takesOver = "PGREX_TEST_TAKES_OVER"

// The other program has our process, arguments and environment; one that is not there changes nothing.
func TestHandOver(t *testing.T) {
	if script := os.Getenv(takesOver); script != "" {
		if err := (OS{}).HandOver(script + ".not-there"); err == nil || !strings.Contains(err.Error(), ".not-there: no such file") {
			t.Fatalf("a program that is not there: %v", err)
		}
		t.Fatal(OS{}.HandOver(script))
	}
	script := filepath.Join(t.TempDir(), "other")
	if err := os.WriteFile(script, []byte("#!/bin/sh\necho \"$$ $1 $"+takesOver+"\"\nexit 7\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	const self = "-test.run=^TestHandOver$"
	cmd := exec.CommandContext(t.Context(), os.Args[0], self)
	cmd.Env = append(os.Environ(), takesOver+"="+script)
	out, _ := cmd.CombinedOutput()
	want := strconv.Itoa(cmd.Process.Pid) + " " + self + " " + script + "\n"
	if string(out) != want || cmd.ProcessState.ExitCode() != 7 {
		t.Errorf("exit status %d and %q, want 7 and %q", cmd.ProcessState.ExitCode(), out, want)
	}
}
