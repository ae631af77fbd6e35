package main

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"pgrex/tests/fakes/azure"
)

func TestActions(t *testing.T) {
	t.Parallel()
	tests := []struct {
		action, before, plug string
		code                 int
		last, after          string
		orders               string
	}{
		{"off", azure.Running, "n2", 0, "Success: Powered OFF", azure.Stopped, "powerOff"},
		{"off", azure.Stopped, "n2", 0, "Success: Already OFF", azure.Stopped, ""},
		{"off", azure.Deallocated, "n2", 0, "Success: Already OFF", azure.Deallocated, ""},
		{"off", azure.Unknown, "n2", 0, "Success: Powered OFF", azure.Stopped, "powerOff"},
		{"off", azure.Starting, "n2", 0, "Success: Powered OFF", azure.Stopped, "powerOff"},
		{"off", azure.Running, "N2", 0, "Success: Powered OFF", azure.Stopped, "powerOff"},
		{"on", azure.Stopped, "n2", 0, "Success: Powered ON", azure.Running, "start"},
		{"on", azure.Deallocated, "n2", 0, "Success: Powered ON", azure.Running, "start"},
		{"on", azure.Running, "n2", 0, "Success: Already ON", azure.Running, ""},
		{"reboot", azure.Running, "n2", 0, "Success: Rebooted", "", "powerOff start"},
		{"reboot", azure.Stopped, "n2", 0, "Success: Rebooted", "", "start"},
		{"status", azure.Running, "n2", 0, "Status: ON", azure.Running, ""},
		{"status", azure.Stopping, "n2", 0, "Status: ON", azure.Stopping, ""},
		{"status", azure.Unknown, "n2", 0, "Status: ON", azure.Unknown, ""},
		{"status", azure.Stopped, "n2", 2, "Status: OFF", azure.Stopped, ""},
		{"status", azure.Deallocated, "n2", 2, "Status: OFF", azure.Deallocated, ""},
		{"off", azure.Running, "n1,n2", 0, "Success: Powered OFF", azure.Stopped, "powerOff powerOff"},
	}
	for _, tt := range tests {
		t.Run(tt.action+" "+tt.before+" "+tt.plug, func(t *testing.T) {
			t.Parallel()
			cfg := usual()
			cfg.VMs[1].Power = tt.before
			s := begin(t, cfg)
			s.call(t, tt.action, "plug="+tt.plug).check(t, tt.code, tt.last)
			if got := s.PowerState(group, "n2"); tt.after != "" && got != tt.after {
				t.Errorf("the machine is %s", got)
			}
			var orders []string
			for _, r := range s.Requests() {
				if r.Method == "POST" && r.Service == azure.ARM {
					orders = append(orders, r.Path[strings.LastIndex(r.Path, "/")+1:])
					if strings.HasSuffix(r.Path, "powerOff") && !strings.Contains(r.Query, "skipShutdown=true") {
						t.Errorf("powerOff would ask the guest: %v", r)
					}
				}
			}
			if got := strings.Join(orders, " "); got != tt.orders {
				t.Errorf("orders: %q", got)
			}
		})
	}
}

// A machine counts as off by a view that was read after the order was accepted,
// not by the end of the operation nor by an earlier view.
func TestOffIsReadBack(t *testing.T) {
	t.Parallel()
	s := begin(t, usual())
	s.call(t, "off", "plug=n2").check(t, 0, "Success: Powered OFF")
	ordered, read := -1, -1
	for i, r := range s.Requests() {
		switch {
		case r.Is("POST", "/powerOff"):
			ordered = i
		case r.Is("GET", "/virtualMachines/n2"):
			read = i
		}
	}
	if ordered < 0 || read < ordered {
		t.Errorf("order %d, last look %d: %v", ordered, read, s.Requests())
	}
}

