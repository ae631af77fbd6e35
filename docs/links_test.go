package docs

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// link is a link of Markdown to a file of this tree, with or without a place in it.
var link = regexp.MustCompile(`\]\(([^):#\s]*)(#[^)\s]+)?\)`)

// heading is a line that a link may name.
var heading = regexp.MustCompile(`(?m)^#+ (.*)$`)

// Every link of the documentation leads to a file that is there, and to a
// heading that it has.
func TestLinks(t *testing.T) {
	pages, err := filepath.Glob("*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, "../README.md") {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(b), -1) {
			to := page
			if m[1] != "" {
				to = filepath.Join(filepath.Dir(page), m[1])
			}
			target, err := os.ReadFile(to)
			if err != nil {
				t.Errorf("%s: %v", page, err)
				continue
			}
			if m[2] == "" {
				continue
			}
			found := false
			for _, h := range heading.FindAllStringSubmatch(string(target), -1) {
				found = found || anchor(h[1]) == m[2][1:]
			}
			if !found {
				t.Errorf("%s: %s has no heading %s", page, to, m[2])
			}
		}
	}
}

// anchor is what a heading is called in a link.
func anchor(h string) string {
	h = regexp.MustCompile(`[^\p{L}\p{N}\s_-]`).ReplaceAllString(strings.ToLower(h), "")
	return strings.ReplaceAll(h, " ", "-")
}
