package main

import (
	"bytes"
	"io"
	"os"
	"testing"
)

// TestGenerated compares what is generated from the declaration with the committed files, byte by
// byte. `make metadata` writes them anew.
func TestGenerated(t *testing.T) {
	a := declaration()
	files := []struct {
		path  string
		write func(io.Writer) error
	}{
		{"../../metadata/fence_ipmi.xml", func(w io.Writer) error { return a.WriteXML(w, a.Name) }},
		{"../../docs/fence_ipmi-parameters.md", a.WriteMarkdown},
	}
	for _, f := range files {
		var want bytes.Buffer
		if err := f.write(&want); err != nil {
			t.Fatal(err)
		}
		if os.Getenv("PGREX_UPDATE") != "" {
			if err := os.WriteFile(f.path, want.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(f.path)
		if err != nil || !bytes.Equal(got, want.Bytes()) {
			t.Errorf("%s differs from the declaration (%v); run `make metadata` and look at the diff", f.path, err)
		}
	}
}
