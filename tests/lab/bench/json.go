package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"time"
)

// The file for machines: times in milliseconds, null where there is none. What
// can be computed from the runs is written too, and not read again.
type (
	markJSON struct {
		Stage Stage `json:"stage"`
		After int64 `json:"after_ms"`
	}
	runJSON struct {
		Time    *int64     `json:"time_ms"`
		AtLeast *int64     `json:"given_up_after_ms,omitempty"`
		Lost    int        `json:"lost"`
		Failure string     `json:"failure,omitempty"`
		Marks   []markJSON `json:"timeline,omitempty"`
	}
	seriesJSON struct {
		Median  *int64    `json:"median_ms"`
		AtLeast *int64    `json:"median_at_least_ms,omitempty"`
		Min     *int64    `json:"min_ms"`
		Max     *int64    `json:"max_ms"`
		Lost    int       `json:"lost"`
		Runs    []runJSON `json:"runs"`
	}
	rowJSON struct {
		Fault string `json:"fault"`
		Above bool   `json:"compared_with_floor"`
		// Target is what our median is to stay under.
		Target *int64 `json:"target_ms,omitempty"`
		// Ratio is the reference's median by ours.
		Ratio *float64              `json:"ratio"`
		Sides map[string]seriesJSON `json:"sides"`
	}
	floorJSON struct {
		Median    *int64     `json:"median_ms"`
		Move      seriesJSON `json:"agent_that_does_nothing"`
		Promotion seriesJSON `json:"bare_promotion"`
	}
	reportJSON struct {
		Conditions Conditions `json:"conditions"`
		Sides      []Side     `json:"sides"`
		Floor      floorJSON  `json:"floor"`
		Rows       []rowJSON  `json:"rows"`
	}
)

// WriteJSON writes the report for machines.
func (r Report) WriteJSON(w io.Writer) error {
	out := reportJSON{Conditions: r.Conditions, Sides: r.Sides, Floor: floorJSON{
		Median: milliseconds(r.Floor.Median()), Move: toJSON(r.Floor.Move), Promotion: toJSON(r.Floor.Promotion)}}
	for _, x := range r.Rows {
		row := rowJSON{Fault: x.Fault, Above: x.Above, Target: milliseconds(x.Target), Sides: map[string]seriesJSON{}}
		if n, atLeast := x.Ratio(ReferenceName, OursName); n > 0 && !atLeast {
			row.Ratio = &n
		}
		for name, s := range x.Sides {
			row.Sides[name] = toJSON(s)
		}
		out.Rows = append(out.Rows, row)
	}
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	return e.Encode(out)
}

// ReadJSON reads what WriteJSON has written.
func ReadJSON(rd io.Reader) (Report, error) {
	var in reportJSON
	d := json.NewDecoder(rd)
	d.DisallowUnknownFields()
	if err := d.Decode(&in); err != nil {
		return Report{}, fmt.Errorf("cannot read the results: %w", err)
	}
	r := Report{Conditions: in.Conditions, Sides: in.Sides,
		Floor: Floor{Move: in.Floor.Move.series(), Promotion: in.Floor.Promotion.series()}}
	for _, x := range in.Rows {
		row := Row{Fault: x.Fault, Above: x.Above, Target: duration(x.Target), Sides: map[string]Series{}}
		for name, s := range x.Sides {
			row.Sides[name] = s.series()
		}
		r.Rows = append(r.Rows, row)
	}
	return r, nil
}

func toJSON(s Series) seriesJSON {
	f := s.Figures()
	j := seriesJSON{Median: milliseconds(f.Median), AtLeast: milliseconds(f.AtLeast),
		Min: milliseconds(f.Min), Max: milliseconds(f.Max), Lost: s.Lost()}
	for _, r := range s {
		x := runJSON{AtLeast: milliseconds(r.AtLeast), Lost: r.Lost, Failure: r.Failure}
		if r.Timed() {
			x.Time = milliseconds(r.Time)
		}
		for _, m := range r.Marks {
			x.Marks = append(x.Marks, markJSON{m.Stage, m.After.Milliseconds()})
		}
		j.Runs = append(j.Runs, x)
	}
	return j
}

func (j seriesJSON) series() Series {
	var s Series
	for _, x := range j.Runs {
		r := Run{Time: duration(x.Time), AtLeast: duration(x.AtLeast), Lost: x.Lost, Failure: x.Failure}
		for _, m := range x.Marks {
			r.Marks = append(r.Marks, Mark{m.Stage, time.Duration(m.After) * time.Millisecond})
		}
		s = append(s, r)
	}
	return s
}

func milliseconds(d time.Duration) *int64 {
	if d == 0 {
		return nil
	}
	ms := d.Milliseconds()
	return &ms
}

func duration(ms *int64) time.Duration {
	if ms == nil {
		return 0
	}
	return time.Duration(*ms) * time.Millisecond
}
