// Package bench makes figures of runs that were measured: medians that a run
// without a time cannot flatter, what differs between configurations, the table,
// the file for machines and the picture. It measures nothing and knows no cluster.
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
	// AtLeast is how long was waited in vain, for a run that was given up; 0 if
	// it failed in another way.
	AtLeast time.Duration
	// Marks are the stages it went through, in the order of their times.
	Marks []Mark
}

// Mark is a stage of a run that was reached.
type Mark struct {
	Stage Stage
	// After is the time since the fault.
	After time.Duration
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

// Failures are what was wrong with the runs, each reason once.
func (s Series) Failures() []string {
	var out []string
	for _, r := range s {
		if r.Failure != "" && !slices.Contains(out, r.Failure) {
			out = append(out, r.Failure)
		}
	}
	return out
}

// Figures are what is said about a series. A figure is 0 where there is none.
type Figures struct {
	Median, Min, Max time.Duration
	// AtLeast is what the median is at least, where there is none because runs
	// were given up.
	AtLeast time.Duration
}

// Figures takes a run without a time for longer than any that has one: left out,
// it would make the others look better than the series was.
func (s Series) Figures() Figures {
	ts := s.Times()
	var f Figures
	if len(ts) > 0 {
		f.Min = ts[0]
	}
	if len(ts) > 0 && len(ts) == len(s) {
		f.Max = ts[len(ts)-1]
	}
	// Of an even number of runs it is the mean of the middle two.
	low, high := (len(s)-1)/2, len(s)/2
	switch {
	case len(s) == 0:
	case high < len(ts):
		f.Median = (ts[low] + ts[high]) / 2
	default:
		f.AtLeast = s.shortestVain()
	}
	return f
}

// shortestVain is how long every run without a time was waited for, 0 if one of
// them failed in a way that says nothing about time.
func (s Series) shortestVain() time.Duration {
	var d time.Duration
	for _, r := range s {
		switch {
		case r.Timed():
		case r.AtLeast == 0:
			return 0
		case d == 0 || r.AtLeast < d:
			d = r.AtLeast
		}
	}
	return d
}

// Middle is the run whose time is the median, or next above it: the one that is
// shown in pictures. It is false if no run has a time.
func (s Series) Middle() (Run, bool) {
	ts := s.Times()
	if len(ts) == 0 {
		return Run{}, false
	}
	want := ts[min(len(s)/2, len(ts)-1)]
	i := slices.IndexFunc(s, func(r Run) bool { return r.Timed() && r.Time == want })
	return s[i], true
}
