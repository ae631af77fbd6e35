package ocf

import (
	"context"
	"errors"
	"fmt"
)

// Code is the exit code of an action. The comments say what Pacemaker makes of each.
type Code int

// The exit codes of OCF 1.1.
const (
	OK Code = 0
	// ErrGeneric is an ordinary failure: the resource is recovered, here or elsewhere.
	ErrGeneric Code = 1
	// ErrArgs, ErrPerm and ErrInstalled are hard: this node is not tried again.
	ErrArgs Code = 2
	// ErrUnimplemented says that the agent has no such action.
	ErrUnimplemented Code = 3
	ErrPerm          Code = 4
	ErrInstalled     Code = 5
	// ErrConfigured is fatal: the resource is stopped on every node.
	ErrConfigured Code = 6
	// NotRunning means cleanly stopped. It is never the answer to "cannot tell".
	NotRunning      Code = 7
	RunningPromoted Code = 8
	// FailedPromoted means broken while promoted: demote, stop, start, perhaps promote.
	FailedPromoted Code = 9
	// Degraded and DegradedPromoted count as running and are only shown.
	Degraded         Code = 190
	DegradedPromoted Code = 191
)

var codeNames = map[Code]string{
	OK: "ok", ErrGeneric: "error", ErrArgs: "invalid parameter", ErrUnimplemented: "unimplemented feature",
	ErrPerm: "insufficient privileges", ErrInstalled: "not installed", ErrConfigured: "not configured",
	NotRunning: "not running", RunningPromoted: "promoted", FailedPromoted: "promoted (failed)",
	Degraded: "degraded", DegradedPromoted: "promoted (degraded)",
}

// String returns the name that crm_mon shows for the code.
func (c Code) String() string {
	if s, ok := codeNames[c]; ok {
		return s
	}
	return fmt.Sprintf("code %d", int(c))
}

// hard reports whether the code keeps the resource off a node, or off the cluster, for good.
func (c Code) hard() bool { return c >= ErrArgs && c <= ErrConfigured && c != ErrUnimplemented }

// Error carries the exit code of an action and the line that explains it.
type Error struct {
	Code Code
	// Reason is one line for the operator: what is wrong, on what, what to do. Empty means that the
	// code says it all (a probe that finds nothing).
	Reason string
	// Err is the cause, if there is one to unwrap.
	Err error
}

// Error returns the reason.
func (e *Error) Error() string {
	switch {
	case e.Reason != "":
		return e.Reason
	case e.Err != nil:
		return e.Err.Error()
	}
	return e.Code.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf returns an error that ends the action with code; the text becomes the exit reason. %w
// keeps the cause reachable.
func Errorf(code Code, format string, a ...any) error {
	err := fmt.Errorf(format, a...)
	return &Error{Code: code, Reason: err.Error(), Err: err}
}

// Status returns the plain answer code of a monitor: not an error, so nothing is logged and no
// reason is set. Status(OK) is nil.
func Status(code Code) error {
	if code == OK {
		return nil
	}
	return &Error{Code: code}
}

// CodeOf returns the exit code that err stands for: 0 for nil, the code of an *Error anywhere in
// its chain, 1 for anything else. A hard code whose cause is an expired or cancelled context is
// lowered to 1: what could not be looked at in time is not known to be missing.
func CodeOf(err error) Code {
	if err == nil {
		return OK
	}
	var e *Error
	if !errors.As(err, &e) {
		return ErrGeneric
	}
	if e.Code.hard() && (errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)) {
		return ErrGeneric
	}
	return e.Code
}

// silent reports whether err is a plain answer that wants no line in the log.
func silent(err error) bool {
	e, ok := err.(*Error) //nolint:errorlint // a wrapped Status was wrapped to say something
	return ok && e.Reason == "" && e.Err == nil
}
