package main

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"pgrex/tests/fakes/azure"
)

// What Azure refuses for good ends the action at once, and the sentence names the missing right, the
// machine or the identity.
func TestRefusedForGood(t *testing.T) {
	t.Parallel()
	deny := func(actions ...string) func(*azure.Config) {
		return func(c *azure.Config) {
			c.Principals[0].Grants = []azure.Grant{{Scope: "/", Actions: actions}}
		}
	}
	tests := []struct {
		name, action, plug string
		cloud              func(*azure.Config)
		params             []string
		fault              *azure.Fault
		parts              []string
	}{
		{name: "no such machine", action: "off", plug: "node2", parts: []string{`no virtual machine "node2"`, "pcmk_host_map"}},
		{name: "no such group", action: "off", plug: "n2", params: []string{"resourceGroup=other"}, parts: []string{`no resource group "other"`}},
		{name: "no such subscription", action: "off", plug: "n2", params: []string{"subscriptionId=0"}, parts: []string{`no subscription "0"`}},
		{name: "no right to read", action: "off", plug: "n2", cloud: deny(), parts: []string{
			"managed identity of this machine lacks the right Microsoft.Compute/virtualMachines/read", "virtualMachines/n2", "correct privileges"}},
		{name: "no right to switch off", action: "off", plug: "n2", cloud: deny("*/read"), parts: []string{
			"Microsoft.Compute/virtualMachines/powerOff/action", "correct privileges"}},
		{name: "no right to start", action: "on", plug: "n2",
			cloud: func(c *azure.Config) {
				deny("*/read")(c)
				c.VMs[1].Power = azure.Stopped
			}, parts: []string{"Microsoft.Compute/virtualMachines/start/action"}},
		{name: "token refused", action: "off", plug: "n2", fault: &azure.Fault{Path: "/virtualMachines", Status: 401, Code: "InvalidAuthenticationTokenTenant", Times: -1},
			parts: []string{"does not accept the managed identity", "InvalidAuthenticationTokenTenant", "Unable to connect/login"}},
		{name: "administrator's lock", action: "off", plug: "n2",
			fault: &azure.Fault{Path: "/powerOff", Status: 409, Code: "ScopeLocked", Message: "The scope cannot perform write operation because the following scope(s) are locked.", Times: -1},
			parts: []string{"ScopeLocked", "has to remove the lock"}},
		{name: "quota", action: "on", plug: "n2", cloud: func(c *azure.Config) { c.VMs[1].Power = azure.Deallocated },
			fault: &azure.Fault{Path: "/start", Status: 409, Code: "OperationNotAllowed", Message: "Operation results in exceeding approved Total Regional Cores quota.", Times: -1},
			parts: []string{"quota"}},
		{name: "unknown version", action: "status", plug: "n2",
			fault: &azure.Fault{Path: "/virtualMachines", Status: 400, Code: "InvalidApiVersionParameter", Message: "The api-version is invalid."},
			parts: []string{"check the parameter cloud"}},
		{name: "words of Pacemaker's own", action: "status", plug: "n2",
			fault: &azure.Fault{Path: "/virtualMachines", Status: 400, Code: "OperationTimedOut", Message: "timed out, Timeout; unrecognised action"},
			parts: []string{"Operationtimed-lapse"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg := usual()
			if tt.cloud != nil {
				tt.cloud(&cfg)
			}
			s := begin(t, cfg)
			if tt.fault != nil {
				s.Script(*tt.fault)
			}
			r := s.call(t, tt.action, append(tt.params, "plug="+tt.plug)...)
			r.check(t, 1, "", tt.parts...)
			if r.took > 10*time.Second {
				t.Errorf("that took %s", r.took)
			}
			for _, word := range []string{"timed out", "timeout", "Timeout", "nrecognised action"} {
				if strings.Contains(r.stderr, word) {
					t.Errorf("Pacemaker would take %q for a word about the agent: %s", word, r.stderr)
				}
			}
		})
	}
}

