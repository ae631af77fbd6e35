package scenario

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestMatrix(t *testing.T) {
	var m Matrix
	m.Add("bookworm", Result{Name: "first", Gap: 1500 * time.Millisecond})
	m.Add("bookworm", Result{Name: "second", Err: errors.New("no"), Gap: 12 * time.Second, Lost: 3})
	m.Add("trixie", Result{Name: "second", Err: errors.New("no lab")})
	m.Add("trixie", Result{Name: "second"}) // the last one counts
	var out strings.Builder
	if err := m.Table(&out); err != nil {
		t.Fatal(err)
	}
	want := "" +
		"scenario  bookworm  gap     lost  trixie  gap  lost\n" +
		"first     PASS      1.500   0     -       -    -\n" +
		"second    FAIL      12.000  3     PASS    -    0\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}
