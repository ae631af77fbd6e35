package writer

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func at(ms int) time.Time { return time.Unix(0, 0).Add(time.Duration(ms) * time.Millisecond) }

func ack(id int64, ms int) Row {
	return Row{ID: id, Outcome: Acknowledged, Begin: at(ms - 1), End: at(ms)}
}

func TestCompare(t *testing.T) {
	h := &History{
		Attempts: []int64{1, 2, 3, 4, 5},
		Rows:     []Row{ack(1, 10), ack(2, 20), {ID: 3, Outcome: Failed}, {ID: 4, Outcome: Unknown}},
	}
	for _, c := range []struct {
		name  string
		rows  []int64
		want  Report
		isBad bool
	}{
		{"all there", []int64{1, 2}, Report{}, false},
		{"unknown ones may be there", []int64{1, 2, 4, 5}, Report{}, false},
		{"one lost", []int64{1}, Report{Lost: []int64{2}}, true},
		{"all lost", nil, Report{Lost: []int64{1, 2}}, true},
		{"refused but there", []int64{1, 2, 3}, Report{Invented: []int64{3}}, true},
		{"nobody's", []int64{1, 2, 9}, Report{Invented: []int64{9}}, true},
		{"twice", []int64{1, 2, 2}, Report{Duplicates: []int64{2}}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := Compare(h, h, c.rows)
			if got.OK() == c.isBad {
				t.Errorf("OK() = %v: %v", got.OK(), got)
			}
			if !reflect.DeepEqual([][]int64{got.Lost, got.Invented, got.Duplicates}, [][]int64{c.want.Lost, c.want.Invented, c.want.Duplicates}) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestLongestGap(t *testing.T) {
	h := &History{Rows: []Row{ack(1, 10), ack(2, 20), ack(4, 500), ack(3, 120), ack(5, 510)}}
	for _, c := range []struct {
		name     string
		from, to int
		want     [2]int
	}{
		{"whole", 0, 510, [2]int{120, 500}},
		{"early", 0, 100, [2]int{20, 120}},
		{"inside a gap", 200, 300, [2]int{120, 500}},
		{"never comes back", 505, 2000, [2]int{510, 2000}},
		{"nothing at all", 1000, 2000, [2]int{510, 2000}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := h.LongestGap(at(c.from), at(c.to))
			if !got.From.Equal(at(c.want[0])) || !got.To.Equal(at(c.want[1])) {
				t.Errorf("got %v to %v, want %v", got.From.UnixMilli(), got.To.UnixMilli(), c.want)
			}
		})
	}
}

func TestJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal")
	j, err := newJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	begin := j.start.Add(100 * time.Millisecond)
	for id, o := range map[int64]Outcome{1: Acknowledged, 2: Failed, 3: Unknown} {
		if err := j.attempt(id); err != nil {
			t.Fatal(err)
		}
		if err := j.outcome(id, o, begin, begin.Add(5*time.Millisecond), os.ErrClosed); err != nil {
			t.Fatal(err)
		}
	}
	if err := j.close(); err != nil {
		t.Fatal(err)
	}
	h, err := ReadJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(h.Attempts) != 3 || len(h.Rows) != 3 {
		t.Fatalf("read %d attempts and %d rows", len(h.Attempts), len(h.Rows))
	}
	for i, r := range j.rows {
		got := h.Rows[i]
		if got.ID != r.ID || got.Outcome != r.Outcome || got.End.Sub(got.Begin) != 5*time.Millisecond {
			t.Errorf("row %d: got %+v, want %+v", i, got, r)
		}
	}
	if err := (&History{}).line("A 1 x"); err == nil {
		t.Error("a torn line was taken")
	}
}

func TestTail(t *testing.T) {
	row := func(id int64, begin, end int) Row {
		return Row{ID: id, Begin: at(begin), End: at(end), Outcome: Acknowledged}
	}
	// 3 and 4 overlap: either may be first in the history. 6 is the new primary's.
	h := &History{Rows: []Row{row(1, 0, 5), row(2, 10, 15), row(3, 20, 30), row(4, 25, 35), row(5, 40, 45), row(6, 200, 205)}}
	tail := Tail{From: at(8), Dying: at(100), Dead: at(110)}
	for _, c := range []struct {
		lost []int64
		want string
	}{
		{nil, ""},
		{[]int64{5}, ""},
		{[]int64{4, 5}, ""},
		{[]int64{3, 5}, ""},
		{[]int64{2, 3, 4, 5}, ""},
		{[]int64{3}, "a hole"},
		{[]int64{2, 4, 5}, "a hole"},
		{[]int64{1, 2, 3, 4, 5}, "which the standby had"},
		{[]int64{6}, "new primary"},
	} {
		err := tail.Err(h, c.lost)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("lost %v: got %v, want %q", c.lost, err, c.want)
		}
	}
}
