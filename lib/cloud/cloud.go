// Package cloud says who holds an address in a cloud, and lets it be moved: one
// interface, [Provider], that every cloud's driver fulfils (lib/cloud/azure).
//
// It does not touch the operating system's interfaces (lib/netif does), and it
// does not decide who should hold an address: Pacemaker does, by calling an agent.
package cloud

import (
	"context"
	"net/netip"
)

// Owner is what is known of who holds an address. The zero value is Unknown, and
// Unknown is an answer of its own: it is neither "not ours" nor "not running".
type Owner int

// The four answers to the question who holds an address.
const (
	Unknown Owner = iota // the cloud cannot be asked, or does not say
	Nobody               // it is assigned to no interface
	Mine                 // an interface of this machine holds it
	Other                // it is not ours: an interface of another machine holds it, as far as the cloud tells
)

// String is the answer as it is logged.
func (o Owner) String() string {
	switch o {
	case Nobody:
		return "nobody"
	case Mine:
		return "this machine"
	case Other:
		return "another machine"
	}
	return "unknown"
}

// Holding is what the cloud says of an address.
type Holding struct {
	Owner Owner
	// Holder names who has it in the cloud's own words (an interface, and its machine where known).
	Holder string
	// Changing says that the cloud is still carrying out an operation on it.
	Changing bool
}

// Machine is this machine as its cloud knows it.
type Machine struct {
	// Name and ID are the machine's short name and its id in the cloud.
	Name, ID string
	// Interface is the cloud's id of the interface that takes the address, MAC its
	// hardware address: by it the operating system's device is found.
	Interface, MAC string
	// Prefix is the subnet of that interface.
	Prefix netip.Prefix
}

// Provider is one cloud, seen from this machine. A call blocks until ctx ends at most.
// Errors are of type *[Error] where their class is known.
type Provider interface {
	// Name is the value of the agent's parameter provider.
	Name() string
	// Self finds this machine and the interface for address. What it finds may come from
	// a cache; it makes no control-plane call when the cache has it.
	Self(ctx context.Context, address netip.Addr) (Machine, error)
	// Holder asks the control plane. An error always comes with Owner Unknown.
	Holder(ctx context.Context, address netip.Addr) (Holding, error)
	// Acquire makes this machine the holder, whoever held it, and returns nil only when the
	// cloud, read back, says so. It may be called again after any failure or kill, here or
	// elsewhere, and goes on where that left off. accepted is called once, as soon as the cloud has
	// accepted the change and before it is complete; the caller puts the address on the operating
	// system then, and takes it off again if Acquire fails.
	Acquire(ctx context.Context, address netip.Addr, accepted func(context.Context) error) error
	// Settle ends or resolves what an Acquire of this machine left in flight, without starting anything.
	Settle(ctx context.Context, address netip.Addr) error
	// Release gives the address up. Best effort: the next holder takes it anyway.
	Release(ctx context.Context, address netip.Addr) error
	// Preflight looks for everything that would make Acquire fail later.
	Preflight(ctx context.Context, address netip.Addr) []Finding
}

// Finding is one line of a preflight.
type Finding struct {
	// Level says how bad it is; a finding that is Fine says what was checked.
	Level Level
	// Text is what was found and, unless all is well, what to do about it.
	Text string
}

// Level is the weight of a [Finding].
type Level int

// The levels of a finding.
const (
	Fine   Level = iota // checked and good
	Untold              // could not be checked
	Warn                // will work, but not as well as it could
	Fatal               // a start on this machine would fail
)

// Class is what a caller can do about an error of a cloud.
type Class int

// The classes of errors.
const (
	Transient     Class = iota // try again: throttled, locked, unreachable, failed operation
	Permission                 // an identity or right is missing
	Configuration              // parameters or the cloud's resources do not fit together
	Unclassified               // refused for a reason nobody here knows: neither worth repeating nor proven lasting
	Unfit                      // this machine cannot hold the address; another one may
)

// Error is an error of a cloud with its class. Its text is one line that says what is wrong, on
// what, and what to do.
type Error struct {
	Class Class
	Err   error
}

// Error is the text of the error inside.
func (e *Error) Error() string { return e.Err.Error() }

// Unwrap gives the error inside.
func (e *Error) Unwrap() error { return e.Err }
