// Package proc runs other programs and is the only owner of os/exec in the
// suite.
//
// It owns what a resource agent has to get right every time it starts a
// process: a deadline that kills the whole process group, the credentials of
// another user together with that user's supplementary groups and limits, a
// cap on the output kept, no descriptor handed down but 0, 1 and 2, and no
// secret in an error text. It does not know any program it runs; what an exit
// code means is for the caller to say.
//
// A command that leaves a daemon behind does not hang Run, although the daemon
// keeps the output open: Run ends when the process it started ends, and what
// that process wrote before is in the result.
package proc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"
)

const (
	// DefaultMaxOutput is the number of bytes kept of each of standard
	// output and standard error when Cmd.MaxOutput is zero.
	DefaultMaxOutput = 1 << 20
	// DefaultGrace is the time between SIGTERM and SIGKILL when Cmd.Grace
	// is zero.
	DefaultGrace = 500 * time.Millisecond
)

var (
	// ErrNotFound says that the program to run is not there. Errors of Run
	// wrap it.
	ErrNotFound = errors.New("program not found")
	// ErrStuck says that a process did not end although it was sent SIGKILL,
	// as one does that waits for a dead disk. It is still running.
	ErrStuck = errors.New("process did not end after SIGKILL")
)

// Cmd is one program to run.
type Cmd struct {
	// Path is the program: an absolute path, or a name to be looked up in
	// PATH and then in the usual directories for system programs.
	Path string
	// Args are the arguments after the program's own name.
	Args []string
	// Env is the whole environment of the program. When nil the program
	// gets User.Env if there is a User, and else our own environment
	// without the parameters of the resource (OCF_RESKEY_*), among which
	// there may be passwords.
	Env []string
	// Dir is the working directory; empty means / (never the caller's,
	// which may be gone or not readable for User).
	Dir string
	// Stdin is what the program reads; nil means /dev/null.
	Stdin io.Reader
	// User is whom the program runs as; nil means as we do.
	User *User
	// Limits are in force before the program begins, see LoginLimits. What
	// cannot be set is told in Result.LimitsErr.
	Limits []Limit
	// MaxOutput bounds, in bytes, what is kept of each of the two outputs;
	// what comes after is read and thrown away. 0 means DefaultMaxOutput.
	MaxOutput int
	// Discard sends both outputs to /dev/null: for a program that leaves a
	// daemon behind, which would otherwise get SIGPIPE once Run has ended.
	Discard bool
	// Follow is given what the program writes to its standard error as it comes,
	// from one goroutine that Run waits for: the progress of one that takes long.
	Follow func([]byte)
	// Secrets are replaced by *** in errors and in Result.Stderr.
	Secrets []string
	// Umask is the program's file mode creation mask. 0 means 077 if there
	// is a User and ours otherwise.
	Umask int
	// NewSession detaches the program from our session, and it is not
	// killed when we are. Without it the kernel kills the program when our
	// own process dies, since Pacemaker's SIGKILL does not reach the
	// program's process group and the next action must find nobody at work.
	NewSession bool
	// Grace is the time between SIGTERM and SIGKILL once ctx has ended.
	// 0 means DefaultGrace.
	Grace time.Duration
}

// String is the command line for logs and errors, with the secrets replaced.
func (c Cmd) String() string {
	return Redact(strings.Join(append([]string{c.Path}, c.Args...), " "), c.Secrets)
}

// Result is what a program left.
type Result struct {
	// Stdout and Stderr are the first MaxOutput bytes of each output.
	Stdout, Stderr []byte
	// ExitCode is the exit status, or 128 plus the signal's number for a
	// program ended by a signal, as in a shell.
	ExitCode int
	// Signal is the signal that ended the program, or 0.
	Signal syscall.Signal
	// Truncated says that an output was longer than MaxOutput.
	Truncated bool
	// LimitsErr says which of Cmd.Limits could not be set; the program ran
	// without them.
	LimitsErr error
}

// Message is the last line of the standard error, or of the standard output if
// that is empty: what a program most likely said about its failure.
func (r Result) Message() string {
	for _, out := range [][]byte{r.Stderr, r.Stdout} {
		s := strings.TrimSpace(string(out))
		if s == "" {
			continue
		}
		return strings.TrimSpace(s[strings.LastIndexByte(s, '\n')+1:])
	}
	return ""
}

// Runner runs programs. A non-zero exit status is not an error: Run fails only
// if the program could not be started or did not end before ctx did. In the
// latter case the error wraps ctx's, and the result holds the output so far.
type Runner interface {
	Run(ctx context.Context, cmd Cmd) (Result, error)
}

// KilledError says that ctx ended before the program did, which was killed.
type KilledError struct {
	// Cmd is the command line without secrets.
	Cmd string
	// After is how long the program had run.
	After time.Duration
	// Err is ctx's error, possibly joined with ErrStuck.
	Err error
}

// Error says what was killed and why.
func (e *KilledError) Error() string {
	return fmt.Sprintf("%s: killed after %v: %v", e.Cmd, e.After.Round(time.Millisecond), e.Err)
}

// Unwrap gives ctx's error.
func (e *KilledError) Unwrap() error { return e.Err }

// Redact replaces each of the secrets in s by ***. Empty secrets are ignored.
func Redact(s string, secrets []string) string {
	for _, x := range secrets {
		if x != "" {
			s = strings.ReplaceAll(s, x, "***")
		}
	}
	return s
}

// InheritedEnv is our own environment without the resource's parameters.
func InheritedEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "OCF_RESKEY_") {
			env = append(env, kv)
		}
	}
	return env
}
