package ipmi

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgrex/lib/ipmi/ipmitest"
)

var bothDialects = map[string]Dialect{"RMCP+": RMCPPlus, "IPMI 1.5": IPMI15}

// inBothDialects runs a test with a BMC and a session to it, whose questions are asked again after try.
func inBothDialects(t *testing.T, try time.Duration, test func(t *testing.T, fake *ipmitest.BMC, b *BMC)) {
	for name, d := range bothDialects {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fake := ipmitest.Start(t, ipmitest.Options{})
			cfg := config(fake)
			cfg.Dialect, cfg.Try = d, try
			test(t, fake, open(t, cfg))
		})
	}
}

// A network that loses datagrams slows things down and changes nothing else.
func TestLoss(t *testing.T) {
	for name, d := range bothDialects {
		for _, way := range []string{"in", "out"} {
			t.Run(name+" "+way, func(t *testing.T) {
				t.Parallel()
				fake := ipmitest.Start(t, ipmitest.Options{})
				var mu sync.Mutex
				dice := rand.New(rand.NewPCG(1, 2))
				lose := func([]byte) bool {
					mu.Lock()
					defer mu.Unlock()
					return dice.IntN(6) != 0
				}
				if way == "in" {
					fake.Script(ipmitest.Script{In: lose})
				} else {
					fake.Script(ipmitest.Script{Out: lose})
				}
				cfg := config(fake)
				cfg.Dialect, cfg.Try = d, 50*time.Millisecond
				b := open(t, cfg)
				for i := range 10 {
					fake.Set(i%2 == 0)
					if on, err := b.On(t.Context()); err != nil || on != (i%2 == 0) {
						t.Fatalf("on %v, %v", on, err)
					}
				}
				if err := b.PowerOff(t.Context()); err != nil || fake.On() {
					t.Errorf("on %v, %v", fake.On(), err)
				}
			})
		}
	}
}

// A BMC that thinks long about each answer is waited for, also while the way to speak to it is
// searched: longer than the next question would need to be sent, if it knows one suite only.
func TestSlow(t *testing.T) {
	for name, c := range map[string]struct {
		each    time.Duration
		options ipmitest.Options
		dialect Dialect
		in      func([]byte) bool
	}{
		"RMCP+":                     {150 * time.Millisecond, ipmitest.Options{}, RMCPPlus, nil},
		"IPMI 1.5":                  {150 * time.Millisecond, ipmitest.Options{}, IPMI15, nil},
		"suite 17 alone":            {suitePatience + 100*time.Millisecond, ipmitest.Options{Suites: []int{17}, No15: true}, Any, nil},
		"suite 3 alone":             {suitePatience + 100*time.Millisecond, ipmitest.Options{Suites: []int{3}, No15: true}, Any, nil},
		"more than a try, searched": {1300 * time.Millisecond, ipmitest.Options{}, Any, nil},
		"and silent on suite 17":    {1100 * time.Millisecond, ipmitest.Options{Suites: []int{3}}, Any, silentOn17},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fake := ipmitest.Start(t, c.options)
			fake.Script(ipmitest.Script{In: c.in, Out: func([]byte) bool {
				time.Sleep(c.each)
				return true
			}})
			cfg := config(fake)
			cfg.Dialect = c.dialect
			if c.each > 2*shortTry {
				cfg.Try = 0 // as on a node
			}
			b := open(t, cfg)
			if err := b.PowerOff(t.Context()); err != nil || fake.On() {
				t.Errorf("on %v, %v", fake.On(), err)
			}
			if on, err := b.On(t.Context()); err != nil || on {
				t.Errorf("on %v, %v", on, err)
			}
		})
	}
}

// A BMC that answers one after the other, a second each, has others' questions to answer first: ours
// are no more than it can keep up with.
func TestSlowInLine(t *testing.T) {
	const each, others = time.Second, 3
	t.Parallel()
	fake := ipmitest.Start(t, ipmitest.Options{Suites: []int{3}})
	var asked atomic.Int32
	var line sync.Mutex
	free := time.Now().Add(others * each)
	fake.Script(ipmitest.Script{In: func([]byte) bool {
		asked.Add(1)
		return true
	}, Out: func([]byte) bool {
		line.Lock()
		if now := time.Now(); free.Before(now) {
			free = now
		}
		free = free.Add(each)
		at := free
		line.Unlock()
		time.Sleep(time.Until(at))
		return true
	}})
	cfg := config(fake)
	cfg.Try = 0 // as on a node
	b := open(t, cfg)
	if on, err := b.On(t.Context()); err != nil || !on {
		t.Errorf("on %v, %v", on, err)
	}
	// What it speaks, four times; suite 17; the login with suite 3 in four steps; its state; two to spare.
	if n := asked.Load(); n > 12 {
		t.Errorf("it was asked %d times", n)
	}
}

