package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"pgrex/lib/pg"
)

const (
	// reportName is the file that says what a kept piece of WAL holds.
	reportName = "report.txt"
	// reportLimit is how many transactions are listed; all are counted.
	reportLimit = 100000
	// keepMargin is what has to stay free beside what is kept, in bytes.
	keepMargin = 64 << 20
)

// The line of a report by which the directory may be removed to make room.
const (
	acknowledgedNone  = "Acknowledged to clients: none"
	acknowledgedMaybe = "Acknowledged to clients: possibly"
)

func (c config) keepDir() string {
	if c.rejoinDirectory != "" {
		return filepath.Clean(c.rejoinDirectory)
	}
	return c.data + ".pgrex-diverged"
}

// keep copies the WAL beyond the fork to a directory of its own, with a report of
// what it holds, and syncs both. m gets its name and a line about it. What was kept
// before for the same WAL is found again.
func (a *agent) keep(ctx context.Context, m *mark) error {
	files, err := a.server.WALSince(m.fork, m.end)
	if err != nil {
		return err
	}
	root := a.conf.keepDir()
	// Fixed widths: the order of the names is that of history.
	name := fmt.Sprintf("%08X-%08X-%08X", uint32(m.end.Timeline), uint32(m.end.LSN>>32), uint32(m.end.LSN))
	dir := filepath.Join(root, name)
	if err := a.makeDirectory(root, 0o700); err != nil {
		return err
	}
	if summary, err := readSummary(dir); err == nil {
		m.kept, m.summary = dir, summary
		return nil
	}
	if err := a.makeRoom(root, files); err != nil {
		return err
	}
	part := filepath.Join(root, name+".partial")
	if err := a.makeDirectory(part, 0o700); err != nil {
		return err
	}
	u := a.server.User
	opts := pg.FileOptions{Mode: 0o600, UID: int(u.UID), GID: int(u.GID)}
	for _, f := range files {
		if err := pg.CopyDurably(ctx, filepath.Join(a.server.WALDir(), f.Name), filepath.Join(part, f.Name), opts); err != nil {
			return err
		}
	}
	report, err := a.report(ctx, m, part, files)
	if err != nil {
		return err
	}
	if err := pg.WriteFile(filepath.Join(part, reportName), report, opts); err != nil {
		return err
	}
	if err := a.renameDurably(part, dir); err != nil {
		return err
	}
	m.kept = dir
	return pg.SyncDir(filepath.Dir(root))
}

// makeRoom sees to it that there is room for one more. What clients may have been
// told of is never removed, and what they were surely not told of only when the
// number of directories says so, the oldest first.
func (a *agent) makeRoom(root string, files []pg.WALFile) error {
	entries, err := os.ReadDir(root)
	if err != nil {
		return err
	}
	var all, removable []string
	for _, e := range entries {
		dir := filepath.Join(root, e.Name())
		if !e.IsDir() {
			continue
		}
		if strings.HasSuffix(e.Name(), ".partial") {
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
			continue
		}
		b, err := os.ReadFile(filepath.Join(dir, reportName))
		if err != nil {
			continue // not one of ours
		}
		all = append(all, dir)
		if bytes.Contains(b, []byte("\n"+acknowledgedNone+"\n")) {
			removable = append(removable, dir)
		}
	}
	for n := len(all); n >= a.conf.rejoinKeep; n-- {
		if len(removable) == 0 {
			return fmt.Errorf("%s holds %d pieces of diverged WAL (rejoin_keep=%d), all with commits that clients may have been told of: look at their %s, and remove what is of no use any more",
				root, len(all), a.conf.rejoinKeep, reportName)
		}
		a.log.Info("removing the oldest diverged WAL: nobody was told of what it holds", "directory", removable[0])
		if err := os.RemoveAll(removable[0]); err != nil {
			return err
		}
		removable = removable[1:]
	}
	need := int64(keepMargin)
	for _, f := range files {
		need += f.Size
	}
	free, err := pg.FreeSpace(root)
	if err != nil {
		return err
	}
	if free < need {
		return fmt.Errorf("no room in %s for the WAL that would be overwritten: %s are needed, %s are free; make room, or set rejoin_directory", root, size(need), size(free))
	}
	return nil
}

