package chaos

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

func plan(t *testing.T, seed uint64, shape Shape) Plan {
	t.Helper()
	kinds, err := Choose(shape, "")
	if err != nil {
		t.Fatal(err)
	}
	return Plan{Seed: seed, Shape: shape, Kinds: kinds}
}

func TestRoundIsOfItsSeed(t *testing.T) {
	shape := Shape{Nodes: 3, OnDisk: true}
	a, b := plan(t, 7, shape), plan(t, 7, shape)
	// In another order: a round does not depend on those before it.
	want := map[int]Round{}
	for n := 40; n > 0; n-- {
		want[n] = a.Round(n)
	}
	for n := range 40 {
		if got := b.Round(n + 1); !reflect.DeepEqual(got, want[n+1]) {
			t.Errorf("%v, then %v", want[n+1], got)
		}
	}
	if reflect.DeepEqual(plan(t, 8, shape).Round(1), want[1]) && reflect.DeepEqual(plan(t, 8, shape).Round(2), want[2]) {
		t.Error("another seed gives the same rounds")
	}
}

// TestRoundsMeetAll shows that a pack of rounds begins with each kind once, and
// that mixtures happen.
func TestRoundsMeetAll(t *testing.T) {
	for _, shape := range []Shape{{Nodes: 2}, {Nodes: 3, OnDisk: true, OwnWAL: true}, {Nodes: 2, Azure: true}} {
		p := plan(t, 1, shape)
		first, mixed := map[string]int{}, 0
		for n := range p.Kinds {
			r := p.Round(n + 1)
			first[r.Steps[0].Fault]++
			if len(r.Steps) > 1 {
				mixed++
			}
			for i, s := range r.Steps {
				if s.On == Other && shape.Nodes == 2 {
					t.Errorf("%v: there is no other node", r)
				}
				if i > 0 && s.At < r.Steps[i-1].At {
					t.Errorf("%v: not in order", r)
				}
			}
		}
		if len(first) != len(p.Kinds) {
			t.Errorf("%v: %d of %d kinds", shape, len(first), len(p.Kinds))
		}
		if mixed < len(p.Kinds)/4 || mixed > len(p.Kinds)*3/4 {
			t.Errorf("%v: %d of %d rounds are mixtures", shape, mixed, len(p.Kinds))
		}
	}
}

func TestChoose(t *testing.T) {
	names := func(shape Shape, choice string) string {
		kinds, err := Choose(shape, choice)
		if err != nil {
			return err.Error()
		}
		var out []string
		for _, k := range kinds {
			out = append(out, k.Name)
		}
		return strings.Join(out, " ")
	}
	for _, c := range []struct {
		shape        Shape
		choice, want string
	}{
		{Shape{}, "power", "power-off power-all"},
		{Shape{}, "freeze,cut", "cut freeze"},
		{Shape{OnDisk: true}, "disk", "disk-full disk-dead disk-read-only disk-hangs"},
		{Shape{OnDisk: true, OwnWAL: true}, "disk", "disk-full disk-dead disk-read-only disk-hangs wal-full wal-dead wal-read-only wal-hangs"},
		{Shape{}, "disk", "no fault of that choice fits this cluster"},
		{Shape{Azure: true}, "bmc", "no fault of that choice fits this cluster"},
		{Shape{}, "nonsense", `no fault and no group of faults is called "nonsense"`},
	} {
		if got := names(c.shape, c.choice); got != c.want {
			t.Errorf("%v %q: %q, want %q", c.shape, c.choice, got, c.want)
		}
	}
	seen := map[string]bool{}
	for _, k := range Kinds() {
		if seen[k.Name] || len(k.Roles) == 0 || k.Inject == nil || k.Longest > 0 && k.Heal == nil {
			t.Errorf("%s is listed twice or incomplete", k.Name)
		}
		seen[k.Name] = true
	}
}

func TestParseRound(t *testing.T) {
	r, err := ParseRound(1, "power-off@primary+1.5s; cut:replication both@standby/5s", Kinds())
	if err != nil {
		t.Fatal(err)
	}
	const want = "round 1: +0.00s cut replication both on standby for 5.00s; +1.50s power-off on primary"
	if r.String() != want {
		t.Errorf("%q, want %q", r, want)
	}
	for _, bad := range []string{"", "power-off", "power-off@king", "dance@primary", "power-off@primary/x", "power-off@primary+x"} {
		if r, err := ParseRound(1, bad, Kinds()); err == nil {
			t.Errorf("%q was taken for %v", bad, r)
		}
	}
}

func TestClocks(t *testing.T) {
	nodes := []string{"n1", "n2", "n3"}
	a := Plan{Seed: 5}.Clocks(nodes)
	if !reflect.DeepEqual(a, Plan{Seed: 5}.Clocks(nodes)) || reflect.DeepEqual(a, Plan{Seed: 6}.Clocks(nodes)) {
		t.Error("clocks are not of their seed")
	}
	for n, off := range a {
		if off == 0 || off.Abs() > 12*time.Hour || off%time.Second != 0 {
			t.Errorf("%s is off by %v", n, off)
		}
	}
}

func TestNext(t *testing.T) {
	script := &Run{Script: []Round{{Number: 1}, {Number: 2}}}
	for n, want := range map[int]bool{1: true, 2: true, 3: false} {
		if r, ok := script.next(n, time.Hour); ok != want || ok && r.Number != n {
			t.Errorf("script: round %d is %v, %v", n, r, ok)
		}
	}
	seeded := &Run{Plan: plan(t, 1, Shape{Nodes: 2}), Duration: time.Minute, Rounds: 2}
	for _, c := range []struct {
		n     int
		since time.Duration
		want  bool
	}{{1, 0, true}, {2, time.Second, true}, {3, time.Second, false}, {2, time.Hour, false}} {
		if r, ok := seeded.next(c.n, c.since); ok != c.want || ok && r.Number != c.n {
			t.Errorf("round %d after %v is %v, %v", c.n, c.since, r, ok)
		}
	}
}
