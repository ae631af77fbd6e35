package packages

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// project is where the tests find the rest of the tree.
const project = "../.."

// oldVersion is that of a package which is to be upgraded, and onlyOld a file
// that it has and its successor has not.
const (
	oldVersion = "0.0.1"
	onlyOld    = "/usr/share/doc/pgrex/docs/gone.md"
)

// command runs a program of the test, which must succeed, and returns its
// standard output.
func command(t *testing.T, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String()
}

// checkout is a copy of this commit at another place, where a build may do what
// it wants.
func checkout(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "a place", "elsewhere")
	root, err := filepath.Abs(project)
	if err != nil {
		t.Fatal(err)
	}
	command(t, root, "git", "clone", "--quiet", "--shared", root, dir)
	if err := os.Mkdir(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	// The tools are not what is tested, and take a while to build.
	if err := os.MkdirAll(filepath.Join(root, "bin", "tools"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(root, "bin", "tools"), filepath.Join(dir, "bin", "tools")); err != nil {
		t.Fatal(err)
	}
	return dir
}

var built struct {
	once     sync.Once
	base     string // of both
	dir, old string // with packages of this commit, and of an older version
}

// build makes the packages of this commit and those of an older version, once
// for all tests.
func build(t *testing.T) (dir, old string) {
	t.Helper()
	built.once.Do(func() {
		base, err := os.MkdirTemp("", "pgrex-packages-")
		if err != nil {
			t.Fatal(err)
		}
		built.base = base
		dir, old := filepath.Join(base, "new"), filepath.Join(base, "old")
		command(t, project, "rpm/build.sh", dir)

		before := checkout(t)
		if err := os.WriteFile(filepath.Join(before, "docs", filepath.Base(onlyOld)), []byte("# gone\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		command(t, before, "git", "add", "docs")
		command(t, before, "git", "-c", "user.name=test", "-c", "user.email=test", "commit", "--quiet", "-m", "a page that will go")
		command(t, before, "env", "VERSION="+oldVersion, "rpm/build.sh", old)
		built.dir, built.old = dir, old
	})
	if built.dir == "" {
		t.Fatal("there are no packages: see the first test that failed")
	}
	return built.dir, built.old
}

func TestMain(m *testing.M) {
	code := 1
	if err := prerequisites(); err != nil {
		fmt.Fprintln(os.Stderr, "packages:", err)
	} else {
		code = m.Run()
	}
	if err := os.RemoveAll(built.base); err != nil {
		fmt.Fprintln(os.Stderr, "packages:", err)
	}
	os.Exit(code)
}

func prerequisites() error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("these tests need root: they install packages into root file systems")
	}
	for _, need := range []string{"git", "make", "rpmbuild", "rpm2archive", "dpkg-deb", "debootstrap", "groff", "unshare", "chroot"} {
		if _, err := exec.LookPath(need); err != nil {
			return fmt.Errorf("%s is not installed: run make deps", need)
		}
	}
	return nil
}

// files lists what has a suffix in a directory, in order, by base name.
func files(t *testing.T, dir, suffix string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), suffix) {
			names = append(names, e.Name())
		}
	}
	if len(names) == 0 {
		t.Fatalf("no %s in %s", suffix, dir)
	}
	return names
}

// The build knows neither where nor when it runs, nor under which umask.
func TestReproducible(t *testing.T) {
	dir, _ := build(t)
	again := filepath.Join(t.TempDir(), "again")
	command(t, checkout(t), "sh", "-c", `umask 077; TZ=Asia/Tokyo LANG=C exec rpm/build.sh "$0"`, again)
	if got, want := files(t, again, ""), files(t, dir, ""); !slices.Equal(got, want) {
		t.Fatalf("%q, the first time %q", got, want)
	}
	for _, name := range files(t, dir, "") {
		first, second := filepath.Join(dir, name), filepath.Join(again, name)
		if !bytes.Equal(read(t, first), read(t, second)) {
			t.Errorf("%s is another file when it is built again", name)
		}
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// tree says what is below a directory: path, mode and contents of every file.
func tree(t *testing.T, dir string) map[string]file {
	t.Helper()
	found := map[string]file{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		b, err := os.ReadFile(path)
		found[strings.TrimPrefix(path, dir)] = file{info.Mode(), string(b)}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

type file struct {
	mode    fs.FileMode
	content string
}
