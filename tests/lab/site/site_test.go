package site

import (
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
