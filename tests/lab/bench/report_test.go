package bench

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func sample() Report {
	return Report{
		Conditions:    Conditions{Runs: 3, Processors: 2, Disk: "tmpfs", FencingDelay: "2s", Token: "1000", PostgreSQL: "15.1", Pacemaker: "2.1.5"},
		OnlyReference: []string{"primitive pgsql: provider=heartbeat"},
		OnlyOurs:      []string{"primitive pgsql: provider=pgrex"},
		Rows: []Row{
			{"first", seconds(6, 7, 8), seconds(0.5, 1, 2)},
			{"second", seconds(6, 0, 0), append(seconds(1, 2), Run{Time: time.Second, Lost: 4, Failure: "data is wrong"})},
		},
	}
}

func TestPrint(t *testing.T) {
	var b strings.Builder
	if err := sample().Print(&b); err != nil {
		t.Fatal(err)
	}
	want := `runs 3, in turn; disk tmpfs; fencing delay 2s; token 1000 ms; PostgreSQL 15.1; Pacemaker 2.1.5; 2 processors

The configurations differ in:
  reference  primitive pgsql: provider=heartbeat
  ours       primitive pgsql: provider=pgrex

fault   agents     median  min     max     ratio  lost  no time
first   reference  7.00 s  6.00 s  8.00 s         0     0 of 3
        ours       1.00 s  0.50 s  2.00 s  7.0    0     0 of 3
second  reference  -       6.00 s  -              0     2 of 3
        ours       2.00 s  1.00 s  -       -      4     1 of 3
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
}

func TestWriteJSON(t *testing.T) {
	var b strings.Builder
	if err := sample().WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	var got struct {
		Conditions Conditions
		Rows       []rowJSON
	}
	if err := json.Unmarshal([]byte(b.String()), &got); err != nil {
		t.Fatal(err)
	}
	if got.Conditions != sample().Conditions || len(got.Rows) != 2 {
		t.Fatalf("got %+v", got)
	}
	first, second := got.Rows[0], got.Rows[1]
	if *first.Ratio != 7 || *first.Ours.Median != 1000 || *first.Reference.Max != 8000 {
		t.Errorf("got %s", b.String())
	}
	if second.Ratio != nil || second.Reference.Median != nil || second.Ours.Times[2] != nil || second.Ours.Lost != 4 {
		t.Errorf("a run without a time has one: %s", b.String())
	}
}
