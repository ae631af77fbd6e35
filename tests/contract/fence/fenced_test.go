package fence

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgrex/tests/contract/sandbox"
)

// admin calls stonith_admin.
func admin(t *testing.T, args ...string) (string, error) {
	t.Helper()
	o := sandbox.Call(t, "", "stonith_admin", args...)
	if o.Code != 0 {
		return o.Stdout + o.Stderr, fmt.Errorf("exit status %d", o.Code)
	}
	return o.Stdout + o.Stderr, nil
}

// register makes a device known to the fencer.
func (s *simulator) register(name, program string, options ...string) {
	s.t.Helper()
	t, ok := s.t.(*testing.T)
	if !ok {
		s.t.Fatal("registering needs a test")
	}
	args := []string{"--register", name, "--agent", program}
	base := []string{"ip=127.0.0.1", fmt.Sprintf("ipport=%d", s.port), "username=" + login, "password=" + password, "lanplus=1", "cipher=3"}
	given := map[string]bool{}
	for _, o := range append(options, base...) {
		// Of two values for one name stonith_admin takes whichever it likes.
		if name, _, _ := strings.Cut(o, "="); !given[name] {
			given[name] = true
			args = append(args, "--option", o)
		}
	}
	if out, err := admin(t, args...); err != nil {
		t.Fatalf("register %s: %v: %s", name, err, out)
	}
}

// must calls stonith_admin for something that has to succeed, and returns how long it took.
func must(t *testing.T, name string, args ...string) time.Duration {
	t.Helper()
	start := time.Now()
	if out, err := admin(t, args...); err != nil {
		t.Fatalf("%s: %v: %s\n%s", name, err, out, sandbox.ReadFile(t, sandbox.FencerLog))
	}
	return time.Since(start)
}

// expect compares the machine's state and what it was told.
func (s *simulator) expect(t *testing.T, on bool, orders string) {
	t.Helper()
	if s.on() != on || s.orders() != orders {
		t.Errorf("on %v after orders [%s], want %v after [%s]", s.on(), s.orders(), on, orders)
	}
}

// A real fencer registers, monitors and fences with fence_ipmi; a device of fence_ipmilan is replaced
// by the same device of fence_ipmi.
func TestFenced(t *testing.T) {
	sandbox.Fencer(t)
	if sandbox.IsElsewhere() && sandbox.Pacemaker(t) < 3 {
		t.Error("this is no Pacemaker 3")
	}
	first := startSimulator(t)
	first.register("bmc1", "fence_ipmi", "pcmk_host_list=node1")
	must(t, "monitor", "--query", "bmc1")
	if out, err := admin(t, "--list", "node1"); err != nil || !strings.Contains(out, "bmc1") {
		t.Errorf("devices of node1: %v: %s", err, out)
	}
	took := must(t, "off", "--fence", "node1")
	first.expect(t, false, "power 0")
	if took > 2*time.Second {
		t.Errorf("off took %v", took)
	}
	must(t, "monitor of a machine that is off", "--query", "bmc1")
	must(t, "on", "--unfence", "node1")
	first.expect(t, true, "power 0, power 1")
	first.reset(true)
	if took := must(t, "reboot", "--reboot", "node1"); took > 2*time.Second {
		t.Errorf("reboot took %v", took)
	}
	first.expect(t, true, "power 0, power 1")

	t.Run("replace", func(t *testing.T) {
		first.reset(true)
		first.register("old", "fence_ipmilan", "pcmk_host_list=node2", "method=onoff", "power_wait=1")
		must(t, "monitor", "--query", "old")
		first.register("old", "fence_ipmi", "pcmk_host_list=node2", "method=onoff", "power_wait=1")
		must(t, "monitor", "--query", "old")
		must(t, "reboot", "--reboot", "node2")
		first.expect(t, true, "power 0, power 1")
	})
	t.Run("host map", func(t *testing.T) {
		first.reset(true)
		first.register("many", "fence_ipmi", "ip=192.0.2.1", "port_as_ip=1", "pcmk_host_map=node3:127.0.0.1;node4:192.0.2.4")
		must(t, "reboot", "--reboot", "node3")
		first.expect(t, true, "power 0, power 1")
	})
	t.Run("failure", func(t *testing.T) {
		first.reset(true)
		first.register("wrong", "fence_ipmi", "pcmk_host_list=node6", "password=wrong", "pcmk_off_retries=1")
		if out, err := admin(t, "--fence", "node6", "--timeout", "20"); err == nil {
			t.Errorf("fenced with a wrong password: %s", out)
		}
		first.expect(t, true, "")
		logged, err := os.ReadFile(sandbox.FencerLog)
		if err != nil || !bytes.Contains(logged, []byte("with this password")) || bytes.Contains(logged, []byte(password)) {
			t.Errorf("%v: the log does not say why, or says too much:\n%s", err, logged)
		}
	})
}

