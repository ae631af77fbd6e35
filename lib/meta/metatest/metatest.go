// Package metatest is for the tests of agents: it holds what is generated from a declaration (meta-data,
// the list of parameters in docs/) against the committed files. What stands in such a file, and whether
// others accept it, is not its matter.
package metatest

import (
	"bytes"
	"io"
	"os"
	"testing"
)

// Generated fails the test where a committed file is not, byte by byte, what its function writes. The
// keys are paths, relative to the test's directory. With PGREX_UPDATE set, as `make metadata` does, it
// writes the files first; that looks for tests called TestGenerated.
func Generated(t *testing.T, files map[string]func(io.Writer) error) {
	t.Helper()
	for path, write := range files {
		var want bytes.Buffer
		if err := write(&want); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		if os.Getenv("PGREX_UPDATE") != "" {
			if err := os.WriteFile(path, want.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, want.Bytes()) {
			t.Errorf("%s differs from the declaration (%v); run `make metadata` and look at the diff", path, err)
		}
	}
}