// One token for a whole action, and nothing asked of Azure that is not needed.
func TestRequestsOfAnAction(t *testing.T) {
	t.Parallel()
	s := begin(t, usual())
	s.call(t, "off", "plug=n2", "subscriptionId="+s.Subscription(), "resourceGroup="+group).check(t, 0, "Success: Powered OFF")
	if n := s.count("GET", "/oauth2/token"); n != 1 {
		t.Errorf("%d tokens were asked for", n)
	}
	if n := s.count("GET", "/metadata/instance"); n != 0 {
		t.Errorf("instance metadata were asked for although nothing was missing")
	}
	for _, what := range []string{"metadata", "manpage"} {
		s.ForgetRequests()
		if r := s.call(t, what); r.code != 0 || len(s.Requests()) != 0 {
			t.Errorf("%s: %d requests, exit code %d", what, len(s.Requests()), r.code)
		}
	}
}

func TestOperationFails(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, action string
		fault        azure.OperationFault
		code         int
		last         string
		parts        []string
	}{
		{"off", "off", azure.OperationFault{Code: "InternalOperationError", Message: "An internal error occurred."}, 1, "",
			[]string{"powerOff", `"n2"`, "accepted and then failed", "InternalOperationError"}},
		{"off, though the machine stops", "off", azure.OperationFault{Code: "Whatever", Effect: true}, 0, "Success: Powered OFF", nil},
		{"off, cancelled", "off", azure.OperationFault{Status: "Canceled"}, 1, "", []string{"accepted and then failed", "Canceled"}},
		{"start", "on", azure.OperationFault{Code: "AllocationFailed", Message: "We do not have sufficient capacity."}, 1, "",
			[]string{"start", "AllocationFailed", "capacity"}},
		{"start of a reboot", "reboot", azure.OperationFault{Code: "AllocationFailed", Message: "no room"}, 0, "Success: Rebooted",
			[]string{"may be off", "AllocationFailed"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := usual()
			path := "/powerOff"
			if tt.action != "off" {
				cfg.VMs[1].Power = azure.Stopped
				path = "/start"
			}
			s := begin(t, cfg)
			s.Script(azure.Fault{Path: path, Operation: &tt.fault})
			r := s.call(t, tt.action, "plug=n2", "power_timeout=30")
			r.check(t, tt.code, tt.last, tt.parts...)
			if r.took > 15*time.Second {
				t.Errorf("it took %s to notice", r.took)
			}
		})
	}
}

// What the operation says is never enough: here it succeeds and nothing happens.
func TestOperationLies(t *testing.T) {
	t.Parallel()
	cfg := usual()
	cfg.VMs[1].Stuck = true
	s := begin(t, cfg)
	s.call(t, "off", "plug=n2", "power_timeout=300ms").check(t, 1, "",
		"Failed: Timed out waiting to power OFF", `still says "on"`)
}

// How an operation goes may be unreadable; the machine's own state is enough.
func TestOperationUnreadable(t *testing.T) {
	t.Parallel()
	garbage := "<html>"
	for name, fault := range map[string]azure.Fault{
		"forbidden": {Status: 403, Code: "AuthorizationFailed", Times: -1},
		"gone":      {Status: 404, Code: "NotFound", Times: -1},
		"garbage":   {Body: &garbage, Times: -1},
		"broken":    {Status: 500, Times: -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := usual()
			cfg.Latency.PowerOff = ms(900)
			s := begin(t, cfg)
			fault.Path = "/operations/"
			s.Script(fault)
			s.call(t, "off", "plug=n2", "power_timeout=20").check(t, 0, "Success: Powered OFF")
		})
	}
}

// Our token goes to the Resource Manager and to nobody else, whatever an answer says.
func TestOperationElsewhere(t *testing.T) {
	t.Parallel()
	cfg := usual()
	cfg.Latency.PowerOff = ms(900)
	s := begin(t, cfg)
	dial, asked := s.wire.Dial, make(chan string, 100)
	s.wire.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		asked <- address
		return dial(ctx, network, address)
	}
	for _, to := range []string{"https://elsewhere.example/operations/1", "https://user@" + strings.TrimPrefix(s.URL(), "https://") + "/1", "http://127.0.0.1/1", "::", ""} {
		s.Script(azure.Fault{Path: "/powerOff", Header: map[string]string{"Azure-AsyncOperation": to}})
		if err := s.Change(group, "n2", func(vm *azure.VM) { vm.Power = azure.Running }); err != nil {
			t.Fatal(err)
		}
		s.call(t, "off", "plug=n2", "power_timeout=20").check(t, 0, "Success: Powered OFF")
	}
	for len(asked) > 0 {
		if a := <-asked; a != strings.TrimPrefix(s.URL(), "https://") && a != "169.254.169.254:80" {
			t.Errorf("it went to %s", a)
		}
	}
	if n := s.count("GET", "/operations/1"); n != 0 {
		t.Errorf("%d operations were asked for", n)
	}
}

