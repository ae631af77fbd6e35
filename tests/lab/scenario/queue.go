package scenario

import (
	"iter"
	"sync"
)

// Queue hands out scenarios to runners that play side by side, each to one of them.
type Queue struct {
	mu   sync.Mutex
	left [][]Scenario
}

// NewQueue holds scenarios in their order. One that can begin with what the one
// before it leaves goes to the same runner, which still has that lab.
func NewQueue(list []Scenario) *Queue {
	q := &Queue{}
	for i, s := range list {
		if i > 0 && s.After == list[i-1].Name {
			last := len(q.left) - 1
			q.left[last] = append(q.left[last], s)
			continue
		}
		q.left = append(q.left, []Scenario{s})
	}
	return q
}

// take gives what one runner plays next, nothing when all is given.
func (q *Queue) take() []Scenario {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.left) == 0 {
		return nil
	}
	group := q.left[0]
	q.left = q.left[1:]
	return group
}

// all is what one runner gets, taken only when it asks for it.
func (q *Queue) all() iter.Seq[Scenario] {
	return func(yield func(Scenario) bool) {
		for group := q.take(); group != nil; group = q.take() {
			for _, s := range group {
				if !yield(s) {
					return
				}
			}
		}
	}
}
