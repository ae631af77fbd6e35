// Package bench makes figures of runs that were measured: medians that a run
// without a time cannot flatter, what differs between two configurations, and
// the table. It measures nothing and knows no cluster.
package bench

import (
	"slices"
	"time"
)

// Run is one fault, once.
type Run struct {
	// Time is what was measured, 0 if what was waited for did not come.
	Time time.Duration
	// Lost counts acknowledged rows that are gone.
	Lost int
	// Failure says what else was wrong, "" for nothing.
	Failure string
}

// Timed says whether the run has a time: one that lost a row, or did not end as
// it must, has none, however quick it was.
func (r Run) Timed() bool { return r.Time > 0 && r.Lost == 0 && r.Failure == "" }

// Series are the runs of one fault with the same agents.
type Series []Run

// Times are those of the runs that have one, the shortest first.
func (s Series) Times() []time.Duration {
	var ts []time.Duration
	for _, r := range s {
		if r.Timed() {
			ts = append(ts, r.Time)
		}
	}
	slices.Sort(ts)
	return ts
}

// Lost counts the acknowledged rows that are gone, of all runs.
func (s Series) Lost() int {
	n := 0
	for _, r := range s {
		n += r.Lost
	}
	return n
}

// Untimed counts the runs without a time.
func (s Series) Untimed() int { return len(s) - len(s.Times()) }

// Figures are what is said about a series. A figure is 0 where there is none.
type Figures struct {
	Median, Min, Max time.Duration
}

// Figures takes a run without a time for longer than any that has one: left out,
// it would make the others look better than the series was.
func (s Series) Figures() Figures {
	ts := s.Times()
	var f Figures
	if len(ts) == 0 {
		return f
	}
	f.Min = ts[0]
	if len(ts) == len(s) {
		f.Max = ts[len(ts)-1]
	}
	// Of an even number of runs it is the mean of the middle two.
	low, high := (len(s)-1)/2, len(s)/2
	if high < len(ts) {
		f.Median = (ts[low] + ts[high]) / 2
	}
	return f
}
