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

// literal is the text of a string expression, as literals has it.
func literal(t *testing.T, e ast.Expr) string {
	t.Helper()
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
			return literal(t, e.X) + literal(t, e.Y)
		}
	}
	return "..."
}

// literals are the texts that a tree of sources may print: string literals, those
// joined by + as one, with "..." in the place of what is put in.
func literals(t *testing.T, roots ...string) []string {
	t.Helper()
	var found []string
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
					found = append(found, literal(t, n))
				case *ast.BasicLit:
					found = append(found, literal(t, n))
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

// reasons are the texts with which actions of the resource agents end: the
// formats of the errors that carry an exit code, and the sentences of the rules.
func reasons(t *testing.T) []string {
	t.Helper()
	var found []string
	parse := func(path string, visit func(ast.Node)) {
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(f, func(n ast.Node) bool { visit(n); return true })
	}
	agents, err := filepath.Glob("../agents/*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range agents {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		parse(path, func(n ast.Node) {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return
			}
			switch f := call.Fun.(type) {
			case *ast.SelectorExpr: // ocf.Errorf(code, format, ...)
				if from, ok := f.X.(*ast.Ident); ok && from.Name == "ocf" && f.Sel.Name == "Errorf" {
					found = append(found, literal(t, call.Args[1]))
				}
			case *ast.Ident:
				switch f.Name {
				case "bad": // of a parameter: bad(format, ...)
					found = append(found, literal(t, call.Args[0]))
				case "osError": // osError(err, format, ...)
					found = append(found, literal(t, call.Args[1]))
				}
			}
		})
	}
	for _, rules := range []string{"start", "rejoin", "promote", "standbys", "quorum"} {
		parse("../lib/replication/"+rules+".go", func(n ast.Node) {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return
			}
			if f, ok := call.Fun.(*ast.Ident); ok && (f.Name == "no" || f.Name == "wait") && len(call.Args) > 0 {
				arg := call.Args[0]
				if sprintf, ok := arg.(*ast.CallExpr); ok && len(sprintf.Args) > 0 {
					arg = sprintf.Args[0]
				}
				found = append(found, literal(t, arg))
			}
		})
	}
	return found
}

// Each reason with which an action of a resource agent ends is explained. What is
// put before another reason, such as "not started: ...", is not one.
func TestReasonsAreExplained(t *testing.T) {
	page, err := files.ReadFile("troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	var explained []string
	for _, cell := range quoted.FindAllStringSubmatch(string(page), -1) {
		for _, reason := range regexp.MustCompile("`[^`]+`").FindAllString(cell[1], -1) {
			explained = append(explained, strings.ReplaceAll(strings.Trim(reason, "`"), `\|`, "|"))
		}
	}
	all := reasons(t)
	for _, reason := range all {
		words := strings.Fields(strings.ReplaceAll(reason, "...", " "))
		if len(words) < 4 {
			continue
		}
		if !slices.ContainsFunc(explained, func(s string) bool { return strings.Contains(reason, s) }) {
			t.Errorf("troubleshooting.md does not explain %q", reason)
		}
	}
	if len(all) < 100 {
		t.Errorf("only %d reasons found: this test looks in the wrong place", len(all))
	}
}

// The last lines with which a fence agent fails are explained.
func TestLastLinesAreExplained(t *testing.T) {
	page, err := files.ReadFile("fence_ipmi.md")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, line := range literals(t, "../lib/stonith/errors.go") {
		if !regexp.MustCompile(`^(Failed:|Connection|Unable) `).MatchString(line) {
			continue
		}
		if n++; !strings.Contains(string(page), "| `"+line+"`") && !strings.Contains(string(page), ", `"+line+"` |") {
			t.Errorf("fence_ipmi.md does not explain %q", line)
		}
	}
	if n < 9 {
		t.Errorf("only %d lines found: this test looks in the wrong place", n)
	}
}

// What the comparison claims of pgrex is shown by scenarios that there are.
func TestComparisonNamesScenarios(t *testing.T) {
	page, err := files.ReadFile("comparison.md")
	if err != nil {
		t.Fatal(err)
	}
	known := scenarios(t)
	known["all"] = true
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

// What a page says it is shown by is there: tests by their names, and scenarios
// in the commands that play them and in the tables of what shows what.
func TestPagesNameWhatThereIs(t *testing.T) {
	tests := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	for _, root := range []string{"../agents", "../fence", "../lib", "../rpm", "../tests"} {
		err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			b, err := os.ReadFile(path)
			for _, m := range function.FindAllSubmatch(b, -1) {
				tests[string(m[1])] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	known := scenarios(t)
	pages, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, page := range append(pages, "../README.md") {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`\bTest[A-Z]\w+`).FindAllString(string(b), -1) {
			if n++; !tests[name] {
				t.Errorf("%s: there is no test %s", page, name)
			}
		}
		for _, m := range regexp.MustCompile(`bin/lab run (?:-\S+ )*([a-z][a-z0-9-]+)`).FindAllStringSubmatch(string(b), -1) {
			if n++; !known[m[1]] {
				t.Errorf("%s: there is no scenario %s", page, m[1])
			}
		}
	}
	watcher, err := files.ReadFile("watcher.md")
	if err != nil {
		t.Fatal(err)
	}
	_, shown, _ := strings.Cut(string(watcher), "## Shown by")
	for _, m := range regexp.MustCompile("`([a-z]+(?:-[a-z]+)+)`").FindAllStringSubmatch(shown, -1) {
		if n++; !known[m[1]] && m[1] != "ocf-tester" {
			t.Errorf("watcher.md: there is no scenario %s", m[1])
		}
	}
	if n < 60 {
		t.Errorf("only %d names found: this test looks in the wrong place", n)
	}
}

// scenarios are the names of tests/lab/scenarios.txt.
func scenarios(t *testing.T) map[string]bool {
	t.Helper()
	list, err := os.ReadFile("../tests/lab/scenarios.txt")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for line := range strings.Lines(string(list)) {
		if f := strings.Fields(line); len(f) == 2 {
			known[f[0]] = true
		}
	}
	return known
}
