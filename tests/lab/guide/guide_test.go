package guide

import (
	"errors"
	"reflect"
	"strings"
	"testing"
)

const page = "words\n" +
	"```sh one\n# on n1\nfirst\n```\n" +
	"1. in a list\n\n   ```sh two\n   # on each node, as postgres; and why\n   second\n\tthird\n   ```\n" +
	"```json\n{}\n```\n" +
	"```sh\nnowhere\n```\n"

func TestParse(t *testing.T) {
	got, err := Parse("p.md", page)
	if err != nil {
		t.Fatal(err)
	}
	want := []Block{
		{Page: "p.md", Line: 2, Tag: "one", Text: "# on n1\nfirst\n", Where: Where{Node: "n1", User: "root"}},
		{Page: "p.md", Line: 8, Tag: "two", Text: "# on each node, as postgres; and why\nsecond\n\tthird\n", Where: Where{Node: Each, User: "postgres"}},
		{Page: "p.md", Line: 16, Text: "nowhere\n"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %#v", got)
	}
	if b, err := Tagged(got, "two"); err != nil || len(b) != 1 || b[0].Line != 8 {
		t.Errorf("tagged two: %v, %v", b, err)
	}
	if _, err := Tagged(got, "three"); !errors.Is(err, ErrPage) {
		t.Errorf("a tag that is not there: %v", err)
	}
}

func TestParseRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"no end":            "```sh a\ncommand\n",
		"one in another":    "```sh a\n```sh b\n```\n",
		"too many words":    "```sh a b\n```\n",
		"a tag for no code": "```json a\n```\n",
	} {
		if _, err := Parse("p.md", text); !errors.Is(err, ErrPage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhere(t *testing.T) {
	for text, want := range map[string]Where{
		"# on n1\n":                         {"n1", "root"},
		"# on n2, as postgres\n":            {"n2", "postgres"},
		"# on each node: the values\n":      {Each, "root"},
		"# on n1, the primary: nothing\n":   {"n1", "root"},
		"# on the client\n":                 {},
		"# on n1x\n":                        {},
		"command\n# on n1\n":                {},
		"# on each node, as postgres; so\n": {Each, "postgres"},
	} {
		if got := where(text); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}

func TestIndented(t *testing.T) {
	text := "# Title\n\n    not this\n\n## Here\n\nwords\n\n    one \\\n        two\n    three\n\nwords\n\n    nor this\n\n## There\n\n    nor that\n"
	b, err := Indented("README.md", text, "Here")
	if err != nil || b.Text != "one \\\n    two\nthree\n" || b.Line != 9 {
		t.Errorf("got %#v, %v", b, err)
	}
	if _, err := Indented("README.md", text, "Nowhere"); !errors.Is(err, ErrPage) {
		t.Errorf("a heading that is not there: %v", err)
	}
}

func TestFill(t *testing.T) {
	v := Values{"bond0": "slan", "secret": "s3", "/dev/sda": "/dev/labdisk", "n1": "n2", "n2": "n1", "unused": "x"}
	got, found := v.Fill("NIC=bond0 bond01 PW='secret' /dev/sda1 /dev/sda n1:n2")
	if want := "NIC=slan bond01 PW='s3' /dev/sda1 /dev/labdisk n2:n1"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if strings.Join(found, " ") != "bond0 secret /dev/sda n1 n2" {
		t.Errorf("found %v", found)
	}
}

func TestUncovered(t *testing.T) {
	blocks, err := Parse("p.md", page)
	if err != nil {
		t.Fatal(err)
	}
	list := []Entry{
		{Page: "p.md", Tag: "one", Scenario: "s"},
		{Page: "p.md", Tag: "gone", Reason: "none"},
		{Page: "other.md", Tag: "two", Scenario: "s"},
	}
	err = Uncovered("p.md", blocks, list)
	for _, want := range []string{"line 8: two is run by no scenario", "line 16: the block has no tag", "gone is listed, and the page has no such block"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q in: %v", want, err)
		}
	}
	all := []Block{{Tag: "one", Where: Where{"n1", "root"}}}
	if err := Uncovered("p.md", all, list[:1]); err != nil {
		t.Error(err)
	}
	if err := Uncovered("p.md", []Block{{Tag: "one"}}, list[:1]); err == nil {
		t.Error("a block that says no node is covered")
	}
	if err := Uncovered("p.md", all, []Entry{{Page: "p.md", Tag: "one"}}); err == nil {
		t.Error("an entry without scenario and reason is one")
	}
}

func FuzzParse(f *testing.F) {
	f.Add(page)
	f.Add("```sh\n```")
	f.Fuzz(func(t *testing.T, text string) {
		blocks, err := Parse("p.md", text)
		if err != nil {
			return
		}
		for _, b := range blocks {
			if b.Line < 1 || strings.ContainsAny(b.Tag, " \t") {
				t.Errorf("block %#v", b)
			}
			v := Values{"a": "b"}
			if filled, found := v.Fill(b.Text); len(found) == 0 && filled != b.Text {
				t.Errorf("changed without a value: %q", filled)
			}
		}
	})
}
