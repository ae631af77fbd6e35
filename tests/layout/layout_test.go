package layout

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

// tags are those of the Makefile; what is linked depends on them.
const tags = "urfave_cli_no_docs,urfave_cli_no_suggest"

const module = "pgrex/"

// pkg is what `go list` says of a package.
type pkg struct {
	ImportPath string
	Standard   bool
	Imports    []string // of the product's files, not of its tests
}

func list(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-e", "-json=ImportPath,Standard,Imports", "-tags", tags}, args...)...)
	cmd.Dir = "../.."
	// The binaries are built so; with cgo other packages of the standard library come in.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var pkgs []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return pkgs
		}
		if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

// floor is how high a room stands. A package imports from lower floors only, or from its own room
// (lib/cloud/azure from lib/cloud, not from lib/cloud/aws).
func floor(room string) int {
	switch room {
	case "lib/meta", "lib/replication", "docs": // the last only embeds its files
		return 0
	case "lib/proc", "lib/journal", "lib/life":
		return 1
	case "lib/ocf", "lib/azure": // the last serves a cloud's driver and a fence agent
		return 2
	case "lib/stonith": // asks lib/crm which side of a cut may fence first
		return 4
	case "tests/fakes": // the lab's cloud is one
		return 5
	}
	switch path.Dir(room) {
	case "lib":
		return 3
	case "agents", "fence":
		return 5
	}
	return 6 // tests
}

// room is the directory of DESIGN that a package of ours belongs to: agents/pgsql, lib/cloud.
func room(importPath string) string {
	parts := strings.Split(strings.TrimPrefix(importPath, module), "/")
	return strings.Join(parts[:min(2, len(parts))], "/")
}

// broken says which rule an import breaks, "" if none.
func broken(from, to string) string {
	a, b := room(from), room(to)
	ours := strings.HasPrefix(to, module)
	switch {
	case !ours && (a == "lib/meta" || a == "lib/replication") && strings.Contains(strings.Split(to, "/")[0], "."):
		return "imports the standard library only"
	case a == "lib/replication" && slices.Contains([]string{"os", "time", "net", "io/fs", "log/slog", "math/rand", "math/rand/v2", "context"}, to):
		return "is pure: no I/O, no clock, no chance"
	case to == "os/exec" && a == "tests/contract":
		return "" // judges from outside and uses nothing of the product's
	case to == "os/exec" && a != "lib/proc":
		return "starts no processes; lib/proc does"
	case a == "fence/ipmi" && to == "net/http":
		return "carries no HTTP stack"
	case !ours:
		return ""
	case a == b && a != "lib/cloud":
		return ""
	case a == b && strings.HasPrefix(from, to+"/"), a == b && strings.HasPrefix(to, from+"/"):
		return "" // driver and interface
	case a == b:
		return "is a driver and knows no other driver"
	case floor(b) >= floor(a):
		return "stands no higher than what it imports"
	}
	return ""
}

func TestImportDirection(t *testing.T) {
	for _, p := range list(t, "./...") {
		for _, to := range p.Imports {
			if rule := broken(p.ImportPath, to); rule != "" {
				t.Errorf("%s imports %s, but it %s", p.ImportPath, to, rule)
			}
		}
	}
}

// The rules themselves, so that a slip in broken does not let everything through.
func TestRules(t *testing.T) {
	tests := []struct {
		from, to string
		allowed  bool
	}{
		{"pgrex/agents/pgsql", "pgrex/lib/ocf", true},
		{"pgrex/agents/pgsql", "pgrex/lib/replication", true},
		{"pgrex/lib/pg", "pgrex/lib/proc", true},
		{"pgrex/lib/pg", "pgrex/lib/replication", true},
		{"pgrex/lib/proc/proctest", "pgrex/lib/proc", true},
		{"pgrex/lib/cloud/azure", "pgrex/lib/cloud", true},
		{"pgrex/lib/cloud/azure", "pgrex/lib/azure", true},
		{"pgrex/lib/proc", "os/exec", true},
		{"pgrex/tests/contract/sandbox", "os/exec", true},
		{"pgrex/lib/meta", "encoding/xml", true},
		{"pgrex/tests/lab/cluster", "pgrex/lib/proc", true},
		{"pgrex/tests/lab/cluster", "pgrex/docs", true},
		{"pgrex/tests/lab/azure", "pgrex/tests/fakes/azure", true},
		{"pgrex/lib/ocf", "github.com/urfave/cli/v2", true},

		{"pgrex/lib/ocf", "pgrex/agents/pgsql", false},
		{"pgrex/lib/stonith", "pgrex/lib/crm", true},
		{"pgrex/lib/azure", "pgrex/lib/stonith", false},
		{"pgrex/lib/crm", "pgrex/lib/stonith", false},
		{"pgrex/lib/pg", "pgrex/lib/crm", false},
		{"pgrex/lib/meta", "pgrex/lib/ocf", false},
		{"pgrex/lib/meta", "github.com/urfave/cli/v2", false},
		{"pgrex/lib/replication", "pgrex/lib/meta", false},
		{"pgrex/lib/replication", "time", false},
		{"pgrex/lib/pg", "os/exec", false},
		{"pgrex/tests/lab/host", "os/exec", false},
		{"pgrex/agents/pgsql", "pgrex/agents/cloudip", false},
		{"pgrex/agents/pgsql", "pgrex/tests/fakes", false},
		{"pgrex/lib/cloud/azure", "pgrex/lib/cloud/aws", false},
		{"pgrex/fence/ipmi", "net/http", false},
	}
	for _, tt := range tests {
		if rule := broken(tt.from, tt.to); (rule == "") != tt.allowed {
			t.Errorf("%s imports %s: %q, want allowed %v", tt.from, tt.to, rule, tt.allowed)
		}
	}
}

// binaries are the product's programs, as arguments of `go list`; each has a list of the packages it
// links beside this file.
var binaries = map[string][]string{
	"pgsql":         {"./agents/pgsql"},
	"cloudip":       {"-tags", tags + ",lan", "./agents/cloudip"},
	"cloudip-azure": {"./agents/cloudip"},
	"fence_ipmi":    {"./fence/ipmi"},
	"fence_azure":   {"./fence/azure"},
}

// TestLinkedPackages keeps the lists honest: a package that comes or goes shows up in review.
func TestLinkedPackages(t *testing.T) {
	for name, program := range binaries {
		var lines []string
		for _, p := range list(t, append([]string{"-deps"}, program...)...) {
			// The insides of the standard library change with every release of Go and say nothing.
			if !p.Standard || !strings.Contains("/"+p.ImportPath, "/internal") && !strings.HasPrefix(p.ImportPath, "vendor/") {
				lines = append(lines, p.ImportPath)
			}
		}
		slices.Sort(lines)
		got := []byte(strings.Join(lines, "\n") + "\n")
		file := name + ".packages"
		if os.Getenv("PGREX_UPDATE") != "" {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatalf("%v; `make metadata` writes it", err)
		}
		for _, l := range lines {
			if !slices.Contains(strings.Split(string(want), "\n"), l) {
				t.Errorf("%s now links %s: avoid it, or accept it with `make metadata`", name, l)
			}
		}
		for l := range strings.Lines(string(want)) {
			if !slices.Contains(lines, strings.TrimSpace(l)) {
				t.Errorf("%s no longer links %s: accept it with `make metadata`", name, strings.TrimSpace(l))
			}
		}
	}
}
