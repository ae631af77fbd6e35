package docs

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// The Japanese introduction has the commands and the map of the English one.
func TestReadmesAgree(t *testing.T) {
	english, japanese := indented(t, "../README.md"), indented(t, "README.ja.md")
	if !slices.Equal(english, japanese) {
		for _, l := range english {
			if !slices.Contains(japanese, l) {
				t.Errorf("not in README.ja.md: %s", l)
			}
		}
		for _, l := range japanese {
			if !slices.Contains(english, l) {
				t.Errorf("not in README.md: %s", l)
			}
		}
		if !t.Failed() {
			t.Error("the same lines in another order")
		}
	}
}

// indented are the lines of a page's indented blocks, without what is said about
// them: comments, and what follows a column of the map.
func indented(t *testing.T, page string) []string {
	t.Helper()
	b, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for l := range strings.Lines(string(b)) {
		if !strings.HasPrefix(l, "    ") {
			continue
		}
		l = strings.TrimRight(l, "\n")
		l, _, _ = strings.Cut(l, "#")
		if entry := regexp.MustCompile(`^    [a-z]+/[a-z]*  `).FindString(l); entry != "" {
			l = entry
		}
		lines = append(lines, strings.TrimSpace(l))
	}
	if len(lines) < 30 {
		t.Fatalf("%s has %d lines in blocks", page, len(lines))
	}
	return lines
}
