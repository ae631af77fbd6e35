package replication

import (
	"fmt"
	"strings"
)

// Verdict says how an action goes on after the steps of a Decision.
type Verdict int

// The verdicts.
const (
	// Again: carry out the steps, observe again, ask again.
	Again Verdict = iota
	// Done: carry out the steps; nothing more is to be decided now.
	Done
	// Wait: something is missing that may come; Reason names it. Observe and ask
	// again while there is time.
	Wait
	// No: this must not go on; Reason says why and what to do.
	No
)

// String names the verdict.
func (v Verdict) String() string {
	return [...]string{"again", "done", "wait", "no"}[v]
}

// StepKind is one thing to be carried out.
type StepKind int

// The steps. They are carried out in the order given; a step that fails ends the
// action.
const (
	// SaveRecord makes Record durable: in our file, then in cluster memory.
	SaveRecord StepKind = iota
	// SetScore writes Node's promotion score.
	SetScore
	// SetSync puts Nodes in force as synchronous_standby_names, Count of which a
	// commit waits for (reload, read back).
	SetSync
	// Prove gains the Proof for Node, or ends without it within a bound.
	Prove
	// ReadCopy reads the newest record from Node's own copy of cluster memory.
	ReadCopy
	// Open lets the server leave recovery.
	Open
	// SetVoter makes Node a voter by the record of Epoch.
	SetVoter
	// RewindData takes off the stopped server what the primary Node does not have.
	RewindData
	// CloneData replaces the stopped server's data by a copy of the primary Node.
	CloneData
)

// Step is one thing to be carried out, with the fields its kind needs.
type Step struct {
	Kind   StepKind
	Node   string
	Nodes  []string
	Count  int
	Epoch  uint64
	Score  Score
	Record Record
}

// String writes the step as the text scenarios show it.
func (s Step) String() string {
	switch s.Kind {
	case SaveRecord:
		return "save record " + s.Record.String()
	case SetScore:
		return fmt.Sprintf("score %s %s", s.Node, s.Score)
	case SetVoter:
		return fmt.Sprintf("voter %s epoch=%d", s.Node, s.Epoch)
	case SetSync:
		if s.Count < len(s.Nodes) {
			return fmt.Sprintf("synchronous_standby_names any %d of (%s)", s.Count, strings.Join(s.Nodes, " "))
		}
		return "synchronous_standby_names (" + strings.Join(s.Nodes, " ") + ")"
	case Prove:
		return "prove that commits wait for " + s.Node
	case ReadCopy:
		return "read the record in the copy of " + s.Node
	case Open:
		return "leave recovery"
	case RewindData:
		return "rewind to " + s.Node
	case CloneData:
		return "clone " + s.Node
	}
	return "?"
}

// Decision is the answer to an Observation.
type Decision struct {
	Steps   []Step
	Verdict Verdict
	// Reason is one sentence for a tired operator: what is wrong, on what, what
	// to do. Empty when there is nothing to explain.
	Reason string
}

// String writes the decision as the text scenarios show it.
func (d Decision) String() string {
	var b strings.Builder
	for _, s := range d.Steps {
		fmt.Fprintf(&b, "  %s\n", s)
	}
	fmt.Fprintf(&b, "%s", d.Verdict)
	if d.Reason != "" {
		fmt.Fprintf(&b, ": %s", d.Reason)
	}
	return b.String()
}

func again(steps ...Step) Decision { return Decision{Steps: steps, Verdict: Again} }
func done(steps ...Step) Decision  { return Decision{Steps: steps, Verdict: Done} }

func wait(reason string, steps ...Step) Decision {
	return Decision{Steps: steps, Verdict: Wait, Reason: reason}
}

func no(format string, a ...any) Decision {
	return Decision{Verdict: No, Reason: fmt.Sprintf(format, a...)}
}

func setScore(node string, s Score) Step { return Step{Kind: SetScore, Node: node, Score: s} }
func save(r Record) Step                 { return Step{Kind: SaveRecord, Record: r} }

// list joins names for a sentence.
func list(names []string) string {
	switch len(names) {
	case 0:
		return "nobody"
	case 1:
		return names[0]
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}
