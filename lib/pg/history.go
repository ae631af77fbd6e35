package pg

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// ErrBadHistory is returned for a timeline history file that cannot be understood.
var ErrBadHistory = errors.New("bad timeline history")

// HistoryEntry is one ancestor of a timeline: the history left Timeline at End,
// so records of Timeline that end at or before End belong to it.
type HistoryEntry struct {
	Timeline Timeline
	End      LSN
}

// History is the descent of a timeline, oldest ancestor first. Timeline 1 has
// no ancestors.
type History struct {
	Timeline  Timeline
	Ancestors []HistoryEntry
}

// Left says where the history left tli. ok is false when tli is no ancestor;
// the timeline itself has not been left.
func (h History) Left(tli Timeline) (end LSN, ok bool) {
	for _, e := range h.Ancestors {
		if e.Timeline == tli {
			return e.End, true
		}
	}
	return 0, false
}

// TimelineOf is the timeline on which the byte at lsn was written.
func (h History) TimelineOf(lsn LSN) Timeline {
	for _, e := range h.Ancestors {
		if lsn < e.End {
			return e.Timeline
		}
	}
	return h.Timeline
}

// Begin is where the timeline itself starts; 0 for one without ancestors.
func (h History) Begin() LSN {
	if len(h.Ancestors) == 0 {
		return 0
	}
	return h.Ancestors[len(h.Ancestors)-1].End
}

// ParseHistory reads the content of tli's history file: one line per ancestor,
// "timeline<TAB>LSN<TAB>reason", '#' starting a comment (PostgreSQL's
// timeline.c).
func ParseHistory(tli Timeline, content []byte) (History, error) {
	h := History{Timeline: tli}
	s := bufio.NewScanner(bytes.NewReader(content))
	s.Buffer(nil, 1<<20)
	for n := 1; s.Scan(); n++ {
		line := strings.TrimSpace(s.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		f := strings.Fields(line)
		if len(f) < 2 {
			return History{}, fmt.Errorf("%w of timeline %d: line %d has no switch point", ErrBadHistory, tli, n)
		}
		t, err := strconv.ParseUint(f[0], 10, 32)
		if err != nil || t == 0 {
			return History{}, fmt.Errorf("%w of timeline %d: line %d: %q is no timeline", ErrBadHistory, tli, n, f[0])
		}
		end, err := ParseLSN(f[1])
		if err != nil {
			return History{}, fmt.Errorf("%w of timeline %d: line %d: %w", ErrBadHistory, tli, n, err)
		}
		if k := len(h.Ancestors); k > 0 && h.Ancestors[k-1].Timeline >= Timeline(t) {
			return History{}, fmt.Errorf("%w of timeline %d: line %d: timeline %d does not rise", ErrBadHistory, tli, n, t)
		}
		h.Ancestors = append(h.Ancestors, HistoryEntry{Timeline(t), end})
	}
	if err := s.Err(); err != nil {
		return History{}, fmt.Errorf("%w of timeline %d: %w", ErrBadHistory, tli, err)
	}
	if k := len(h.Ancestors); k > 0 && h.Ancestors[k-1].Timeline >= tli {
		return History{}, fmt.Errorf("%w: timeline %d names %d as an ancestor", ErrBadHistory, tli, h.Ancestors[k-1].Timeline)
	}
	// A recovery stopped before the fork of its own target timeline writes an
	// end that lies before its ancestor's: nothing after it was kept.
	for i := len(h.Ancestors) - 2; i >= 0; i-- {
		h.Ancestors[i].End = min(h.Ancestors[i].End, h.Ancestors[i+1].End)
	}
	return h, nil
}

// HistoryName is the file name of a timeline's history.
func HistoryName(tli Timeline) string { return fmt.Sprintf("%08X.history", uint32(tli)) }

// ReadHistory reads tli's history from dir (a pg_wal directory). Timeline 1
// needs no file; for others a missing file is an fs.ErrNotExist.
func ReadHistory(dir string, tli Timeline) (History, error) {
	b, err := os.ReadFile(filepath.Join(dir, HistoryName(tli)))
	if err != nil {
		if tli <= 1 && errors.Is(err, fs.ErrNotExist) {
			return History{Timeline: tli}, nil
		}
		return History{}, fmt.Errorf("history of timeline %d: %w", tli, err)
	}
	return ParseHistory(tli, b)
}

// HistoryFiles lists the timelines that have a history file in dir, rising.
func HistoryFiles(dir string) ([]Timeline, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list histories: %w", err)
	}
	var out []Timeline
	for _, e := range entries {
		id, ok := strings.CutSuffix(e.Name(), ".history")
		if !ok || len(id) != 8 || !isHex(id, 8) {
			continue
		}
		if t, _ := strconv.ParseUint(id, 16, 32); t > 0 {
			out = append(out, Timeline(t))
		}
	}
	slices.Sort(out)
	return out, nil
}
