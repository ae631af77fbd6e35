package cloudip

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pgrex/tests/contract/resource"
	"pgrex/tests/contract/sandbox"
)

// benchRounds is how often each thing is measured; the table shows medians, and the least, which is nearer to
// what the thing itself takes where the machine has other work.
const benchRounds = 11

// TestBench prints a table of what our agent and IPaddr2 cost, on the same LAN in the same run: the time
// of each action, the programs it executes and the processes it makes, and how long a client is without
// an address whose holder has died, from the call of start on. It runs for `make bench-ip` only.
func TestBench(t *testing.T) {
	if os.Getenv("PGREX_BENCH") == "" {
		t.Skip("a benchmark; make bench-ip runs it")
	}
	b := newBenchLAN(t)
	ours, theirs := cloudip, cloudip
	theirs.Path = reference
	p := params{"ip": vip4, "nic": "eth0", "cidr_netmask": "24"}
	t.Logf("%-10s %-10s %12s %12s %10s %10s", "", "agent", "median", "least", "programs", "processes")
	for _, name := range []string{"take-over", "start", "monitor", "stop"} {
		for _, a := range []resource.Agent{ours, theirs} {
			var times []time.Duration
			executed, forked := 0, 0
			for range benchRounds {
				times = append(times, b.measure(t, a, p, name))
			}
			if name != "take-over" {
				executed, forked = b.count(t, a, p, name)
			}
			slices.Sort(times)
			row := fmt.Sprintf("%-10s %-10s %12v %12v", name, a.Name(), times[len(times)/2].Round(10*time.Microsecond), times[0].Round(10*time.Microsecond))
			if name != "take-over" {
				row += fmt.Sprintf(" %10d %10d", executed, forked)
			}
			t.Log(row)
		}
	}
}

// benchLAN is a switch with three machines: n1, which dies, n2, which takes over, and a client.
type benchLAN struct{ deadMAC string }

func newBenchLAN(t *testing.T) *benchLAN {
	t.Helper()
	ip(t, "netns", "add", "sw")
	ip(t, "-n", "sw", "link", "add", "name", "lan0", "type", "bridge")
	ip(t, "-n", "sw", "link", "set", "lan0", "up")
	for i, machine := range []string{"n1", "n2", "client"} {
		ip(t, "netns", "add", machine)
		ip(t, "-n", "sw", "link", "add", machine, "type", "veth", "peer", "name", "eth0", "netns", machine)
		ip(t, "-n", "sw", "link", "set", machine, "master", "lan0", "up")
		ip(t, "-n", machine, "link", "set", "lo", "up")
		ip(t, "-n", machine, "address", "add", fmt.Sprintf("192.168.144.%d/24", 101+i), "brd", "+", "dev", "eth0")
		ip(t, "-n", machine, "link", "set", "eth0", "up")
		// Refusals are what the client waits for: they must not be rationed.
		in(t, machine, func() error { return os.WriteFile("/proc/sys/net/ipv4/icmp_ratelimit", []byte("0"), 0o644) })
	}
	t.Cleanup(func() {
		for _, machine := range []string{"n1", "n2", "client", "sw"} {
			_ = exec.Command("ip", "netns", "del", machine).Run()
		}
	})
	sandbox.Eventually(t, "the LAN carries packets", 10*time.Second, func() bool {
		reached := false
		in(t, "client", func() error {
			reached = reach("192.168.144.102", 100*time.Millisecond) == nil
			return nil
		})
		return reached
	})
	mac := strings.Fields(ip(t, "-n", "n1", "-br", "link", "show", "dev", "eth0"))[2]
	return &benchLAN{deadMAC: mac}
}

// in runs a function in a machine's network namespace; it must succeed.
func in(t *testing.T, machine string, f func() error) {
	t.Helper()
	if err := inside(machine, f); err != nil {
		t.Fatal(err)
	}
}

// inside runs a function on a thread in a network namespace.
func inside(machine string, f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and the thread ends with this goroutine
		ns, err := os.Open("/run/netns/" + machine)
		if err == nil {
			err = unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
			_ = ns.Close()
		}
		if err == nil {
			err = f()
		}
		done <- err
	}()
	return <-done
}

// reach sends a packet each millisecond until the machine that has the address refuses one, as one
// does that has nobody at that port.
func reach(addr string, within time.Duration) error {
	conn, err := net.Dial("udp", addr+":9")
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	b := make([]byte, 1)
	for end := time.Now().Add(within); time.Now().Before(end); {
		_, werr := conn.Write(b)
		if err := conn.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
			return err
		}
		_, rerr := conn.Read(b)
		if errors.Is(werr, syscall.ECONNREFUSED) || errors.Is(rerr, syscall.ECONNREFUSED) {
			return nil
		}
	}
	return fmt.Errorf("%s was not reached within %v", addr, within)
}

// run calls the agent on n2.
func (b *benchLAN) run(t *testing.T, c resource.Call) time.Duration {
	t.Helper()
	var took time.Duration
	in(t, "n2", func() error {
		cmd := exec.Command(c.Agent.Path, c.Action)
		cmd.Env, cmd.Dir = c.Environment(), "/"
		begin := time.Now()
		err := cmd.Run()
		took = time.Since(begin)
		if err != nil {
			return fmt.Errorf("%s of %s: %w", c.Action, c.Agent.Name(), err)
		}
		return nil
	})
	return took
}

// ready brings n2 into the state that an action begins with.
func (b *benchLAN) ready(t *testing.T, a resource.Agent, p params, name string) {
	t.Helper()
	b.run(t, a.Action("stop", p))
	if name == "monitor" || name == "stop" {
		// The start waits for its announcements, or they would run beside what is measured; seconds later, when
		// a cluster calls monitor, they have ended.
		p = maps.Clone(p)
		p["arp_bg"] = "false"
		b.run(t, a.Action("start", p))
	}
}

func (b *benchLAN) measure(t *testing.T, a resource.Agent, p params, name string) time.Duration {
	t.Helper()
	b.ready(t, a, p, name)
	if name != "take-over" {
		c := a.Action(name, p)
		if name == "monitor" {
			c = a.Monitor(p)
		}
		return b.run(t, c)
	}
	// The client has talked to the address at n1, which is dead.
	ip(t, "-n", "client", "neighbour", "replace", p["ip"], "lladdr", b.deadMAC, "dev", "eth0", "nud", "reachable")
	ip(t, "-n", "n1", "link", "set", "eth0", "down")
	defer ip(t, "-n", "n1", "link", "set", "eth0", "up")
	var end time.Time
	reached := make(chan error)
	begin := time.Now()
	go func() {
		reached <- inside("client", func() error {
			err := reach(p["ip"], 20*time.Second)
			end = time.Now()
			return err
		})
	}()
	b.run(t, a.Action("start", p))
	if err := <-reached; err != nil {
		t.Fatal(err)
	}
	return end.Sub(begin)
}

// count runs an action under strace.
func (b *benchLAN) count(t *testing.T, a resource.Agent, p params, name string) (executed, forked int) {
	t.Helper()
	b.ready(t, a, p, name)
	c := a.Action(name, p)
	if name == "monitor" {
		c = a.Monitor(p)
	}
	file := filepath.Join(sandbox.TempDir(t), "trace")
	in(t, "n2", func() error {
		cmd := exec.Command("strace", "-f", "-qq", "-e", "trace=execve,clone,clone3,fork,vfork", "-o", file, c.Agent.Path, c.Action)
		cmd.Env, cmd.Dir = c.Environment(), "/"
		return cmd.Run()
	})
	return processes(sandbox.ReadFile(t, file))
}
