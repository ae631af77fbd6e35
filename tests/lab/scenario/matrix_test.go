package scenario

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestMatrix(t *testing.T) {
	m := NewMatrix([]string{"bookworm", "trixie"}, []Scenario{{Name: "first"}, {Name: "none"}, {Name: "second"}})
	if err := m.Err(); err != nil {
		t.Error(err)
	}
	// In whatever order they come.
	m.Add("trixie", Result{Name: "second", Err: errors.New("no lab")})
	m.Add("bookworm", Result{Name: "first", Gap: 1500 * time.Millisecond})
	m.Add("bookworm", Result{Name: "second", Err: errors.New("no"), Gap: 12 * time.Second, Lost: 3})
	m.Add("trixie", Result{Name: "second"}) // the last one counts
	var out strings.Builder
	if err := m.Table(&out); err != nil {
		t.Fatal(err)
	}
	want := "" +
		"scenario  bookworm  gap     lost  trixie  gap  lost\n" +
		"first     PASS      1.500   0     -       -    -\n" +
		"second    FAIL      12.000  3     PASS    -    0\n" +
		"2 passed, 1 failed, 3 not played\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
	if err := m.Err(); err == nil || err.Error() != "bookworm: failed: second" {
		t.Errorf("error %v", err)
	}
}
