package scenario

import (
	"strings"
	"time"

	"pgrex/tests/lab/bench"
)

// Marks are the stages of a trial that went well, by the logs of the cluster and
// by what clients saw.
func (res Result) Marks() []bench.Mark {
	var marks []bench.Mark
	have := map[bench.Stage]bool{}
	add := func(s bench.Stage, at time.Time) {
		if s != "" && !have[s] && !at.Before(res.Fault) {
			have[s] = true
			marks = append(marks, bench.Mark{Stage: s, After: at.Sub(res.Fault)})
		}
	}
	for _, e := range res.Events {
		s := stageOf(e.Text)
		// A server that is found down after it was demoted is no news.
		if s != bench.Noticed || !have[bench.Demote] {
			add(s, e.At)
		}
	}
	if res.FirstCommit.IsZero() {
		return nil
	}
	add(bench.FirstCommit, res.FirstCommit)
	return bench.Timeline(marks, res.FirstCommit.Sub(res.Fault))
}

// stageOf is the stage that an event of cluster.Events ends, "" for none.
func stageOf(text string) bench.Stage {
	switch {
	case strings.HasSuffix(text, "is lost from the cluster"):
		return bench.Membership
	case strings.Contains(text, " is fenced by "):
		return bench.Fencing
	case strings.HasPrefix(text, "monitor on ") && !strings.HasSuffix(text, ": promoted"), strings.HasPrefix(text, "failure reported on "):
		return bench.Noticed
	case strings.HasPrefix(text, "demote of pgsql on ") && strings.HasSuffix(text, ": ok"):
		return bench.Demote
	case strings.HasPrefix(text, "promote of pgsql on ") && strings.HasSuffix(text, ": ok"):
		return bench.Promote
	case strings.HasPrefix(text, "start of ipaddr-primary on ") && strings.HasSuffix(text, ": ok"):
		return bench.Address
	}
	return ""
}
