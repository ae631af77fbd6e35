package chaos

import (
	"fmt"
	"slices"
	"time"
)

// reign is the time in which a server, or a timeline, was seen to answer.
type reign struct {
	name            string
	firstEnd        time.Duration // of its first answer
	lastBegin       time.Duration // of the last question it answered
	firstOp, lastOp Op
}

// reigns gathers them by a name that each operation has; the answers of one name
// are certain to lie within [firstEnd, lastBegin] at least.
func reigns(ops []Op, name func(Op) string) []reign {
	found := map[string]*reign{}
	for _, o := range ops {
		n := name(o)
		if !o.Known || n == "" {
			continue
		}
		r, ok := found[n]
		if !ok {
			found[n] = &reign{name: n, firstEnd: o.End, lastBegin: o.Begin, firstOp: o, lastOp: o}
			continue
		}
		if o.End < r.firstEnd {
			r.firstEnd, r.firstOp = o.End, o
		}
		if o.Begin > r.lastBegin {
			r.lastBegin, r.lastOp = o.Begin, o
		}
	}
	var all []reign
	for _, r := range found {
		all = append(all, *r)
	}
	slices.SortFunc(all, func(a, b reign) int { return int(a.firstEnd - b.firstEnd) })
	return all
}

// checkEpochs says where two primaries answered at one time. An older timeline
// must not answer a question asked after a newer one had answered, and two servers
// must not take turns.
func checkEpochs(ops []Op) []string {
	var wrong []string
	timelines := reigns(ops, func(o Op) string { return o.Timeline })
	for _, old := range timelines {
		for _, young := range timelines {
			if old.name < young.name && old.lastBegin > young.firstEnd {
				wrong = append(wrong, fmt.Sprintf("timeline %s answered via %s to a question of %v, after timeline %s had answered via %s at %v",
					old.name, old.lastOp.Via, old.lastBegin, young.name, young.firstOp.Via, young.firstEnd))
			}
		}
	}
	servers := reigns(ops, func(o Op) string { return o.Server })
	for i, a := range servers {
		for _, b := range servers[i+1:] {
			if a.firstEnd < b.lastBegin && b.firstEnd < a.lastBegin {
				wrong = append(wrong, fmt.Sprintf("two servers took turns as primary: the one started at %s (via %s, %v to %v) and the one started at %s (via %s, %v to %v)",
					a.name, a.lastOp.Via, a.firstEnd, a.lastBegin, b.name, b.firstOp.Via, b.firstEnd, b.lastBegin))
			}
		}
	}
	return wrong
}
