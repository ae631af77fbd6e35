package crm

import (
	"errors"
	"fmt"
)

// Exit codes of Pacemaker's tools that mean something to us (crm_exit_e).
const (
	exitNotConnected = 102
	exitNoSuch       = 105
	exitNoQuorum     = 106
	exitTimeout      = 124
)

var (
	// ErrNotConnected says that this node's cluster daemons do not run or do
	// not listen.
	ErrNotConnected = errors.New("the cluster's daemons on this node are not running")
	// ErrTimeout says that the cluster's daemons did not answer in time.
	ErrTimeout = errors.New("the cluster's daemons did not answer in time")
	// ErrUnreachable says that another node's daemon did not answer. It may
	// be dead, cut off or slow: nothing follows about what runs there.
	ErrUnreachable = errors.New("its cluster daemon did not answer")
	// ErrNoSuch says that there is no such node or attribute.
	ErrNoSuch = errors.New("no such node or attribute")
	// ErrNoQuorum says that the partition is not allowed to do that.
	ErrNoQuorum = errors.New("this partition has no quorum")
	// ErrNoAttrd says that no pacemaker-attrd runs on this node.
	ErrNoAttrd = errors.New("pacemaker-attrd is not running on this node")
	// ErrNotCIB says that something is not the XML of a CIB.
	ErrNotCIB = errors.New("not a CIB")
)

// ToolError is a tool of Pacemaker that failed. It matches ErrNotConnected,
// ErrTimeout, ErrNoSuch and ErrNoQuorum by its exit code.
type ToolError struct {
	// Cmd is the command line.
	Cmd string
	// ExitCode is its exit code.
	ExitCode int
	// Message is the last line it printed.
	Message string
}

// Error says what failed and how.
func (e *ToolError) Error() string {
	s := fmt.Sprintf("%s: exit code %d", e.Cmd, e.ExitCode)
	if err := e.sentinel(); err != nil {
		s += " (" + err.Error() + ")"
	}
	if e.Message != "" {
		s += ": " + e.Message
	}
	return s
}

// Is matches the error that the exit code stands for.
func (e *ToolError) Is(target error) bool { return target != nil && target == e.sentinel() }

func (e *ToolError) sentinel() error {
	switch e.ExitCode {
	case exitNotConnected:
		return ErrNotConnected
	case exitNoSuch:
		return ErrNoSuch
	case exitNoQuorum:
		return ErrNoQuorum
	case exitTimeout:
		return ErrTimeout
	}
	return nil
}
