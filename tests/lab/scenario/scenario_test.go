package scenario

import (
	"strings"
	"testing"

	"pgrex/tests/lab/guide"
)

func TestParseList(t *testing.T) {
	l, err := ParseList("# comment\n\na test\nb full # why\nc core\n")
	if err != nil {
		t.Fatal(err)
	}
	if len(l) != 3 || l["a"] != InTest || l["b"] != InFull || l["c"] != InCore {
		t.Errorf("got %v", l)
	}
	for _, bad := range []string{"a", "a sometimes", "a test b", "a test\na full"} {
		if _, err := ParseList(bad); err == nil {
			t.Errorf("%q is no error", bad)
		}
	}
}

func TestCompare(t *testing.T) {
	all := []Scenario{{Name: "a"}, {Name: "b"}}
	for list, want := range map[string]string{
		"a test\nb full":         "",
		"a test":                 "b is not in",
		"a test\nb test\nc test": "lists c",
	} {
		l, err := ParseList(list)
		if err != nil {
			t.Fatal(err)
		}
		err = l.Compare(all)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", list, err, want)
		}
	}
	if err := (List{"a": InTest}).Compare([]Scenario{{Name: "a"}, {Name: "a"}}); err == nil {
		t.Error("a name used twice is no error")
	}
}

func TestTexts(t *testing.T) {
	for _, s := range All() {
		if s.Text == "" || s.Play == nil {
			t.Errorf("%s has no text or no play", s.Name)
		}
	}
}

// The scenarios that are said to run the blocks of guides are there.
func TestGuidesHaveScenarios(t *testing.T) {
	for _, e := range guide.Covered() {
		if e.Scenario == "" {
			continue
		}
		if _, err := Find(e.Scenario); err != nil {
			t.Errorf("%s of %s: %v", e.Tag, e.Page, err)
		}
	}
}
