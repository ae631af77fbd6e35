package ocf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"pgrex/lib/journal"
	"pgrex/lib/life"
	"pgrex/lib/meta"
)

// Agent is a declaration and the functions that carry out its actions. The actions meta-data,
// usage and methods need none; status falls back to monitor and validate-all to the check of the
// parameters.
type Agent struct {
	Meta     meta.Agent
	Handlers map[string]func(ctx context.Context, c *Call) error
	// Hidden are commands of the agent's own that no cluster manager calls: they are
	// in no list and have no deadline, and a signal ends them.
	Hidden map[string]func(ctx context.Context, c *Call) error
}

// Process is what an agent sees of the world outside its parameters. Tests hand in their own.
type Process struct {
	// Args are the arguments without the program's name. The first is the action; OCF says to
	// ignore any others.
	Args           []string
	LookupEnv      func(string) (string, bool)
	Stdout, Stderr io.Writer
	PID            int
	// Now stamps log lines, nothing else.
	Now func() time.Time
	// Syslog is the socket of the system log; "" means none.
	Syslog string
}

// errStopped is the cause of a context that a signal ended.
var errStopped = errors.New("the resource manager told the agent to stop")

// Main runs the agent as a program and ends the process.
func Main(a Agent) {
	code := a.Run(life.UntilTold(errStopped), Process{
		Args: os.Args[1:], LookupEnv: os.LookupEnv, Stdout: os.Stdout, Stderr: os.Stderr,
		PID: os.Getpid(), Now: time.Now, Syslog: "/dev/log",
	})
	os.Exit(int(code))
}

// Run carries out one call and returns the exit code.
func (a Agent) Run(ctx context.Context, p Process) Code {
	code := OK
	names := a.actions()
	var usage bytes.Buffer
	// The text takes longer to write than a monitor to decide; an action does not show it.
	if len(p.Args) == 0 || !slices.Contains(names, p.Args[0]) {
		if err := a.Meta.WriteUsage(&usage); err != nil {
			return ErrGeneric
		}
	}
	app := &cli.App{
		Name:            a.Meta.Name,
		Usage:           a.Meta.Short,
		Version:         meta.Version(),
		HideHelpCommand: true,
		Writer:          p.Stdout,
		ErrWriter:       p.Stderr,
		// The library would end the process itself; only Main does.
		ExitErrHandler:        func(*cli.Context, error) {},
		CustomAppHelpTemplate: strings.ReplaceAll(usage.String(), "{{", "{ {"),
		Action: func(c *cli.Context) error {
			if !c.Args().Present() {
				_, _ = p.Stderr.Write(usage.Bytes())
				// The reference agents answer 1 here, not 2, and scripts know it.
				code = ErrGeneric
				return nil
			}
			code = a.unknown(p, c.Args().First())
			return nil
		},
	}
	for _, name := range names {
		app.Commands = append(app.Commands, &cli.Command{
			Name:            name,
			SkipFlagParsing: true,
			HideHelp:        true,
			Action: func(*cli.Context) error {
				code = a.run(ctx, p, name)
				return nil
			},
		})
	}
	for name, h := range a.Hidden {
		app.Commands = append(app.Commands, &cli.Command{
			Name: name, Hidden: true, SkipFlagParsing: true, HideHelp: true,
			Action: func(*cli.Context) error {
				code = a.hidden(ctx, p, name, h)
				return nil
			},
		})
	}
	if err := app.Run(append([]string{a.Meta.Name}, p.Args...)); err != nil {
		_, _ = fmt.Fprintf(p.Stderr, "%s: %v\n", a.Meta.Name, err)
		return ErrArgs
	}
	return code
}

// builtin are the actions every agent has.
var builtin = []string{"meta-data", "usage", "methods", "validate-all", "status"}

