package stonith

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgrex/lib/life"
	"pgrex/lib/meta"
	"pgrex/lib/proc"
	"pgrex/lib/proc/proctest"
)

// bmc is a device with plugs and a script of misfortunes. Times count from the first order.
type bmc struct {
	state map[string]State
	log   []string
	start time.Time

	// offAfter and onAfter are how long an accepted order takes.
	offAfter, onAfter time.Duration
	// ignoreOff drops off for good; deafUntil swallows on for that long after off was reached.
	ignoreOff bool
	deafUntil time.Duration
	offAt     time.Time
	// between is the state shown while an order is being carried out.
	between State
	// statusErr and orderErr are asked before each answer.
	statusErr func(n int) error
	orderErr  func(n int, what string) error
	asked     int
	ordered   int
	pending   map[string]time.Time
	target    map[string]State
	closed    int
	// comesBack is how long after off a machine that was cycled is on again.
	comesBack time.Duration
	// noCycle accepts a cycle and does nothing.
	noCycle bool
	// stayOff makes a cycled machine stay off; cycleErr is the answer to the order, which is carried out.
	stayOff  bool
	cycleErr error
	// reads are the times at which the state was read.
	reads []time.Time
}

func newBMC(state State, plugs ...string) *bmc {
	if len(plugs) == 0 {
		plugs = []string{""}
	}
	b := &bmc{state: map[string]State{}, pending: map[string]time.Time{}, target: map[string]State{}}
	for _, p := range plugs {
		b.state[p] = state
	}
	return b
}

func (b *bmc) note(what, plug string) {
	if b.start.IsZero() {
		b.start = time.Now()
	}
	b.log = append(b.log, strings.ReplaceAll(fmt.Sprintf("%s %s@%v", what, plug, time.Since(b.start).Round(time.Millisecond)), " @", "@"))
}

func (b *bmc) settle(plug string) {
	if at, ok := b.pending[plug]; ok && !time.Now().Before(at) {
		b.state[plug] = b.target[plug]
		delete(b.pending, plug)
		if b.state[plug] == Off {
			b.offAt = at
			if b.comesBack > 0 {
				b.target[plug], b.pending[plug] = On, at.Add(b.comesBack)
			}
		}
	}
}

func (b *bmc) Status(ctx context.Context, plug string) (State, error) {
	if err := ctx.Err(); err != nil {
		return Unknown, err
	}
	b.asked++
	b.reads = append(b.reads, time.Now())
	if b.statusErr != nil {
		if err := b.statusErr(b.asked); err != nil {
			return Unknown, err
		}
	}
	b.settle(plug)
	if _, busy := b.pending[plug]; busy && b.between != Unknown {
		return b.between, nil
	}
	s, ok := b.state[plug]
	if !ok {
		return Unknown, Errorf(Status, "there is no plug %q", plug)
	}
	return s, nil
}

func (b *bmc) order(what, plug string, want State, after time.Duration) error {
	b.note(what, plug)
	b.ordered++
	if b.orderErr != nil {
		if err := b.orderErr(b.ordered, what); err != nil {
			return err
		}
	}
	b.settle(plug)
	switch {
	case want == Off && b.ignoreOff:
	case want == On && !b.offAt.IsZero() && time.Since(b.offAt) < b.deafUntil:
	default:
		b.target[plug] = want
		b.pending[plug] = time.Now().Add(after)
	}
	return nil
}

func (b *bmc) On(_ context.Context, plug string) error  { return b.order("on", plug, On, b.onAfter) }
func (b *bmc) Off(_ context.Context, plug string) error { return b.order("off", plug, Off, b.offAfter) }

func (b *bmc) Close(context.Context) error {
	b.closed++
	return nil
}

// full is a device with everything optional.
type full struct {
	*bmc
	diagErr error
}

func (f full) Cycle(ctx context.Context, plug string) error {
	if f.noCycle {
		f.note("cycle", plug)
		return nil
	}
	if err := f.order("cycle", plug, Off, f.offAfter); err != nil {
		return err
	}
	if !f.stayOff {
		f.comesBack = time.Second
	}
	return f.cycleErr
}

