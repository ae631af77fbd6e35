package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"
)

// Conditions are what the figures hold under, as they were found in the clusters
// that were measured.
type Conditions struct {
	// Runs is how many there were of each fault with each agents.
	Runs int `json:"runs"`
	// Processors of the machine, which all nodes share.
	Processors int `json:"processors"`
	// Disk under the data: tmpfs, or loop for ext4 on a loop device.
	Disk string `json:"disk"`
	// FencingDelay is priority-fencing-delay, Token corosync's, in milliseconds.
	FencingDelay string `json:"fencing_delay"`
	Token        string `json:"token_ms"`
	// PostgreSQL and Pacemaker are their versions.
	PostgreSQL string `json:"postgresql"`
	Pacemaker  string `json:"pacemaker"`
}

// Row is one figure of one fault, for both.
type Row struct {
	// Fault says what was measured.
	Fault string
	// Reference and Ours are the runs, in the order they were made.
	Reference, Ours Series
}

// Ratio is how many times longer the reference's median is, 0 if one has none.
func (r Row) Ratio() float64 {
	ref, ours := r.Reference.Figures().Median, r.Ours.Figures().Median
	if ref == 0 || ours == 0 {
		return 0
	}
	return float64(ref) / float64(ours)
}

// Report is everything that is printed.
type Report struct {
	Conditions Conditions
	// OnlyReference and OnlyOurs are the lines of the configurations that the
	// other one does not have.
	OnlyReference, OnlyOurs []string
	Rows                    []Row
}

// Print writes the report for people.
func (r Report) Print(w io.Writer) error {
	c := r.Conditions
	_, _ = fmt.Fprintf(w, "runs %d, in turn; disk %s; fencing delay %s; token %s ms; PostgreSQL %s; Pacemaker %s; %d processors\n",
		c.Runs, c.Disk, c.FencingDelay, c.Token, c.PostgreSQL, c.Pacemaker, c.Processors)
	_, _ = fmt.Fprintln(w, "\nThe configurations differ in:")
	for _, l := range r.OnlyReference {
		_, _ = fmt.Fprintln(w, "  reference ", l)
	}
	for _, l := range r.OnlyOurs {
		_, _ = fmt.Fprintln(w, "  ours      ", l)
	}
	_, _ = fmt.Fprintln(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "fault\tagents\tmedian\tmin\tmax\tratio\tlost\tno time")
	for _, x := range r.Rows {
		ratio := "-"
		if n := x.Ratio(); n > 0 {
			ratio = strconv.FormatFloat(n, 'f', 1, 64)
		}
		printSeries(t, x.Fault, "reference", x.Reference, "")
		printSeries(t, "", "ours", x.Ours, ratio)
	}
	return t.Flush()
}

func printSeries(w io.Writer, fault, agents string, s Series, ratio string) {
	f := s.Figures()
	_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d of %d\n", fault, agents,
		inSeconds(f.Median), inSeconds(f.Min), inSeconds(f.Max), ratio, s.Lost(), s.Untimed(), len(s))
}

func inSeconds(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return strconv.FormatFloat(d.Seconds(), 'f', 2, 64) + " s"
}

// seriesJSON has null where there is no figure.
type seriesJSON struct {
	Median *int64   `json:"median_ms"`
	Min    *int64   `json:"min_ms"`
	Max    *int64   `json:"max_ms"`
	Times  []*int64 `json:"times_ms"`
	Lost   int      `json:"lost"`
	// Failures are in the order of the runs, "" for none.
	Failures []string `json:"failures"`
}

type rowJSON struct {
	Fault     string     `json:"fault"`
	Ratio     *float64   `json:"ratio"`
	Reference seriesJSON `json:"reference"`
	Ours      seriesJSON `json:"ours"`
}

// WriteJSON writes the report for machines: times in milliseconds, null where
// there is none.
func (r Report) WriteJSON(w io.Writer) error {
	out := struct {
		Conditions    Conditions `json:"conditions"`
		OnlyReference []string   `json:"configuration_only_reference"`
		OnlyOurs      []string   `json:"configuration_only_ours"`
		Rows          []rowJSON  `json:"rows"`
	}{r.Conditions, r.OnlyReference, r.OnlyOurs, nil}
	for _, x := range r.Rows {
		row := rowJSON{Fault: x.Fault, Reference: toJSON(x.Reference), Ours: toJSON(x.Ours)}
		if n := x.Ratio(); n > 0 {
			row.Ratio = &n
		}
		out.Rows = append(out.Rows, row)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(out)
}

func toJSON(s Series) seriesJSON {
	f := s.Figures()
	j := seriesJSON{Median: milliseconds(f.Median), Min: milliseconds(f.Min), Max: milliseconds(f.Max), Lost: s.Lost()}
	for _, r := range s {
		var t *int64
		if r.Timed() {
			t = milliseconds(r.Time)
		}
		j.Times = append(j.Times, t)
		j.Failures = append(j.Failures, r.Failure)
	}
	return j
}

func milliseconds(d time.Duration) *int64 {
	if d == 0 {
		return nil
	}
	ms := d.Milliseconds()
	return &ms
}
