package layout

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// deps runs tests/deps.sh where only these programs are found, and what lies in the system's
// directories for administrators. It must not get as far as installing something: apt-get is missing.
func deps(t *testing.T, programs ...string) (output string, code int) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range append(programs, "grep", "sort", "id") {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), "/bin/bash", "../deps.sh")
	cmd.Env = []string{"PATH=" + dir}
	out, err := cmd.CombinedOutput()
	var status *exec.ExitError
	if err != nil && !errors.As(err, &status) {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// Without Debian's package manager make deps says which of RHEL's packages are missing, and fails: what
// comes after it must not begin.
func TestDepsElsewhere(t *testing.T) {
	out, code := deps(t, "go")
	if code != 1 {
		t.Errorf("exit status %d, want 1", code)
	}
	var install []string
	for line := range strings.Lines(out) {
		if !strings.HasPrefix(line, "deps: ") {
			t.Errorf("not for people: %q", line)
		}
		if _, packages, found := strings.Cut(line, "dnf install "); found {
			install = strings.Fields(packages)
		}
	}
	have := map[string]bool{}
	for _, p := range install {
		if have[p] {
			t.Errorf("%s is named twice", p)
		}
		have[p] = true
		if strings.ContainsAny(p, "|:/+") {
			t.Errorf("%q is no package", p)
		}
	}
	// Their programs are in /usr/bin, which is not looked at here.
	for _, p := range []string{"libxml2", "ipmitool", "strace", "iputils", "procps-ng"} {
		if !have[p] {
			t.Errorf("%s is not among what to install: %q", p, install)
		}
	}
	for _, p := range []string{"libxml2-utils", "iputils-ping", "procps"} {
		if have[p] {
			t.Errorf("%s is Debian's name", p)
		}
	}
	for _, words := range []string{"RHEL", "highavailability"} {
		if !strings.Contains(out, words) {
			t.Errorf("%q is not said", words)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
}

// Go is in no list of packages: the ones of distributions are too old.
func TestDepsWithoutGo(t *testing.T) {
	out, code := deps(t)
	if code != 1 || !strings.Contains(out, "Install Go 1.26 or newer") {
		t.Errorf("exit status %d: %s", code, out)
	}
}
