package cluster

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pgrex/lib/replication"
)

// LogLine is a line of a node's Pacemaker log, with its time in milliseconds.
type LogLine struct {
	At time.Time
	// Node is where it was written, Daemon by whom.
	Node, Daemon string
	// Text is the rest.
	Text string
}

// daemons begin the names of those that write the log by their node's clock; the
// agents' lines are by the true one.
const daemons = "pacemaker"

// LogSince reads a node's Pacemaker log from a time on, which is the true one.
func (c *Cluster) LogSince(node string, since time.Time) ([]LogLine, error) {
	f, err := os.Open(filepath.Join(c.Logs(node), "pacemaker", "pacemaker.log"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []LogLine
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		l, ok := parseLogLine(s.Text(), since)
		if strings.HasPrefix(l.Daemon, daemons) {
			l.At = l.At.Add(-c.clocks[node])
		}
		if ok && !l.At.Before(since.Truncate(time.Millisecond)) {
			out = append(out, l)
		}
	}
	return out, s.Err()
}

// parseLogLine reads "Nov 21 05:34:58.791 n2 pacemaker-fenced    [53] text".
// The year is that of near; it is not in the log.
func parseLogLine(s string, near time.Time) (LogLine, bool) {
	if len(s) < 20 {
		return LogLine{}, false
	}
	at, err := time.ParseInLocation("2006 Jan _2 15:04:05.000", fmt.Sprintf("%d %s", near.Year(), s[:19]), time.Local)
	if err != nil {
		return LogLine{}, false
	}
	rest := strings.TrimSpace(s[19:])
	node, rest, _ := strings.Cut(rest, " ")
	daemon, rest, _ := strings.Cut(rest, "[")
	_, text, _ := strings.Cut(rest, "]")
	return LogLine{At: at, Node: node, Daemon: strings.TrimSpace(daemon), Text: strings.TrimSpace(text)}, true
}

// WithdrawnAt is when a node's own copy of the cluster's memory first held, after
// a time, a record that does not entitle it: the proof on which commits may go on
// without it. Its score alone would prove nothing.
func (c *Cluster) WithdrawnAt(node string, since time.Time) (time.Time, error) {
	lines, err := c.LogSince(node, since)
	if err != nil {
		return time.Time{}, err
	}
	for _, l := range lines {
		if r, ok := recordWritten(l); ok && !r.Entitles(node) {
			return l.At, nil
		}
	}
	return time.Time{}, fmt.Errorf("the log of %s shows no record that takes its right away", node)
}

// recordWritten is the record that a line of the CIB daemon's log says was written.
func recordWritten(l LogLine) (replication.Record, bool) {
	if l.Daemon != "pacemaker-based" || !strings.Contains(l.Text, "-"+ResourcePgsql+"-record") {
		return replication.Record{}, false
	}
	_, value, found := strings.Cut(l.Text, "epoch=")
	value, _, _ = strings.Cut(value, `"`)
	r, err := replication.ParseRecord("epoch=" + value)
	return r, found && err == nil
}
