package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgrex/lib/ipmi/ipmitest"
	"pgrex/lib/proc/proctest"
	"pgrex/lib/stonith"
)

type outcome struct {
	code           int
	stdout, stderr string
	took           time.Duration
}

// call runs the agent as Pacemaker does, but in this process.
func call(ctx context.Context, port int, lines ...string) outcome {
	in := fmt.Sprintf("ip=127.0.0.1\nipport=%d\nusername=%s\npassword=%s\nnodename=node1\nplug=node1\nipmitool_timeout=0.2\n%s\n",
		port, ipmitest.Admin, ipmitest.Password, strings.Join(lines, "\n"))
	var out, errs bytes.Buffer
	start := time.Now()
	code := declaration().Run(ctx, stonith.Process{
		Program: "fence_ipmi", LookupEnv: func(string) (string, bool) { return "", false }, Stdin: strings.NewReader(in),
		Stdout: &out, Stderr: &errs, PID: 1, Now: time.Now, Runner: &proctest.Runner{},
	})
	return outcome{code, out.String(), errs.String(), time.Since(start)}
}

func TestMain(m *testing.M) {
	// Most of these tests wait.
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

func TestDeclaration(t *testing.T) {
	if err := declaration().Validate(); err != nil {
		t.Error(err)
	}
}

// Every way in which a BMC can misbehave has its exit code, its text, and a sentence that helps.
func TestFaults(t *testing.T) {
	tests := map[string]struct {
		in     []string
		on     bool
		prep   func(t *testing.T, b *ipmitest.BMC)
		code   int
		stdout string
		stderr []string
		orders string
		within time.Duration
		least  time.Duration
	}{
		"status":       {in: []string{"action=status"}, on: true, stdout: "Status: ON\n"},
		"status off":   {in: []string{"action=status"}, code: 2, stdout: "Status: OFF\n"},
		"monitor":      {in: []string{"action=monitor"}, on: true},
		"off":          {in: []string{"action=off"}, on: true, stdout: "Success: Powered OFF\n", orders: "off"},
		"already off":  {in: []string{"action=off"}, stdout: "Success: Already OFF\n"},
		"on":           {in: []string{"action=on"}, stdout: "Success: Powered ON\n", orders: "on"},
		"reboot":       {in: []string{"action=reboot"}, on: true, stdout: "Success: Rebooted\n", orders: "off on"},
		"reboot 1.5":   {in: []string{"action=reboot", "lanplus=0"}, on: true, stdout: "Success: Rebooted\n", orders: "off on"},
		"old names":    {in: []string{"action=reboot", "ip=", "ipaddr=127.0.0.1", "login=admin", "passwd=" + ipmitest.Password}, on: true, stdout: "Success: Rebooted\n", orders: "off on"},
		"cycle":        {in: []string{"action=reboot", "method=cycle"}, on: true, stdout: "Success: Rebooted\n", orders: "cycle"},
		"cycle, off":   {in: []string{"action=reboot", "method=cycle"}, stdout: "Success: Rebooted\n", orders: "on"},
		"diag":         {in: []string{"action=diag"}, on: true, prep: accept, stdout: "Success: Rebooted\n", orders: "diag"},
		"diag refused": {in: []string{"action=diag"}, on: true, prep: refuse(0xcc), code: 1, stderr: []string{"diagnostic interrupt", "Failed: Generic error"}, orders: "diag"},
		"list":         {in: []string{"action=list"}, on: true, stdout: "NOTICE: List option is not working on this device yet\n"},

		"wrong password": {in: []string{"action=off", "password=falsch"}, on: true, code: 1,
			stderr: []string{`knows no user "admin" with this password`, "Unable to connect/login to fencing device"}},
		"unknown user": {in: []string{"action=off", "username=nobody"}, on: true, code: 1,
			stderr: []string{`knows no user "nobody" with this password`, "Unable to connect/login to fencing device"}},
		"operator as administrator": {in: []string{"action=off", "username=operator"}, on: true, code: 1,
			stderr: []string{"set privlvl", "Failed: The user does not have the correct privileges to do the requested action."}},
		"operator": {in: []string{"action=off", "username=operator", "privlvl=OPERATOR"}, on: true, stdout: "Success: Powered OFF\n", orders: "off"},
		"looker": {in: []string{"action=off", "username=looker", "privlvl=user"}, on: true, code: 1,
			stderr: []string{"at least operator", "Failed: The user does not have the correct privileges"}},
		"silent": {in: []string{"action=off"}, on: true, prep: silent, code: 1,
			stderr: []string{"gave no answer within 1s", "Connection timed out"}, least: time.Second, within: 2 * time.Second},
		"silent, login_timeout": {in: []string{"action=off", "login_timeout=1", "ipmitool_timeout=5"}, on: true, prep: silent, code: 1,
			stderr: []string{"Connection timed out"}, least: time.Second, within: 2 * time.Second},
		"port closed": {in: []string{"action=off"}, on: true, prep: func(_ *testing.T, b *ipmitest.BMC) { b.Halt() }, code: 1,
			stderr: []string{"nothing listens on that port", "Unable to connect/login to fencing device"}, within: 2 * time.Second},
		"drops every third packet": {in: []string{"action=reboot"}, on: true, prep: func(_ *testing.T, b *ipmitest.BMC) {
			var n atomic.Int32
			b.Script(ipmitest.Script{In: func([]byte) bool { return n.Add(1)%3 != 0 }})
		}, stdout: "Success: Rebooted\n", orders: "off on"},

		"off ignored": {in: []string{"action=reboot", "power_timeout=1"}, on: true, prep: accept, code: 1,
			stderr: []string{`still says "on"`, "Failed: Timed out waiting to power OFF"}, orders: "off", least: time.Second, within: 2 * time.Second},
		"off late": {in: []string{"action=off"}, on: true, prep: func(_ *testing.T, b *ipmitest.BMC) {
			b.Script(ipmitest.Script{Order: func(string) byte { b.SetAfter(false, 600*time.Millisecond); return 0 }})
		}, stdout: "Success: Powered OFF\n", orders: "off", least: 600 * time.Millisecond, within: 1500 * time.Millisecond},
		"off refused at first": {in: []string{"action=off"}, on: true, prep: func(_ *testing.T, b *ipmitest.BMC) {
			var n atomic.Int32
			b.Script(ipmitest.Script{Order: func(string) byte {
				if n.Add(1) < 3 {
					return 0xd5
				}
				b.Set(false)
				return 0
			}})
		}, stdout: "Success: Powered OFF\n", orders: "off off off", stderr: []string{"cannot switch off in its present state"}},
		"off refused for good": {in: []string{"action=off", "power_timeout=1"}, on: true, prep: refuse(0xff), code: 1,
			stderr: []string{"refuses to switch off (completion code 0xff)", "Failed: Timed out waiting to power OFF"}},
		"on swallowed for three seconds": {in: []string{"action=reboot"}, on: true, prep: swallow(3 * time.Second),
			stdout: "Success: Rebooted\n", orders: "off on on on on", least: 3 * time.Second, within: 4 * time.Second},
		"on swallowed for good": {in: []string{"action=reboot"}, on: true, prep: swallow(time.Hour),
			stdout: "Success: Rebooted\n", orders: "off on on on on", stderr: []string{"node node1 is fenced, but was not seen on again and may be off"}, within: 5 * time.Second},
		"gone between off and on": {in: []string{"action=reboot"}, on: true, prep: func(_ *testing.T, b *ipmitest.BMC) {
			var gone atomic.Bool
			b.Script(ipmitest.Script{
				Out: func([]byte) bool { return !gone.Load() },
				Order: func(what string) byte {
					if what == "on" {
						gone.Store(true)
					}
					b.Set(false)
					return 0
				},
			})
		}, stdout: "Success: Rebooted\n", stderr: []string{"may be off"}, within: 6 * time.Second},
		"restarts after off": {in: []string{"action=off"}, on: true, prep: func(t *testing.T, b *ipmitest.BMC) {
			var once atomic.Bool
			b.Script(ipmitest.Script{Order: func(string) byte {
				b.Set(false)
				if !once.Swap(true) {
					go func() {
						b.Halt()
						time.Sleep(300 * time.Millisecond)
						b.Boot(t)
					}()
				}
				return 0
			}})
		}, stdout: "Success: Powered OFF\n", within: 4 * time.Second},

		"bad Kg":         {in: []string{"action=off", "hexadecimal_kg=tell-no-one"}, on: true, code: 1, stderr: []string{"hexadecimal_kg: is not an even number of hexadecimal digits"}},
		"needless Kg":    {in: []string{"action=off", "hexadecimal_kg=31323334"}, on: true, code: 1, stderr: []string{"hexadecimal_kg is not the Kg key", "Unable to connect/login to fencing device"}},
		"target refused": {in: []string{"action=off", "target=0x24"}, on: true, code: 1, stderr: []string{"target is not supported by fence_ipmi"}},
		"cipher refused": {in: []string{"action=off", "cipher=0"}, on: true, code: 1, stderr: []string{"use 17 or 3"}},
		"valid":          {in: []string{"action=validate-all"}, on: true},
		"invalid":        {in: []string{"action=validate-all", "username=a-name-that-is-too-long"}, on: true, code: 1, stderr: []string{"16 at most"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := ipmitest.Start(t, ipmitest.Options{})
			b.Set(tt.on)
			if tt.prep != nil {
				tt.prep(t, b)
			}
			r := call(t.Context(), b.Port, tt.in...)
			if r.code != tt.code || r.stdout != tt.stdout {
				t.Errorf("code %d, output %q, want %d, %q\n%s", r.code, r.stdout, tt.code, tt.stdout, r.stderr)
			}
			for _, want := range tt.stderr {
				if !strings.Contains(r.stderr, want) {
					t.Errorf("%q is missing in %s", want, r.stderr)
				}
			}
			if len(tt.stderr) == 0 && r.stderr != "" {
				t.Errorf("said %s", r.stderr)
			}
			if got := strings.Join(b.Orders(), " "); tt.orders != "" && got != tt.orders {
				t.Errorf("orders %q, want %q", got, tt.orders)
			}
			if r.took < tt.least || tt.within > 0 && r.took > tt.within {
				t.Errorf("took %v, want %v to %v", r.took, tt.least, tt.within)
			}
			if strings.Contains(r.stderr, ipmitest.Password) {
				t.Errorf("the password was shown: %s", r.stderr)
			}
			// The words by which Pacemaker recognises an agent that ran out of time.
			if c := strings.ToLower(r.stderr); (strings.Contains(c, "timed out") || strings.Contains(c, "timeout")) && !slices.ContainsFunc(tt.stderr, func(s string) bool { return strings.Contains(strings.ToLower(s), "timed out") }) {
				t.Errorf("speaks of time: %s", r.stderr)
			}
		})
	}
}

// accept takes every order and does nothing.
func accept(_ *testing.T, b *ipmitest.BMC) {
	b.Script(ipmitest.Script{Order: func(string) byte { return 0 }})
}

func refuse(code byte) func(*testing.T, *ipmitest.BMC) {
	return func(_ *testing.T, b *ipmitest.BMC) {
		b.Script(ipmitest.Script{Order: func(string) byte { return code }})
	}
}

func silent(_ *testing.T, b *ipmitest.BMC) {
	b.Script(ipmitest.Script{In: func([]byte) bool { return false }})
}

// swallow obeys off, and for a while after it accepts on without doing it.
func swallow(d time.Duration) func(*testing.T, *ipmitest.BMC) {
	return func(_ *testing.T, b *ipmitest.BMC) {
		var off atomic.Pointer[time.Time]
		b.Script(ipmitest.Script{Order: func(what string) byte {
			if what == "off" {
				now := time.Now()
				off.Store(&now)
				b.Set(false)
			} else if time.Since(*off.Load()) >= d {
				b.Set(true)
			}
			return 0
		}})
	}
}

// Neither the most talkative setting nor a debug file shows what proves who we are, in any
// form, however an action ends.
func TestSecretsWithDebug(t *testing.T) {
	t.Parallel()
	const kg = "6b65792d6f662d626d63"
	debug := filepath.Join(t.TempDir(), "debug")
	b := ipmitest.Start(t, ipmitest.Options{Kg: []byte("key-of-bmc")})
	b.Set(true)
	var said strings.Builder
	for _, lines := range [][]string{
		{"action=status"}, {"action=monitor"}, {"action=reboot"}, {"action=off", "lanplus=0"}, {"action=off", "password=" + ipmitest.Password + "x"},
		{"action=status", "hexadecimal_kg=" + kg + "00"}, {"action=validate-all"}, {"action=nonsense"}, {"action=off", "power_timeout=" + ipmitest.Password},
	} {
		r := call(t.Context(), b.Port, append([]string{"hexadecimal_kg=" + kg, "lanplus=1", "verbose=1", "verbose_level=9", "debug_file=" + debug}, lines...)...)
		fmt.Fprintln(&said, r.stdout, r.stderr)
	}
	written, err := os.ReadFile(debug)
	if err != nil || len(written) == 0 {
		t.Fatalf("no debug file: %v", err)
	}
	said.Write(written)
	for _, word := range []string{ipmitest.Password, hex.EncodeToString([]byte(ipmitest.Password)), kg, "key-of-bmc"} {
		if i := strings.Index(said.String(), word); i >= 0 {
			t.Errorf("%q is shown: %s", word, said.String()[max(0, i-200):i+len(word)])
		}
	}
}

// A BMC with a Kg key.
func TestKg(t *testing.T) {
	t.Parallel()
	b := ipmitest.Start(t, ipmitest.Options{Kg: []byte("1234")})
	if r := call(t.Context(), b.Port, "action=reboot", "hexadecimal_kg=31323334"); r.code != 0 || len(b.Orders()) != 2 {
		t.Errorf("%+v, orders %q", r, b.Orders())
	}
	if r := call(t.Context(), b.Port, "action=status"); r.code != 1 || !strings.Contains(r.stderr, "set hexadecimal_kg") {
		t.Errorf("%+v", r)
	}
}

// With port_as_ip one device serves many controllers, and two controllers are one machine.
func TestPortAsIP(t *testing.T) {
	t.Parallel()
	b := ipmitest.Start(t, ipmitest.Options{})
	if r := call(t.Context(), b.Port, "action=status", "ip=192.0.2.1", "port_as_ip=1", "plug=127.0.0.1"); r.code != 0 || r.stdout != "Status: ON\n" {
		t.Errorf("%+v", r)
	}
	if r := call(t.Context(), b.Port, "action=off", "port_as_ip=1", "plug=127.0.0.1,localhost"); r.code != 0 || len(b.Orders()) != 2 {
		t.Errorf("%+v, orders %q", r, b.Orders())
	}
}

// SIGTERM ends a wait, and no session is left on the controller, which has few.
func TestSignal(t *testing.T) {
	t.Parallel()
	b := ipmitest.Start(t, ipmitest.Options{})
	accept(t, b)
	for range 6 {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		r := call(ctx, b.Port, "action=off", "lanplus=1", "cipher=3")
		cancel()
		if r.code != 1 || r.took > 2*time.Second {
			t.Errorf("%+v", r)
		}
	}
	if r := call(t.Context(), b.Port, "action=status"); r.code != 0 {
		t.Errorf("after six broken calls: %+v", r)
	}
}

// No route: an address that the kernel refuses to send to.
func TestNoRoute(t *testing.T) {
	t.Parallel()
	if c, err := net.Dial("udp", "240.0.0.1:623"); err == nil {
		if _, err := c.Write([]byte("x")); err == nil {
			t.Log("this machine has a route even to 240.0.0.1; the answer is silence then")
		}
		_ = c.Close()
	}
	r := call(t.Context(), 623, "action=off", "ip=240.0.0.1")
	if r.code != 1 || r.took > 3*time.Second || !strings.Contains(r.stderr, "240.0.0.1") {
		t.Errorf("%+v", r)
	}
}
