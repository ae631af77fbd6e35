package ipmi

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgrex/lib/ipmi/ipmitest"
)

// try is short, so that a silent BMC costs a test half a second.
const shortTry = 100 * time.Millisecond

func config(b *ipmitest.BMC) Config {
	return Config{Host: "127.0.0.1", Port: b.Port, User: ipmitest.Admin, Password: ipmitest.Password, Try: shortTry}
}

// TestMain fails if something of go-ipmi's client still runs after all tests.
func TestMain(m *testing.M) {
	// Most of these tests wait.
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	code := m.Run()
	buf := make([]byte, 1<<20)
	for range 200 {
		buf = buf[:cap(buf)]
		buf = buf[:runtime.Stack(buf, true)]
		if !bytes.Contains(buf, []byte("go-ipmi/pkg/client")) {
			os.Exit(code)
		}
		time.Sleep(10 * time.Millisecond)
	}
	fmt.Fprintf(os.Stderr, "left behind:\n%s", buf)
	os.Exit(1)
}

func open(t *testing.T, cfg Config) *BMC {
	t.Helper()
	b, err := Open(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close(context.Background()) })
	return b
}

// kinds of RMCP+ packets, by the byte that tells them apart.
func payload(b []byte) byte {
	if len(b) < 6 || b[4] != 6 {
		return 0xff
	}
	return b[5] & 0x3f
}

// silentOn17 loses the questions for a session with suite 17.
func silentOn17(b []byte) bool { return payload(b) != 0x10 || b[16+12] != 3 }

// Each kind of BMC is spoken to in the best way it knows, within two seconds of looking for it.
func TestDialects(t *testing.T) {
	tests := map[string]struct {
		opts    ipmitest.Options
		script  ipmitest.Script
		change  func(*Config)
		dialect Dialect
		suite   int
		kind    Kind
		err     string
	}{
		"everything":             {dialect: RMCPPlus, suite: 17},
		"suite 3 only":           {opts: ipmitest.Options{Suites: []int{3}}, dialect: RMCPPlus, suite: 3},
		"suite 17 only":          {opts: ipmitest.Options{Suites: []int{17}}, dialect: RMCPPlus, suite: 17},
		"silent on suite 17":     {opts: ipmitest.Options{Suites: []int{3}}, script: ipmitest.Script{In: silentOn17}, dialect: RMCPPlus, suite: 3},
		"silent on RMCP+":        {script: ipmitest.Script{In: func(b []byte) bool { return payload(b) == 0xff }}, dialect: IPMI15},
		"RMCP+ wanted":           {change: func(c *Config) { c.Dialect = RMCPPlus }, dialect: RMCPPlus, suite: 17},
		"RMCP+, 3 wanted":        {change: func(c *Config) { c.Dialect, c.Suite = RMCPPlus, 3 }, dialect: RMCPPlus, suite: 3},
		"3 wanted":               {change: func(c *Config) { c.Suite = 3 }, dialect: RMCPPlus, suite: 3},
		"IPMI 1.5 wanted":        {change: func(c *Config) { c.Dialect = IPMI15 }, dialect: IPMI15},
		"md5 wanted":             {change: func(c *Config) { c.Dialect, c.Auth = IPMI15, "md5" }, dialect: IPMI15},
		"RMCP+ wanted, 1.5 only": {script: ipmitest.Script{In: func(b []byte) bool { return payload(b) == 0xff }}, change: func(c *Config) { c.Dialect = RMCPPlus }, kind: Silent, err: "no answer"},
		"password auth, not had": {change: func(c *Config) { c.Dialect, c.Auth = IPMI15, "password" }, kind: Suite, err: "does not offer auth=password"},
		"17 wanted, 3 only":      {opts: ipmitest.Options{Suites: []int{3}}, change: func(c *Config) { c.Suite = 17 }, kind: Suite, err: "refuses cipher suite 17"},
		"1.5 wanted, not had":    {opts: ipmitest.Options{No15: true}, change: func(c *Config) { c.Dialect = IPMI15 }, kind: Suite, err: ""},
		"Kg":                     {opts: ipmitest.Options{Kg: bytes.Repeat([]byte{7}, 20)}, kind: Auth, err: "Kg"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fake := ipmitest.Start(t, tt.opts)
			fake.Script(tt.script)
			cfg := config(fake)
			// Long enough for the patience with a suite to be the shorter.
			cfg.Try = 400 * time.Millisecond
			if tt.change != nil {
				tt.change(&cfg)
			}
			start := time.Now()
			b, err := Open(t.Context(), cfg)
			// A second more on a busy machine, on which the probe's answer may look like a slow BMC's.
			if took := time.Since(start); took > 5*time.Second || err == nil && took > 3*time.Second {
				t.Errorf("took %v", took)
			}
			if err != nil {
				if tt.dialect != Any || !strings.Contains(err.Error(), tt.err) || tt.err != "" && KindOf(err) != tt.kind {
					t.Errorf("kind %d: %v", KindOf(err), err)
				}
				return
			}
			defer b.Close(t.Context())
			if tt.dialect == Any {
				t.Fatal("let in")
			}
			if d, s := b.Dialect(); d != tt.dialect || s != tt.suite {
				t.Errorf("%v %d, want %v %d", d, s, tt.dialect, tt.suite)
			}
			everything(t, fake, b)
		})
	}
}

