package sandbox

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// Debian13 is its release, which has Pacemaker 3.0 and PostgreSQL 17.
const Debian13 = "trixie"

const (
	// rootEnv is the root file system of another release, for Elsewhere. Inside it says which one to
	// change to.
	rootEnv = "PGREX_CONTRACT_ROOT"
	// changeEnv tells the test program to change to it.
	changeEnv = "PGREX_CONTRACT_CHANGE"
)

// findRoot makes the root that the configuration asks for. Outside only, where there is a network.
func (c Config) findRoot() error {
	if c.Release == "" {
		return nil
	}
	project, err := Root()
	if err != nil {
		return err
	}
	cmd := exec.Command(filepath.Join(project, "tests/debian/root.sh"), c.Release)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("cannot make a root file system of %s: %w", c.Release, err)
	}
	return os.Setenv(rootEnv, strings.TrimSpace(string(out)))
}

// Elsewhere runs tests of this package once more, in a sandbox within this one whose programs are those
// of Config.Release. Every name must be that of a test, which must pass there.
func Elsewhere(t *testing.T, tests ...string) {
	t.Helper()
	if os.Getenv(rootEnv) == "" {
		t.Fatal("Config.Release is not set")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	args := append(namespaces(), self, "-test.v", "-test.run=^("+strings.Join(tests, "|")+")$")
	cmd := exec.CommandContext(t.Context(), "unshare", args...)
	cmd.Env = append(os.Environ(), changeEnv+"=1")
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
	for _, name := range tests {
		if !strings.Contains(string(out), "--- PASS: "+name+" (") {
			t.Errorf("%s did not pass", name)
		}
	}
}

// IsElsewhere reports whether this is the sandbox that Elsewhere makes.
func IsElsewhere() bool { return os.Getenv(changeEnv) != "" }

// changeRoot makes the other release's root file system this process's, with the project at the same
// place as outside and the installed agents in it.
func (c Config) changeRoot() error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	project, err := Root()
	if err != nil {
		return err
	}
	root := Work + "/root"
	layers := Work + "/layers"
	for _, d := range []string{root, layers} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	// What is written is gone with the sandbox. Work is that of the sandbox outside, and shared.
	if err := unix.Mount("sandbox", layers, "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("cannot mount a tmpfs on %s: %w", layers, err)
	}
	for _, d := range []string{layers + "/upper", layers + "/work"} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", os.Getenv(rootEnv), layers+"/upper", layers+"/work")
	if err := unix.Mount("sandbox", root, "overlay", 0, options); err != nil {
		return fmt.Errorf("overlay on %s: %w", os.Getenv(rootEnv), err)
	}
	for _, path := range append(c.Installed, slices.Collect(maps.Keys(c.Scripts))...) {
		if out, err := exec.Command("install", "-D", "-m", "755", stage+path, root+path).CombinedOutput(); err != nil {
			return fmt.Errorf("install %s: %w: %s", path, err, out)
		}
	}
	for _, m := range []struct {
		from, to, kind string
		flags          uintptr
	}{
		{"proc", "/proc", "proc", 0},
		{"/dev", "/dev", "", unix.MS_BIND | unix.MS_REC},
		{"/sys", "/sys", "", unix.MS_BIND | unix.MS_REC},
		{"sandbox", "/tmp", "tmpfs", 0}, // the project may lie below it
		{project, project, "", unix.MS_BIND},
	} {
		to := filepath.Join(root, m.to)
		if err := os.MkdirAll(to, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(m.from, to, m.kind, m.flags, ""); err != nil {
			return fmt.Errorf("mount %s on %s: %w", m.from, to, err)
		}
	}
	if err := unix.Chroot(root); err != nil {
		return fmt.Errorf("chroot %s: %w", root, err)
	}
	return os.Chdir(dir)
}