func (f full) Diag(_ context.Context, plug string) error {
	f.note("diag", plug)
	return f.diagErr
}

func (f full) List(context.Context) ([]Plug, error) {
	var ps []Plug
	for name, s := range f.state {
		ps = append(ps, Plug{Name: name, Alias: "", State: s})
	}
	slices.SortFunc(ps, func(a, b Plug) int { return strings.Compare(a.Name, b.Name) })
	return ps, nil
}

const secret = "tell-no-one"

// result is what a caller sees of one call.
type result struct {
	code           int
	stdout, stderr string
	took           time.Duration
	dev            *bmc
}

func testAgent(dev *bmc) Agent {
	return Agent{
		Name: "fence_test", Short: "Test agent", Long: "An agent for tests.", Address: true, Login: true, Cycle: true, Diag: true,
		Parameters: []Parameter{
			{Parameter: meta.Parameter{Name: "lanplus", Type: meta.Boolean, Short: "s", Long: "l"}, Letter: "P"},
			{Parameter: meta.Parameter{Name: "token", Type: meta.String, Secret: true, Short: "s", Long: "l"}},
			{Parameter: meta.Parameter{Name: "target", Type: meta.String, Short: "s", Long: "l"}},
		},
		Open: func(context.Context, *Call) (Device, error) { return full{bmc: dev}, nil },
	}
}

// run calls the agent with lines on standard input, or with a command line if there is none.
func run(t *testing.T, a Agent, dev *bmc, stdin string, args ...string) result {
	t.Helper()
	return runAs(t.Context(), a, dev, nil, strings.NewReader(stdin), args...)
}

func runAs(ctx context.Context, a Agent, dev *bmc, env map[string]string, stdin io.Reader, args ...string) result {
	return runWith(ctx, a, dev, env, &proctest.Runner{}, stdin, args...)
}

func runWith(ctx context.Context, a Agent, dev *bmc, env map[string]string, programs proc.Runner, stdin io.Reader, args ...string) result {
	var out, errs bytes.Buffer
	start := time.Now()
	code := a.Run(ctx, Process{
		Program: "fence_test", Args: args,
		LookupEnv: func(k string) (string, bool) { v, ok := env[k]; return v, ok },
		Stdin:     stdin, Stdout: &out, Stderr: &errs, PID: 1, Now: time.Now, Runner: programs,
	})
	return result{code, out.String(), errs.String(), time.Since(start), dev}
}

const fencerEnv = "PCMK_service"