// A newer order of somebody else does not make ours fail.
func TestOperationPreempted(t *testing.T) {
	t.Parallel()
	cfg := usual()
	cfg.Latency.PowerOff = ms(900)
	s := begin(t, cfg)
	s.Script(azure.Fault{Path: "/powerOff", Operation: &azure.OperationFault{Status: "Canceled", Code: "OperationPreempted", Effect: false}})
	go func() {
		if s.Await(t.Context(), func(r azure.Request) bool { return r.Is("POST", "/powerOff") && r.Status != 0 }) == nil {
			_ = s.Change(group, "n2", func(vm *azure.VM) { vm.Power = azure.Stopping })
			time.Sleep(time.Second)
			_ = s.Change(group, "n2", func(vm *azure.VM) { vm.Power = azure.Stopped })
		}
	}()
	s.call(t, "off", "plug=n2", "power_timeout=20").check(t, 0, "Success: Powered OFF")
}

// Views that do not say off in so many words are not off.
func TestNotOff(t *testing.T) {
	t.Parallel()
	for name, statuses := range map[string][]string{
		"nothing":       {},
		"no power":      {"ProvisioningState/succeeded"},
		"both":          {"PowerState/stopped", "PowerState/running"},
		"both, turned":  {"PowerState/running", "PowerState/stopped"},
		"new word":      {"PowerState/paused"},
		"no word":       {"PowerState/"},
		"another case":  {"powerstate/stopped"},
		"of the disk":   {"ProvisioningState/stopped"},
		"stopping":      {"PowerState/stopping"},
		"deallocating":  {"PowerState/deallocating"},
		"running twice": {"PowerState/running", "PowerState/running"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg := usual()
			cfg.VMs[1].Statuses = statuses
			s := begin(t, cfg)
			s.call(t, "status", "plug=n2").check(t, 0, "Status: ON")
			s.call(t, "off", "plug=n2", "power_timeout=300ms").check(t, 1, "", "Timed out waiting to power OFF")
		})
	}
}

// A machine made anew under the same name is not the one that had to be fenced.
func TestReplacedMachine(t *testing.T) {
	t.Parallel()
	cfg := usual()
	cfg.Latency.PowerOff = ms(500)
	s := begin(t, cfg)
	go func() {
		if s.Await(t.Context(), func(r azure.Request) bool { return r.Is("POST", "/powerOff") && r.Status != 0 }) == nil {
			_ = s.AddVM(azure.VM{Name: "n2", Group: group, Power: azure.Stopped})
		}
	}()
	s.call(t, "off", "plug=n2").check(t, 1, "", "replaced by another machine")
}

// Two nodes that shoot at each other both get through: that is the cluster's
// affair, but neither may report a failure where the machine is off.
func TestBothNodesFence(t *testing.T) {
	t.Parallel()
	cfg := usual()
	cfg.Latency.PowerOff = ms(200)
	s := begin(t, cfg)
	done := make(chan result)
	go func() { done <- s.callIn(t.Context(), "off", "plug=n2") }()
	s.call(t, "off", "plug=n2").check(t, 0, "Success: Powered OFF")
	r := <-done
	r.check(t, 0, "Success: Powered OFF")
}

func TestSIGTERM(t *testing.T) {
	t.Parallel()
	cfg := usual()
	cfg.VMs[1].Stuck = true
	s := begin(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_ = s.Await(ctx, func(r azure.Request) bool { return r.Is("POST", "/powerOff") && r.Status != 0 })
		cancel()
	}()
	if r := s.callIn(ctx, "off", "plug=n2"); r.code != 1 || r.took > 15*time.Second {
		t.Errorf("ended by %v", r)
	}
}
