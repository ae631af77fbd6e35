package replication_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	r "pgrex/lib/replication"
)

var update = flag.Bool("update", false, "write what the rules say now into testdata")

// TestScenarios runs the stories in testdata/scenarios. A story builds up an
// observation line by line; a line with a rule's name asks that rule, and what
// it answers stands below "----" up to the next empty line. "carry out" changes
// the observation as the steps of the last answer would.
//
// go test -run Scenario -update writes the answers anew; read the difference.
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/scenarios/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios in testdata/scenarios (%v)", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			got, err := runStory(string(want))
			if err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if got == string(want) {
				return
			}
			if !*update {
				t.Fatalf("%s: the rules answer differently (go test -run Scenario -update, then read the difference):\n%s", file, firstDifference(string(want), got))
			}
			if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		var a, b string
		if i < len(w) {
			a = w[i]
		}
		if i < len(g) {
			b = g[i]
		}
		if a != b {
			return fmt.Sprintf("line %d\n  file:  %s\n  rules: %s", i+1, a, b)
		}
	}
	return "no difference"
}

// story is the state of a scenario.
type story struct {
	o    r.Observation
	last r.Decision
}

func runStory(text string) (string, error) {
	var out strings.Builder
	s := &story{}
	s.reset()
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i := 0; i < len(lines); i++ {
		line := lines[i]
		if line == "----" {
			// The old answer: skipped up to the empty line.
			for i < len(lines) && lines[i] != "" {
				i++
			}
			if i < len(lines) {
				out.WriteString("\n")
			}
			continue
		}
		out.WriteString(line + "\n")
		fields := strings.Fields(line)
		if len(fields) == 0 || strings.HasPrefix(line, "#") {
			continue
		}
		asked, err := s.do(fields[0], fields[1:])
		if err != nil {
			return "", fmt.Errorf("line %d %q: %w", i+1, line, err)
		}
		if asked {
			fmt.Fprintf(&out, "----\n%s\n", s.last)
		}
	}
	return out.String(), nil
}

func (s *story) reset() {
	s.o = r.Observation{Mode: r.Sync, Rejoin: r.Follow, Score: r.Unset, AcceptName: "pgsql-accept-loss", Peers: map[string]r.Peer{}}
}

// do carries out one line; true when it asked a rule.
func (s *story) do(word string, args []string) (bool, error) {
	if rule, ok := map[string]func(r.Observation) r.Decision{
		"start": r.Start, "elect": r.Elect, "promote": r.Promote, "standbys": r.Standbys, "adopt": r.Adopt,
	}[word]; ok {
		s.last = rule(s.o)
		return true, nil
	}
	o := &s.o
	one := strings.Join(args, " ")
	var err error
	switch word {
	case "nodes": // the first is the one whose agent asks
		s.reset()
		o.Self, o.Nodes = args[0], args
		for _, n := range args[1:] {
			o.Peers[n] = r.Peer{Presence: r.Online, Score: r.Unset}
		}
		slices.Sort(o.Nodes)
	case "mode":
		o.Mode = r.Mode(one)
	case "rejoin":
		o.Rejoin = r.Rejoin(one)
	case "record":
		o.Record, err = r.ParseRecord(one)
	case "score":
		o.Score, err = parseScore(one)
	case "at":
		o.Position, err = parsePosition(args)
	case "names":
		o.SyncNames, o.SyncCount = args, len(args)
		if len(args) > 1 && args[0] == "any" {
			o.SyncNames = args[2:]
			o.SyncCount, err = strconv.Atoi(args[1])
		}
	case "external":
		o.External, o.ExternalRows = true, args
	case "sync-standbys":
		o.SyncStandbys, err = strconv.Atoi(one)
	case "quorum":
		o.Quorum = true
	case "voter": // a node's token
		p := o.Peers[args[0]]
		p.Voter, err = strconv.ParseUint(args[1], 10, 64)
		if args[0] == o.Self {
			o.Voter = p.Voter
		} else {
			o.Peers[args[0]] = p
		}
	case "no-external":
		o.External, o.ExternalRows = false, nil
	case "unprotected":
		s.o.Unprotected, s.o.SyncNames = strings.Join(args, " "), nil
		s.o.SyncCount = 0
	case "no-fencing":
		o.NoFencing = true
	case "promoted":
		o.Promoted = one
	case "accept":
		o.Accepted = true
		o.Accept, err = strconv.ParseUint(one, 10, 64)
	case "claimed":
		o.Claimed, err = strconv.ParseUint(one, 10, 64)
	case "proof":
		o.Proofs = append(o.Proofs, r.Proof{Node: one})
	case "unproven":
		o.Unproven = append(o.Unproven, one)
	case "again": // a new action: nothing is proven yet
		o.Proofs, o.Unproven, o.Claimed = nil, nil, 0
	case "wal":
		o.Wal.Clean, o.Wal.WasPrimary = slices.Contains(args, "clean"), slices.Contains(args, "primary")
		args = slices.DeleteFunc(args, func(a string) bool { return a == "clean" || a == "primary" || a == "standby" || a == "crashed" })
		o.Wal.Position, err = parsePosition(args)
	case "upstream":
		o.Upstream = &r.Upstream{Node: strings.Trim(args[0], "?")}
		o.Upstream.Position, err = parsePosition(args[1:])
	case "no-upstream":
		o.Upstream = nil
	case "lock":
		o.Lock = true
	case "broken":
		o.Broken = one
	case "no-rewind":
		o.NoRewind = one
	case "no-clone":
		o.NoClone = one
	case "peer":
		err = s.peer(args[0], args[1:])
	case "copy": // what a node's own copy says
		p := o.Peers[args[0]]
		p.CopyKnown = true
		p.Copy, err = r.ParseRecord(strings.Join(args[1:], " "))
		o.Peers[args[0]] = p
	case "position":
		p := o.Peers[args[0]]
		p.Position = &r.Published{}
		p.Position.Epoch, err = strconv.ParseUint(args[1], 10, 64)
		if err == nil {
			p.Position.Position, err = parsePosition(args[2:])
		}
		o.Peers[args[0]] = p
	case "carry":
		s.carryOut()
	default:
		err = fmt.Errorf("unknown word")
	}
	return false, err
}