// The actions on a device that obeys at once, and on one that does not.
func TestActions(t *testing.T) {
	lost := Errorf(Lost, "the device is gone")
	denied := Errorf(Login, "wrong password for somebody")
	tests := map[string]struct {
		in     string
		env    map[string]string
		state  State
		script func(*bmc)
		code   int
		stdout string
		stderr string // contained
		log    string
		within time.Duration
		least  time.Duration
	}{
		"status on":  {in: "action=status", state: On, stdout: "Status: ON\n"},
		"status off": {in: "action=status", state: Off, code: 2, stdout: "Status: OFF\n"},
		"status changing": {in: "action=status", state: Transitional, code: 1,
			stderr: "Failed: Unable to obtain correct plug status or plug is not available"},
		"status unknown": {in: "action=status", state: Unknown, code: 1,
			stderr: "Failed: Unable to obtain correct plug status or plug is not available"},
		"status fails": {in: "action=status", state: On, code: 1, script: func(b *bmc) { b.statusErr = func(int) error { return denied } },
			stderr: "Unable to connect/login to fencing device"},
		"monitor on":      {in: "action=monitor", state: On},
		"monitor off":     {in: "action=monitor", state: Off},
		"monitor unknown": {in: "action=monitor", state: Unknown, code: 1, stderr: "Failed: Unable to obtain correct plug status"},
		"off":             {in: "action=off", state: On, stdout: "Success: Powered OFF\n", log: "off@0s", within: time.Millisecond},
		"already off":     {in: "action=off", state: Off, stdout: "Success: Already OFF\n"},
		"on":              {in: "action=on", state: Off, stdout: "Success: Powered ON\n", log: "on@0s", within: time.Millisecond},
		"already on":      {in: "action=on", state: On, stdout: "Success: Already ON\n"},
		"reboot":          {in: "action=reboot", state: On, stdout: "Success: Rebooted\n", log: "off@0s on@0s", within: time.Millisecond},
		"no action":       {in: "", state: On, stdout: "Success: Rebooted\n", log: "off@0s on@0s"},
		"reboot of off":   {in: "action=reboot", state: Off, stdout: "Success: Rebooted\n", log: "on@0s"},
		"upper case":      {in: "action=OFF", state: On, stdout: "Success: Powered OFF\n", log: "off@0s"},

		"off late": {in: "action=off", state: On, script: func(b *bmc) { b.offAfter = 3 * time.Second },
			stdout: "Success: Powered OFF\n", log: "off@0s", least: 3 * time.Second, within: 4 * time.Second},
		"off never": {in: "action=off", state: On, script: func(b *bmc) { b.ignoreOff = true }, code: 1,
			stderr: "Failed: Timed out waiting to power OFF", log: "off@0s", least: 20 * time.Second, within: 21 * time.Second},
		"reboot, off never": {in: "action=reboot", state: On, script: func(b *bmc) { b.ignoreOff = true }, code: 1,
			stderr: "Failed: Timed out waiting to power OFF", log: "off@0s", least: 20 * time.Second, within: 21 * time.Second},
		"power_timeout": {in: "action=off\npower_timeout=5", state: On, script: func(b *bmc) { b.ignoreOff = true }, code: 1,
			stderr: "Failed: Timed out waiting to power OFF", least: 5 * time.Second, within: 6 * time.Second, log: "off@0s"},
		"a state on its way to off is not off": {in: "action=off\npower_timeout=3", state: On,
			script: func(b *bmc) { b.offAfter, b.between = time.Hour, Transitional }, code: 1,
			stderr: "Failed: Timed out waiting to power OFF", log: "off@0s"},
		"no limit from Pacemaker means no power_timeout": {in: "action=off\npower_timeout=1", env: map[string]string{fencerEnv: fencer}, state: On,
			script: func(b *bmc) { b.offAfter = 5 * time.Minute }, stdout: "Success: Powered OFF\n", log: "off@0s", least: 5 * time.Minute},
		"unless it is told not to": {in: "action=off\npower_timeout=1\ndisable_timeout=false", env: map[string]string{fencerEnv: fencer}, state: On,
			script: func(b *bmc) { b.offAfter = 5 * time.Minute }, code: 1, stderr: "Timed out waiting to power OFF", log: "off@0s", within: 2 * time.Second},
		"an own limit where there is none": {in: "action=off\ndisable_timeout=true", state: On, script: func(b *bmc) { b.ignoreOff = true },
			code: 1, stderr: "Timed out waiting to power OFF", log: "off@0s", least: ownLimit, within: ownLimit + time.Second},

		"on swallowed for three seconds": {in: "action=reboot", state: On, script: func(b *bmc) { b.deafUntil = 3 * time.Second },
			stdout: "Success: Rebooted\n", log: "off@0s on@0s on@1s on@2s on@3s", within: 4 * time.Second},
		"on never in a reboot": {in: "action=reboot", state: On, script: func(b *bmc) { b.deafUntil = time.Hour },
			stdout: "Success: Rebooted\n", stderr: "may be off", least: 4 * time.Second, within: 5 * time.Second,
			log: "off@0s on@0s on@1s on@2s on@3s"},
		"on refused in a reboot": {in: "action=reboot", state: On, script: func(b *bmc) {
			b.orderErr = func(_ int, what string) error {
				if what == "on" {
					return Errorf(Privileges, "not allowed")
				}
				return nil
			}
		}, stdout: "Success: Rebooted\n", stderr: "not allowed", log: "off@0s on@0s"},
		"a starting machine has got the order": {in: "action=reboot", state: On, script: func(b *bmc) { b.onAfter, b.between = time.Minute, Transitional },
			stdout: "Success: Rebooted\n", log: "off@0s on@0s", within: time.Second},
		"retry_on in a reboot": {in: "action=reboot\nretry_on=2", state: On, script: func(b *bmc) { b.deafUntil = time.Hour },
			stdout: "Success: Rebooted\n", log: "off@0s on@0s on@1s", stderr: "may be off"},
		"retry_on=0 in a reboot": {in: "action=reboot\nretry_on=0", state: On, stdout: "Success: Rebooted\n", log: "off@0s", stderr: "may be off"},
		"on never": {in: "action=on\npower_timeout=6", state: Off, script: func(b *bmc) { b.offAt, b.deafUntil = time.Now(), time.Hour },
			code: 1, stderr: "Failed: Timed out waiting to power ON", least: 12 * time.Second, within: 13 * time.Second,
			log: "on@0s on@1s on@2s on@3s on@9s"},
		"on never with retry_on": {in: "action=on\npower_timeout=6\nretry_on=2", state: Off, script: func(b *bmc) { b.offAt, b.deafUntil = time.Now(), time.Hour },
			code: 1, stderr: "Failed: Timed out waiting to power ON", least: 18 * time.Second, within: 19 * time.Second,
			log: "on@0s on@6s on@12s"},

		"lost between off and on": {in: "action=reboot", state: On, script: func(b *bmc) {
			b.statusErr = func(n int) error {
				if n > 2 {
					return lost
				}
				return nil
			}
		}, stdout: "Success: Rebooted\n", stderr: "may be off", least: 4 * time.Second, within: 5 * time.Second, log: "off@0s on@0s on@1s on@2s on@3s"},
		"lost after off, and back": {in: "action=off", state: On, script: func(b *bmc) {
			b.statusErr = func(n int) error {
				if n > 1 && n < 8 {
					return lost
				}
				return nil
			}
		}, stdout: "Success: Powered OFF\n", log: "off@0s"},
		"lost after off, for good": {in: "action=off\ndisable_timeout=1", state: On, script: func(b *bmc) {
			b.statusErr = func(n int) error {
				if n > 1 {
					return lost
				}
				return nil
			}
		}, code: 1, stderr: "Connection lost", least: 20 * time.Second, within: 22 * time.Second, log: "off@0s"},
		"off does not get through at first": {in: "action=off", state: On, script: func(b *bmc) {
			b.orderErr = func(n int, _ string) error {
				if n < 3 {
					return lost
				}
				return nil
			}
		}, stdout: "Success: Powered OFF\n", log: "off@0s off@100ms off@250ms", stderr: "will be repeated: the device is gone"},
		"two reasons why off does not get through": {in: "action=off", state: On, script: func(b *bmc) {
			b.orderErr = func(n int, _ string) error {
				switch n {
				case 1:
					return lost
				case 2:
					return Errorf(Busy, "the device is busy")
				}
				return nil
			}
		}, stdout: "Success: Powered OFF\n", log: "off@0s off@100ms off@250ms", stderr: "will be repeated: the device is busy"},
		"the state is told and no order gets through": {in: "action=off\ndisable_timeout=1", state: On, script: func(b *bmc) {
			b.orderErr = func(int, string) error { return lost }
		}, code: 1, stderr: "the device is gone; it tells its state, but the order off has not got through for 20s", log: everyOrder("off", 21*time.Second), least: 20 * time.Second, within: 22 * time.Second},
		"busy until the deadline": {in: "action=off\npower_timeout=30", state: On, script: func(b *bmc) {
			b.orderErr = func(int, string) error { return Errorf(Busy, "the device is busy") }
		}, code: 1, stderr: "the order off did not get through: the device is busy", log: everyOrder("off", 30*time.Second), least: 30 * time.Second, within: 31 * time.Second},
		"refused, then accepted, then without effect": {in: "action=off\npower_timeout=5", state: On, script: func(b *bmc) {
			b.ignoreOff = true
			b.orderErr = func(n int, _ string) error {
				if n == 1 {
					return lost
				}
				return nil
			}
		}, code: 1, stderr: "the order off was accepted, but the device still says \"on\"", log: "off@0s off@100ms"},
		"power_timeout=0 is no limit": {in: "action=off\npower_timeout=0", state: On, script: func(b *bmc) { b.offAfter = 5 * time.Minute },
			stdout: "Success: Powered OFF\n", log: "off@0s", least: 5 * time.Minute},
		"off is refused for good": {in: "action=off", state: On, script: func(b *bmc) {
			b.orderErr = func(int, string) error { return Errorf(Privileges, "the user may only look") }
		}, code: 1, stderr: "Failed: The user does not have the correct privileges", log: "off@0s", within: time.Millisecond},
		"the operation itself failed": {in: "action=off", state: On, script: func(b *bmc) {
			b.ignoreOff = true
			b.statusErr = func(n int) error {
				if n > 3 {
					return Errorf(Generic, "the operation failed: quota")
				}
				return nil
			}
		}, code: 1, stderr: "the operation failed: quota", log: "off@0s", within: time.Second},

		"delay":                {in: "action=off\ndelay=10", state: On, stdout: "Success: Powered OFF\n", log: "off@0s", least: 10 * time.Second, within: 11 * time.Second},
		"no delay before on":   {in: "action=on\ndelay=10", state: Off, stdout: "Success: Powered ON\n", log: "on@0s", within: time.Second},
		"power_wait":           {in: "action=reboot\npower_wait=2", state: On, stdout: "Success: Rebooted\n", log: "off@0s on@2s", least: 4 * time.Second, within: 5 * time.Second},
		"stonith_status_sleep": {in: "action=off\nstonith_status_sleep=4", state: On, script: func(b *bmc) { b.offAfter = time.Second }, stdout: "Success: Powered OFF\n", log: "off@0s", least: 4 * time.Second},
		"cycle":                {in: "action=reboot\nmethod=cycle", state: On, stdout: "Success: Rebooted\n", log: "cycle@0s", within: 3 * time.Second},
		"cycle of off":         {in: "action=reboot\nmethod=cycle", state: Off, stdout: "Success: Rebooted\n", log: "on@0s"},
		"cycle without effect": {in: "action=reboot\nmethod=cycle", state: On, script: func(b *bmc) { b.noCycle = true }, stdout: "Success: Rebooted\n", log: "cycle@0s off@5s on@5s", stderr: "not seen off"},
		"cycle, answer lost": {in: "action=reboot\nmethod=cycle", state: On, script: func(b *bmc) { b.cycleErr = lost },
			stdout: "Success: Rebooted\n", log: "cycle@0s", stderr: "no answer to the order to cycle"},
		"cycle refused for the moment": {in: "action=reboot\nmethod=cycle", state: On, script: func(b *bmc) {
			b.orderErr = func(_ int, what string) error {
				if what == "cycle" {
					return Errorf(Busy, "not in this state")
				}
				return nil
			}
		}, stdout: "Success: Rebooted\n", log: "cycle@0s off@0s on@0s", stderr: "not in this state; switching it off and on instead"},
		"cycle refused for good": {in: "action=reboot\nmethod=cycle", state: On, script: func(b *bmc) {
			b.orderErr = func(int, string) error { return Errorf(Privileges, "the user may only look") }
		}, code: 1, log: "cycle@0s", stderr: "the user may only look"},
		"cycle stays off": {in: "action=reboot\nmethod=cycle", state: On, script: func(b *bmc) { b.stayOff = true },
			stdout: "Success: Rebooted\n", log: "cycle@0s on@4s"},
		"cycle is not for off":  {in: "action=off\nmethod=cycle", state: On, stdout: "Success: Powered OFF\n", log: "off@0s"},
		"diag":                  {in: "action=diag", state: On, stdout: "Success: Rebooted\n", log: "diag@0s"},
		"list without plugs":    {in: "action=list", state: On, stdout: "NOTICE: List option is not working on this device yet\n"},
		"validate-all":          {in: "action=validate-all", state: On},
		"unknown action":        {in: "action=explode", state: On, code: 1, stderr: "Failed: Unrecognised action 'explode'"},
		"method in upper case":  {in: "action=off\nmethod=ONOFF", state: On, stdout: "Success: Powered OFF\n", log: "off@0s"},
		"method of own making":  {in: "action=off\nmethod=hammer", state: On, code: 1, stderr: "Please use '-h' for usage"},
		"bad number":            {in: "action=off\npower_timeout=soon", state: On, code: 1, stderr: "is not a length of time"},
		"plug is no address":    {in: "action=off\nport=node1", state: On, stdout: "Success: Powered OFF\n", log: "off@0s"},
		"node with no limit":    {in: "action=off\nnodename=node1", state: On, stdout: "Success: Powered OFF\n", log: "off@0s"},
		"a panic is no success": {in: "action=off", state: On, script: func(b *bmc) { b.pending = nil }, code: 1, stderr: "defect in the agent", log: "off@0s"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dev := newBMC(tt.state)
				if tt.script != nil {
					tt.script(dev)
				}
				r := runAs(t.Context(), testAgent(dev), dev, tt.env, strings.NewReader("ip=bmc1\npassword="+secret+"\n"+tt.in))
				synctest.Wait()
				if r.code != tt.code || r.stdout != tt.stdout {
					t.Errorf("code %d, output %q, want %d, %q\n%s", r.code, r.stdout, tt.code, tt.stdout, r.stderr)
				}
				if !strings.Contains(r.stderr, tt.stderr) || tt.stderr == "" && r.stderr != "" {
					t.Errorf("said %q, want %q in it", r.stderr, tt.stderr)
				}
				if got := strings.Join(dev.log, " "); got != tt.log {
					t.Errorf("orders %q, want %q", got, tt.log)
				}
				if tt.within > 0 && r.took > tt.within || r.took < tt.least {
					t.Errorf("took %v, want %v to %v", r.took, tt.least, tt.within)
				}
				if opened := tt.stderr == "" || r.dev.asked > 0; opened && dev.closed > 1 {
					t.Errorf("closed %d times", dev.closed)
				}
				if dev.asked > 0 && dev.closed != 1 {
					t.Errorf("closed %d times, want once", dev.closed)
				}
				if strings.Contains(r.stderr+r.stdout, secret) {
					t.Error("the password was shown")
				}
			})
		})
	}
}

