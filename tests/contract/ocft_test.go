package contract

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"pgrex/tests/contract/sandbox"
)

const (
	ocftConfig = "/usr/share/resource-agents/ocft/configs/pgsql"
	// ocftAgent is the agent that ocft's cases run.
	ocftAgent = "/usr/lib/ocf/resource.d/heartbeat/pgsql"
	ocftCases = "/var/lib/resource-agents/ocft/cases"
)

// The cases that resource-agents has for its own pgsql agent, as the package
// installs them, with ours in its place. They are made for a server as Debian's
// tools create it: configuration in /etc, socket in /run, peer authentication.
func TestOCFT(t *testing.T) {
	t.Parallel()
	cases := regexp.MustCompile(`(?m)^CASE "`).FindAllString(sandbox.ReadFile(t, ocftConfig), -1)
	if len(cases) != 11 {
		t.Errorf("ocft has %d cases for pgsql, these tests know 11: look at what changed", len(cases))
	}
	debianServer(t)
	substitute(t, pgsql.Path, ocftAgent)
	substitute(t, noInstaller(t), "/usr/bin/apt-get")

	sandbox.Command(t, "ocft", "make", "pgsql")
	made, err := filepath.Glob(ocftCases + "/[0-9]*_pgsql.sh")
	if err != nil || len(made) != len(cases) {
		t.Fatalf("ocft made %d of %d cases (%v)", len(made), len(cases), err)
	}
	cmd := exec.Command("ocft", "test", "-v", "pgsql")
	// The cases make a directory where they are.
	cmd.Dir = sandbox.TempDir(t)
	cmd.Env = append(os.Environ(), "HA_LOGFACILITY=none")
	out, err := cmd.CombinedOutput()
	text := regexp.MustCompile("\x1b\\[[0-9]*m").ReplaceAllString(string(out), "")
	if err != nil {
		t.Errorf("ocft test: %v", err)
	}
	// One verdict for each case, so that a case that never came to its check is not passed.
	if passed := strings.Count(text, "OK. The return value"); passed != len(cases) || strings.Contains(text, "FAILED") || strings.Contains(text, "ERROR") {
		t.Errorf("%d of %d cases passed", passed, len(cases))
	}
	if t.Failed() {
		t.Logf("%s", text)
	}
}

// debianServer makes the server that pg_conftool tells ocft of.
func debianServer(t *testing.T) {
	t.Helper()
	bin, err := findPostgres()
	if err != nil {
		t.Fatal(err)
	}
	version := filepath.Base(filepath.Dir(bin))
	sandbox.Command(t, "pg_createcluster", version, "main", "--", "--no-sync", "--wal-segsize=1")
	data := "/var/lib/postgresql/" + version + "/main"
	t.Cleanup(func() {
		s := server{data: data}
		s.destroy()
		for _, path := range []string{"/var/lib/postgresql/" + version, "/etc/postgresql/" + version} {
			if err := os.RemoveAll(path); err != nil {
				t.Error(err)
			}
		}
	})
	if name := strings.TrimSpace(sandbox.Command(t, "pg_conftool", "-s", "show", "cluster_name")); name != version+"/main" {
		t.Fatalf("pg_conftool knows the server as %q", name)
	}
}

// substitute lays one file over another for the length of a test.
func substitute(t *testing.T, by, path string) {
	t.Helper()
	if err := unix.Mount(by, path, "", unix.MS_BIND, ""); err != nil {
		t.Fatalf("cannot lay %s over %s: %v", by, path, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			t.Errorf("cannot take %s away from %s: %v", by, path, err)
		}
	})
}

// noInstaller is what stands in for apt-get: every case "installs" PostgreSQL
// first. It succeeds if that is there already and changes nothing.
func noInstaller(t *testing.T) string {
	t.Helper()
	path := filepath.Join(sandbox.TempDir(t), "apt-get")
	sandbox.WriteFile(t, path, "#!/bin/sh\n[ \"$1 $2 $3\" = '-y install postgresql' ] && [ -x /usr/bin/pg_createcluster ]\n", 0o755)
	return path
}
