package fault

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestEmptying: what filled the volumes is gone from each, a volume that is not there is no
// reason to leave another one full, and nothing else is touched.
func TestEmptying(t *testing.T) {
	data, wal, none := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "none")
	kept := filepath.Join(data, "PG_VERSION")
	for _, name := range []string{filepath.Join(data, filler), filepath.Join(wal, filler), kept} {
		if err := os.WriteFile(name, []byte("x"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.CommandContext(t.Context(), "sh", "-c", Emptying(none, data, wal)).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for name, want := range map[string]bool{filepath.Join(data, filler): false, filepath.Join(wal, filler): false, kept: true} {
		if _, err := os.Stat(name); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
}
