package site

import (
	"fmt"
	"os"
	"testing"
)

func TestPlanCheck(t *testing.T) {
	for _, c := range []struct {
		p  Plan
		ok bool
	}{
		{Plan{Name: "a", Nodes: 2}, true},
		{Plan{Name: "run-1", Nodes: 5}, true},
		{Plan{Name: "", Nodes: 2}, false},
		{Plan{Name: "../x", Nodes: 2}, false},
		{Plan{Name: "A", Nodes: 2}, false},
		{Plan{Name: "a", Nodes: 0}, false},
		{Plan{Name: "a", Nodes: 6}, false},
	} {
		if err := c.p.Check(); (err == nil) != c.ok {
			t.Errorf("%+v: %v", c.p, err)
		}
	}
}

func TestAlive(t *testing.T) {
	start, err := startTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if s := (State{Daemon: os.Getpid(), Start: start}); !s.Alive() {
		t.Error("this process is not alive")
	}
	// The number was used again.
	if s := (State{Daemon: os.Getpid(), Start: start + "1"}); s.Alive() {
		t.Error("another process is taken for the daemon")
	}
}

func TestParseProcess(t *testing.T) {
	me, err := thisProcess()
	if err != nil {
		t.Fatal(err)
	}
	if got := parseProcess(me.String()); got != me || !got.alive() {
		t.Errorf("got %+v, want %+v", got, me)
	}
	for _, s := range []string{"", "x", "12", "-1 5", "0 0", fmt.Sprint(os.Getpid()), fmt.Sprintf("%d 1", os.Getpid())} {
		if p := parseProcess(s); p.alive() {
			t.Errorf("%q is taken for %+v, which lives", s, p)
		}
	}
}