// report says what diverged WAL in dir holds, for people. m gets the line that sums
// it up.
func (a *agent) report(ctx context.Context, m *mark, dir string, files []pg.WALFile) ([]byte, error) {
	spans, err := a.spans(*m)
	if err != nil {
		return nil, err
	}
	var w bytes.Buffer
	var list bytes.Buffer
	var commits, others int
	var first, last string
	for _, span := range spans {
		err := a.server.Transactions(ctx, dir, span, func(t pg.Transaction) error {
			if !t.Committed() {
				others++
			} else {
				if commits++; commits == 1 {
					first = t.Time
				}
				last = t.Time
			}
			if commits+others <= reportLimit {
				fmt.Fprintf(&list, "%-16s xid %-10s %d@%-17s %s\n", t.Kind, t.XID, span.Timeline, t.LSN, t.Time)
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("read what the diverged WAL holds: %w", err)
		}
	}
	maybe, why, _ := strings.Cut(m.acknowledged, ": ")
	answer := acknowledgedMaybe
	if maybe == "no" || commits == 0 {
		answer = acknowledgedNone
	}
	m.summary = fmt.Sprintf("%d commits from %s to %s on timeline %d, %s", commits, m.fork.LSN, m.end.LSN, m.end.Timeline, strings.ToLower(answer[:1])+answer[1:])
	fmt.Fprintf(&w, "Diverged WAL of %s, kept before its data directory was replaced by that of %s.\n\n", a.conf.self, m.node)
	fmt.Fprintf(&w, "Data directory:  %s\nFork:            timeline %d at %s (the new primary does not have what follows)\nEnd:             timeline %d at %s\n",
		a.conf.data, m.fork.Timeline, m.fork.LSN, m.end.Timeline, m.end.LSN)
	fmt.Fprintf(&w, "Commits:         %d", commits)
	if commits > 0 {
		fmt.Fprintf(&w, ", from %s to %s", first, last)
	}
	fmt.Fprintf(&w, "\nOther ends:      %d (aborted or prepared)\n\n%s\n", others, answer)
	fmt.Fprintf(&w, "Because: %s.\n\n", why)
	fmt.Fprintf(&w, "The files of WAL are in this directory (%d). To look into them:\n    pg_waldump --path=%s --timeline=%d --start=%s --end=%s\n\n",
		len(files), filepath.Join(a.conf.keepDir(), strings.TrimSuffix(filepath.Base(dir), ".partial")), m.end.Timeline, m.fork.LSN, m.end.LSN)
	fmt.Fprintf(&w, "Transactions that ended beyond the fork")
	if commits+others > reportLimit {
		fmt.Fprintf(&w, ", the first %d of %d", reportLimit, commits+others)
	}
	fmt.Fprintf(&w, " (kind, number, place, time):\n%s", list.String())
	return w.Bytes(), nil
}

// spans are the pieces of timelines from the fork to the end.
func (a *agent) spans(m mark) ([]pg.Span, error) {
	h, err := pg.ReadHistory(a.server.WALDir(), m.end.Timeline)
	if err != nil && m.end.Timeline != m.fork.Timeline {
		return nil, err
	}
	var spans []pg.Span
	start := m.fork.LSN
	for _, e := range h.Ancestors {
		if e.Timeline >= m.fork.Timeline && e.End > start {
			spans = append(spans, pg.Span{Timeline: e.Timeline, Start: start, End: e.End})
			start = e.End
		}
	}
	if m.end.LSN > start {
		spans = append(spans, pg.Span{Timeline: m.end.Timeline, Start: start, End: m.end.LSN})
	}
	return spans, nil
}

// readSummary finds the line about a directory that is complete.
func readSummary(dir string) (string, error) {
	b, err := os.ReadFile(filepath.Join(dir, reportName))
	if err != nil {
		return "", err
	}
	commits, answer := "?", acknowledgedMaybe
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "Commits:"); ok {
			commits, _, _ = strings.Cut(strings.TrimSpace(v), ",")
		}
		if strings.TrimSpace(line) == acknowledgedNone {
			answer = acknowledgedNone
		}
	}
	return commits + " commits, " + strings.ToLower(answer[:1]) + answer[1:], nil
}

// size writes a number of bytes for people.
func size(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GB", n>>30)
	case n >= 10<<20:
		return fmt.Sprintf("%d MB", n>>20)
	}
	return fmt.Sprintf("%d kB", n>>10)
}
