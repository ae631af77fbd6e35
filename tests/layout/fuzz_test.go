package layout

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// isParser are the names of functions that read what comes from outside.
var isParser = regexp.MustCompile(`^(Parse|parse|Decode|decode)([A-Z]|$)`)

// TestParsersAreFuzzed: every function that parses something is reached from a fuzz target of its package,
// by name, through whatever functions of that package lie between.
func TestParsersAreFuzzed(t *testing.T) {
	found := 0
	for _, root := range []string{"lib", "agents", "fence"} {
		dirs := map[string]bool{}
		err := filepath.WalkDir(filepath.Join("../..", root), func(path string, d os.DirEntry, err error) error {
			if err == nil && strings.HasSuffix(path, ".go") {
				dirs[filepath.Dir(path)] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		for dir := range dirs {
			parsers, missing := unfuzzed(t, dir)
			found += parsers
			for _, name := range missing {
				t.Errorf("%s: no fuzz target reaches %s", strings.TrimPrefix(dir, "../../"), name)
			}
		}
	}
	if found < 30 {
		t.Errorf("only %d parsers were found: the test looks in the wrong places", found)
	}
}

// unfuzzed counts the parsers of a package and names those that no fuzz target reaches.
func unfuzzed(t *testing.T, dir string) (parsers int, missing []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string][]string{} // function: what its body names
	var product, reached []string
	for _, file := range files {
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Body == nil {
				continue
			}
			name, test := fn.Name.Name, strings.HasSuffix(file, "_test.go")
			ast.Inspect(fn.Body, func(n ast.Node) bool {
				if id, ok := n.(*ast.Ident); ok {
					names[name] = append(names[name], id.Name)
				}
				return true
			})
			switch {
			case test && strings.HasPrefix(name, "Fuzz"):
				reached = append(reached, name)
			case !test && isParser.MatchString(name):
				product = append(product, name)
			}
		}
	}
	seen := map[string]bool{}
	for len(reached) > 0 {
		name := reached[0]
		reached = reached[1:]
		if !seen[name] {
			seen[name] = true
			reached = append(reached, names[name]...)
		}
	}
	slices.Sort(product)
	for _, p := range product {
		if !seen[p] {
			missing = append(missing, p)
		}
	}
	return len(product), missing
}
