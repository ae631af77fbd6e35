package bench

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// Conditions are what the figures hold under, as they were found in the clusters
// that were measured.
type Conditions struct {
	// Runs is how many there were to be of each fault with each side.
	Runs int `json:"runs"`
	// Processors of the machine, which all nodes share.
	Processors int `json:"processors"`
	// Disk under the data: tmpfs, or loop for ext4 on a loop device.
	Disk string `json:"disk"`
	// Token is corosync's, in milliseconds.
	Token string `json:"token_ms"`
	// PostgreSQL and Pacemaker are their versions.
	PostgreSQL string `json:"postgresql"`
	Pacemaker  string `json:"pacemaker"`
}

// Side is one of those that are compared: whose agents, and how they are set.
type Side struct {
	// Name is what it is called in the table.
	Name string `json:"name"`
	// Beside names the side it is held against, "" for none.
	Beside string `json:"beside,omitempty"`
	// FencingDelay is the one in force.
	FencingDelay string `json:"fencing_delay"`
	// Only and Missing are the lines of its configuration that the side beside it
	// does not have, and the other way round.
	Only    []string `json:"configuration_only_here,omitempty"`
	Missing []string `json:"configuration_missing_here,omitempty"`
}

// Row is one figure of one fault, for all sides.
type Row struct {
	// Fault says what was measured.
	Fault string
	// Above says that it is compared with the floor.
	Above bool
	// Target is what our median is to stay under, 0 for none.
	Target time.Duration
	// Sides are the runs of each side by its name, in the order they were made.
	Sides map[string]Series
}

// Ratio is how many times longer one side's median is than another's, 0 if one of
// them has none. It is a lower bound, and atLeast true, if the first side's runs
// were given up.
func (r Row) Ratio(of, by string) (ratio float64, atLeast bool) {
	a, b := r.Sides[of].Figures(), r.Sides[by].Figures()
	long := a.Median
	if long == 0 {
		long, atLeast = a.AtLeast, true
	}
	if long == 0 || b.Median == 0 {
		return 0, false
	}
	return float64(long) / float64(b.Median), atLeast
}

// Floor is what nobody's agents can go below.
type Floor struct {
	// Move is from the failure of a promoted agent that does nothing until its
	// promotion on the other node is over, by Pacemaker alone.
	Move Series
	// Promotion is of a bare streaming standby, until it takes a write.
	Promotion Series
}

// Median is the sum of the two medians, 0 if one of them has none.
func (f Floor) Median() time.Duration {
	m, p := f.Move.Figures().Median, f.Promotion.Figures().Median
	if m == 0 || p == 0 {
		return 0
	}
	return m + p
}

// Report is everything that is printed.
type Report struct {
	Conditions Conditions
	Sides      []Side
	Floor      Floor
	Rows       []Row
}

