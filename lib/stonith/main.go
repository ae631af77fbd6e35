package stonith

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"pgrex/lib/journal"
	"pgrex/lib/life"
	"pgrex/lib/meta"
	"pgrex/lib/proc"
)

const (
	// ownLimit ends an action for which the caller has set no limit, or one of which we know
	// nothing. It is longer than the longest limits that are in use with Pacemaker (15 minutes for
	// clouds), which ends its agents itself.
	ownLimit = 30 * time.Minute
	// closeTime is what the end of a session may cost.
	closeTime = 500 * time.Millisecond
)

// Process is what an agent sees of the world. Tests hand in their own.
type Process struct {
	// Program is the name under which it was called, Args what follows.
	Program        string
	Args           []string
	LookupEnv      func(string) (string, bool)
	Stdin          io.Reader
	Stdout, Stderr io.Writer
	PID            int
	// Now stamps log lines, nothing else.
	Now func() time.Time
	// Syslog is the socket of the system log; "" means none.
	Syslog string
	Runner proc.Runner
}

// errStopped is the cause of a context that a signal ended.
var errStopped = errors.New("the agent was told to stop by a signal; nothing is known about what came of its orders")

// Main runs the agent as a program and ends the process.
func Main(a Agent) {
	neverPass()
	os.Exit(a.Run(life.UntilTold(errStopped), Process{
		Program: filepath.Base(os.Args[0]), Args: os.Args[1:], LookupEnv: os.LookupEnv,
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		PID: os.Getpid(), Now: time.Now, Syslog: "/dev/log", Runner: proc.OS{},
	}))
}

// Run carries out one call and returns the exit code: 0 for success, 1 for failure, 2 only for a
// status that is off.
func (a Agent) Run(ctx context.Context, p Process) int {
	cfg := journal.Config{
		Stderr: p.Stderr, StderrLevel: slog.LevelWarn, Level: slog.LevelInfo,
		Tag: p.Program, PID: p.PID, Syslog: p.Syslog, LookupEnv: p.LookupEnv, Now: p.Now,
	}
	fromStdin := len(p.Args) == 0
	g, err := a.read(ctx, p, fromStdin)
	if err != nil {
		j := journal.New(cfg)
		defer j.Close()
		return report(j, err)
	}
	c, mistakes := a.newCall(g, p.Program, fromStdin, p.LookupEnv)
	if shown, err := a.describe(p, c); shown {
		if err != nil {
			_, _ = fmt.Fprintln(p.Stderr, err)
			return 1
		}
		return 0
	}

	if c.Verbose > 0 {
		cfg.StderrLevel, cfg.Level = slog.LevelDebug, slog.LevelDebug
	}
	if c.Values.Bool("quiet") {
		cfg.Stderr = nil
	}
	j := journal.New(cfg)
	defer j.Close()
	c.Log, c.Run, c.hide = j.Logger(), p.Runner, j.Hide
	for _, param := range a.parameters() {
		if param.Secret {
			j.Hide(c.Values.String(param.Name))
		}
	}
	for _, w := range g.warnings {
		c.Log.Warn(w)
	}
	code, err := a.carryOut(ctx, c, p, j, mistakes)
	if err != nil {
		return report(j, err)
	}
	return code
}

// read takes the input from standard input, or from the command line if there is one.
func (a Agent) read(ctx context.Context, p Process, fromStdin bool) (*given, error) {
	if !fromStdin {
		return parseOptions(p.Args, a.parameters())
	}
	type result struct {
		g   *given
		err error
	}
	// Reading cannot be interrupted; a signal ends the process without it.
	done := make(chan result, 1)
	go func() {
		g, err := parseStdin(p.Stdin, a.parameters())
		done <- result{g, err}
	}()
	select {
	case r := <-done:
		return r.g, r.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// describe answers what only describes the agent. It must work for any user, with any other
// parameters, right or wrong.
func (a Agent) describe(p Process, c *Call) (bool, error) {
	switch {
	case c.Values.Bool("help"):
		return true, a.WriteUsage(p.Stdout, p.Program)
	case c.Action == "metadata":
		return true, a.WriteXML(p.Stdout, p.Program)
	case c.Action == "manpage":
		return true, a.WriteManual(p.Stdout, p.Program)
	case c.Values.Bool("version"):
		_, err := fmt.Fprintln(p.Stdout, meta.Version())
		return true, err
	}
	return false, nil
}

// carryOut checks the call, waits for `delay`, opens the device and runs the action on it.
func (a Agent) carryOut(ctx context.Context, c *Call, p Process, j *journal.Journal, mistakes []error) (code int, err error) {
	defer func() {
		if v := recover(); v != nil {
			c.Log.Debug(string(debug.Stack()))
			err = Errorf(Generic, "defect in the agent: %v at %s; please report it", v, life.PanicSite())
		}
	}()
	if err := a.check(c); err != nil {
		return 0, err
	}
	if len(mistakes) > 0 {
		return 0, Errorf(Usage, "Failed: %w", errors.Join(mistakes...))
	}
	if path := c.Values.String("debug_file"); path != "" {
		if err := j.Debug(path); err != nil {
			return 0, Errorf(Usage, "Failed: Unable to create file %s: %w", path, err)
		}
	}
	switch {
	case c.Action == "validate-all" && !a.Validates:
		return 0, nil
	case strings.HasPrefix(c.Action, "list") && !a.Plugs:
		_, _ = fmt.Fprintln(p.Stdout, "NOTICE: List option is not working on this device yet")
		return 0, nil
	case c.Action == "off" || c.Action == "reboot":
		if err := life.Pause(ctx, c.Values.Duration("delay")); err != nil {
			return 0, context.Cause(ctx)
		}
	}
	begun := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, ownLimit,
		fmt.Errorf("%s did not end within the agent's own limit of %s: %w", c.Action, ownLimit, context.DeadlineExceeded))
	defer cancel()
	if err := c.findPassword(ctx); err != nil {
		return 0, err
	}
	dev, err := a.Open(ctx, c)
	if err != nil {
		return 0, stopped(ctx, err)
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
		defer cancel()
		if err := dev.Close(end); err != nil {
			c.Log.Debug("the session could not be closed: " + err.Error())
		}
	}()
	act := newAction(a, c, dev, p.Stdout)
	if err := act.yield(ctx, begun); err != nil {
		return 0, stopped(ctx, err)
	}
	code, err = act.run(ctx)
	return code, stopped(ctx, err)
}

// stopped prefers the reason why the context ended to what a device made of it.
func stopped(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && errors.Is(cause, errStopped) && !errors.Is(err, cause) {
		return Errorf(Generic, "%w", cause)
	}
	return err
}

// report prints what went wrong, the sentence first and the well-known text last.
func report(j *journal.Journal, err error) int {
	j.Logger().Error(err.Error())
	j.Fixed(ClassOf(err).Text())
	return 1
}
