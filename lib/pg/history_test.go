package pg

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestParseHistory(t *testing.T) {
	text := "1\t0/3000060\tno recovery target specified\n\n# comment\n2\t0/5000000\tbefore 2000-01-01 \n"
	h, err := ParseHistory(3, []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := History{3, []HistoryEntry{{1, 0x3000060}, {2, 0x5000000}}}
	if !reflect.DeepEqual(h, want) {
		t.Fatalf("%+v", h)
	}
	for tli, want := range map[Timeline]LSN{1: 0x3000060, 2: 0x5000000, 3: 0, 4: 0} {
		if got, ok := h.Left(tli); got != want || ok != (want != 0) {
			t.Errorf("Left(%d) = %s, %v", tli, got, ok)
		}
	}
	for lsn, want := range map[LSN]Timeline{0: 1, 0x300005F: 1, 0x3000060: 2, 0x4FFFFFF: 2, 0x5000000: 3} {
		if got := h.TimelineOf(lsn); got != want {
			t.Errorf("TimelineOf(%s) = %d, want %d", lsn, got, want)
		}
	}
	if h.Begin() != 0x5000000 || (History{Timeline: 1}).Begin() != 0 {
		t.Error("Begin")
	}
}

// A recovery that stops before the fork of its target keeps nothing behind it.
func TestParseHistoryEndsShrink(t *testing.T) {
	h, err := ParseHistory(3, []byte("1 0/5000000 x\n2 0/4000000 y\n"))
	if err != nil || len(h.Ancestors) != 2 || h.Ancestors[0].End != 0x4000000 {
		t.Errorf("%+v, %v", h, err)
	}
}

func TestParseHistoryBad(t *testing.T) {
	for _, text := range []string{"1", "x 0/1 y", "0 0/1 y", "1 01 y", "-1 0/1 y", "2 0/1 a\n1 0/2 b", "1 0/1\n1 0/2", "3 0/1 a", "4 0/1 a", "99999999999 0/1 a"} {
		if h, err := ParseHistory(3, []byte(text)); !errors.Is(err, ErrBadHistory) {
			t.Errorf("%q: %+v, %v", text, h, err)
		}
	}
}

func TestReadHistory(t *testing.T) {
	dir := t.TempDir()
	if h, err := ReadHistory(dir, 1); err != nil || h.Timeline != 1 {
		t.Errorf("timeline 1: %+v, %v", h, err)
	}
	if _, err := ReadHistory(dir, 2); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing: %v", err)
	}
	for _, name := range []string{"0000000A.history", "00000002.history", "00000003.history.partial", "x.history", "00000000.history"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("1 0/1 x\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := HistoryFiles(dir); err != nil || !reflect.DeepEqual(got, []Timeline{2, 10}) {
		t.Errorf("HistoryFiles: %v, %v", got, err)
	}
}

func FuzzParseHistory(f *testing.F) {
	f.Add([]byte("1\t0/3000060\tno recovery target specified\n"))
	f.Add([]byte("1 0/1 a\n2 0/2 b\n# c\n"))
	f.Add([]byte(strings.Repeat("1", 70000)))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseHistory(1<<31, b)
		if err != nil {
			return
		}
		last := HistoryEntry{}
		for _, e := range h.Ancestors {
			if e.Timeline <= last.Timeline || e.End < last.End || e.Timeline >= h.Timeline {
				t.Fatalf("%+v", h)
			}
			if end, ok := h.Left(e.Timeline); !ok || end != e.End {
				t.Fatalf("%+v: left %d at %s", h, e.Timeline, end)
			}
			last = e
		}
	})
}
