package replication_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	r "pgrex/lib/replication"
)

// The bugs that the properties must find. Each is planted around the product's
// rules or in the interpreter of the test world; the product has no switch for it.
var planted = []struct {
	name  string
	plant func(w *world)
	// found is part of what the properties say about it.
	found []string
	// near is a seed shortly before one that finds it: a short cut for the unit
	// tests and nothing more, the search goes on from there as far as it must.
	near uint64
	// several: in a life of several synchronous standbys and quorums.
	several bool
}{
	{"release before withdrawal", func(w *world) { w.rules.Standbys = releaseFirst },
		[]string{"yet may be promoted", "opened as primary without"}, 13, false},
	{"withdrawal not proven where it would be used", func(w *world) { w.rules.Standbys = forgetAtOnce },
		[]string{"yet may be promoted", "opened as primary without"}, 31, false},
	{"read-back from the local copy", func(w *world) { w.bugs.localReadBack = true },
		[]string{"yet may be promoted", "opened as primary without", "can acknowledge too"}, 609, false},
	{"memory taken for a right", func(w *world) { w.rules.Elect, w.rules.Promote = rememberedElect, rememberedPromote },
		[]string{"opened as primary without", "though its WAL differs"}, 2807, false},
	{"LSNs compared as text", func(w *world) {
		w.rules.Start, w.rules.Elect, w.rules.Promote = asText(r.Start), asText(r.Elect), asText(r.Promote)
	}, []string{"opened as primary without", "though its WAL differs"}, 5, false},
	{"grant without proof", func(w *world) { w.bugs.blindProof = true },
		[]string{"yet may be promoted", "opened as primary without"}, 98, false},
	{"lost taken for down", func(w *world) {
		w.rules.Standbys, w.rules.Promote = lostIsDown(r.Standbys), lostIsDown(r.Promote)
	}, []string{"yet may be promoted", "opened as primary without"}, 112, false},
	{"a promotion outranks nothing", func(w *world) {
		w.rules.Promote, w.rules.Standbys = smallSteps(r.Promote), smallSteps(r.Standbys)
	}, []string{"no primary though all is repaired", "acknowledges nothing"}, 730, false},
	{"a crashed primary's WAL is started over unseen", func(w *world) {
		w.rules.Start = func(r.Observation) r.Decision { return r.Decision{Verdict: r.Done} }
	}, []string{"though its WAL differs", "no primary though all is repaired"}, 27, false},
	{"one voter too few", func(w *world) { w.rules.Elect, w.rules.Promote = fewerVoters(r.Elect), fewerVoters(r.Promote) },
		[]string{"opened as primary without", "can acknowledge too"}, 1805, true},
	{"a vote by an older record", func(w *world) { w.rules.Elect, w.rules.Promote = anyToken(r.Elect), anyToken(r.Promote) },
		[]string{"opened as primary without", "can acknowledge too"}, 645, true},
	{"a quorum formed beside the old one", func(w *world) { w.rules.Standbys = formAtOnce },
		[]string{"voters of epoch", "opened as primary without"}, 460, true},
	{"a voter with a right of its own", func(w *world) { w.rules.Standbys = voterAlone },
		[]string{"yet may be promoted", "opened as primary without"}, 1700, true},
}

func TestPlantedBugsAreFound(t *testing.T) {
	const seeds = 6000
	for _, bug := range planted {
		t.Run(bug.name, func(t *testing.T) {
			for i := range uint64(seeds) {
				seed := (bug.near + i) % seeds
				w, c := newWorld(2+int(seed%2), r.Sync), seededChooser{rand.New(rand.NewPCG(seed, 99))}
				var more []event
				if bug.several {
					w, more = several(newWorld(3+int(seed%3), r.Sync), c), severalEvents()
				}
				bug.plant(w)
				problem := schedule(w, c, 200, more...)
				if problem == "" {
					continue
				}
				if !slices.ContainsFunc(bug.found, func(s string) bool { return strings.Contains(problem, s) }) {
					t.Fatalf("found, but by another sign (seed %d): %s", seed, report(w, problem, 60))
				}
				t.Logf("seed %d: %s", seed, problem)
				return
			}
			t.Fatalf("not found in %d schedules: the properties are too weak", seeds)
		})
	}
}

// releaseFirst stops waiting for a standby that is gone before its right is.
func releaseFirst(o r.Observation) r.Decision {
	var alive []string
	for _, n := range o.SyncNames {
		if row := o.Peers[n].Row; row != nil && row.Streaming() {
			alive = append(alive, n)
		}
	}
	if len(alive) < len(o.SyncNames) {
		return r.Decision{Verdict: r.Again, Steps: []r.Step{{Kind: r.SetSync, Nodes: alive, Count: len(alive)}}}
	}
	return r.Standbys(o)
}

