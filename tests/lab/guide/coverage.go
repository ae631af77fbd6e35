package guide

import (
	"fmt"
	"sort"
	"strings"
)

// Entry says what becomes of the blocks of a page with one tag: a scenario runs
// them, or there is a reason why the lab cannot.
type Entry struct {
	Page, Tag        string
	Scenario, Reason string
}

// Claimed lists the blocks that a scenario has to run, as "page tag".
func Claimed(scenario string) map[string]bool {
	claimed := map[string]bool{}
	for _, e := range Covered() {
		if e.Scenario == scenario {
			claimed[e.Page+" "+e.Tag] = true
		}
	}
	return claimed
}

// Uncovered says what is wrong with the blocks of a page, by the list: a block that
// nobody runs and nobody excuses, and an entry that the page does not have.
func Uncovered(page string, blocks []Block, list []Entry) error {
	var bad []string
	entries := map[string]Entry{}
	for _, e := range list {
		if e.Page != page {
			continue
		}
		if (e.Scenario == "") == (e.Reason == "") {
			bad = append(bad, fmt.Sprintf("%s is listed with a scenario and a reason, or with none of them", e.Tag))
		}
		if _, twice := entries[e.Tag]; twice {
			bad = append(bad, e.Tag+" is listed twice")
		}
		entries[e.Tag] = e
	}
	seen := map[string]bool{}
	for _, b := range blocks {
		e, listed := entries[b.Tag]
		seen[b.Tag] = true
		switch {
		case b.Tag == "":
			bad = append(bad, fmt.Sprintf("line %d: the block has no tag", b.Line))
		case !listed:
			bad = append(bad, fmt.Sprintf("line %d: %s is run by no scenario, and no reason is listed", b.Line, b.Tag))
		case e.Scenario != "" && b.Where == (Where{}):
			bad = append(bad, fmt.Sprintf("line %d: %s does not begin with a comment that says on which node", b.Line, b.Tag))
		}
	}
	for tag := range entries {
		if !seen[tag] {
			bad = append(bad, tag+" is listed, and the page has no such block")
		}
	}
	if len(bad) == 0 {
		return nil
	}
	sort.Strings(bad)
	return fmt.Errorf("%s: %s", page, strings.Join(bad, "; "))
}
