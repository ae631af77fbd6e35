package stonith

import (
	"fmt"
	"io"
	"strings"

	"pgrex/lib/meta"
)

// maxInput bounds what is read from standard input; Pacemaker sends a few hundred bytes.
const maxInput = 1 << 20

// given is what a caller handed in, under the new names of the parameters.
type given struct {
	values   map[string]string
	node     string
	warnings []string
	// count is how often verbose was given.
	count int
}

func (g *given) warn(format string, a ...any) {
	g.warnings = append(g.warnings, fmt.Sprintf(format, a...))
}

// index finds parameters by every spelling there is: new name, old name, long option, each with
// dashes or underscores.
type index map[string]Parameter

func newIndex(ps []Parameter) index {
	ix := index{}
	for _, p := range ps {
		for _, name := range append([]string{p.Name, p.Flag}, p.Old...) {
			if name != "" {
				ix[spelling(name)] = p
			}
		}
	}
	return ix
}

func spelling(name string) string { return strings.ReplaceAll(name, "-", "_") }

// parseStdin reads key=value lines as Pacemaker writes them. Nothing in them is an error: what is
// not understood is warned about and ignored, without its value, which may be a secret.
func parseStdin(r io.Reader, ps []Parameter) (*given, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxInput))
	if err != nil {
		return nil, fmt.Errorf("cannot read standard input: %w", err)
	}
	ix := newIndex(ps)
	g := &given{values: map[string]string{}}
	for line := range strings.SplitSeq(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		key, value, _ := strings.Cut(line, "=")
		if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
			value = value[1 : len(value)-1]
		}
		p, known := ix[spelling(key)]
		switch {
		case known:
			g.take(p, value)
		case key == "nodename":
			g.node = value
		default:
			g.warn("Parse error: Ignoring unknown option %s", printable(key))
		}
	}
	if g.values["verbose"] == "true" {
		g.count = 1
	}
	return g, nil
}

// take keeps a value. The last of several wins, whatever the spelling.
func (g *given) take(p Parameter, value string) {
	if p.Type != meta.Boolean {
		g.values[p.Name] = value
		return
	}
	b, err := meta.ParseBool(value)
	if err != nil {
		g.warn("Parse error: Ignoring option %s, whose value is neither true nor false", p.Name)
		return
	}
	g.values[p.Name] = fmt.Sprint(b)
}

// printable makes a word of unknown origin fit for a log line. A line without "=" is a key as a
// whole and may be a mangled secret, so only what looks like a name is shown.
func printable(key string) string {
	if key == "" || len(key) > 40 || strings.ContainsFunc(key, func(r rune) bool {
		return r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	}) {
		return "(not a name)"
	}
	return "'" + key + "'"
}
