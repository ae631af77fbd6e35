package cluster

import (
	"regexp"
	"sort"
	"strings"
	"time"
)

// Event is a step of a failover.
type Event struct {
	At   time.Time
	Node string
	Text string
}

// step recognises an event in a node's log. text is expanded from the match.
type step struct {
	match *regexp.Regexp
	text  string
}

func steps() []step {
	s := func(match, text string) step { return step{regexp.MustCompile(match), text} }
	return []step{
		s(`\(update_peer_state_iter\).*notice: Node (\w+) state is now lost`, "$1 is lost from the cluster"),
		s(`Result of monitor operation for pgsql on (\w+): ((?i:not running|error|timed out|promoted \(failed\)|failed in promoted role|promoted))`, "monitor on $1: $2"),
		s(`Result of asyncmon operation for pgsql on (\w+): (?i:error)`, "failure reported on $1"),
		s(`Requesting fencing \((\w+)\) (?:of|targeting) node (\w+)`, "fencing of $2 is asked for"),
		s(`finalize_op.*Operation '(?:reboot|off)' targeting (\w+) by (\w+) .*OK`, "$1 is fenced by $2"),
		s(`Initiating (demote|stop|promote) operation pgsql_\w+ (?:locally )?on (\w+)`, "$1 of pgsql on $2 begins"),
		s(`Result of (demote|stop|promote|start) operation for pgsql on (\w+): (.*?) \|`, "$1 of pgsql on $2: $3"),
		s(`Result of (start|stop) operation for (ipaddr-\w+) on (\w+): (.*?) \|`, "$1 of $2 on $3: $4"),
	}
}

// older has a result's words as Pacemaker 2.1 says them, which are an event's; 3 has others.
var older = strings.NewReplacer(": OK", ": ok", ": Not running", ": not running", ": Error occurred", ": error", ": Error", ": error",
	": Timed out", ": Timed Out", ": Failed in promoted role", ": promoted (failed)", ": Promoted", ": promoted")

// stepsOf are the steps that a line of a log tells of.
func stepsOf(line string) []string {
	var texts []string
	for _, s := range steps() {
		if m := s.match.FindStringSubmatchIndex(line); m != nil {
			texts = append(texts, older.Replace(string(s.match.ExpandString(nil, s.text, line, m))))
		}
	}
	return texts
}

// Events reads from the logs of all nodes what happened since a time: when each
// step was seen first.
func (c *Cluster) Events(since time.Time) ([]Event, error) {
	first := map[string]Event{}
	for _, n := range c.NodeNames() {
		lines, err := c.LogSince(n, since)
		if err != nil {
			return nil, err
		}
		for _, l := range lines {
			for _, text := range stepsOf(l.Text) {
				if e, ok := first[text]; !ok || l.At.Before(e.At) {
					first[text] = Event{At: l.At, Node: n, Text: text}
				}
			}
		}
	}
	var out []Event
	for _, e := range first {
		out = append(out, e)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].At.Before(out[j].At) })
	return out, nil
}