// forgetAtOnce takes its own write of the withdrawal for the proof.
func forgetAtOnce(o r.Observation) r.Decision {
	for n, p := range o.Peers {
		p.Copy, p.CopyKnown = o.Record, true
		o.Peers[n] = p
	}
	return r.Standbys(o)
}

// rememberedElect and rememberedPromote believe the record alone.
func rememberedElect(o r.Observation) r.Decision {
	if o.Record.Entitles(o.Self) {
		return r.Decision{Verdict: r.Done, Steps: []r.Step{{Kind: r.SetScore, Node: o.Self, Score: r.Primary}}}
	}
	return r.Elect(o)
}

func rememberedPromote(o r.Observation) r.Decision {
	if o.Record.Entitles(o.Self) {
		o.Score = r.Standby
	}
	return r.Promote(o)
}

// asText gives a rule LSNs whose order is that of their text.
func asText(rule func(r.Observation) r.Decision) func(r.Observation) r.Decision {
	return func(o r.Observation) r.Decision {
		o.Position, o.Wal.Position = textPosition(o.Position), textPosition(o.Wal.Position)
		if o.Upstream != nil {
			o.Upstream = &r.Upstream{Node: o.Upstream.Node, Position: textPosition(o.Upstream.Position)}
		}
		for n, p := range o.Peers {
			if p.Position != nil {
				p.Position = &r.Published{Epoch: p.Position.Epoch, Position: textPosition(p.Position.Position)}
				o.Peers[n] = p
			}
		}
		return rule(o)
	}
}

func textPosition(p r.Position) r.Position {
	p.LSN = textLSN(p.LSN)
	p.History = slices.Clone(p.History)
	for i := range p.History {
		p.History[i].End = textLSN(p.History[i].End)
	}
	return p
}

// textLSN is a number that sorts as the text of the lower half does.
func textLSN(l r.LSN) r.LSN {
	var b [8]byte
	copy(b[:], fmt.Sprintf("%X", uint32(l)))
	return r.LSN(binary.BigEndian.Uint64(b[:]))
}

func lostIsDown(rule func(r.Observation) r.Decision) func(r.Observation) r.Decision {
	return func(o r.Observation) r.Decision {
		o.NoFencing = true
		return rule(o)
	}
}

// smallSteps lets every write of the record count the same.
func smallSteps(rule func(r.Observation) r.Decision) func(r.Observation) r.Decision {
	return func(o r.Observation) r.Decision {
		d := rule(o)
		for i, s := range d.Steps {
			if s.Kind == r.SaveRecord {
				d.Steps[i].Record.Epoch = o.Record.Epoch + 1
			}
		}
		return d
	}
}

// fewerVoters elects with one voter less than cannot miss a commit.
func fewerVoters(rule func(r.Observation) r.Decision) func(r.Observation) r.Decision {
	return func(o r.Observation) r.Decision {
		if o.Record.Quorum > 0 {
			o.Record.Quorum++
		}
		return rule(o)
	}
}

// anyToken takes every token for one of the record that is known.
func anyToken(rule func(r.Observation) r.Decision) func(r.Observation) r.Decision {
	return func(o r.Observation) r.Decision {
		o.Voter = o.Record.Epoch
		for n, p := range o.Peers {
			p.Voter = o.Record.Epoch
			o.Peers[n] = p
		}
		return rule(o)
	}
}

// formAtOnce puts other names in force while the voters of the old ones stand.
func formAtOnce(o r.Observation) r.Decision {
	var streaming []string
	for _, n := range o.Nodes {
		if p, ok := o.Peers[n]; ok && p.Row != nil && p.Row.Streaming() && p.Presence != r.Down {
			streaming = append(streaming, n)
		}
	}
	if o.Record.Quorum > 0 && len(streaming) > 0 && (len(streaming) != len(o.SyncNames) || o.SyncCount != min(o.SyncStandbys, len(streaming))) {
		return r.Decision{Verdict: r.Again, Steps: []r.Step{{Kind: r.SetSync, Nodes: streaming, Count: min(o.SyncStandbys, len(streaming))}}}
	}
	return r.Standbys(o)
}

// voterAlone grants every voter what only one that holds everything may have.
func voterAlone(o r.Observation) r.Decision {
	d := r.Standbys(o)
	for _, s := range d.Steps {
		if s.Kind == r.SetVoter {
			d.Steps = append(d.Steps, r.Step{Kind: r.SetScore, Node: s.Node, Score: r.Standby})
		}
	}
	for i, s := range d.Steps {
		if s.Kind == r.SaveRecord && s.Record.Quorum > 0 {
			d.Steps[i].Record.Quorum = 0
			for _, n := range s.Record.Entitled {
				if n != o.Self {
					d.Steps = append(d.Steps, r.Step{Kind: r.SetScore, Node: n, Score: r.Standby})
				}
			}
		}
	}
	return d
}