// peer takes words: online, lost, down; a score; a row as STATE/SYNCSTATE or
// no-row.
func (s *story) peer(name string, words []string) error {
	p := s.o.Peers[name]
	for _, w := range words {
		state, sync, isRow := strings.Cut(w, "/")
		switch {
		case w == "online":
			p.Presence = r.Online
		case w == "lost":
			p.Presence = r.Lost
		case w == "down":
			p.Presence = r.Down
		case w == "no-row":
			p.Row = nil
		case isRow:
			p.Row = &r.Row{State: state, SyncState: sync}
		default:
			score, err := parseScore(w)
			if err != nil {
				return err
			}
			p.Score = score
		}
	}
	s.o.Peers[name] = p
	return nil
}

func parseScore(s string) (r.Score, error) {
	for _, score := range []r.Score{r.Never, r.Standby, r.Primary} {
		if s == score.String() {
			return score, nil
		}
	}
	if s == "unset" {
		return r.Unset, nil
	}
	return 0, fmt.Errorf("%q is no score", s)
}

// parsePosition reads "TIMELINE@LSN [ANCESTOR@END ...] [system=N]".
func parsePosition(words []string) (r.Position, error) {
	p := r.Position{System: system}
	for i, w := range words {
		if v, ok := strings.CutPrefix(w, "system="); ok {
			n, err := strconv.ParseUint(v, 10, 64)
			if err != nil {
				return p, err
			}
			p.System = n
			continue
		}
		tl, at, ok := strings.Cut(w, "@")
		if !ok {
			return p, fmt.Errorf("%q: want TIMELINE@LSN", w)
		}
		n, err := strconv.ParseUint(tl, 10, 32)
		if err != nil {
			return p, err
		}
		lsn, err := r.ParseLSN(at)
		if err != nil {
			return p, err
		}
		if i == 0 {
			p.Timeline, p.LSN = uint32(n), lsn
		} else {
			p.History = append(p.History, r.Switch{Timeline: uint32(n), End: lsn})
		}
	}
	return p, nil
}

// carryOut does to the observation what the steps of the last answer would do to
// the cluster, everything going well.
func (s *story) carryOut() {
	o := &s.o
	for _, st := range s.last.Steps {
		p := o.Peers[st.Node]
		switch st.Kind {
		case r.SaveRecord:
			o.Record = st.Record
			if st.Record.Primary == o.Self {
				o.Claimed = st.Record.Epoch
			}
			continue
		case r.SetScore:
			if st.Node == o.Self {
				o.Score = st.Score
				continue
			}
			p.Score = st.Score
		case r.SetSync:
			o.SyncNames, o.SyncCount, o.Proofs, o.Unproven = st.Nodes, st.Count, nil, nil
			for name, peer := range o.Peers {
				if peer.Row != nil && peer.Row.State == "streaming" {
					peer.Row = &r.Row{State: "streaming", SyncState: "async"}
					if slices.Contains(st.Nodes, name) {
						peer.Row.SyncState = "sync"
						if st.Count < len(st.Nodes) {
							peer.Row.SyncState = "quorum"
						}
					}
					o.Peers[name] = peer
				}
			}
			continue
		case r.SetVoter:
			p.Voter = st.Epoch
		case r.Prove:
			o.Proofs = append(o.Proofs, r.Proof{Node: st.Node})
			continue
		case r.ReadCopy:
			p.Copy, p.CopyKnown = o.Record, true
		case r.Open:
			continue
		}
		o.Peers[st.Node] = p
	}
}
