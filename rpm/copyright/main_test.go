package main

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
)

func TestOwner(t *testing.T) {
	modules := []*debug.Module{
		{Path: "example.org/a", Version: "v1"},
		{Path: "example.org/a/b", Version: "v2"},
		{Path: "example.org/old", Replace: &debug.Module{Path: "example.org/new", Version: "v3"}},
	}
	for pkg, want := range map[string]string{
		"example.org/a": "v1", "example.org/a/c": "v1", "example.org/a/b/c": "v2", "example.org/old/x": "v3",
		"example.org/ab": "", "example.com/a": "",
	} {
		got := ""
		if m := owner(modules, pkg); m != nil {
			got = m.Version
		}
		if got != want {
			t.Errorf("%s is in %q, want %q", pkg, got, want)
		}
	}
}

func TestEscape(t *testing.T) {
	if got, want := escape("github.com/Azure/SDK"), "github.com/!azure/!s!d!k"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestAdd(t *testing.T) {
	root := t.TempDir()
	deep := filepath.Join(root, "a", "b")
	if err := os.MkdirAll(deep, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := (licences{}).add(root, deep, "m"); err == nil {
		t.Error("a module without a licence passes")
	}
	for _, f := range []string{"LICENSE.md", "a/b/COPYING", "a/NOTICE", "a/licence.go", "a/patentsx"} {
		if err := os.WriteFile(filepath.Join(root, f), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	l := licences{}
	if err := l.add(root, deep, "m v1"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"m v1: LICENSE.md", "m v1: a/b/COPYING", "m v1: a/NOTICE"} {
		if l[want] == "" {
			t.Errorf("%s is missing in %v", want, l)
		}
	}
	if len(l) != 3 {
		t.Errorf("%v", l)
	}
}

// The test program itself links nothing but Go's own packages, which is the smallest case there is.
func TestWrite(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for file, text := range map[string]string{"LICENSE": "of ours", "go/LICENSE": "of Go"} {
		path := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	list := filepath.Join(dir, filepath.Base(self)+".packages")
	s := sources{modules: dir, goroot: filepath.Join(dir, "go"), lists: dir, own: filepath.Join(dir, "LICENSE")}
	for linked, want := range map[string]string{"os\npgrex/lib/meta\n": "", "os\nexample.org/x\n": "is in no module"} {
		if err := os.WriteFile(list, []byte(linked), 0o644); err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		err := s.write(&b, self)
		switch {
		case want == "" && (err != nil || !strings.Contains(b.String(), "of ours") || !strings.Contains(b.String(), "of Go")):
			t.Errorf("%v\n%s", err, b.String())
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
