package scenario

import (
	"os"
	"path/filepath"
	"testing"
)

func TestRelease(t *testing.T) {
	for content, want := range map[string]string{
		"NAME=Debian\nVERSION_CODENAME=trixie\nID=debian\n": "trixie",
		"VERSION_CODENAME=\"bookworm\"\nID=debian\n":        "bookworm",
		"VERSION_CODENAME=noble\nID=ubuntu\n":               "bookworm",
		"":                                                  "bookworm",
	} {
		root := t.TempDir()
		if err := os.MkdirAll(filepath.Join(root, "etc"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, "etc/os-release"), []byte("X=y\n"+content), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := Release(root); got != want {
			t.Errorf("%q: %s, want %s", content, got, want)
		}
	}
	if got := Release(t.TempDir()); got != "bookworm" {
		t.Errorf("a system without a name: %s", got)
	}
}

func TestProject(t *testing.T) {
	t.Chdir(t.TempDir())
	checkout := t.TempDir()
	if _, err := project(filepath.Join(checkout, "bin")); err == nil {
		t.Error("two directories without our scripts are a checkout")
	}
	if err := os.MkdirAll(filepath.Join(checkout, "rpm"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(checkout, "rpm", "build.sh"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	if got, err := project(filepath.Join(checkout, "bin")); err != nil || got != checkout {
		t.Errorf("above the programs: %q, %v", got, err)
	}
	t.Chdir(checkout)
	if got, err := project("/nowhere/bin"); err != nil || got != checkout {
		t.Errorf("where the lab was called: %q, %v", got, err)
	}
}

// The earlier commit is a whole hash: an abbreviation may become ambiguous.
func TestEarlier(t *testing.T) {
	if len(earlier) != 40 {
		t.Errorf("%q has %d digits", earlier, len(earlier))
	}
}