// A BMC that has forgotten our session, as after a restart of its own, gets a new one.
func TestRestart(t *testing.T) {
	inBothDialects(t, shortTry, func(t *testing.T, fake *ipmitest.BMC, b *BMC) {
		fake.Halt()
		fake.Boot(t)
		if err := b.PowerOff(t.Context()); err != nil || fake.On() {
			t.Errorf("on %v, %v", fake.On(), err)
		}
		if on, err := b.On(t.Context()); err != nil || on {
			t.Errorf("on %v, %v", on, err)
		}
	})
}

// A BMC that is gone for good in the middle is said to be, within the time a silent one gets, and
// closing costs a moment only.
func TestGone(t *testing.T) {
	inBothDialects(t, shortTry, func(t *testing.T, fake *ipmitest.BMC, b *BMC) {
		fake.Script(ipmitest.Script{In: func([]byte) bool { return false }})
		start := time.Now()
		if _, err := b.On(t.Context()); KindOf(err) != Silent {
			t.Errorf("kind %d: %v", KindOf(err), err)
		}
		if took := time.Since(start); took > (Tries+2*attempts)*shortTry+2*closeTime {
			t.Errorf("took %v", took)
		}
		if try := b.try(); try > 3*shortTry {
			t.Errorf("taken for slow, not for gone: %v", try)
		}
		start = time.Now()
		b.Close(t.Context())
		b.Close(t.Context())
		if took := time.Since(start); took > 2*closeTime {
			t.Errorf("closing took %v", took)
		}
	})
}

// The end of the context ends everything at once; the session is still closed.
func TestContext(t *testing.T) {
	inBothDialects(t, time.Minute, func(t *testing.T, fake *ipmitest.BMC, b *BMC) {
		var closed atomic.Bool
		var asked atomic.Int32
		fake.Script(ipmitest.Script{In: func([]byte) bool {
			// The question is lost; what follows is the farewell.
			if asked.Add(1) > 1 {
				closed.Store(true)
			}
			return asked.Load() > 1
		}})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		start := time.Now()
		if _, err := b.On(ctx); err == nil {
			t.Error("an answer from a silent BMC")
		}
		b.Close(t.Context())
		if took := time.Since(start); took > time.Second {
			t.Errorf("took %v", took)
		}
		if !closed.Load() {
			t.Error("the session was left open")
		}
	})
}

// Orders that must not be carried out twice are sent once, even if the answer is lost.
func TestOnce(t *testing.T) {
	t.Parallel()
	fake := ipmitest.Start(t, ipmitest.Options{})
	b := open(t, config(fake))
	fake.Script(ipmitest.Script{Order: func(string) byte { return 0 }, Out: func([]byte) bool { return false }})
	for _, do := range []func(context.Context) error{b.PowerCycle, b.Interrupt} {
		if err := do(t.Context()); KindOf(err) != Silent {
			t.Errorf("kind %d: %v", KindOf(err), err)
		}
		fake.Script(ipmitest.Script{Order: func(string) byte { return 0 }})
		if _, err := b.On(t.Context()); err != nil {
			t.Fatal(err)
		}
		fake.Script(ipmitest.Script{Order: func(string) byte { return 0 }, Out: func([]byte) bool { return false }})
	}
	if got := fake.Orders(); !slices.Equal(got, []string{"cycle", "diag"}) {
		t.Errorf("orders %q", got)
	}
}

// Each completion code has its kind.
func TestCompletionCodes(t *testing.T) {
	t.Parallel()
	fake := ipmitest.Start(t, ipmitest.Options{})
	b := open(t, config(fake))
	for code, kind := range map[byte]Kind{0xc0: Busy, 0xc1: Unsupported, 0xc3: Busy, 0xc9: Unsupported, 0xcc: Unsupported, 0xd4: Privilege, 0xd5: Busy, 0xff: Busy} {
		fake.Script(ipmitest.Script{Order: func(string) byte { return code }, State: func() (bool, byte) { return false, code }})
		if err := b.PowerOff(t.Context()); KindOf(err) != kind {
			t.Errorf("%#02x: kind %d: %v", code, KindOf(err), err)
		}
		// "Off" in an answer that says it failed is no answer.
		if on, err := b.On(t.Context()); err == nil {
			t.Errorf("%#02x: on %v", code, on)
		}
	}
	if n := len(fake.Orders()); n != 8 {
		t.Errorf("%d orders, want one each", n)
	}
}

