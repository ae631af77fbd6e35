package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// verb is what a format puts something else in the place of.
var verb = regexp.MustCompile(`%(\[\d+\])?[+#]?[a-z]`)

// literals are the texts that a tree of sources may print: string literals, those
// joined by + as one, with "..." in the place of what is put in.
func literals(t *testing.T, roots ...string) []string {
	t.Helper()
	var found []string
	var text func(ast.Expr) string
	text = func(e ast.Expr) string {
		switch e := e.(type) {
		case *ast.BasicLit:
			if e.Kind == token.STRING {
				s, err := strconv.Unquote(e.Value)
				if err != nil {
					t.Fatal(err)
				}
				return verb.ReplaceAllString(s, "...")
			}
		case *ast.BinaryExpr:
			if e.Op == token.ADD {
				return text(e.X) + text(e.Y)
			}
		}
		return "..."
	}
	for _, root := range roots {
		err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.BinaryExpr:
					found = append(found, text(n))
				case *ast.BasicLit:
					found = append(found, text(n))
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}

// quoted are the reasons of a page: the code in the first column of its tables.
// What is said there beside it, in the same cell, is not one.
var quoted = regexp.MustCompile("(?m)^\\| ((?:`[^`]+`(?:, )?)+)(?: [^|]*)? \\|")

// A reason that a page explains is one that the programs give, word by word. An
// ellipsis stands for what differs.
func TestReasonsExist(t *testing.T) {
	said := literals(t, "../agents", "../fence", "../lib")
	for _, page := range []struct {
		name, from, to string // what is between two lines; all of it without them
		atLeast        int
	}{
		{"troubleshooting.md", "", "", 60},
		{"fence_ipmi.md", "## Messages", "## Replacing", 8},
		{"fence_azure.md", "## Messages", "## Differences", 9},
	} {
		b, err := files.ReadFile(page.name)
		if err != nil {
			t.Fatal(err)
		}
		_, text, found := strings.Cut(string(b), page.from)
		if page.to != "" {
			text, _, found = strings.Cut(text, page.to)
		}
		n := 0
		for _, cell := range quoted.FindAllStringSubmatch(text, -1) {
			for _, reason := range regexp.MustCompile("`[^`]+`").FindAllString(cell[1], -1) {
				reason = strings.ReplaceAll(strings.Trim(reason, "`"), `\|`, "|")
				n++
				if !slices.ContainsFunc(said, func(s string) bool { return strings.Contains(s, reason) }) {
					t.Errorf("%s: no program says %q", page.name, reason)
				}
			}
		}
		if !found || n < page.atLeast {
			t.Errorf("%s: only %d reasons are explained: were the tables changed?", page.name, n)
		}
	}
}

// What the comparison claims of pgrex is shown by scenarios that there are.
func TestComparisonNamesScenarios(t *testing.T) {
	page, err := files.ReadFile("comparison.md")
	if err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadFile("../tests/lab/scenarios.txt")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{"all": true}
	for line := range strings.Lines(string(list)) {
		if f := strings.Fields(line); len(f) == 2 {
			known[f[0]] = true
		}
	}
	n := 0
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(line, "|")
		if len(cells) != 9 || strings.Contains(line, "---") || strings.Contains(line, "shown by") {
			continue
		}
		for name := range strings.FieldsFuncSeq(cells[7], func(r rune) bool { return r == ',' || r == ' ' }) {
			if n++; !known[name] {
				t.Errorf("no scenario %q", name)
			}
		}
	}
	if n < 20 {
		t.Errorf("%d scenarios are named: were the tables changed?", n)
	}
}
