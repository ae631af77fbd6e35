package stonith

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"pgrex/lib/life"
)

const (
	// defaultMin and defaultMax are the pauses between two looks at the state.
	defaultMin = 100 * time.Millisecond
	defaultMax = time.Second
	// defaultPatience is how long a device may be out of reach in the middle of an action. A
	// controller that restarts its network is back within it, and one that shared its node's lost
	// supply does not eat up the time of a second level.
	defaultPatience = 20 * time.Second
	// onWindow is how long reboot tries to switch on again what it has proven off: controllers
	// swallow an order that comes too soon after the last. Then the node is fenced and may be off.
	onWindow = 4 * time.Second
	onAgain  = time.Second
)

// order is something a device is told to do with a plug.
type order func(ctx context.Context, plug string) error

// power switches the plugs of one call and proves what came of it.
type power struct {
	dev   Device
	plugs []string
	log   *slog.Logger
	poll  Interval
	// wait is the pause after each order, 0 unless the caller set one.
	wait     time.Duration
	patience time.Duration
}

// state is the state of all plugs together: off only if every one of them is.
func (p *power) state(ctx context.Context) (State, error) {
	sum := Off
	for _, plug := range p.plugs {
		s, err := p.dev.Status(ctx, plug)
		if err != nil {
			return Unknown, err
		}
		p.log.Debug("state was read", "plug", plug, "state", s)
		switch {
		case s == Off || sum == On:
		case s == On || sum == Off:
			sum = s
		case s == Transitional || s == Unknown:
			sum = Unknown
		}
	}
	return sum, nil
}

// pace says how long after the last order the next is sent although the last was accepted, 0 for
// never. It is told how many were sent.
type pace func(sent int) time.Duration

func once(int) time.Duration { return 0 }

// turn sends an order to every plug and reads the state back in new requests until it is the wanted
// one. An order that did not get through is sent again: on and off may be repeated. The error says
// what was seen last; it is of class WaitingOn or WaitingOff if only the time was too short.
func (p *power) turn(ctx context.Context, want State, give order, again pace) error {
	var (
		pending = p.plugs
		sent    int
		start   = time.Now()
		last    = start // when the order was last given
		heard   = start // when the device last answered
		pause   = p.poll.Min
		seen    = Unknown
		through = start // when an order last got through
		refused error   // why the order did not get through last
		failed  error   // why the state could not be read last
	)
	for {
		if len(pending) > 0 {
			var err error
			if pending, err = p.send(ctx, pending, give); err != nil && !temporary(err) {
				return err
			}
			sent++
			last = time.Now()
			switch {
			case err == nil:
				through, refused = last, nil
			case ctx.Err() != nil && sent > 1:
				// The time was over in the middle of it, which says nothing about the device.
			default:
				if refused == nil || refused.Error() != err.Error() {
					p.log.Warn("the order did not get through and will be repeated: "+err.Error(), "order", want)
				}
				refused = err
			}
		}
		state, err := p.state(ctx)
		switch {
		case err == nil && state == want:
			p.log.Info("the wanted state was read back", "state", want, "after", time.Since(start).Round(time.Millisecond))
			return nil
		case err == nil:
			seen, failed, heard = state, nil, time.Now()
		case !temporary(err) && ctx.Err() == nil:
			return err
		case ctx.Err() == nil:
			failed = err
			p.log.Debug("the state could not be read: " + err.Error())
		}
		if failed != nil && time.Since(heard) > p.patience {
			return Errorf(Lost, "%w; it has been out of reach for %s since the order was given", failed, p.patience)
		}
		// A device may tell its state and yet take no order. One that is busy says when it is not; one
		// that says nothing to orders is as good as gone, and there may be a second level.
		if unheard(refused) && time.Since(through) > p.patience {
			return Errorf(Lost, "%w; it tells its state, but the order %s has not got through for %s", refused, want, p.patience)
		}
		left := pause
		gap := again(sent)
		if gap > 0 {
			left = min(pause, max(gap-time.Since(last), 0))
		}
		if err := life.Pause(ctx, left); err != nil {
			return waited(ctx, want, seen, refused, failed)
		}
		pause = min(pause*3/2, p.poll.Max)
		if gap > 0 && time.Since(last) >= gap && (seen == opposite(want) || seen == Unknown) {
			pending = p.plugs
		}
	}
}

// unheard reports whether an order failed because no answer to it came.
func unheard(err error) bool {
	c := ClassOf(err)
	return err != nil && (c == Lost || c == TimedOut)
}

func opposite(s State) State {
	if s == On {
		return Off
	}
	return On
}

// send gives the order to the plugs and returns those that did not get it. An error that is for
// good ends it.
func (p *power) send(ctx context.Context, plugs []string, give order) (missed []string, err error) {
	for i, plug := range plugs {
		if e := give(ctx, plug); e != nil {
			if !temporary(e) {
				return plugs, e
			}
			missed, err = append(missed, plug), e
			continue
		}
		if p.wait > 0 {
			if e := life.Pause(ctx, p.wait); e != nil && i+1 < len(plugs) {
				return append(missed, plugs[i+1:]...), e
			}
		}
	}
	return missed, err
}

