package bench

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func sample() Report {
	const ms = time.Millisecond
	given := Run{AtLeast: 90 * time.Second, Failure: "no commit is acknowledged again"}
	r := Report{
		Conditions: Conditions{Runs: 3, Processors: 2, Disk: "tmpfs", Token: "1000", PostgreSQL: "15.1", Pacemaker: "2.1.5"},
		Sides: []Side{
			{Name: "reference", FencingDelay: "priority-fencing-delay=2s"},
			{Name: "ours", Beside: "reference", FencingDelay: "none",
				Missing: []string{"primitive pgsql: provider=heartbeat"}, Only: []string{"primitive pgsql: provider=pgrex"}},
		},
		Floor: Floor{Move: seconds(0.2, 0.3, 0.4), Promotion: seconds(0.1, 0.1, 0.2)},
		Rows: []Row{
			{"first", true, 1500 * ms, map[string]Series{"reference": seconds(6, 7, 8), "ours": seconds(0.5, 1, 2)}},
			{"second", false, 2 * time.Second, map[string]Series{"reference": append(seconds(6), given, given),
				"ours": append(seconds(1, 2), Run{Time: time.Second, Lost: 4, Failure: "data is wrong"})}},
			{"third", false, 0, map[string]Series{"reference": append(seconds(6), Run{Failure: "does not heal"}), "ours": seconds(1)}},
		},
	}
	r.Rows[0].Sides["reference"][1].Marks = []Mark{{Noticed, 5000 * ms}, {Demote, 5500 * ms}, {Promote, 6200 * ms}, {Address, 6900 * ms}, {FirstCommit, 7000 * ms}}
	r.Rows[0].Sides["ours"][1].Marks = []Mark{{Noticed, 30 * ms}, {Demote, 300 * ms}, {Promote, 700 * ms}, {Address, 900 * ms}, {FirstCommit, 1000 * ms}}
	return r
}

func TestPrint(t *testing.T) {
	var b strings.Builder
	if err := sample().Print(&b); err != nil {
		t.Fatal(err)
	}
	want := `runs 1 to 3, of 3 that were asked for, in turn; disk tmpfs; token 1000 ms; PostgreSQL 15.1; Pacemaker 2.1.5; 2 processors
fencing delay of reference: priority-fencing-delay=2s
fencing delay of ours: none

The configurations of reference and ours differ in:
  reference  primitive pgsql: provider=heartbeat
  ours       primitive pgsql: provider=pgrex

fault   agents                       median    min     max     ratio  by floor  target         lost  no time
first   reference                    7.00 s    6.00 s  8.00 s  -      17.5      -              0     0 of 3
        ours                         1.00 s    0.50 s  2.00 s  7.0    2.5       1.50 s met     0     0 of 3
second  reference                    >90.00 s  6.00 s  -       -      -         -              0     2 of 3
        ours                         2.00 s    1.00 s  -       >45.0  -         2.00 s missed  4     1 of 3
third   reference                    -         6.00 s  -       -      -         -              0     1 of 2
        ours                         1.00 s    1.00 s  1.00 s  -      -         -              0     0 of 1
floor   an agent that does nothing   0.30 s    0.20 s  0.40 s  -      -         -              0     0 of 3
        PostgreSQL's bare promotion  0.10 s    0.10 s  0.20 s  -      -         -              0     0 of 3
        together                     0.40 s

Runs without a time:
  second, reference: no commit is acknowledged again
  second, ours: data is wrong
  third, reference: does not heal
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

// What is written is read again as it was, but for the time of a run that has
// none.
func TestJSON(t *testing.T) {
	var b strings.Builder
	if err := sample().WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	got, err := ReadJSON(strings.NewReader(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	want := sample()
	want.Rows[1].Sides["ours"][2].Time = 0
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
	for _, text := range []string{`"ratio": 7,`, `"median_ms": 7000,`, `"median_at_least_ms": 90000,`, `"after_ms": 5500`, `"ratio": null`} {
		if !strings.Contains(b.String(), text) {
			t.Errorf("no %s in %s", text, b.String())
		}
	}
}

func TestReadJSONBad(t *testing.T) {
	for _, text := range []string{"", "[]", `{"rows": 3}`, `{"unknown": 1}`, `{"rows": [{"sides": {"ours": {"runs": [{"time_ms": "x"}]}}}]}`} {
		if _, err := ReadJSON(strings.NewReader(text)); err == nil {
			t.Errorf("%q: no error", text)
		}
	}
}
