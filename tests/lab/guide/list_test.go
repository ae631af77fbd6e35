package guide

import (
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
