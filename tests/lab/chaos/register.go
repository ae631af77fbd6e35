package chaos

import (
	"math"
	"sort"
	"time"

	"github.com/anishathalye/porcupine"
)

// What an operation on the register does.
const (
	opRead = iota
	opWrite
	opSwap // compare and set
)

// Op is one operation of a client on one key of the register.
type Op struct {
	// Client and Key say whose and on what.
	Client, Key int
	// Kind is what it does; Value is what was written, or read; Old is what a
	// compare-and-set expected.
	Kind       int
	Value, Old int64
	// Begin and End frame it, by one monotonic clock.
	Begin, End time.Duration
	// Known says that the server answered. What is unknown may have happened, may
	// never, or may yet.
	Known bool
	// Swapped says that a compare-and-set took place.
	Swapped bool
	// Server and Timeline are who answered: the server's start and its timeline.
	Server, Timeline string
	// Via is where the client connected: an address or a node.
	Via string
	// ID is the row that was written with it, 0 for none.
	ID int64
}

// acknowledged says that it wrote and was told so.
func (o Op) acknowledged() bool {
	return o.Known && (o.Kind == opWrite || o.Kind == opSwap && o.Swapped)
}

// register is the model: one number that is read, written, and compared and set.
// Every value is written at most once, and a key begins at 0.
func register() porcupine.Model {
	return porcupine.Model{
		Init: func() any { return int64(0) },
		Step: func(state, input, _ any) (bool, any) {
			now, isNumber := state.(int64)
			o, isOp := input.(Op)
			if !isNumber || !isOp {
				return false, state
			}
			switch {
			case o.Kind == opRead:
				return o.Value == now, now
			case o.Kind == opWrite:
				return true, o.Value
			case o.Known && o.Swapped != (o.Old == now):
				return false, now
			case o.Old == now:
				return true, o.Value
			}
			return true, now
		},
	}
}

// Verdict is what a check of the register found.
type Verdict struct {
	// Ops and Unknown count operations, and those without an answer.
	Ops, Unknown int
	// Broken are the keys whose history no single register can have, Undecided
	// those for which there was no time.
	Broken, Undecided []int
}

// checkRegister looks at each key by itself; patience bounds each.
func checkRegister(ops []Op, patience time.Duration) Verdict {
	var v Verdict
	byKey := map[int][]porcupine.Operation{}
	for _, o := range ops {
		if o.Kind == opRead && !o.Known {
			continue // says nothing
		}
		v.Ops++
		end := o.End.Nanoseconds()
		if !o.Known {
			v.Unknown++
			end = math.MaxInt64
		}
		byKey[o.Key] = append(byKey[o.Key], porcupine.Operation{ClientId: o.Client, Input: o, Call: o.Begin.Nanoseconds(), Return: end})
	}
	for key, history := range byKey {
		switch porcupine.CheckOperationsTimeout(register(), history, patience) {
		case porcupine.Illegal:
			v.Broken = append(v.Broken, key)
		case porcupine.Unknown:
			v.Undecided = append(v.Undecided, key)
		}
	}
	sort.Ints(v.Broken)
	sort.Ints(v.Undecided)
	return v
}