// everyOrder is the log of an order that is given at every look at the state.
func everyOrder(what string, period time.Duration) string {
	var log []string
	pause := defaultMin
	for at := time.Duration(0); at <= period; pause = min(pause*3/2, defaultMax) {
		log = append(log, fmt.Sprintf("%s@%v", what, at.Round(time.Millisecond)))
		at += pause
	}
	return strings.Join(log, " ")
}

// The first look is at once, the next after a tenth of a second, and the pauses grow to one second. No
// look is earlier than the order.
func TestLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dev := newBMC(On)
		dev.offAfter = 10 * time.Second
		if r := run(t, testAgent(dev), dev, "ip=x\naction=off"); r.code != 0 {
			t.Fatalf("code %d: %s", r.code, r.stderr)
		}
		looks := dev.reads[1:] // the one before the order
		if !looks[0].Equal(dev.start) || looks[1].Sub(looks[0]) != 100*time.Millisecond {
			t.Errorf("looks at %v and %v, the order at %v", looks[0], looks[1], dev.start)
		}
		longest := time.Duration(0)
		for i := 2; i < len(looks); i++ {
			now, before := looks[i].Sub(looks[i-1]), looks[i-1].Sub(looks[i-2])
			if now < before || now > time.Second {
				t.Errorf("a pause of %v after one of %v", now, before)
			}
			longest = max(longest, now)
		}
		if longest != time.Second {
			t.Errorf("the longest pause is %v", longest)
		}
	})
}

