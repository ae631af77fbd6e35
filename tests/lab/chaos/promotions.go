package chaos

import (
	"fmt"
	"regexp"
	"sort"
	"time"

	"pgrex/tests/lab/cluster"
)

// event is a line of a Pacemaker log that says who may be primary.
type event struct {
	at   time.Time
	what string // promoting, promoted, ended, fenced
	node string
	text string
}

// Pacemaker 3 begins a result with a capital.
var (
	promoting = regexp.MustCompile(`Initiating promote operation pgsql_promote_0 (?:locally )?on (\w+)`)
	promoted  = regexp.MustCompile(`Result of promote operation for pgsql on (\w+): (?i:ok)`)
	ended     = regexp.MustCompile(`Result of (?:demote|stop) operation for pgsql on (\w+): (?i:ok)|Result of (?:probe|monitor) operation for pgsql on (\w+): (?i:not running)`)
	fencedOK  = regexp.MustCompile(`Operation '(?:reboot|off)' targeting (\w+) by .*: OK|Operation '(?:reboot|off)' targeting (\w+) .* OK`)
)

// events are those of all nodes in the order of time.
func events(c *cluster.Cluster, since time.Time) ([]event, error) {
	var all []event
	for _, n := range c.NodeNames() {
		lines, err := c.LogSince(n, since)
		if err != nil {
			return nil, err
		}
		for _, l := range lines {
			if e, ok := eventOf(l); ok {
				all = append(all, e)
			}
		}
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].at.Before(all[j].at) })
	return all, nil
}

func eventOf(l cluster.LogLine) (event, bool) {
	for _, x := range []struct {
		what  string
		match *regexp.Regexp
	}{{"promoting", promoting}, {"promoted", promoted}, {"ended", ended}, {"fenced", fencedOK}} {
		if m := x.match.FindStringSubmatch(l.Text); m != nil {
			node := m[1]
			if node == "" {
				node = m[2]
			}
			return event{at: l.At, what: x.what, node: node, text: l.Text}, true
		}
	}
	return event{}, false
}

// checkPromotions says which promotion began though the primary before had not been
// ended by a demote, a stop or a fencing, and counts those that were done. first is
// the primary at the beginning.
//
// A primary is also ended when it is seen not to run: a node that comes back after a
// loss of power is probed. And a promotion that was begun and never reported makes
// its node one that may be primary.
func checkPromotions(all []event, first string) (done int, wrong []string) {
	open := map[string]bool{}
	if first != "" {
		open[first] = true
	}
	for _, e := range all {
		switch e.what {
		case "promoting":
			for n := range open {
				if n != e.node {
					wrong = append(wrong, fmt.Sprintf("%s: promotion of %s began while nothing showed that the primary %s had ended (%s)",
						e.at.Format("15:04:05.000"), e.node, n, e.text))
				}
			}
			open = map[string]bool{e.node: true}
		case "promoted":
			done++
			open[e.node] = true
		default:
			delete(open, e.node)
		}
	}
	return done, wrong
}