// A cluster reaches the second level when the BMC of the first is dead.
func TestLevels(t *testing.T) {
	sandbox.Cluster(t)
	first, second := startSimulator(t), startSimulator(t)
	first.reset(true)
	second.reset(true)
	first.register("level1", "fence_ipmi", "pcmk_host_list=node5", "ipmitool_timeout=0.3", "pcmk_reboot_retries=1")
	second.register("level2", "fence_ipmi", "pcmk_host_list=node5")
	must(t, "level 1", "--register-level", "node5", "--index", "1", "--device", "level1")
	must(t, "level 2", "--register-level", "node5", "--index", "2", "--device", "level2")
	// A controller that does not answer, and keeps its port.
	if err := first.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	took := must(t, "reboot", "--reboot", "node5", "--timeout", "60")
	if err := first.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	second.expect(t, true, "power 0, power 1")
	if took > 10*time.Second {
		t.Errorf("the second level was reached after %v", took)
	}
	first.expect(t, true, "")
}

// What the fencer really sends is understood: the node's name, and the host argument, which is "port" or
// "plug" depending on the version.
func TestHostArgument(t *testing.T) {
	sandbox.Fencer(t)
	s := startSimulator(t)
	tests := map[string]struct {
		node    string
		options []string
		// sent are lines that have to be sent, unsent beginnings of lines that may not.
		sent, unsent []string
	}{
		"node name":    {node: "host1", options: []string{"pcmk_host_list=host1"}, sent: []string{"nodename=host1", "?=host1"}},
		"mapped":       {node: "host2", options: []string{"ip=192.0.2.1", "port_as_ip=1", "pcmk_host_map=host2:127.0.0.1"}, sent: []string{"nodename=host2", "?=127.0.0.1"}},
		"two machines": {node: "host3", options: []string{"ip=192.0.2.1", "port_as_ip=1", "pcmk_host_map=host3:127.0.0.1,localhost"}, sent: []string{"?=127.0.0.1,localhost"}},
		"configured":   {node: "host4", options: []string{"plug=outlet", "pcmk_host_list=host4"}, sent: []string{"nodename=host4", "plug=outlet"}},
		"none":         {node: "host5", options: []string{"pcmk_host_list=host5", "pcmk_host_argument=none"}, sent: []string{"nodename=host5"}, unsent: []string{"plug=", "port="}},
		"other action": {node: "host6", options: []string{"pcmk_host_list=host6", "pcmk_off_action=reboot"}, sent: []string{"action=reboot"}, unsent: []string{"action=off"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s.reset(true)
			s.register(tt.node, "fence_seen", tt.options...)
			sandbox.WriteFile(t, heard, "", 0o644)
			if out, err := admin(t, "--fence", tt.node); err != nil {
				t.Fatalf("%v: %s\n%s", err, out, sandbox.ReadFile(t, sandbox.FencerLog))
			}
			if !strings.HasPrefix(s.orders(), "power 0") {
				t.Errorf("orders [%s]", s.orders())
			}
			lines := strings.Split(sandbox.ReadFile(t, heard), "\n")
			for _, want := range tt.sent {
				value, host := strings.CutPrefix(want, "?")
				if !slices.Contains(lines, want) && !(host && (slices.Contains(lines, "port"+value) || slices.Contains(lines, "plug"+value))) {
					t.Errorf("%s was not sent: %q", want, lines)
				}
			}
			for _, line := range lines {
				if slices.ContainsFunc(append(tt.unsent, "pcmk_", "crm_"), func(p string) bool { return strings.HasPrefix(line, p) }) {
					t.Errorf("%s was sent", line)
				}
			}
		})
	}
}
