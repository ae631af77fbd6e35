// Package guide reads the commands of the documentation as a reader would: block
// by block, each with the place where it says it belongs, and with a reader's own
// values put in for the page's.
//
// It owns what a page asks for, and the list of what is run by which scenario. It
// runs nothing; tests/lab/scenario does.
package guide

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// ErrPage says that a page cannot be read as a guide.
var ErrPage = errors.New("not a guide")

// Block is a block of shell commands of a page.
type Block struct {
	// Page is the file below docs, Line where the block begins in it, from 1.
	Page string
	Line int
	// Tag is the word after "sh" in the block's first line, "" without one.
	Tag string
	// Text is what is between the fences, without the indentation of a list.
	Text string
	// Where says on which machine and as whom, by the block's first comment.
	Where Where
}

// Where is a place to run commands. The zero value is said nowhere.
type Where struct {
	// Node is a name, or Each.
	Node string
	// User is who runs them.
	User string
}

// Each is the node of what is run on every node, one after the other.
const Each = "each node"

// String is the place as a page would say it.
func (w Where) String() string { return fmt.Sprintf("on %s, as %s", w.Node, w.User) }

// place is the comment that a block begins with: "# on n1", "# on each node, as
// postgres; and more words".
var place = regexp.MustCompile(`^# on (each node|n[0-9]+)(?:, as ([a-z]+))?(?:[;:,.\s]|$)`)

// fence is a line that begins or ends a block. Blocks in lists are indented.
var fence = regexp.MustCompile("^([ \t]*)```([^`]*)$")

// Parse finds the shell blocks of a page.
func Parse(page, text string) ([]Block, error) {
	var all []Block
	var b *Block
	var body strings.Builder
	shell, indent := false, ""
	for i, line := range strings.Split(text, "\n") {
		m := fence.FindStringSubmatch(line)
		switch {
		case m != nil && b == nil:
			words := strings.Fields(m[2])
			b, indent = &Block{Page: page, Line: i + 1}, m[1]
			shell = len(words) > 0 && words[0] == "sh"
			if len(words) > 2 || len(words) == 2 && !shell {
				return nil, fmt.Errorf("%w: %s:%d: want sh and one word, not %q", ErrPage, page, i+1, m[2])
			}
			if len(words) == 2 {
				b.Tag = words[1]
			}
		case m != nil && m[2] != "":
			return nil, fmt.Errorf("%w: %s:%d: a block begins inside of another", ErrPage, page, i+1)
		case m != nil:
			b.Text, b.Where = body.String(), where(body.String())
			if shell {
				all = append(all, *b)
			}
			b = nil
			body.Reset()
		case b != nil:
			body.WriteString(strings.TrimPrefix(line, indent) + "\n")
		}
	}
	if b != nil {
		return nil, fmt.Errorf("%w: %s:%d: the block has no end", ErrPage, page, b.Line)
	}
	return all, nil
}

func where(text string) Where {
	m := place.FindStringSubmatch(text)
	if m == nil {
		return Where{}
	}
	w := Where{Node: m[1], User: m[2]}
	if w.User == "" {
		w.User = "root"
	}
	return w
}

// Indented gives the first block of a page that is indented by four columns below
// a heading, without the indentation: the form that README.md has.
func Indented(page, text, heading string) (Block, error) {
	b := Block{Page: page}
	var body strings.Builder
	in := false
	for i, line := range strings.Split(text, "\n") {
		switch {
		case strings.HasPrefix(line, "#"):
			if body.Len() > 0 {
				in = false
				continue
			}
			in = strings.TrimSpace(strings.TrimLeft(line, "#")) == heading
		case in && strings.HasPrefix(line, "    "):
			if body.Len() == 0 {
				b.Line = i + 1
			}
			body.WriteString(line[4:] + "\n")
		case in && body.Len() > 0:
			in = false
		}
	}
	if body.Len() == 0 {
		return b, fmt.Errorf("%w: %s has no commands below %q", ErrPage, page, heading)
	}
	b.Text = body.String()
	b.Where = where(b.Text)
	return b, nil
}

// Tagged gives the blocks with a tag, in their order.
func Tagged(blocks []Block, tag string) ([]Block, error) {
	var found []Block
	for _, b := range blocks {
		if b.Tag == tag {
			found = append(found, b)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("%w: no commands tagged %q", ErrPage, tag)
	}
	return found, nil
}

// Values are what a reader has to put in, by what the page has in that place.
type Values map[string]string

// Fill puts them in, as whole words. It gives the text and the page's values that
// it found.
func (v Values) Fill(text string) (filled string, found []string) {
	keys := make([]string, 0, len(v))
	for k := range v {
		keys = append(keys, k)
	}
	// The longest first, so that no value is taken for a piece of another; in one
	// pass, so that what was put in is not replaced again.
	slices.SortFunc(keys, func(a, b string) int {
		if len(a) != len(b) {
			return len(b) - len(a)
		}
		return strings.Compare(a, b)
	})
	var b strings.Builder
	for i := 0; i < len(text); {
		k := wordAt(text, i, keys)
		if k == "" {
			b.WriteByte(text[i])
			i++
			continue
		}
		b.WriteString(v[k])
		if !slices.Contains(found, k) {
			found = append(found, k)
		}
		i += len(k)
	}
	return b.String(), found
}

// wordAt is the first of the words that stands at a place of a text, as a whole.
func wordAt(text string, i int, words []string) string {
	for _, w := range words {
		end := i + len(w)
		if w != "" && strings.HasPrefix(text[i:], w) && !(i > 0 && inWord(text[i-1]) && inWord(w[0])) &&
			!(end < len(text) && inWord(text[end]) && inWord(w[len(w)-1])) {
			return w
		}
	}
	return ""
}

func inWord(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}