// forge makes answers that say off out of a true one, in ways that do not need the keys.
func forge(b []byte) [][]byte {
	if len(b) < 5 {
		return nil
	}
	var forged [][]byte
	flip := func(at int, bit byte) {
		c := bytes.Clone(b)
		c[at] ^= bit
		forged = append(forged, c)
	}
	if b[4] == 6 && b[5] == 0xc0 {
		plain := bytes.Clone(b[:16])
		plain[5] = 0 // neither encrypted nor signed
		msg := chassisOff(1)
		plain[14], plain[15] = byte(len(msg)), 0
		forged = append(forged, append(plain, msg...))
		for i := 5; i < len(b); i++ {
			flip(i, 1)
			flip(i, 0x80)
		}
	}
	for seq := range byte(64) {
		msg := chassisOff(seq)
		packet := append([]byte{6, 0, 0xff, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, byte(len(msg))}, msg...)
		forged = append(forged, packet) // IPMI 1.5, outside any session
	}
	return append(forged, b[:len(b)-1], b[:5], nil)
}

// chassisOff is the message "the machine is off" as an answer to request seq.
func chassisOff(seq byte) []byte {
	m := []byte{0x81, 0x1d << 2 & 0xfc, 0, 0x20, seq << 2, 1, 0, 0, 0, 0, 0}
	m[1] = 1 << 2
	m[2] = -(m[0] + m[1])
	m[10] = -sum(m[3:10])
	return m
}

// Nobody but the BMC can say off in an RMCP+ session. Every forgery arrives before the true answer.
func TestForgery(t *testing.T) {
	t.Parallel()
	fake := ipmitest.Start(t, ipmitest.Options{})
	cfg := config(fake)
	cfg.Try = time.Second
	b := open(t, cfg)
	fake.Script(ipmitest.Script{Extra: forge})
	for range 5 {
		if on, err := b.On(t.Context()); err != nil || !on {
			t.Fatalf("on %v, %v", on, err)
		}
	}
}

// An answer that was true once is not when it is sent again.
func TestReplay(t *testing.T) {
	t.Parallel()
	fake := ipmitest.Start(t, ipmitest.Options{})
	cfg := config(fake)
	cfg.Try = time.Second
	b := open(t, cfg)
	var mu sync.Mutex
	var old [][]byte
	fake.Script(ipmitest.Script{Extra: func(b []byte) [][]byte {
		mu.Lock()
		defer mu.Unlock()
		resent := slices.Clone(old)
		old = append(old, bytes.Clone(b))
		return resent
	}})
	fake.Set(false)
	// Request numbers have six bits, so they come round.
	for i := range 70 {
		if on, err := b.On(t.Context()); err != nil || on != (i > 0) {
			t.Fatalf("%d: on %v, %v", i, on, err)
		}
		fake.Set(true)
	}
}

// A BMC, or somebody in its name, that agrees to less protection than was asked for is not believed.
func TestDowngrade(t *testing.T) {
	t.Parallel()
	fake := ipmitest.Start(t, ipmitest.Options{})
	cfg := config(fake)
	cfg.Dialect, cfg.Suite = RMCPPlus, 3
	fake.Script(ipmitest.Script{Extra: func(b []byte) [][]byte {
		if payload(b) != 0x11 {
			return nil
		}
		weak := bytes.Clone(b)
		weak[16+16] = 0 // no authentication
		return [][]byte{weak}
	}})
	b := open(t, cfg)
	if on, err := b.On(t.Context()); err != nil || !on {
		t.Errorf("on %v, %v", on, err)
	}
}