// everything works in the session.
func everything(t *testing.T, fake *ipmitest.BMC, b *BMC) {
	t.Helper()
	ctx := t.Context()
	for _, step := range []struct {
		do   func(context.Context) error
		want bool
	}{{b.PowerOff, false}, {b.PowerOn, true}, {b.PowerCycle, false}} {
		if err := step.do(ctx); err != nil {
			t.Fatal(err)
		}
		if on, err := b.On(ctx); err != nil || on != step.want {
			t.Errorf("on %v, %v", on, err)
		}
	}
	if got := fake.Orders(); !slices.Equal(got, []string{"off", "on", "cycle"}) {
		t.Errorf("orders %q", got)
	}
}

// What is wrong with a login is told, after one try: more might lock the user out.
func TestLogin(t *testing.T) {
	tests := map[string]struct {
		change func(*Config)
		kind   Kind
		says   string
	}{
		"wrong password":           {change: func(c *Config) { c.Password = "wrong" }, kind: Auth, says: `knows no user "admin" with this password`},
		"wrong password, 1.5":      {change: func(c *Config) { c.Password, c.Dialect = "wrong", IPMI15 }, kind: Auth, says: "admin"},
		"unknown user":             {change: func(c *Config) { c.User = "nobody" }, kind: Auth, says: `user "nobody"`},
		"unknown user, 1.5":        {change: func(c *Config) { c.User, c.Dialect = "nobody", IPMI15 }, kind: Auth, says: `user "nobody"`},
		"operator as admin":        {change: func(c *Config) { c.User = ipmitest.Operator }, kind: Privilege, says: "privilege level administrator"},
		"operator as operator":     {change: func(c *Config) { c.User, c.Privilege = ipmitest.Operator, "operator" }},
		"operator in 1.5":          {change: func(c *Config) { c.User, c.Privilege, c.Dialect = ipmitest.Operator, "operator", IPMI15 }},
		"operator as admin in 1.5": {change: func(c *Config) { c.User, c.Dialect = ipmitest.Operator, IPMI15 }, kind: Privilege, says: "privilege level administrator"},
		"long user":                {change: func(c *Config) { c.User = strings.Repeat("x", 17) }, kind: BadConfig, says: "16"},
		"long password":            {change: func(c *Config) { c.Password = strings.Repeat("x", 21) }, kind: BadConfig, says: "20"},
		"long password for 1.5":    {change: func(c *Config) { c.Password, c.Dialect = strings.Repeat("x", 17), IPMI15 }, kind: BadConfig, says: "16"},
		"no host":                  {change: func(c *Config) { c.Host = "" }, kind: BadConfig, says: "address"},
		"suite without signature":  {change: func(c *Config) { c.Suite = 1 }, kind: BadConfig, says: "17 or 3"},
		"no such level":            {change: func(c *Config) { c.Privilege = "king" }, kind: BadConfig, says: "king"},
		"no such auth":             {change: func(c *Config) { c.Auth = "oath" }, kind: BadConfig, says: "oath"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fake := ipmitest.Start(t, ipmitest.Options{})
			var logins atomic.Int32
			fake.Script(ipmitest.Script{In: func(b []byte) bool {
				if payload(b) == 0x12 {
					logins.Add(1)
				}
				return true
			}})
			cfg := config(fake)
			tt.change(&cfg)
			b, err := Open(t.Context(), cfg)
			if tt.says == "" {
				if err != nil {
					t.Fatal(err)
				}
				b.Close(t.Context())
				return
			}
			if err == nil || KindOf(err) != tt.kind || !strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), cfg.Password) && len(cfg.Password) > 5 {
				t.Errorf("kind %d: %v", KindOf(err), err)
			}
			if n := logins.Load(); n > 1 {
				t.Errorf("%d logins", n)
			}
		})
	}
}

// A user who may only look can look.
func TestLooker(t *testing.T) {
	t.Parallel()
	fake := ipmitest.Start(t, ipmitest.Options{})
	cfg := config(fake)
	cfg.User, cfg.Privilege = ipmitest.Looker, "user"
	b := open(t, cfg)
	if on, err := b.On(t.Context()); err != nil || !on {
		t.Errorf("on %v, %v", on, err)
	}
	if err := b.PowerOff(t.Context()); KindOf(err) != Privilege || !strings.Contains(err.Error(), "operator") {
		t.Errorf("kind %d: %v", KindOf(err), err)
	}
	if !fake.On() {
		t.Error("it is off")
	}
}

