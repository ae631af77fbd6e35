package ipmi

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/bougou/go-ipmi/pkg/client"
	"github.com/bougou/go-ipmi/pkg/command/chassis"
)

// BMC is a management controller with a session to it. It is used by one goroutine.
type BMC struct {
	cfg Config
	// found is the way that led in; a session that has to be opened again takes it at once.
	found   *way
	session *session
	// turn is the number of addresses that the network has refused.
	turn int
	// addrs are the addresses of its name, since the last search for it began.
	addrs []netip.Addr
	// heard is when the BMC last sent something that could be believed, nil for not since the last
	// search began; took is how long its answers take: how long one was waited for, or is already,
	// from the first time that its question was sent.
	heard atomic.Pointer[time.Time]
	took  atomic.Int64
}

// try is how long the next answer may take before its question is sent again.
func (b *BMC) try() time.Duration { return b.patience(b.cfg.Try) }

// patience is how long an answer may take: a least time, and more from a BMC that was slow just
// now. A question that is sent again while the answer is on its way gives such a BMC still more
// to do, and in a login it brings another answer that fits no more. A datagram that was lost
// looks the same, and makes for a longer wait until an answer comes at once.
func (b *BMC) patience(least time.Duration) time.Duration {
	slow := time.Duration(b.took.Load()) * 5 / 2 // an answer, and one that stands in line before it
	return max(least, min(slow, Tries*b.cfg.Try))
}

// Open opens a session with administrator rights or what Config.Privilege says. With a BMC that says
// nothing it takes no longer than Tries times Config.Try, with a slow one up to three times that.
// Errors are of type *Error.
func Open(ctx context.Context, cfg Config) (*BMC, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	b := &BMC{cfg: cfg}
	s, err := b.connect(ctx)
	if err != nil {
		return nil, err
	}
	b.session = s
	return b, nil
}

// Dialect is what the BMC was found to speak, with the cipher suite for RMCP+.
func (b *BMC) Dialect() (Dialect, int) {
	if b.found == nil {
		return b.cfg.Dialect, b.cfg.Suite
	}
	return b.found.dialect, b.found.suite
}

// On reads whether the machine is on, in a new request.
func (b *BMC) On(ctx context.Context) (bool, error) {
	var on bool
	err := b.ask(ctx, "tell the power state", attempts, func(ctx context.Context, c *client.Client) error {
		status, err := c.GetChassisStatus(ctx)
		if err == nil {
			on = status.PowerIsOn
		}
		return err
	})
	return on, err
}

// PowerOn and PowerOff order a state; they return when the BMC has accepted, before it is reached.
// An order to which no answer came is given again.
func (b *BMC) PowerOn(ctx context.Context) error {
	return b.control(ctx, "switch on", chassis.ChassisControlPowerUp, attempts)
}

// PowerOff orders the machine off, hard.
func (b *BMC) PowerOff(ctx context.Context) error {
	return b.control(ctx, "switch off", chassis.ChassisControlPowerDown, attempts)
}

// PowerCycle orders off and, a moment later, on. It is sent once only, whatever the answer.
func (b *BMC) PowerCycle(ctx context.Context) error {
	return b.control(ctx, "cycle the power", chassis.ChassisControlPowerCycle, 1)
}

// Interrupt pulses the diagnostic interrupt (NMI). It is sent once only, whatever the answer.
func (b *BMC) Interrupt(ctx context.Context) error {
	return b.control(ctx, "pulse a diagnostic interrupt", chassis.ChassisControlDiagnosticInterrupt, 1)
}

// Close ends the session within a fraction of a second. The BMC must not be used after it.
func (b *BMC) Close(ctx context.Context) {
	if b.session != nil {
		b.session.close(ctx)
		b.session = nil
	}
}

// attempts is how often a question is asked in one session before the session counts as dead.
const attempts = 2

func (b *BMC) control(ctx context.Context, what string, order chassis.ChassisControl, times int) error {
	return b.ask(ctx, what, times, func(ctx context.Context, c *client.Client) error {
		_, err := c.ChassisControl(ctx, order)
		return err
	})
}

// ask puts a question to the BMC. If it falls silent a new session is opened, and the question is
// asked once more there; unless it may be asked once only. A session that is known to be dead is
// replaced first.
func (b *BMC) ask(ctx context.Context, what string, times int, question func(context.Context, *client.Client) error) error {
	fresh := false
	for {
		if b.session == nil {
			s, err := b.connect(ctx)
			if err != nil {
				return err
			}
			b.session, fresh = s, true
		}
		var err error
		took := b.took.Load()
		for range times {
			b.session.client.WithTimeout(b.try())
			if err = question(ctx, b.session.client); err == nil {
				return nil
			}
			err = b.classify(what, 0, err)
			if usable(err) || over(ctx) {
				return err
			}
		}
		b.cfg.Log.Debug("the session is given up: " + err.Error())
		// Its BMC does not answer, so the farewell is short.
		b.session.close(ctx)
		b.session = nil
		b.took.Store(took) // for all that is known it is not slow, but gone
		if fresh || times == 1 {
			return err
		}
	}
}