// Print writes the report for people.
func (r Report) Print(w io.Writer) error {
	r.printConditions(w)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(t, "fault\tagents\tmedian\tmin\tmax\tratio\tby floor\ttarget\tlost\tno time")
	for _, x := range r.Rows {
		name := x.Fault
		for _, side := range r.Sides {
			s := x.Sides[side.Name]
			if len(s) == 0 {
				continue
			}
			printSeries(t, name, side.Name, s, r.ratio(x, side), r.aboveFloor(x, s), target(x, side, s))
			name = ""
		}
	}
	for _, f := range []struct {
		name, agents string
		runs         Series
	}{
		{"floor", "an agent that does nothing", r.Floor.Move},
		{"", "PostgreSQL's bare promotion", r.Floor.Promotion},
	} {
		if len(f.runs) > 0 {
			printSeries(t, f.name, f.agents, f.runs, "-", "-", "-")
		}
	}
	if m := r.Floor.Median(); m > 0 {
		_, _ = fmt.Fprintf(t, "\ttogether\t%s\n", inSeconds(m))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	r.printFailures(w)
	return nil
}

// made says how many runs of a fault with a side there are: fewer than there were to
// be when somebody ended the measurement, or where waiting once more had no sense.
func (r Report) made() string {
	least, most := 0, 0
	for _, x := range r.Rows {
		for _, s := range x.Sides {
			if n := len(s); n > 0 {
				most = max(most, n)
				if least == 0 || n < least {
					least = n
				}
			}
		}
	}
	if least == most {
		return strconv.Itoa(most)
	}
	return fmt.Sprintf("%d to %d", least, most)
}

func (r Report) printConditions(w io.Writer) {
	c := r.Conditions
	_, _ = fmt.Fprintf(w, "runs %s, of %d that were asked for, in turn; disk %s; token %s ms; PostgreSQL %s; Pacemaker %s; %d processors\n",
		r.made(), c.Runs, known(c.Disk), known(c.Token), known(c.PostgreSQL), known(c.Pacemaker), c.Processors)
	for _, s := range r.Sides {
		_, _ = fmt.Fprintf(w, "fencing delay of %s: %s\n", s.Name, s.FencingDelay)
	}
	for _, s := range r.Sides {
		if len(s.Only)+len(s.Missing) == 0 {
			continue // or there was nothing to compare with
		}
		_, _ = fmt.Fprintf(w, "\nThe configurations of %s and %s differ in:\n", s.Beside, s.Name)
		width := max(len(s.Beside), len(s.Name))
		for _, l := range s.Missing {
			_, _ = fmt.Fprintf(w, "  %-*s  %s\n", width, s.Beside, l)
		}
		for _, l := range s.Only {
			_, _ = fmt.Fprintf(w, "  %-*s  %s\n", width, s.Name, l)
		}
	}
	_, _ = fmt.Fprintln(w)
}

// known is a condition, or that nobody was asked: there was no cluster.
func known(s string) string {
	if s == "" {
		return "not known"
	}
	return s
}

// printFailures says why runs have no time.
func (r Report) printFailures(w io.Writer) {
	head := "\nRuns without a time:\n"
	for _, x := range r.Rows {
		for _, side := range r.Sides {
			for _, f := range x.Sides[side.Name].Failures() {
				_, _ = fmt.Fprintf(w, "%s  %s, %s: %s\n", head, x.Fault, side.Name, f)
				head = ""
			}
		}
	}
}

// ratio is the column that holds a side against the reference of its kind.
func (r Report) ratio(x Row, s Side) string {
	beside := r.besideOf(s)
	n, atLeast := x.Ratio(beside, s.Name)
	if beside == "" || n == 0 {
		return "-"
	}
	return mark(atLeast) + strconv.FormatFloat(n, 'f', 1, 64)
}

// besideOf is the reference with the same settings: ours is held against the
// reference, ours tuned against the reference tuned.
func (r Report) besideOf(s Side) string {
	want, ok := strings.CutPrefix(s.Name, OursName)
	if !ok {
		return ""
	}
	for _, o := range r.Sides {
		if o.Name == ReferenceName+want {
			return o.Name
		}
	}
	return ""
}

// The names of the sides begin so.
const (
	ReferenceName = "reference"
	OursName      = "ours"
)

func (r Report) aboveFloor(x Row, s Series) string {
	floor, m := r.Floor.Median(), s.Figures().Median
	if !x.Above || floor == 0 || m == 0 {
		return "-"
	}
	return strconv.FormatFloat(float64(m)/float64(floor), 'f', 1, 64)
}

// target says what our median was to be and whether it is.
func target(x Row, side Side, s Series) string {
	if x.Target == 0 || !strings.HasPrefix(side.Name, OursName) {
		return "-"
	}
	word := "met"
	if m := s.Figures().Median; m == 0 || m >= x.Target {
		word = "missed"
	}
	return inSeconds(x.Target) + " " + word
}

func mark(atLeast bool) string {
	if atLeast {
		return ">"
	}
	return ""
}

func printSeries(w io.Writer, fault, agents string, s Series, ratio, above, target string) {
	f := s.Figures()
	median := inSeconds(f.Median)
	if f.Median == 0 && f.AtLeast > 0 {
		median = mark(true) + inSeconds(f.AtLeast)
	}
	_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d of %d\n", fault, agents,
		median, inSeconds(f.Min), inSeconds(f.Max), ratio, above, target, s.Lost(), s.Untimed(), len(s))
}

func inSeconds(d time.Duration) string {
	if d == 0 {
		return "-"
	}
	return strconv.FormatFloat(d.Seconds(), 'f', 2, 64) + " s"
}
