package scenario

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"text/tabwriter"
)

// Matrix sets what scenarios came to on several releases of Debian side by side.
// Several runners may add to it at once.
type Matrix struct {
	releases, names []string

	mu    sync.Mutex
	cells map[[2]string]Result // by release and scenario
}

// NewMatrix is an empty one with these columns and lines, in this order.
func NewMatrix(releases []string, list []Scenario) *Matrix {
	m := &Matrix{releases: releases, cells: map[[2]string]Result{}}
	for _, s := range list {
		m.names = append(m.names, s.Name)
	}
	return m
}

// Add takes the result of a scenario on a release, in place of an earlier one.
func (m *Matrix) Add(release string, res Result) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cells[[2]string{release, res.Name}] = res
}

// Table writes a line per scenario of which there is a result, with the result,
// longest time without a commit in seconds and lost commits for each release, and a
// last line that counts. A dash is what was not played, or has no clients.
func (m *Matrix) Table(out io.Writer) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := []string{"scenario"}
	for _, release := range m.releases {
		row = append(row, release, "gap", "lost")
	}
	_, _ = fmt.Fprintln(w, strings.Join(row, "\t"))
	passed, failed := 0, 0
	for _, name := range m.names {
		row, played := []string{name}, false
		for _, release := range m.releases {
			row = append(row, m.cell(release, name)...)
			if res, ok := m.cells[[2]string{release, name}]; ok && res.Err != nil {
				played = true
				failed++
			} else if ok {
				played = true
				passed++
			}
		}
		if played {
			_, _ = fmt.Fprintln(w, strings.Join(row, "\t"))
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, "%d passed, %d failed, %d not played\n", passed, failed, len(m.names)*len(m.releases)-passed-failed)
	return err
}

// Err names what failed on each release, nil if nothing did.
func (m *Matrix) Err() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var errs []error
	for _, release := range m.releases {
		var failed []string
		for _, name := range m.names {
			if m.cells[[2]string{release, name}].Err != nil {
				failed = append(failed, name)
			}
		}
		if len(failed) > 0 {
			errs = append(errs, fmt.Errorf("%s: failed: %s", release, strings.Join(failed, " ")))
		}
	}
	return errors.Join(errs...)
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