func (a Agent) actions() []string {
	names := a.Meta.ActionNames()
	for _, name := range builtin {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	for name := range a.Handlers {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

func (a Agent) unknown(p Process, action string) Code {
	_, _ = fmt.Fprintf(p.Stderr, "%s: there is no action %q; actions: %s\n", a.Meta.Name, action, strings.Join(a.actions(), " "))
	return ErrUnimplemented
}

// run carries out one action. The three that only describe the agent come first: they must work
// for any user, with any environment, on a machine that has nothing installed.
func (a Agent) run(ctx context.Context, p Process, action string) Code {
	var err error
	switch action {
	case "meta-data":
		err = a.Meta.WriteXML(p.Stdout, dialect(p.LookupEnv))
	case "usage":
		err = a.Meta.WriteUsage(p.Stdout)
	case "methods":
		_, err = fmt.Fprintln(p.Stdout, strings.Join(a.actions(), "\n"))
	default:
		return a.act(ctx, p, action)
	}
	if err != nil {
		_, _ = fmt.Fprintf(p.Stderr, "%s: %v\n", a.Meta.Name, err)
		return ErrGeneric
	}
	return OK
}

// dialect recognises a resource manager that announces OCF 1.1 or newer.
func dialect(lookup func(string) (string, bool)) meta.Dialect {
	number := func(name string) int {
		s, _ := lookup(name)
		n, err := strconv.Atoi(s)
		if err != nil {
			return 0
		}
		return n
	}
	major, minor := number("OCF_RA_VERSION_MAJOR"), number("OCF_RA_VERSION_MINOR")
	if major > 1 || major == 1 && minor >= 1 {
		return meta.OCF11
	}
	return meta.Plain
}

func (a Agent) handler(action string) func(context.Context, *Call) error {
	if h := a.Handlers[action]; h != nil {
		return h
	}
	switch action {
	case "status":
		return a.Handlers["monitor"]
	case "validate-all":
		return func(_ context.Context, c *Call) error { return c.ParamErr }
	}
	return nil
}

// act runs the handler of an action within its deadline and reports the outcome.
func (a Agent) act(ctx context.Context, p Process, action string) Code {
	h := a.handler(action)
	if h == nil {
		return a.unknown(p, action)
	}
	call := NewCall(a.Meta, action, p.LookupEnv, nil)
	out := newJournal(p, a.Meta.Name+"("+call.Instance+")", a.secrets(call))
	defer out.Close()
	log := out.Logger()
	call.Log, call.Hide = log, out.Hide

	late := fmt.Errorf("%s did not end within %s, a little less than the %s that the cluster allows: %w",
		action, call.Timeout-margin(call.Timeout), call.Timeout, context.DeadlineExceeded)
	ctx, cancel := context.WithTimeoutCause(ctx, call.Timeout-margin(call.Timeout), late)
	defer cancel()
	err := await(ctx, h, call)

	code := CodeOf(err)
	if err == nil || silent(err) {
		return code
	}
	// The handler's own words come first, then why its time was up, if they do not say it.
	if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w (%w)", err, cause)
	}
	prefix, ok := p.LookupEnv("OCF_EXIT_REASON_PREFIX")
	if !ok || prefix == "" {
		prefix = "ocf-exit-reason:"
	}
	text := journal.OneLine(err.Error())
	switch code {
	case OK, NotRunning, RunningPromoted, Degraded, DegradedPromoted:
		log.Warn(text)
	default:
		log.Error(text, "action", action, "code", int(code))
	}
	out.Reason(prefix, text)
	return code
}

// hidden runs a command of the agent's own. A panic may end the process: nobody
// waits for an answer.
func (a Agent) hidden(ctx context.Context, p Process, name string, h func(context.Context, *Call) error) Code {
	call := NewCall(a.Meta, name, p.LookupEnv, nil)
	out := newJournal(p, a.Meta.Name+"("+call.Instance+")", a.secrets(call))
	defer out.Close()
	call.Log, call.Hide = out.Logger(), out.Hide
	err := h(ctx, call)
	if err != nil && !silent(err) {
		call.Log.Error(journal.OneLine(err.Error()), "command", name)
	}
	return CodeOf(err)
}

// secrets are the values that must not be logged.
func (a Agent) secrets(call *Call) []string {
	var secrets []string
	for _, param := range a.Meta.Parameters {
		if param.Secret {
			secrets = append(secrets, call.Params[param.Name])
		}
	}
	return secrets
}

// await runs the handler and gives up on one that goes on after its context has ended: half of the
// margin is left for it to return, the other half for us to say so before the manager's SIGKILL.
func await(ctx context.Context, h func(context.Context, *Call) error, call *Call) error {
	done := make(chan error, 1)
	go func() {
		defer func() {
			if v := recover(); v != nil {
				done <- Errorf(ErrGeneric, "defect in the agent: %v at %s; please report it", v, life.PanicSite())
			}
		}()
		done <- h(ctx, call)
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	grace := time.NewTimer(margin(call.Timeout) / 2)
	defer grace.Stop()
	select {
	case err := <-done:
		return err
	case <-grace.C:
		return context.Cause(ctx)
	}
}