// Time that ends between two plugs leaves the second without an order, and the error says so.
func TestTimeEndsBetweenPlugs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dev := newBMC(On, "a", "b")
		a := testAgent(dev)
		a.Plugs = true
		r := run(t, a, dev, "ip=x\naction=off\nplug=a,b\npower_wait=10\npower_timeout=5")
		if got := strings.Join(dev.log, " "); r.code != 1 || got != "off a@0s" || !strings.Contains(r.stderr, "the order off did not get through") {
			t.Errorf("code %d, orders %q: %s", r.code, got, r.stderr)
		}
	})
}

// A machine with two supplies is off when both are.
func TestSeveralPlugs(t *testing.T) {
	tests := map[string]struct {
		in, stdout, log string
		script          func(*bmc)
		code            int
	}{
		"off":             {in: "action=off\nplug=a,b", stdout: "Success: Powered OFF\n", log: "off a@0s off b@0s"},
		"one is off":      {in: "action=status\nplug=a,b", script: func(b *bmc) { b.state["a"] = Off }, stdout: "Status: ON\n"},
		"both are":        {in: "action=status\nplug=a,b", script: func(b *bmc) { b.state["a"], b.state["b"] = Off, Off }, stdout: "Status: OFF\n", code: 2},
		"one is unclear":  {in: "action=status\nplug=a,b", script: func(b *bmc) { b.state["a"], b.state["b"] = Off, Transitional }, code: 1},
		"other separator": {in: "action=off\nplug=a;b\nplug_separator=;", stdout: "Success: Powered OFF\n", log: "off a@0s off b@0s"},
		"no such plug":    {in: "action=status\nplug=c", code: 1},
		"no plug":         {in: "action=off", code: 1},
		"empty plug":      {in: "action=off\nplug=a,", code: 1},
		"list":            {in: "action=list", stdout: "a,\nb,\n"},
		"list-status":     {in: "action=list-status\nseparator=:", stdout: "a::ON\nb::ON\n"},
		"monitor":         {in: "action=monitor"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dev := newBMC(On, "a", "b")
				if tt.script != nil {
					tt.script(dev)
				}
				a := testAgent(dev)
				a.Plugs = true
				r := run(t, a, dev, "ip=x\n"+tt.in)
				if got := strings.Join(dev.log, " "); r.code != tt.code || r.stdout != tt.stdout || got != tt.log {
					t.Errorf("code %d, output %q, orders %q; want %d, %q, %q\n%s", r.code, r.stdout, got, tt.code, tt.stdout, tt.log, r.stderr)
				}
			})
		})
	}
}

