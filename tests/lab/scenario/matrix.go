package scenario

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// Matrix sets what scenarios came to on several releases of Debian side by side.
// The zero value is empty.
type Matrix struct {
	releases, names []string
	cells           map[[2]string]Result // by release and scenario
}

// Add takes the result of a scenario on a release, in place of an earlier one.
func (m *Matrix) Add(release string, res Result) {
	if m.cells == nil {
		m.cells = map[[2]string]Result{}
	}
	if !slices.Contains(m.releases, release) {
		m.releases = append(m.releases, release)
	}
	if !slices.Contains(m.names, res.Name) {
		m.names = append(m.names, res.Name)
	}
	m.cells[[2]string{release, res.Name}] = res
}

// Table writes a line per scenario, in the order in which they came, with result,
// longest time without a commit in seconds and lost commits for each release. A dash
// is what was not played, or has no clients.
func (m *Matrix) Table(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := []string{"scenario"}
	for _, release := range m.releases {
		row = append(row, release, "gap", "lost")
	}
	_, _ = fmt.Fprintln(w, strings.Join(row, "\t"))
	for _, name := range m.names {
		row = []string{name}
		for _, release := range m.releases {
			row = append(row, m.cell(release, name)...)
		}
		_, _ = fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

func (m *Matrix) cell(release, name string) []string {
	res, played := m.cells[[2]string{release, name}]
	if !played {
		return []string{"-", "-", "-"}
	}
	word, gap := "PASS", "-"
	if res.Err != nil {
		word = "FAIL"
	}
	if res.Gap > 0 {
		gap = fmt.Sprintf("%.3f", res.Gap.Seconds())
	}
	return []string{word, gap, fmt.Sprint(res.Lost)}
}
