package guide

import (
	"strings"
	"testing"

	"pgrex/docs"
)

// Every block of the guides is run by a scenario, or there is a reason why not.
func TestCovered(t *testing.T) {
	known := map[string]bool{}
	for _, page := range Pages() {
		known[page] = true
		b, err := docs.File(page)
		if err != nil {
			t.Fatal(err)
		}
		blocks, err := Parse(page, string(b))
		if err != nil {
			t.Error(err)
			continue
		}
		if err := Uncovered(page, blocks, Covered()); err != nil {
			t.Error(err)
		}
	}
	for _, e := range Covered() {
		if !known[e.Page] {
			t.Errorf("%s is listed, and its page %s is none of the guides", e.Tag, e.Page)
		}
	}
}

// What the two guides name in their prose is in a block that is run, or there is a
// reason why not.
func TestMentioned(t *testing.T) {
	run := ""
	for _, page := range Pages() {
		b, err := docs.File(page)
		if err != nil {
			t.Fatal(err)
		}
		blocks, err := Parse(page, string(b))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range Covered() {
			for _, b := range blocks {
				if e.Scenario != "" && e.Page == page && e.Tag == b.Tag {
					run += b.Text
				}
			}
		}
	}
	seen := map[string]bool{}
	for _, page := range []string{"pgrex.md", "azure.md"} {
		b, err := docs.File(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, command := range Mentioned(string(b)) {
			seen[command] = true
			if !strings.Contains(run, command) && Unrun()[command] == "" {
				t.Errorf("%s: no block that is run has %q, and no reason is listed", page, command)
			}
		}
	}
	for command := range Unrun() {
		if !seen[command] {
			t.Errorf("%q is listed, and no guide mentions it", command)
		}
	}
}

func TestMentionedWords(t *testing.T) {
	got := Mentioned("run `pcs status`, not `pcs` or `fence_ipmi`\n```sh x\n`pcs in a block`\n```\nthen `az vm list`\n")
	if strings.Join(got, "; ") != "pcs status; az vm list" {
		t.Errorf("got %q", got)
	}
}