// What passes is waited out: the machine is off in the end.
func TestPassingTrouble(t *testing.T) {
	t.Parallel()
	garbage := `{"value": [`
	tests := []struct {
		name  string
		fault azure.Fault
		// atLeast is what Azure asked us to wait.
		atLeast time.Duration
		parts   []string
	}{
		{name: "throttled read", fault: azure.Fault{Path: "/virtualMachines/n2", Method: "GET", Status: 429, Code: "TooManyRequests", Header: map[string]string{"x-ms-retry-after-ms": "300"}}, atLeast: 300 * time.Millisecond},
		{name: "throttled order", fault: azure.Fault{Path: "/powerOff", Status: 429, Code: "TooManyRequests", RetryAfter: "1"}, atLeast: time.Second, parts: []string{"429"}},
		{name: "busy", fault: azure.Fault{Path: "/powerOff", Status: 409, Code: "Conflict", Times: 2}, parts: []string{"something else is changing the machine"}},
		{name: "referenced", fault: azure.Fault{Path: "/powerOff", Status: 429, Code: "RetryableError", Details: []string{"RetryableErrorDueToAnotherOperation"}},
			parts: []string{"something else is changing the machine"}},
		{name: "not allowed now", fault: azure.Fault{Path: "/powerOff", Status: 409, Code: "OperationNotAllowed", Message: "Operation is not allowed since an update is in progress."}},
		{name: "server error", fault: azure.Fault{Path: "/powerOff", Status: 503, Times: 2}, parts: []string{"status 503"}},
		{name: "server error on reading", fault: azure.Fault{Path: "/virtualMachines/n2", Method: "GET", Status: 500, Skip: 1, Times: 2}},
		{name: "dropped order", fault: azure.Fault{Path: "/powerOff", Drop: true, Times: 2}, parts: []string{"no answer"}},
		{name: "answer lost", fault: azure.Fault{Path: "/powerOff", Drop: true, Effect: true}},
		{name: "silent order", fault: azure.Fault{Path: "/powerOff", Hang: true}, parts: []string{"no answer"}},
		{name: "silent read after the order", fault: azure.Fault{Path: "/virtualMachines/n2", Method: "GET", Hang: true, Skip: 1}},
		{name: "garbage after the order", fault: azure.Fault{Path: "/virtualMachines/n2", Method: "GET", Body: &garbage, Skip: 1, Times: 2}},
		{name: "identity service busy", fault: azure.Fault{Service: azure.Metadata, Path: "/token", Status: 429, Times: 2}},
		{name: "identity service restarts", fault: azure.Fault{Service: azure.Metadata, Path: "/token", Status: 500}},
		{name: "instance metadata busy", fault: azure.Fault{Service: azure.Metadata, Path: "/instance", Status: 429, Times: 2}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := begin(t, usual())
			s.Script(tt.fault)
			r := s.call(t, "off", "plug=n2", "request_timeout=1")
			r.check(t, 0, "Success: Powered OFF", tt.parts...)
			if r.took < tt.atLeast {
				t.Errorf("Azure asked for %s, the action took %s", tt.atLeast, r.took)
			}
			if got := s.PowerState(group, "n2"); got != azure.Stopped {
				t.Errorf("the machine is %s", got)
			}
		})
	}
}

// A lock that never ends uses up the action's time and no more, and says so. The machine is looked at
// meanwhile: whoever has locked it may be switching it off.
func TestLockedUntilTheEnd(t *testing.T) {
	t.Parallel()
	s := begin(t, usual())
	s.Script(azure.Fault{Path: "/powerOff", Status: 409, Code: "AnotherOperationInProgress", Times: -1})
	r := s.call(t, "off", "plug=n2", "power_timeout=1500ms")
	r.check(t, 1, "", "until the end something else was changing the machine", "AnotherOperationInProgress", "Failed: Timed out waiting to power OFF")
	if n := s.count("POST", "/powerOff"); n < 2 || n > 4 {
		t.Errorf("powerOff was sent %d times", n)
	}

	s.ForgetRequests()
	go func() {
		if s.Await(t.Context(), func(r azure.Request) bool { return r.Is("POST", "/powerOff") && r.Status != 0 }) == nil {
			_ = s.Change(group, "n2", func(vm *azure.VM) { vm.Power = azure.Deallocated })
		}
	}()
	s.call(t, "off", "plug=n2", "power_timeout=20").check(t, 0, "Success: Powered OFF")
}

