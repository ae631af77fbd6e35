package stonith

import (
	"context"
	"errors"
	"fmt"
)

// Class is a kind of failure. Whatever the class, the exit code is 1: Pacemaker knows no other. The
// class decides the text that is printed and whether the power loop asks again.
type Class int

// The classes. Temporary ones are asked again until the deadline, the others end an action at once.
const (
	// Generic is any other failure, for good.
	Generic Class = iota
	// Usage is a mistake in the parameters.
	Usage
	// Login says that the device was not reached, or refused us.
	Login
	// Lost says that the device was reached before and is not now. Temporary.
	Lost
	// TimedOut says that the device did not answer. Temporary.
	TimedOut
	// WaitingOn and WaitingOff say that the wanted state was not seen in time.
	WaitingOn
	WaitingOff
	// Status says that the state could not be read, or the plug does not exist. Temporary.
	Status
	// NoPassword says that no password was given.
	NoPassword
	// Privileges says that the user may not do this.
	Privileges
	// Busy says that the device cannot do this now. Temporary; elsewhere like Generic.
	Busy
)

// texts are searched for by Pacemaker ("timed out" makes it stop trying, see stonith_action in its
// source) and by people; they are those of the fence-agents project, to the letter.
var texts = map[Class]string{
	Generic:    "Failed: Generic error",
	Login:      "Unable to connect/login to fencing device",
	Lost:       "Connection lost",
	TimedOut:   "Connection timed out",
	WaitingOn:  "Failed: Timed out waiting to power ON",
	WaitingOff: "Failed: Timed out waiting to power OFF",
	Status:     "Failed: Unable to obtain correct plug status or plug is not available",
	NoPassword: "Failed: You have to set login password",
	Privileges: "Failed: The user does not have the correct privileges to do the requested action.",
	Busy:       "Failed: Generic error",
	Usage:      "Please use '-h' for usage",
}

// Text is the well-known line of a class.
func (c Class) Text() string { return texts[c] }

// Error is a failure with its class. Reason is one sentence in lower case that says what is wrong,
// on what, and what to do; it must not contain a secret nor, unless the class is about time, the
// words "timed out" or "timeout", which Pacemaker would take for its own.
type Error struct {
	Class  Class
	Reason string
	// Err is the cause, for errors.Is; it is not printed unless Reason repeats it.
	Err error
}

// Error is the reason.
func (e *Error) Error() string { return e.Reason }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error; %w keeps the cause.
func Errorf(class Class, format string, a ...any) error {
	err := fmt.Errorf(format, a...)
	return &Error{Class: class, Reason: err.Error(), Err: err}
}

// ClassOf is the class of an error: that of the outermost Error in it, TimedOut for a context that
// ran out, and else Generic.
func ClassOf(err error) Class {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e.Class
	case errors.Is(err, context.DeadlineExceeded):
		return TimedOut
	}
	return Generic
}

// temporary reports whether it makes sense to ask again.
func temporary(err error) bool {
	switch ClassOf(err) {
	case Lost, TimedOut, Status, Busy:
		return true
	}
	return false
}
