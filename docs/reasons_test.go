package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
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
var quoted = regexp.MustCompile("(?m)^\\| ((?:`[^`]+`(?:, | or )?)+) \\|")

// A reason that a page explains is one that the programs give, word by word. An
// ellipsis stands for what differs.
func TestReasonsExist(t *testing.T) {
	said := literals(t, "../agents", "../fence", "../lib")
	page, err := files.ReadFile("troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, cell := range quoted.FindAllStringSubmatch(string(page), -1) {
		for _, reason := range regexp.MustCompile("`[^`]+`").FindAllString(cell[1], -1) {
			reason = strings.ReplaceAll(strings.Trim(reason, "`"), `\|`, "|")
			n++
			exists := false
			for _, s := range said {
				exists = exists || strings.Contains(s, reason)
			}
			if !exists {
				t.Errorf("no program says %q", reason)
			}
		}
	}
	if n < 40 {
		t.Errorf("only %d reasons are explained: were the tables changed?", n)
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
