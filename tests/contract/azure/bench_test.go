package azure

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pgrex/tests/contract/sandbox"
	"pgrex/tests/fakes/azure"
)

const original = "/usr/sbin/fence_azure_arm"

// TestBench prints a table of wall times and requests for our agent and the
// original, on the same machines in the same run, and fails where their exit code,
// their last line or their orders differ. It runs for `make bench-fence` only. The
// original needs python3-azure (600 MB), or PYTHONPATH that leads to it.
func TestBench(t *testing.T) {
	if os.Getenv("PGREX_BENCH") == "" {
		t.Skip("a benchmark; make bench-fence runs it")
	}
	s := begin(t)
	s.SetLatency(azure.Latency{Answer: ms(20)}) // machines that switch at once
	agents := []string{agent}
	if r := sandbox.Call(t, "", "/usr/bin/python3", "-c", "import azure.identity, azure.mgmt.compute"); r.Code == 0 {
		agents = append(agents, original)
	} else {
		t.Log("fence_azure_arm is not measured: python3 finds no azure.mgmt.compute (apt-get install python3-azure)")
	}
	t.Logf("%-10s %-16s %10s %9s %9s %7s", "action", "agent", "median", "processes", "requests", "orders")
	for _, action := range []string{"metadata", "monitor", "status", "off", "on", "reboot"} {
		var first trial
		for i, path := range agents {
			got := s.measure(t, path, action)
			t.Logf("%-10s %-16s %10s %9d %9d %7s", action, path[strings.LastIndex(path, "/")+1:], got.median.Round(time.Millisecond), got.processes, got.requests, got.orders)
			if i == 0 {
				first = got
			} else if action != "metadata" && (got.code != first.code || got.last != first.last || got.orders != first.orders) {
				t.Errorf("%s: ours gives %d %q (%s), the original %d %q (%s)", action, first.code, first.last, first.orders, got.code, got.last, got.orders)
			}
		}
	}
}

// trial is what one agent does for one action.
type trial struct {
	median       time.Duration
	requests     int
	processes    int
	code         int
	last, orders string
}

const rounds = 5

func (s *site) measure(t *testing.T, path, action string) trial {
	t.Helper()
	before := azure.Running
	if action == "on" {
		before = azure.Stopped
	}
	stdin := fmt.Sprintf("action=%s\nport=vm2\nlogin=app-id\npasswd=s3cr3t\ntenantId=%s\n", action, s.Tenant())
	var got trial
	var times []time.Duration
	for range rounds {
		if err := s.Change(group, "vm2", func(vm *azure.VM) { vm.Power = before }); err != nil {
			t.Fatal(err)
		}
		s.ForgetRequests()
		start := time.Now()
		r := sandbox.Call(t, stdin, path)
		times = append(times, time.Since(start))
		lines := strings.Split(strings.TrimSpace(r.Stdout), "\n")
		got.code, got.last, got.orders = r.Code, lines[len(lines)-1], ""
		if r.Code > 2 || r.Code == 1 {
			t.Fatalf("%s %s: %+v", path, action, r)
		}
		got.requests = len(s.Requests())
		for _, q := range s.Requests() {
			switch {
			case q.Is("POST", "/powerOff"):
				got.orders += "-"
			case q.Is("POST", "/start"):
				got.orders += "+"
			}
		}
		for len(s.power) > 0 {
			<-s.power
		}
	}
	slices.Sort(times)
	got.median = times[rounds/2]
	if err := s.Change(group, "vm2", func(vm *azure.VM) { vm.Power = before }); err != nil {
		t.Fatal(err)
	}
	got.processes = sandbox.Processes(t, stdin, path)
	for len(s.power) > 0 {
		<-s.power
	}
	return got
}