// A pause longer than the action may take is not begun.
func TestThrottledForLonger(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ action, path string }{{"monitor", "/virtualMachines"}, {"off", "/powerOff"}} {
		s := begin(t, usual())
		s.Script(azure.Fault{Path: tt.path, Status: 429, Code: "SubscriptionRequestsThrottled", RetryAfter: "600", Times: -1})
		r := s.call(t, tt.action, "plug=n2", "power_timeout=1")
		r.check(t, 1, "")
		if r.took > 15*time.Second {
			t.Errorf("%s: %v", tt.action, r)
		}
		if tt.action == "monitor" && !strings.Contains(r.stderr, "come back in 10m0s") {
			t.Errorf("%v", r)
		}
	}
}

// A node that has no way to Azure says so quickly: a second fencing level is waiting.
func TestNoWay(t *testing.T) {
	t.Parallel()
	// Below the ports that the kernel gives out: one of those would be another test's soon.
	const closed = "127.0.0.1:1"
	refuse := errors.New("the test forbids that")
	tests := []struct {
		name   string
		spoil  func(*site)
		params []string
		parts  []string
	}{
		{"nobody listens", func(*site) {}, []string{"metadata_endpoint=https://" + closed}, []string{"connection refused", "metadata_endpoint"}},
		{"no name", func(s *site) {
			s.wire.Dial = func(context.Context, string, string) (net.Conn, error) {
				return nil, &net.DNSError{Name: "management.azure.com", Err: "no such host", IsNotFound: true}
			}
		}, []string{"cloud=public", "subscriptionId=s", "resourceGroup=g"}, []string{"management.azure.com"}},
		{"not on Azure", func(s *site) {
			dial := s.wire.Dial
			s.wire.Dial = func(ctx context.Context, network, to string) (net.Conn, error) {
				if strings.HasPrefix(to, "169.254.") {
					return nil, &net.OpError{Op: "dial", Err: refuse}
				}
				return dial(ctx, network, to)
			}
		}, nil, []string{"subscriptionId is not set", "instance metadata service (169.254.169.254)", "set it"}},
		{"unknown authority", func(s *site) { s.wire.Roots = nil }, nil, []string{"certificate is not trusted"}},
		{"ARM drops everything", func(s *site) {
			s.Script(azure.Fault{Service: azure.ARM, Path: "/virtualMachines", Drop: true, Times: -1})
		}, nil, []string{"was not reached", "stream error", "Unable to connect/login"}},
		{"ARM is silent", func(s *site) {
			s.Script(azure.Fault{Service: azure.ARM, Path: "/virtualMachines", Hang: true, Times: -1})
		}, []string{"request_timeout=1"}, []string{"was not reached", "no answer in time", "Unable to connect/login"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := begin(t, usual())
			tt.spoil(s)
			r := s.call(t, "off", append([]string{"plug=n2"}, tt.params...)...)
			r.check(t, 1, "", tt.parts...)
			if r.took > 15*time.Second {
				t.Errorf("that took %s", r.took)
			}
		})
	}
}

// Out of reach in the middle of an action: patience, then an end before Pacemaker's.
func TestLostInTheMiddle(t *testing.T) {
	t.Parallel()
	cfg := usual()
	cfg.VMs[1].Stuck = true
	s := begin(t, cfg)
	s.Script(azure.Fault{Path: "/virtualMachines/n2", Method: "GET", Skip: 2, Times: 6, Drop: true})
	go func() {
		// It comes back within the patience, and the machine is off.
		if s.Await(t.Context(), func(r azure.Request) bool { return r.Fault }) == nil {
			_ = s.Change(group, "n2", func(vm *azure.VM) { vm.Power = azure.Stopped })
		}
	}()
	s.call(t, "off", "plug=n2").check(t, 0, "Success: Powered OFF")
}