// A signal ends a wait at once, and the session is closed all the same.
func TestSignal(t *testing.T) {
	for _, in := range []string{"action=off\ndelay=60", "action=off", "action=reboot\npower_wait=50"} {
		synctest.Test(t, func(t *testing.T) {
			dev := newBMC(On)
			dev.offAfter = time.Minute
			ctx, cancel := context.WithCancelCause(t.Context())
			go func() {
				_ = life.Pause(context.Background(), 3*time.Second)
				cancel(errStopped)
			}()
			r := runAs(ctx, testAgent(dev), dev, nil, strings.NewReader("ip=x\n"+in))
			if r.code != 1 || r.took > 4*time.Second || !strings.Contains(r.stderr, errStopped.Error()) {
				t.Errorf("%s: code %d after %v: %s", in, r.code, r.took, r.stderr)
			}
			if dev.asked > 0 && dev.closed != 1 {
				t.Errorf("%s: closed %d times", in, dev.closed)
			}
		})
	}
}

// Standard input that never ends does not keep a signal from ending the agent.
func TestSignalWhileReading(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	r, w := io.Pipe()
	defer w.Close() //nolint:errcheck // the pipe of a test
	cancel(errStopped)
	if got := runAs(ctx, testAgent(newBMC(On)), nil, nil, r); got.code != 1 {
		t.Errorf("code %d", got.code)
	}
}

// An error of opening the device is the outcome, whatever its kind.
func TestOpenFails(t *testing.T) {
	for class, text := range texts {
		a := testAgent(nil)
		a.Open = func(context.Context, *Call) (Device, error) { return nil, Errorf(class, "not to be had") }
		r := run(t, a, nil, "ip=x\naction=status")
		if r.code != 1 || !strings.Contains(r.stderr, "ERROR: "+text+"\n") || !strings.Contains(r.stderr, "not to be had") {
			t.Errorf("class %d: code %d: %s", class, r.code, r.stderr)
		}
	}
	a := testAgent(nil)
	a.Open = func(context.Context, *Call) (Device, error) { return nil, errors.New("of no class") }
	if r := run(t, a, nil, "ip=x\naction=status"); r.code != 1 || !strings.Contains(r.stderr, "Failed: Generic error") {
		t.Errorf("code %d: %s", r.code, r.stderr)
	}
}

var _ proc.Runner = (*proctest.Runner)(nil)