// A BMC with a Kg key of its own is spoken to under that key, in both suites; forgeries and replays
// are dropped there too.
func TestKg(t *testing.T) {
	t.Parallel()
	kg := []byte("a key of 20 bytes!!!")
	fake := ipmitest.Start(t, ipmitest.Options{Kg: kg})
	for _, suite := range []int{0, 3, 17} {
		cfg := config(fake)
		cfg.Kg, cfg.Suite, cfg.Try = kg, suite, time.Second
		b := open(t, cfg)
		fake.Script(ipmitest.Script{Extra: forge})
		for i := range 4 {
			fake.Set(i%2 == 0)
			if on, err := b.On(t.Context()); err != nil || on != (i%2 == 0) {
				t.Errorf("suite %d: on %v, %v", suite, on, err)
			}
		}
		if err := b.PowerOff(t.Context()); err != nil || fake.On() {
			t.Errorf("suite %d: on %v, %v", suite, fake.On(), err)
		}
		fake.Script(ipmitest.Script{})
		b.Close(t.Context())
	}
	for says, change := range map[string]func(*Config){
		"hexadecimal_kg is not the Kg key": func(c *Config) { c.Kg = []byte("another") },
		"with this password":               func(c *Config) { c.Password = "wrong" },
		"IPMI 1.5 knows no Kg":             func(c *Config) { c.Dialect = IPMI15 },
		"20 at most":                       func(c *Config) { c.Kg = make([]byte, 21) },
	} {
		cfg := config(fake)
		cfg.Kg = kg
		change(&cfg)
		if _, err := Open(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %q", err, says)
		}
	}
	// A key that no BMC has set does no harm to others.
	plain := ipmitest.Start(t, ipmitest.Options{})
	cfg := config(plain)
	cfg.Kg = kg
	if _, err := Open(t.Context(), cfg); KindOf(err) != Auth {
		t.Errorf("kind %d: %v", KindOf(err), err)
	}
}

// No datagram makes the wire panic, and none is believed in a session but those with its signature.
func FuzzWire(f *testing.F) {
	f.Add([]byte{6, 0, 0xff, 7})
	f.Add(forge(append([]byte{6, 0, 0xff, 7, 6, 0xc0, 0xa3, 0xa2, 0xa1, 0xa0, 1, 0, 0, 0, 32, 0}, make([]byte, 64)...))[0])
	for _, typ := range []byte{0x00, 0x02, 0x11, 0x13, 0x15, 0x40, 0x80, 0xc0} {
		f.Add(append([]byte{6, 0, 0xff, 7, 6, typ, 0, 0, 0, 0, 0, 0, 0, 0, 36, 0}, make([]byte, 60)...))
		f.Add([]byte{6, 0, 0xff, 7, 6, typ, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 9})
	}
	for _, auth := range []byte{0, 1, 2, 4, 5} {
		f.Add(append([]byte{6, 0, 0xff, 7, auth, 0, 0, 0, 0, 0, 0, 0, 0, 11}, chassisOff(1)...))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, w := range []*wire{
			{},
			{only: 4, password: "x"},
			{plus: true, want: 0x11, console: 0xa0a1a2a3, auth: 1, integrity: 1, crypt: 1},
			{plus: true, want: 0x13, auth: 1, integrity: 1, crypt: 1, user: "admin"},
			{plus: true, want: 0x15, auth: 3, integrity: 4, crypt: 1, ours: keySet{k1: []byte("k"), k2: make([]byte, 32)}},
			{plus: true, want: 0x15, auth: 1, integrity: 1, crypt: 1, kg: []byte("kg"), bmcGUID: make([]byte, 16), consoleRnd: make([]byte, 16), ours: keySet{sik: []byte("s")}, theirs: keySet{sik: []byte("t")}},
		} {
			if w.accept(b) {
				w.restrict(bytes.Clone(b))
			}
			_ = capabilitiesIn(b)
		}
		live := &wire{plus: true, live: true, console: 0xa0a1a2a3, auth: 1, integrity: 1, crypt: 1, theirs: keySet{k1: []byte("unguessable"), k2: make([]byte, 20)}, seen: map[string]bool{}}
		if live.accept(b) {
			t.Errorf("believed without the key: %x", b)
		}
	})
}

// FuzzAnswers lets a BMC answer a question for the state with anything: no panic, and never off.
func FuzzAnswers(f *testing.F) {
	fake := ipmitest.Start(f, ipmitest.Options{})
	cfg := config(fake)
	cfg.Try = 20 * time.Millisecond
	for _, b := range [][]byte{{}, {6, 0, 0xff, 7}, chassisOff(1), append([]byte{6, 0, 0xff, 7, 6, 0xc0}, make([]byte, 40)...)} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		fake.Script(ipmitest.Script{})
		b, err := Open(t.Context(), cfg)
		if err != nil {
			t.Skip(err)
		}
		defer b.Close(t.Context())
		fake.Script(ipmitest.Script{Extra: func([]byte) [][]byte { return [][]byte{answer} }})
		if on, err := b.On(t.Context()); err == nil && !on {
			t.Errorf("off from %x", answer)
		}
	})
}

func TestConfigString(t *testing.T) {
	cfg := Config{Host: "h", Port: 623, User: "u", Password: "tell-no-one"}
	if s := fmt.Sprint(cfg); strings.Contains(s, cfg.Password) {
		t.Error(s)
	}
}
