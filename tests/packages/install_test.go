package packages

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// releases are the releases of Debian that the packages are installed on.
func releases() []string {
	if named := os.Getenv("PGREX_RELEASES"); named != "" {
		return strings.Fields(named)
	}
	return []string{"bookworm", "trixie"}
}

// The packages are installed, upgraded from an older version and removed, by
// dpkg of each release, on a system that has never seen them.
func TestInstall(t *testing.T) {
	dir, old := build(t)
	for _, release := range releases() {
		t.Run(release, func(t *testing.T) {
			root := strings.TrimSpace(command(t, project, "tests/debian/root.sh", release))
			script, err := filepath.Abs("install.sh")
			if err != nil {
				t.Fatal(err)
			}
			// No network: nothing may be fetched. What is mounted ends with the namespaces.
			cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--propagation", "private",
				script, root, old, dir, onlyOld)
			out, err := cmd.CombinedOutput()
			t.Logf("%s", out)
			if err != nil {
				t.Error(err)
			}
			if !strings.HasSuffix(string(out), "done\n") {
				t.Error("the script did not come to its end")
			}
		})
	}
}
