package stonith

import (
	"context"
	"time"

	"pgrex/lib/meta"
)

// State is what a device says about the power of one plug. Only Off is proof that a machine is
// down: a state that is changing or that nobody understands never is.
type State int

// The states.
const (
	Unknown State = iota
	On
	Off
	// Transitional is on its way to somewhere: starting, stopping, being moved.
	Transitional
)

// String is the state as it is written in logs.
func (s State) String() string {
	switch s {
	case On:
		return "on"
	case Off:
		return "off"
	case Transitional:
		return "changing"
	}
	return "unknown"
}

// Device is what carries out orders: a management controller, a cloud. One device serves one whole
// action, so it holds one session or token for all of it. It is used by one goroutine.
//
// plug is one of Call.Plugs; an agent without plugs gets "". Every method ends when ctx does.
// Errors should be of type *Error: their Class says whether asking again makes sense, and which of
// the well-known texts is printed.
type Device interface {
	// Status asks for the state anew; nothing is ever answered from memory.
	Status(ctx context.Context, plug string) (State, error)
	// On and Off return once the order was accepted. What came of it is read back by Status.
	On(ctx context.Context, plug string) error
	Off(ctx context.Context, plug string) error
	// Close ends the session. It is called exactly once, with a context of its own that ends soon
	// (closeTime), also after failures and after SIGTERM.
	Close(ctx context.Context) error
}

// Cycler is a device that knows method=cycle: power off and on again in one order.
type Cycler interface {
	Cycle(ctx context.Context, plug string) error
}

// Diagnoser is a device that knows the action diag: a diagnostic interrupt, after which a machine
// usually writes a crash dump.
type Diagnoser interface {
	Diag(ctx context.Context, plug string) error
}

// Lister is a device that can name its plugs, for list and list-status.
type Lister interface {
	List(ctx context.Context) ([]Plug, error)
}

// Monitor is a device that can prove itself usable in a better way than by Status of each plug.
// It changes nothing.
type Monitor interface {
	Monitor(ctx context.Context) error
}

// Validator is a device that checks more for validate-all than the parameters' own rules. Agents
// whose devices are none answer validate-all without opening the device.
type Validator interface {
	Validate(ctx context.Context) error
}

// Plug is one line of list.
type Plug struct {
	Name, Alias string
	State       State
}

// Agent is the declaration of a fence agent and the way to its device.
type Agent struct {
	// Name is the binary's name. Short and Long describe it, Vendor is a URL, may be empty.
	Name, Short, Long, Vendor string
	// Plugs says that a plug must be named (a virtual machine, an outlet). Without it the
	// parameter plug is an alias of ip, together with port_as_ip, and ignored otherwise, since
	// Pacemaker sends it always.
	Plugs bool
	// Address adds ip and ipport, Login username and password (both with old names); Cycle adds
	// method, Diag the action diag.
	Address, Login, Cycle, Diag bool
	// Parameters are the agent's own. One with the name of a common parameter replaces that.
	Parameters []Parameter
	// Defaults changes defaults of common parameters, by name.
	Defaults map[string]string
	// Check looks at the parameters together, after each was found right by itself. No network.
	Check func(c *Call) error
	// Validates says that the device is a Validator, so validate-all has to open it.
	Validates bool
	// Poll is how often the state is read while something is waited for: at first after Min, then
	// ever more slowly up to Max. Zero means 100 ms and 1 s. stonith_status_sleep overrides both.
	Poll Interval
	// Patience is how long the device may stay out of reach in the middle of an action before the
	// action gives up. Zero means 20 s.
	Patience time.Duration
	// Open connects to the device. It is not called for metadata, manpage and the like, and only
	// after `delay`.
	Open func(ctx context.Context, c *Call) (Device, error)
}

// Interval is a pair of durations.
type Interval struct{ Min, Max time.Duration }

// Parameter is a setting of a fence agent, in the shared form plus what this contract adds.
type Parameter struct {
	meta.Parameter
	// Old are deprecated names of the same parameter, accepted everywhere.
	Old []string
	// Flag is the long option; Name with dashes if empty. Letter is the short one, if any.
	Flag, Letter string
	// Word stands for the value in the usage text: --ip=[address].
	Word string
	// Deprecated parameters are accepted, and say so in the meta-data.
	Obsolete bool
}