// A BMC that is not there is given up in time, with a sentence that says how it was not there.
func TestNobodyThere(t *testing.T) {
	mute, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = mute.Close() })
	at, ok := mute.LocalAddr().(*net.UDPAddr)
	if !ok {
		t.Fatal("odd address")
	}
	// Below the ports that the kernel gives out: one of those would be another test's soon.
	const closedPort = 1
	for name, tt := range map[string]struct {
		cfg  Config
		kind Kind
		says string
	}{
		"silent":         {Config{Host: "127.0.0.1", Port: at.Port}, Silent, "no answer within 500ms"},
		"silent, RMCP+":  {Config{Host: "127.0.0.1", Port: at.Port, Dialect: RMCPPlus, Suite: 3}, Silent, "no answer"},
		"silent, 1.5":    {Config{Host: "127.0.0.1", Port: at.Port, Dialect: IPMI15}, Silent, "no answer"},
		"port closed":    {Config{Host: "127.0.0.1", Port: closedPort}, Unreachable, "nothing listens"},
		"closed, 1.5":    {Config{Host: "127.0.0.1", Port: closedPort, Dialect: IPMI15}, Unreachable, "nothing listens"},
		"closed, RMCP+":  {Config{Host: "127.0.0.1", Port: closedPort, Dialect: RMCPPlus, Suite: 17}, Unreachable, "nothing listens"},
		"no such name":   {Config{Host: "no-such-host.invalid"}, Unreachable, "name cannot be resolved"},
		"no such zone":   {Config{Host: "fe80::1%nowhere"}, Unreachable, "cannot be reached"},
		"IPv6, brackets": {Config{Host: "[::1]", Port: closedPort}, Unreachable, "[::1]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := tt.cfg
			cfg.Try = shortTry
			start := time.Now()
			_, err := Open(t.Context(), cfg)
			if took := time.Since(start); took > Tries*shortTry+500*time.Millisecond {
				t.Errorf("took %v", took)
			}
			if KindOf(err) != tt.kind || !strings.Contains(fmt.Sprint(err), tt.says) {
				t.Errorf("kind %d: %v", KindOf(err), err)
			}
		})
	}
}

// A BMC that restarts its network is waited for.
func TestPortOpensLate(t *testing.T) {
	t.Parallel()
	fake := ipmitest.Start(t, ipmitest.Options{})
	fake.Halt()
	time.AfterFunc(250*time.Millisecond, func() { fake.Boot(t) })
	b := open(t, config(fake))
	if on, err := b.On(t.Context()); err != nil || !on {
		t.Errorf("on %v, %v", on, err)
	}
}

// IPv6 literals, with and without brackets, in every dialect.
func TestIPv6(t *testing.T) {
	t.Parallel()
	fake := ipmitest.Start(t, ipmitest.Options{})
	relay6(t, fake.Port)
	for _, host := range []string{"::1", "[::1]"} {
		for _, d := range []Dialect{Any, RMCPPlus, IPMI15} {
			cfg := config(fake)
			cfg.Host, cfg.Dialect = host, d
			b := open(t, cfg)
			if on, err := b.On(t.Context()); err != nil || !on {
				t.Errorf("%s %v: on %v, %v", host, d, on, err)
			}
			b.Close(t.Context()) // the BMC has few sessions
		}
	}
}

// A name with an IPv6 address at which nothing listens, as "localhost" has on most machines.
func TestSeveralAddresses(t *testing.T) {
	t.Parallel()
	fake := ipmitest.Start(t, ipmitest.Options{})
	for _, d := range []Dialect{Any, RMCPPlus, IPMI15} {
		cfg := config(fake)
		cfg.Host, cfg.Dialect = "bmc1", d
		cfg.Resolve = func(_ context.Context, host string) ([]netip.Addr, error) {
			return []netip.Addr{netip.IPv6Loopback(), netip.MustParseAddr("127.0.0.1")}, nil
		}
		b := open(t, cfg)
		if on, err := b.On(t.Context()); err != nil || !on {
			t.Errorf("%v: on %v, %v", d, on, err)
		}
		b.Close(t.Context())
	}
	cfg := config(fake)
	cfg.Resolve = func(context.Context, string) ([]netip.Addr, error) {
		time.Sleep(3 * Tries * cfg.Try / 2) // the first name server is away
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}
	open(t, cfg).Close(t.Context())
	cfg.Resolve = func(context.Context, string) ([]netip.Addr, error) { return nil, nil }
	if _, err := Open(t.Context(), cfg); KindOf(err) != Unreachable {
		t.Errorf("no address: %v", err)
	}
}

// relay6 passes datagrams from ::1 on to the same port at 127.0.0.1.
func relay6(t *testing.T, port int) {
	t.Helper()
	in, err := net.ListenUDP("udp6", &net.UDPAddr{IP: net.IPv6loopback, Port: port})
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*net.UDPConn{}
	t.Cleanup(func() { _ = in.Close() })
	go func() {
		buf := make([]byte, 4096)
		for {
			n, from, err := in.ReadFromUDP(buf)
			if err != nil {
				for _, c := range out {
					_ = c.Close()
				}
				return
			}
			c := out[from.String()]
			if c == nil {
				if c, err = net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}); err != nil {
					return
				}
				out[from.String()] = c
				go func() {
					back := make([]byte, 4096)
					for {
						k, err := c.Read(back)
						if err != nil {
							return
						}
						_, _ = in.WriteToUDP(back[:k], from)
					}
				}()
			}
			_, _ = c.Write(buf[:n])
		}
	}()
}
