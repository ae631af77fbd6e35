package stonith

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
)

// action carries out one action on an open device.
type action struct {
	agent Agent
	call  *Call
	dev   Device
	out   io.Writer
	power *power
}

// statusOff is the exit code by which status says off.
const statusOff = 2

func newAction(a Agent, c *Call, dev Device, out io.Writer) *action {
	p := &power{dev: dev, plugs: c.Plugs, log: c.Log, poll: a.Poll, patience: a.Patience}
	if p.poll == (Interval{}) {
		p.poll = Interval{defaultMin, defaultMax}
	}
	if c.IsSet("stonith_status_sleep") {
		d := c.Values.Duration("stonith_status_sleep")
		p.poll = Interval{max(d, time.Millisecond), max(d, time.Millisecond)}
	}
	p.wait = c.Values.Duration("power_wait")
	if p.patience == 0 {
		p.patience = defaultPatience
	}
	return &action{agent: a, call: c, dev: dev, out: out, power: p}
}

// run returns the exit code of a success.
func (a *action) run(ctx context.Context) (int, error) {
	switch a.call.Action {
	case "list", "list-status":
		return 0, a.list(ctx)
	case "monitor":
		return 0, a.monitor(ctx)
	case "validate-all":
		if v, ok := a.dev.(Validator); ok {
			return 0, v.Validate(ctx)
		}
		return 0, nil
	}
	state, err := a.power.state(ctx)
	if err != nil {
		return 0, err
	}
	switch a.call.Action {
	case "status":
		return a.status(state)
	case "on":
		return 0, a.on(ctx, state)
	case "off":
		return 0, a.off(ctx, state)
	case "diag":
		return 0, a.diag(ctx)
	}
	return 0, a.reboot(ctx, state)
}

func (a *action) say(format string, args ...any) {
	_, _ = fmt.Fprintf(a.out, format+"\n", args...)
}

func (a *action) status(state State) (int, error) {
	switch state {
	case On:
		a.say("Status: ON")
		return 0, nil
	case Off:
		a.say("Status: OFF")
		return statusOff, nil
	}
	return 0, Errorf(Status, "the state of %s is %s, neither on nor off", a.what(), state)
}

// what names what is acted on, for sentences.
func (a *action) what() string {
	switch {
	case a.call.Node != "":
		return "node " + a.call.Node
	case len(a.call.Plugs) > 0 && a.call.Plugs[0] != "":
		return fmt.Sprintf("plug %q", a.call.Values.String("plug"))
	}
	return "the machine"
}

func (a *action) on(ctx context.Context, state State) error {
	if state == On {
		a.say("Success: Already ON")
		return nil
	}
	plan := onPlan{rounds: 1 + a.call.Values.Int("retry_on"), eager: !a.call.IsSet("retry_on")}
	if err := a.power.on(ctx, a.call.Limit("power_timeout"), plan); err != nil {
		return err
	}
	a.say("Success: Powered ON")
	return nil
}

func (a *action) off(ctx context.Context, state State) error {
	if state == Off {
		a.say("Success: Already OFF")
		return nil
	}
	if err := a.power.off(ctx, a.call.Limit("power_timeout")); err != nil {
		return err
	}
	a.say("Success: Powered OFF")
	return nil
}

// reboot succeeds if and only if the machine was proven off. Whether it came back is worth a
// warning: the cluster's question is whether the node can still write.
func (a *action) reboot(ctx context.Context, state State) error {
	cycled := false
	if state != Off {
		var err error
		if cycled, err = a.prove(ctx); err != nil {
			return err
		}
	}
	if !cycled || !a.power.comesBack(ctx) {
		tries := int(onWindow / onAgain)
		if a.call.IsSet("retry_on") {
			tries = a.call.Values.Int("retry_on")
		}
		if err := a.power.backOn(ctx, tries); err != nil {
			a.call.Log.Warn(fmt.Sprintf("%s is fenced, but was not seen on again and may be off: %s", a.what(), err))
		}
	}
	a.say("Success: Rebooted")
	return nil
}

// prove gets the machine off, by a cycle where that is wanted and seen to work.
func (a *action) prove(ctx context.Context) (cycled bool, err error) {
	dev, ok := a.dev.(Cycler)
	if ok && a.call.Values.String("method") == "cycle" {
		err := a.power.cycle(ctx, dev.Cycle)
		if !errors.Is(err, errUnseen) && ClassOf(err) != Busy {
			return true, err
		}
		a.call.Log.Warn(err.Error() + "; switching it off and on instead")
	}
	return false, a.power.off(ctx, a.call.Limit("power_timeout"))
}

// diag cannot be verified: what a machine makes of the interrupt is its own affair. So it is sent
// once only; a second one would disturb the dump that the first has begun.
func (a *action) diag(ctx context.Context) error {
	dev, ok := a.dev.(Diagnoser)
	if !ok {
		return Errorf(Usage, "the device knows no diagnostic interrupt")
	}
	for _, plug := range a.call.Plugs {
		if err := dev.Diag(ctx, plug); err != nil {
			return err
		}
	}
	a.say("Success: Rebooted")
	return nil
}

func (a *action) monitor(ctx context.Context) error {
	if m, ok := a.dev.(Monitor); ok {
		return m.Monitor(ctx)
	}
	if l, ok := a.dev.(Lister); ok && len(a.call.Plugs) == 0 {
		_, err := l.List(ctx)
		return err
	}
	state, err := a.power.state(ctx)
	if err == nil && state == Unknown {
		return Errorf(Status, "the state of %s cannot be told", a.what())
	}
	return err
}

func (a *action) list(ctx context.Context) error {
	l, ok := a.dev.(Lister)
	if !ok {
		return nil
	}
	plugs, err := l.List(ctx)
	if err != nil {
		return err
	}
	sep := a.call.Values.String("separator")
	for _, p := range plugs {
		if a.call.Action == "list" {
			a.say("%s%s%s", p.Name, sep, p.Alias)
			continue
		}
		state := "UNKNOWN"
		switch p.State {
		case On:
			state = "ON"
		case Off:
			state = "OFF"
		}
		a.say("%s%s%s%s%s", p.Name, sep, p.Alias, sep, state)
	}
	return nil
}
