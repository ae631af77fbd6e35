package meta

import "time"

// Kind is the type of a parameter's value.
type Kind string

// The kinds of parameters. They are our own names; xml.go says what becomes of each in the XML.
const (
	String  Kind = "string"
	Integer Kind = "integer"
	Boolean Kind = "boolean"
	// Select is one word out of Parameter.Options.
	Select Kind = "select"
	// Seconds is a length of time. A bare number counts seconds; the suffixes Pacemaker itself
	// knows (ms, s, m, h and their long forms) are accepted too.
	Seconds Kind = "seconds"
)

// Roles of a promotable resource, as OCF 1.1 spells them.
const (
	RolePromoted   = "Promoted"
	RoleUnpromoted = "Unpromoted"
)

// Parameter is one setting of a resource, `pcs resource create ... NAME=VALUE`.
type Parameter struct {
	Name    string
	Type    Kind
	Default string
	// Derived computes the default of a parameter that follows another one (config follows pgdata).
	// It sees the values of the parameters declared before it. Default then shows the outcome for
	// the defaults of those others.
	Derived func(Values) string
	// Short is one line without a full stop, Long the text that helps a person choose. Paragraphs
	// of Long are separated by an empty line.
	Short, Long string
	Required    bool
	// Unique says that no two resources may share the value.
	Unique bool
	// Reloadable says that a changed value takes effect by the action reload-agent, without a
	// restart of the resource.
	Reloadable bool
	// Secret values are masked in every log line and exit reason. The XML cannot say so: Pacemaker
	// has an attribute for it, but pcs refuses meta-data that carries it.
	Secret bool
	// Min and Max bound an Integer, or a Seconds in whole seconds; nil means unbounded.
	Min, Max *int
	// Options are the words a Select allows.
	Options []string
	// Deprecated, when not nil, says what to use instead.
	Deprecated *Deprecation
	// Check adds a rule of its own to the rules of the type. It is asked only about values that are
	// set and not empty, and its message needs to name neither parameter nor value.
	Check func(value string) error
}

// Deprecation tells why a parameter should no longer be used.
type Deprecation struct {
	ReplacedWith []string
	Why          string
}

// Action is one operation the agent offers, with the timing a cluster should give it by default.
type Action struct {
	Name                          string
	Timeout, Interval, StartDelay time.Duration
	// Role restricts a monitor to RolePromoted or RoleUnpromoted; empty means any.
	Role string
	// Depth is the check level of a monitor: 0, 10 or 20.
	Depth int
}

// Agent is the whole declaration of one agent.
type Agent struct {
	Name string
	// Version is the version of the agent, not of OCF.
	Version     string
	Short, Long string
	Parameters  []Parameter
	Actions     []Action
}

// Parameter returns the declaration of the named parameter.
func (a Agent) Parameter(name string) (Parameter, bool) {
	for _, p := range a.Parameters {
		if p.Name == name {
			return p, true
		}
	}
	return Parameter{}, false
}

// Action returns the first declaration of the named action. A promotable agent declares monitor
// once per role; they differ in interval and role only.
func (a Agent) Action(name string) (Action, bool) {
	for _, act := range a.Actions {
		if act.Name == name {
			return act, true
		}
	}
	return Action{}, false
}