// waited is the error of a wait that was too short.
func waited(ctx context.Context, want, seen State, refused, failed error) error {
	cause := context.Cause(ctx)
	if !errors.Is(cause, context.DeadlineExceeded) {
		return &Error{Class: Generic, Reason: cause.Error(), Err: cause}
	}
	class := WaitingOff
	if want == On {
		class = WaitingOn
	}
	switch {
	case refused != nil:
		return Errorf(class, "the order %s did not get through: %w", want, refused)
	case failed != nil:
		return Errorf(class, "the order %s was given, but the state could not be read in time: %w", want, failed)
	}
	return Errorf(class, "the order %s was accepted, but the device still says %q", want, seen)
}

// off proves every plug off. It returns nil for no other reason.
func (p *power) off(ctx context.Context, limit time.Duration) error {
	ctx, cancel := limited(ctx, limit)
	defer cancel()
	return advised(p.turn(ctx, Off, p.dev.Off, once))
}

// onPlan says how often on is sent.
type onPlan struct {
	// rounds are how many times power_timeout is waited for; each begins with an order.
	rounds int
	// eager sends on each second for the first onWindow as well.
	eager bool
}

// on switches on, and fails unless that is seen.
func (p *power) on(ctx context.Context, limit time.Duration, plan onPlan) error {
	round := limit
	if round == 0 {
		round = defaultPatience
	}
	ctx, cancel := limited(ctx, limit*time.Duration(plan.rounds))
	defer cancel()
	eager := 0
	if plan.eager {
		eager = int(onWindow / onAgain)
	}
	return advised(p.turn(ctx, On, p.dev.On, func(sent int) time.Duration {
		switch {
		case sent < eager:
			return onAgain
		case limit > 0 && sent >= plan.rounds+max(eager-1, 0):
			return 0
		}
		return round
	}))
}

// advised adds what can be done about a wait that was too short.
func advised(err error) error {
	if c := ClassOf(err); err != nil && (c == WaitingOff || c == WaitingOn) {
		return Errorf(c, "%w; look at the machine, or raise power_timeout if it is only slow", err)
	}
	return err
}

// backOn switches on again what was proven off. That it works is not asked for: the node is fenced.
// At most tries orders are sent, one each second. Anything but off ends it, for a machine that is
// starting has got the order.
func (p *power) backOn(ctx context.Context, tries int) error {
	if tries == 0 {
		return errors.New("retry_on=0 says not to switch it on")
	}
	ctx, cancel := context.WithTimeout(ctx, max(onWindow, time.Duration(tries)*onAgain))
	defer cancel()
	dev := starting{p.dev}
	q := *p
	q.dev = dev
	return q.turn(ctx, On, dev.On, func(sent int) time.Duration {
		if sent >= tries {
			return 0
		}
		return onAgain
	})
}

// starting is a device that says on for a machine that is on its way there.
type starting struct{ Device }

func (s starting) Status(ctx context.Context, plug string) (State, error) {
	state, err := s.Device.Status(ctx, plug)
	if err == nil && state == Transitional {
		return On, nil
	}
	return state, err
}

const (
	// cycleWatch is how long a machine is watched for the moment in which a cycle has it off, and
	// cyclePoll how often: that moment may be short.
	cycleWatch = 5 * time.Second
	cyclePoll  = 50 * time.Millisecond
)

// errUnseen says that a cycle was ordered and the machine never seen off.
var errUnseen = errors.New("the machine was not seen off after the order to cycle")

// cycle orders a power cycle and watches for the machine to be off in between. Nothing else proves
// that it was: the order's acceptance says only that the device understood.
func (p *power) cycle(ctx context.Context, give order) error {
	for _, plug := range p.plugs {
		if err := give(ctx, plug); err != nil && (!temporary(err) || ClassOf(err) == Busy) {
			return err
		} else if err != nil {
			// It may have got through. It must not be sent twice, so watch what happens.
			p.log.Warn("no answer to the order to cycle: " + err.Error())
		}
		if err := life.Pause(ctx, p.wait); err != nil {
			return err
		}
	}
	watch, cancel := context.WithTimeout(ctx, cycleWatch)
	defer cancel()
	for {
		if state, err := p.state(watch); err == nil && state == Off {
			return nil
		} else if err != nil && !temporary(err) && watch.Err() == nil {
			return err
		}
		if err := life.Pause(watch, cyclePoll); err != nil {
			if ctx.Err() != nil {
				return waited(ctx, Off, Unknown, nil, nil)
			}
			return errUnseen
		}
	}
}

// comesBack waits a while for a machine to switch itself on, as one that was cycled does.
func (p *power) comesBack(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, onWindow)
	defer cancel()
	for life.Pause(ctx, defaultMin) == nil {
		if state, err := p.state(ctx); err == nil && (state == On || state == Transitional) {
			return true
		}
	}
	return false
}

// limited is ctx with a limit, if there is one.
func limited(ctx context.Context, limit time.Duration) (context.Context, context.CancelFunc) {
	if limit <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, limit)
}
