package scenario

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/site"
)

// What begins with another's leavings stays with its runner; all the rest goes to
// whoever asks, once.
func TestQueue(t *testing.T) {
	list := []Scenario{{Name: "a"}, {Name: "b"}, {Name: "c", After: "b"}, {Name: "d", After: "b"}, {Name: "e"}}
	q := NewQueue(list)
	var got []string
	for group := q.take(); group != nil; group = q.take() {
		names := ""
		for _, s := range group {
			names += s.Name
		}
		got = append(got, names)
	}
	if want := []string{"a", "bc", "d", "e"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}

	q = NewQueue(make([]Scenario, 100))
	var mu sync.Mutex
	var wg sync.WaitGroup
	n := 0
	for range 4 {
		wg.Go(func() {
			for range q.all() {
				mu.Lock()
				n++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if n != 100 {
		t.Errorf("%d of 100 were given", n)
	}
}

// What is played when the order to stop comes is no result, and nothing follows.
func TestPlayFromStops(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	var out bytes.Buffer
	var played []string
	r := &Runner{
		Options: cluster.Options{Plan: site.Plan{Name: "NO LAB HAS THIS NAME"}}, Out: &out,
		Each: func(res Result) {
			if played = append(played, res.Name); res.Name == "b" {
				stop()
			}
		},
	}
	r.PlayFrom(ctx, NewQueue([]Scenario{{Name: "a"}, {Name: "b"}, {Name: "c"}}))
	if want := []string{"a", "b"}; !slices.Equal(played, want) {
		t.Errorf("played %q, want %q", played, want)
	}
	played = nil
	ctx, stop = context.WithCancel(context.Background())
	r.Out = writerFunc(func(p []byte) (int, error) {
		if strings.HasPrefix(string(p), "=== RUN   y") {
			stop()
		}
		return out.Write(p)
	})
	r.PlayFrom(ctx, NewQueue([]Scenario{{Name: "x"}, {Name: "y"}, {Name: "z"}}))
	if want := []string{"x"}; !slices.Equal(played, want) || !strings.Contains(out.String(), "--- STOP: y") {
		t.Errorf("played %q, want %q; it said\n%s", played, want, out.String())
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
