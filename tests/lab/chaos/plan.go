// Package chaos breaks a cluster of the lab in ways that a number has chosen,
// while clients write and read, and checks after each round that nothing
// acknowledged is lost and that there never were two primaries.
//
// It owns the stream of faults (a pure function of the seed), the clients that
// look, and the checks. What a fault does to a machine is in tests/lab/fault;
// clusters are made by tests/lab/cluster.
package chaos

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Shape is what a cluster has that a fault may need.
type Shape struct {
	// Nodes is how many there are.
	Nodes int
	// Azure says that it is in the lab's Azure: no BMC, and a Resource Manager.
	Azure bool
	// OnDisk says that its data is on a real file system, which can be full.
	OnDisk bool
	// OwnWAL says that its pg_wal is on a file system of its own.
	OwnWAL bool
	// Clocks says that its nodes do not agree on the time of day.
	Clocks bool
}

// String names the shape.
func (s Shape) String() string {
	profile, disk := "lan", "tmpfs"
	if s.Azure {
		profile = "azure"
	}
	if s.OnDisk {
		disk = "loop"
	}
	if s.OwnWAL {
		disk = "loop+wal"
	}
	text := fmt.Sprintf("profile=%s nodes=%d disk=%s", profile, s.Nodes, disk)
	if s.Clocks {
		text += " clocks=differ"
	}
	return text
}

// Role is a node by the part it plays when its round begins.
type Role string

// The roles. Other is a standby that may not be promoted, of three nodes or more.
const (
	Primary Role = "primary"
	Standby Role = "standby"
	Other   Role = "other"
)

// Step is one fault of a round.
type Step struct {
	// At is when it begins, counted from the beginning of the round.
	At time.Duration
	// Fault names its kind, Args says more.
	Fault, Args string
	// On is the node it hits.
	On Role
	// Hold is how long it lasts, 0 for a blow.
	Hold time.Duration
}

// String is the step in one line.
func (s Step) String() string {
	t := fmt.Sprintf("+%.2fs %s", s.At.Seconds(), s.Fault)
	if s.Args != "" {
		t += " " + s.Args
	}
	t += " on " + string(s.On)
	if s.Hold > 0 {
		t += fmt.Sprintf(" for %.2fs", s.Hold.Seconds())
	}
	return t
}

// Round is what happens between two checks.
type Round struct {
	// Number counts from 1.
	Number int
	// Steps are its faults in the order of their beginnings.
	Steps []Step
}

// String is the round in one line.
func (r Round) String() string {
	var steps []string
	for _, s := range r.Steps {
		steps = append(steps, s.String())
	}
	return fmt.Sprintf("round %d: %s", r.Number, strings.Join(steps, "; "))
}

// Plan is the stream of rounds of a seed. The same seed, shape and choice of
// faults give the same rounds, whatever the cluster does meanwhile.
type Plan struct {
	// Seed is the number that everything follows from.
	Seed uint64
	// Shape is that of the cluster.
	Shape Shape
	// Kinds are those to choose from, see Choose.
	Kinds []Kind
}

// Round makes the round of a number from 1 on.
//
// The first fault of a round comes from a shuffled pack of all kinds, so that few
// rounds meet many of them; the ones after it are drawn freely.
func (p Plan) Round(number int) Round {
	n := len(p.Kinds)
	pack := source(p.Seed, 0, uint64((number-1)/n)).Perm(n)
	rng := source(p.Seed, 1, uint64(number))
	r := Round{Number: number}
	r.add(p.Kinds[pack[(number-1)%n]], rng, 0, p.Shape)
	for more := 0; more < 2 && rng.Float64() < 0.45; more++ {
		// Most come while the cluster is at work on the one before.
		gap := millis(rng, 0, 2500)
		if rng.Float64() < 0.3 {
			gap = millis(rng, 2500, 9000)
		}
		r.add(p.Kinds[rng.IntN(n)], rng, r.Steps[len(r.Steps)-1].At+gap, p.Shape)
	}
	return r
}

// Clocks chooses how far each node's time of day is off: seconds to half a day, either
// way.
func (p Plan) Clocks(nodes []string) map[string]time.Duration {
	rng := source(p.Seed, 2, 0)
	out := map[string]time.Duration{}
	for _, n := range nodes {
		far := time.Duration(2<<rng.IntN(14)) * time.Second
		if rng.IntN(2) == 0 {
			far = -far
		}
		out[n] = far
	}
	return out
}

// source is a stream of numbers of its own for each choice of its arguments.
func source(seed, kind, number uint64) *rand.Rand {
	var key [32]byte
	binary.LittleEndian.PutUint64(key[0:], seed)
	binary.LittleEndian.PutUint64(key[8:], kind)
	binary.LittleEndian.PutUint64(key[16:], number)
	return rand.New(rand.NewChaCha8(key))
}

func (r *Round) add(k Kind, rng *rand.Rand, at time.Duration, shape Shape) {
	roles := k.Roles
	if shape.Nodes < 3 {
		roles = slices.DeleteFunc(slices.Clone(roles), func(x Role) bool { return x == Other })
	}
	s := Step{At: at, Fault: k.Name, On: roles[rng.IntN(len(roles))]}
	if k.Args != nil {
		s.Args = k.Args(rng)
	}
	if k.Longest > 0 {
		s.Hold = millis(rng, 300, int(k.Longest.Milliseconds()))
	}
	r.Steps = append(r.Steps, s)
}

func millis(rng *rand.Rand, from, to int) time.Duration {
	return time.Duration(from+rng.IntN(to-from)) * time.Millisecond
}

// ParseRound reads steps of the form "kill-postmaster@primary; cut:replication
// both@standby/5s+1s": a fault, its arguments after a colon, the node, how long
// after a slash, and when after a plus.
func ParseRound(number int, text string, kinds []Kind) (Round, error) {
	r := Round{Number: number}
	for _, part := range strings.Split(text, ";") {
		s, err := parseStep(strings.TrimSpace(part))
		if err != nil {
			return r, err
		}
		i := slices.IndexFunc(kinds, func(k Kind) bool { return k.Name == s.Fault })
		if i < 0 {
			return r, fmt.Errorf("no fault %q for this cluster", s.Fault)
		}
		r.Steps = append(r.Steps, s)
	}
	slices.SortStableFunc(r.Steps, func(a, b Step) int { return int(a.At - b.At) })
	return r, nil
}

func parseStep(text string) (s Step, err error) {
	what, where, ok := strings.Cut(text, "@")
	if !ok {
		return s, fmt.Errorf("bad step %q: want FAULT[:ARGS]@ROLE[/HOLD][+AT]", text)
	}
	s.Fault, s.Args, _ = strings.Cut(what, ":")
	where, at, _ := strings.Cut(where, "+")
	role, hold, _ := strings.Cut(where, "/")
	s.On = Role(role)
	if s.On != Primary && s.On != Standby && s.On != Other {
		return s, fmt.Errorf("bad step %q: no role %q", text, role)
	}
	for _, x := range []struct {
		text string
		to   *time.Duration
	}{{hold, &s.Hold}, {at, &s.At}} {
		if x.text == "" {
			continue
		}
		if *x.to, err = time.ParseDuration(x.text); err != nil {
			return s, fmt.Errorf("bad step %q: %w", text, err)
		}
	}
	return s, nil
}
