package writer

import (
	"context"
	"fmt"
	"sort"
	"time"
)

// History is what clients know: every number they tried and every outcome.
type History struct {
	Start    time.Time
	Attempts []int64
	Rows     []Row
}

// Gap is a time in which no commit was acknowledged.
type Gap struct {
	From, To time.Time
}

// Length is how long the gap lasted.
func (g Gap) Length() time.Duration { return g.To.Sub(g.From) }

// acknowledged returns the times of acknowledgement in order.
func (h *History) acknowledged() []time.Time {
	var ts []time.Time
	for _, r := range h.Rows {
		if r.Outcome == Acknowledged {
			ts = append(ts, r.End)
		}
	}
	sort.Slice(ts, func(i, j int) bool { return ts[i].Before(ts[j]) })
	return ts
}

// Between counts the commits acknowledged in [from, to).
func (h *History) Between(from, to time.Time) int {
	n := 0
	for _, t := range h.acknowledged() {
		if !t.Before(from) && t.Before(to) {
			n++
		}
	}
	return n
}

// LongestGap is the longest time between acknowledged commits that overlaps
// [from, to]. The time from the last commit to "to" counts: a service that does
// not come back has no gap otherwise.
func (h *History) LongestGap(from, to time.Time) Gap {
	longest := Gap{From: from, To: from}
	last := from
	seen := false
	for _, t := range h.acknowledged() {
		switch {
		case t.Before(from):
			last, seen = t, true
			continue
		case t.After(to):
			if seen && t.Sub(last) > longest.Length() && last.Before(to) {
				longest = Gap{last, t}
			}
			return longest
		}
		if t.Sub(last) > longest.Length() {
			longest = Gap{last, t}
		}
		last, seen = t, true
	}
	if to.Sub(last) > longest.Length() {
		longest = Gap{last, to}
	}
	return longest
}

// Report is the outcome of a check.
type Report struct {
	// Attempted, Acknowledged and Unknown count rows of the clients, Rows
	// those in the table.
	Attempted, Acknowledged, Unknown, Rows int
	// Lost were acknowledged and are not in the table.
	Lost []int64
	// Invented are in the table and nobody wrote them, or were refused.
	Invented []int64
	// Duplicates are in the table more than once.
	Duplicates []int64
}

// OK says whether nothing is wrong.
func (r Report) OK() bool { return len(r.Lost)+len(r.Invented)+len(r.Duplicates) == 0 }

// String is the report in one line.
func (r Report) String() string {
	return fmt.Sprintf("attempted=%d acknowledged=%d unknown=%d rows=%d lost=%d invented=%d duplicate=%d",
		r.Attempted, r.Acknowledged, r.Unknown, r.Rows, len(r.Lost), len(r.Invented), len(r.Duplicates))
}

// Err is an error that shows the first wrong rows, or nil.
func (r Report) Err() error {
	if r.OK() {
		return nil
	}
	few := func(ids []int64) []int64 { return ids[:min(5, len(ids))] }
	return fmt.Errorf("data is wrong: %v (lost %v, invented %v, duplicate %v, first of each shown)",
		r, few(r.Lost), few(r.Invented), few(r.Duplicates))
}

// Compare compares what was known before the table was read, what was known
// after, and the table. Clients may have written meanwhile.
func Compare(before, after *History, rows []int64) Report {
	rep := Report{Attempted: len(after.Attempts), Rows: len(rows)}
	in := make(map[int64]int, len(rows))
	for _, id := range rows {
		if in[id]++; in[id] == 2 {
			rep.Duplicates = append(rep.Duplicates, id)
		}
	}
	for _, r := range before.Rows {
		switch r.Outcome {
		case Acknowledged:
			rep.Acknowledged++
			if in[r.ID] == 0 {
				rep.Lost = append(rep.Lost, r.ID)
			}
		case Failed:
			if in[r.ID] != 0 {
				rep.Invented = append(rep.Invented, r.ID)
			}
		default:
			rep.Unknown++
		}
	}
	tried := make(map[int64]bool, len(after.Attempts))
	for _, id := range after.Attempts {
		tried[id] = true
	}
	for _, id := range rows {
		if !tried[id] {
			rep.Invented = append(rep.Invented, id)
		}
	}
	return rep
}

// Tail is what asynchronous replication may lose when a primary dies: the end of
// its history, and nothing in the middle.
type Tail struct {
	// From is when the standby was last known to have everything, Dying the moment
	// before the primary died, Dead the one after.
	From, Dying, Dead time.Time
}

// Err says whether lost commits are anything else than such a tail. A commit
// that was asked for after another one had been acknowledged comes after it in
// the history: if the earlier one is lost, the later one must be.
func (t Tail) Err(h *History, lost []int64) error {
	gone := make(map[int64]bool, len(lost))
	for _, id := range lost {
		gone[id] = true
	}
	var first time.Time // when the first lost commit was acknowledged
	for _, r := range h.Rows {
		if !gone[r.ID] {
			continue
		}
		switch {
		case r.Begin.Before(t.From):
			return fmt.Errorf("row %d is lost, which the standby had: it was written %v before", r.ID, t.From.Sub(r.Begin))
		case r.Begin.After(t.Dead):
			return fmt.Errorf("row %d is lost, which the new primary had acknowledged", r.ID)
		case first.IsZero() || r.End.Before(first):
			first = r.End
		}
	}
	for _, r := range h.Rows {
		if r.Outcome == Acknowledged && !gone[r.ID] && !first.IsZero() && r.Begin.After(first) && r.Begin.Before(t.Dying) {
			return fmt.Errorf("row %d is there, and one acknowledged %v earlier is lost: that is a hole, not a tail", r.ID, r.Begin.Sub(first))
		}
	}
	return nil
}

// Rows reads the numbers in the table of writers whose numbers are in
// [first, last].
func Rows(ctx context.Context, t Target, first, last int64) ([]int64, error) {
	c, err := t.Connect(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot connect to check: %w", err)
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	// A sequential scan: a damaged index must not hide a row, or make one.
	if _, err := c.Exec(ctx, "set enable_indexscan = off; set enable_bitmapscan = off; set enable_indexonlyscan = off"); err != nil {
		return nil, err
	}
	rows, err := c.Query(ctx, "select id from ledger where id between $1 and $2", first, last)
	if err != nil {
		return nil, fmt.Errorf("cannot read the table: %w", err)
	}
	defer rows.Close()
	var ids []int64
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	return ids, rows.Err()
}

// Check compares the running or ended writer's rows with the table at t.
func (w *Writer) Check(ctx context.Context, t Target) (Report, error) {
	before := w.History()
	rows, err := Rows(ctx, t, w.cfg.First, w.cfg.First+int64(w.cfg.Connections)<<32)
	if err != nil {
		return Report{}, err
	}
	return Compare(before, w.History(), rows), nil
}

// Numbers is where a writer that starts at t may number its rows from: no writer
// on the same table that started in another second uses them.
func Numbers(t time.Time) int64 { return (t.Unix() & (1<<26 - 1)) << 36 }

// Range is the smallest and the largest number tried.
func (h *History) Range() (first, last int64) {
	for i, id := range h.Attempts {
		if i == 0 || id < first {
			first = id
		}
		last = max(last, id)
	}
	return first, last
}
