package replication_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// TestEveryReasonIsInAScenario: each sentence that a rule can answer with stands
// in one of the stories, where it is read and reviewed.
func TestEveryReasonIsInAScenario(t *testing.T) {
	var told strings.Builder
	files, err := filepath.Glob("testdata/scenarios/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		told.Write(b)
	}
	count := 0
	for _, file := range []string{"start.go", "rejoin.go", "promote.go", "standbys.go"} {
		for _, sentence := range sentences(t, file) {
			count++
			if !pattern(sentence).MatchString(told.String()) {
				t.Errorf("%s: no scenario shows %q", file, sentence)
			}
		}
	}
	if count < 15 {
		t.Errorf("only %d sentences found: this test looks in the wrong place", count)
	}
}

// sentences are the string constants of a rule file that are long enough to be
// said to an operator, joined where the source breaks them.
func sentences(t *testing.T, file string) []string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	ast.Inspect(f, func(n ast.Node) bool {
		if e, ok := n.(ast.Expr); ok {
			if s, ok := text(e); ok {
				if strings.Contains(s, " ") {
					out = append(out, s)
				}
				return false
			}
		}
		return true
	})
	return out
}

func text(e ast.Expr) (string, bool) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind == token.STRING {
			s, err := strconv.Unquote(e.Value)
			return s, err == nil
		}
	case *ast.BinaryExpr:
		a, ok := text(e.X)
		b, ok2 := text(e.Y)
		return a + b, ok && ok2
	}
	return "", false
}

// pattern matches a format with anything in place of its verbs.
func pattern(format string) *regexp.Regexp {
	parts := regexp.MustCompile(`%[a-z]`).Split(format, -1)
	for i, p := range parts {
		parts[i] = regexp.QuoteMeta(p)
	}
	return regexp.MustCompile(strings.Join(parts, `[^\n]*`))
}

// TestReasonsSayWhatToDoInTime: Pacemaker keeps the first 127 characters of an exit reason. What to
// do, or what is waited for, must stand in them, after the words that an action puts before.
func TestReasonsSayWhatToDoInTime(t *testing.T) {
	const kept, before = 127, len("not promoted: ")
	instruction := regexp.MustCompile(`rebuild it|start \w+ first|compare|check|demote it|decide which|fencing must succeed|waiting for|waits for|stop this server|holds newer data|commits (are not|do not) |not synchronous yet|commits wait`)
	files, err := filepath.Glob("testdata/scenarios/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(b)) {
			verdict, reason, _ := strings.Cut(strings.TrimSpace(line), ": ")
			if verdict != "no" || seen[reason] {
				continue
			}
			seen[reason] = true
			if head := reason[:min(len(reason), kept-before)]; !instruction.MatchString(head) {
				t.Errorf("%s: cut off before it says what to do: %q", f, head)
			}
		}
	}
	if len(seen) < 10 {
		t.Errorf("only %d reasons found: this test looks in the wrong place", len(seen))
	}
}
