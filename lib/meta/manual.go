package meta

import (
	"fmt"
	"io"
	"strings"
)

// Manual is a manual page in the making, in the macros of man(7).
type Manual struct{ b strings.Builder }

// NewManual begins a page: its name and section as in "fence_ipmi(8)", the book it belongs to, and
// the line that whatis(1) shows.
func NewManual(name string, section int, book, short string) *Manual {
	m := new(Manual)
	// Without a date and a version: the page of a commit is the same wherever and whenever it is made.
	fmt.Fprintf(&m.b, ".TH %s %d \"\" pgrex \"%s\"\n", roffLine(strings.ToUpper(name)), section, roffLine(book))
	m.Section("NAME")
	fmt.Fprintf(&m.b, "%s \\- %s\n", roffLine(name), roffLine(short))
	return m
}

// Section begins a section.
func (m *Manual) Section(title string) { fmt.Fprintf(&m.b, ".SH \"%s\"\n", roffLine(title)) }

// Text writes paragraphs, which are separated by an empty line.
func (m *Manual) Text(s string) { m.paragraphs(s, ".PP") }

// Item writes a tag in bold and indented paragraphs under it.
func (m *Manual) Item(tag, s string) {
	fmt.Fprintf(&m.b, ".TP\n.B \"%s\"\n", strings.ReplaceAll(roffLine(tag), `"`, `\(dq`))
	m.paragraphs(s, ".IP")
}

// Literal writes lines as they are, indented.
func (m *Manual) Literal(s string) {
	m.b.WriteString(".PP\n.RS 4\n.nf\n")
	m.paragraphs(s, "")
	m.b.WriteString(".fi\n.RE\n")
}

// paragraphs writes lines; macro stands for an empty one.
func (m *Manual) paragraphs(s, macro string) {
	for line := range strings.Lines(strings.TrimSpace(s)) {
		if line = strings.TrimRight(line, "\n"); line == "" {
			m.b.WriteString(macro + "\n")
			continue
		}
		m.b.WriteString(roffLine(line) + "\n")
	}
}

// WriteTo writes the page.
func (m *Manual) WriteTo(w io.Writer) (int64, error) {
	n, err := io.WriteString(w, m.b.String())
	return int64(n), err
}

// roffLine keeps a line from being taken for a request, its backslashes for escapes, and its hyphens
// for what may be set as a dash.
func roffLine(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)
	if strings.HasPrefix(s, ".") || strings.HasPrefix(s, "'") {
		s = `\&` + s
	}
	return s
}

// WriteManual writes the manual page of a resource agent: ocf_PROVIDER_NAME(7).
func (a Agent) WriteManual(w io.Writer, provider string) error {
	m := NewManual("ocf_"+provider+"_"+a.Name, 7, "OCF resource agents", a.Short)
	m.Section("SYNOPSIS")
	required := ""
	for _, p := range a.Parameters {
		if p.Required {
			required += " " + p.Name + "=..."
		}
	}
	m.Text(fmt.Sprintf("pcs resource create ID ocf:%s:%s%s [PARAMETER=VALUE]...", provider, a.Name, required))
	m.Section("DESCRIPTION")
	m.Text(a.Long)
	m.Section("PARAMETERS")
	for _, p := range a.Parameters {
		m.Item(p.Name, p.Short+".\n\n"+strings.TrimSpace(p.Long)+"\n\n"+p.facts(plain))
	}
	m.Section("ACTIONS")
	m.Text("The timeouts and intervals are suggestions; those of the cluster's configuration are in force.")
	for _, act := range a.Actions {
		m.Item(act.Name, act.facts())
	}
	m.Section("SEE ALSO")
	m.Text("The documentation is in /usr/share/doc/pgrex/docs.")
	_, err := m.WriteTo(w)
	return err
}

// facts is what is declared of an action beside its name.
func (act Action) facts() string {
	s := "Timeout " + seconds(act.Timeout)
	if act.Interval > 0 {
		s += ", interval " + seconds(act.Interval)
	}
	if act.Role != "" {
		s += ", role " + act.Role
	}
	return s + "."
}

func plain(s string) string { return s }
