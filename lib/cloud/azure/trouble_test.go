package azure

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"pgrex/lib/cloud"
	"pgrex/tests/fakes/azure"
)

// An operation that was accepted and then fails is a failure that says so; the next start succeeds.
func TestOperationFails(t *testing.T) {
	t.Parallel()
	ours := azure.Fault{Method: "PUT", Path: "/networkInterfaces/n2", Skip: 1}
	move := azure.Fault{Method: "POST", Path: "/moveIpConfigurations"}
	fails := azure.OperationFault{Code: "InternalServerError", Message: "An error occurred."}
	undone := azure.OperationFault{Code: "InternalServerError", Rollback: true}
	tests := []struct {
		name   string
		method Method
		fault  azure.Fault
		end    azure.OperationFault
		// part is of the error; without one the second attempt of the same start succeeds.
		times int
		part  string
	}{
		{"our change", Put, ours, fails, 1, ""},
		{"our change, undone", Put, ours, undone, 1, ""},
		{"our change, twice", Put, ours, fails, 2, "accepted and then failed (InternalServerError"},
		{"our change, cancelled", Put, ours, azure.OperationFault{Status: "Canceled", Code: "Canceled"}, 1, "Canceled"},
		{"the move", Auto, move, fails, 1, ""},
		{"the move, undone", Auto, move, undone, 1, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := held(t, func(c *azure.Config) { c.FreeEarly = true })
			f := tt.fault
			f.Operation, f.Times = &tt.end, tt.times
			s.Script(f)
			method := func(o *Options) { o.Method = tt.method }
			told, err := s.acquire(t, s.on(t, "n2", method), 5*time.Second)
			if tt.part == "" {
				if err != nil || told != 1 {
					t.Fatalf("told %d times, error %v", told, err)
				}
			} else {
				var e *cloud.Error
				if !errors.As(err, &e) || e.Class != cloud.Transient || !strings.Contains(err.Error(), tt.part) || told != 1 {
					t.Fatalf("told %d times, error %v", told, err)
				}
				s.must(t, s.on(t, "n2", method))
			}
			s.checkHolder(t, "n2")
			if moves := s.count("POST", "/moveIpConfigurations"); tt.method == Auto && moves != 1 {
				t.Errorf("a move that had failed was tried %d times", moves)
			}
		})
	}
}

// count is the number of requests of a method whose path ends so.
func (s *site) count(method, end string) int {
	n := 0
	for _, r := range s.Requests() {
		if r.Is(method, end) {
			n++
		}
	}
	return n
}

// The removal is accepted and fails: what matters is who has the address then.
func TestRemovalFails(t *testing.T) {
	t.Parallel()
	for _, rollback := range []bool{false, true} {
		cfg, i := usual(t)
		i.hold(&cfg, "n1", "10.0.1.50", nil)
		s := begin(t, cfg, i)
		s.Script(azure.Fault{Method: "PUT", Path: "/networkInterfaces/n1", Operation: &azure.OperationFault{Code: "InternalServerError", Rollback: rollback}})
		s.must(t, s.on(t, "n2", func(o *Options) { o.Method = Put }))
		s.checkHolder(t, "n2")
	}
}

// An operation that cannot be read is seen by the NIC.
func TestOperationUnreadable(t *testing.T) {
	t.Parallel()
	garbage := "<html>"
	for name, fault := range map[string]azure.Fault{
		"forbidden": {Status: 403, Code: "AuthorizationFailed", Times: -1},
		"gone":      {Status: 404, Code: "NotFound", Times: -1},
		"garbage":   {Body: &garbage, Times: -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, m := range []Method{Put, Move} {
				s := held(t)
				fault.Path = "/operations/"
				s.Script(fault)
				s.must(t, s.on(t, "n2", func(o *Options) { o.Method = m }))
				s.checkHolder(t, "n2")
			}
		})
	}
}

// When the time is over the error says how far it went, and the next run completes it.
func TestTimeIsOver(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		spoil func(*site)
		told  int
		part  string
	}{
		{"stuck operation", func(s *site) {
			s.Script(azure.Fault{Method: "PUT", Path: "/networkInterfaces/n2", Skip: 1, Operation: &azure.OperationFault{After: ms(5000), Effect: true, Status: "Succeeded"}})
		}, 1, "the next start goes on with it"},
		{"busy for ever", func(s *site) {
			s.Script(azure.Fault{Method: "PUT", Path: "/networkInterfaces/n1", Status: 409, Code: "AnotherOperationInProgress", Times: -1})
		}, 0, "AnotherOperationInProgress"},
		{"out of reach", func(s *site) {
			s.Script(azure.Fault{Service: azure.ARM, Path: "/subscriptions", Drop: true, Times: -1})
		}, 0, "stream error"},
		{"silent", func(s *site) {
			s.Script(azure.Fault{Service: azure.ARM, Path: "/subscriptions", Hang: true, Times: -1})
		}, 0, "has accepted no change"},
		{"throttled for long", func(s *site) {
			s.Script(azure.Fault{Method: "PUT", Status: 429, Code: "SubscriptionRequestsThrottled", RetryAfter: "600", Times: -1})
		}, 0, "takes no more requests"},
		{"metadata service is down", func(s *site) {
			s.Script(azure.Fault{Service: azure.Metadata, Drop: true, Times: -1})
		}, 0, "169.254.169.254"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := held(t, func(c *azure.Config) { c.FreeEarly = true })
			tt.spoil(s)
			method := func(o *Options) { o.Method = Put }
			start := time.Now()
			told, err := s.acquire(t, s.on(t, "n2", method), 2*time.Second)
			var e *cloud.Error
			if !errors.As(err, &e) || e.Class != cloud.Transient || told != tt.told || !strings.Contains(err.Error(), tt.part) {
				t.Errorf("told %d times, error %v", told, err)
			}
			if took := time.Since(start); took > 4*time.Second {
				t.Errorf("it took %s", took)
			}
			s.ClearFaults()
			s.must(t, s.on(t, "n2", method))
			s.checkHolder(t, "n2")
		})
	}
}

// What passes is waited out.
func TestPassingTrouble(t *testing.T) {
	t.Parallel()
	garbage := `{"value": [`
	for name, fault := range map[string]azure.Fault{
		"locked NIC":              {Method: "PUT", Path: "/networkInterfaces/n2", Status: 429, Code: "RetryableError", Details: []string{"RetryableErrorDueToAnotherOperation"}, Times: 3},
		"locked subnet":           {Method: "PUT", Path: "/networkInterfaces/n2", Skip: 1, Status: 429, Code: "RetryableError", Details: []string{"ReferencedResourceNotProvisioned"}, Times: 2},
		"another operation":       {Method: "PUT", Path: "/networkInterfaces/n1", Status: 409, Code: "AnotherOperationInProgress", Times: 2},
		"conflict":                {Method: "PUT", Status: 409, Code: "Conflict", Times: 2},
		"not allowed now":         {Method: "PUT", Status: 409, Code: "OperationNotAllowed", Times: 2},
		"throttled":               {Method: "PUT", Status: 429, Code: "TooManyRequests", Header: map[string]string{"x-ms-retry-after-ms": "100"}, Times: 2},
		"being cleaned up":        {Method: "PUT", Path: "/networkInterfaces/n2", Skip: 1, Status: 400, Code: "PrivateIPAddressIsBeingCleanedUp", Times: 2},
		"server error":            {Method: "PUT", Status: 500, Times: 6},
		"unavailable":             {Method: "GET", Status: 503, Times: 6},
		"dropped":                 {Method: "PUT", Drop: true, Times: 2},
		"answer lost":             {Method: "PUT", Path: "/networkInterfaces/n1", Drop: true, Effect: true},
		"own answer lost":         {Method: "PUT", Path: "/networkInterfaces/n2", Skip: 1, Drop: true, Effect: true},
		"move's answer lost":      {Method: "POST", Path: "/moveIp", Drop: true, Effect: true},
		"move's answer is late":   {Method: "POST", Path: "/moveIp", Hang: true, Effect: true},
		"silent":                  {Method: "PUT", Hang: true},
		"silent after the effect": {Method: "PUT", Skip: 1, Hang: true, Effect: true},
		"garbage":                 {Method: "GET", Path: "/networkInterfaces/n1", Body: &garbage, Status: 500, Times: 1},
		"operation unavailable":   {Path: "/operations/", Status: 503, Times: 5},
		"identity busy":           {Service: azure.Metadata, Path: "/token", Status: 429, Times: 2},
		"metadata busy":           {Service: azure.Metadata, Path: "/instance", Status: 429, Times: 4},
	} {
		for _, m := range []Method{Put, Auto, Move} {
			t.Run(name+" "+string(m), func(t *testing.T) {
				t.Parallel()
				s := held(t)
				s.Script(fault)
				if told, err := s.acquire(t, s.on(t, "n2", func(o *Options) { o.Method = m }), time.Minute); err != nil || told != 1 {
					t.Fatalf("told %d times, error %v", told, err)
				}
				s.checkHolder(t, "n2")
			})
		}
	}
}

// Errors that no waiting helps against end the attempt at once, with their class and a line that says what to do.
func TestErrors(t *testing.T) {
	t.Parallel()
	put := func(status int, code, message string) func(*site) {
		return func(s *site) {
			s.Script(azure.Fault{Method: "PUT", Path: "/networkInterfaces/n2", Skip: 1, Status: status, Code: code, Message: message, Times: -1})
		}
	}
	deny := func(out ...string) func(*site) {
		return func(s *site) {
			var rest []string
			for _, r := range documented {
				if !slices.Contains(out, r) {
					rest = append(rest, r)
				}
			}
			s.regrant("n2", rest)
		}
	}
	tests := []struct {
		name  string
		spoil func(*site)
		class cloud.Class
		part  string
	}{
		{"no right to write", deny(writeNIC), cloud.Permission, "lacks the right Microsoft.Network/networkInterfaces/write"},
		{"no right to read", deny(readNIC), cloud.Permission, "lacks the right Microsoft.Network/networkInterfaces/read"},
		{"no right to join", deny("Microsoft.Network/virtualNetworks/subnets/join/action"), cloud.Permission, "subnets/join/action"},
		{"no right to see machines", deny("Microsoft.Compute/virtualMachines/read"), cloud.Permission, "virtualMachines/read"},
		{"administrator's lock", func(s *site) { s.Lock(s.nic("n1"), "ReadOnly") }, cloud.Permission, "has to remove the lock"},
		{"token refused", func(s *site) {
			s.Script(azure.Fault{Path: "/networkInterfaces", Status: 401, Code: "InvalidAuthenticationTokenTenant", Times: -1})
		}, cloud.Transient, "does not accept"},
		{"not in the subnet", put(400, "PrivateIPAddressNotInSubnet", "Private static IP address 10.0.1.50 does not belong to the range."), cloud.Configuration, "PrivateIPAddressNotInSubnet"},
		{"reserved", put(400, "PrivateIPAddressInReservedRange", "no"), cloud.Configuration, "PrivateIPAddressInReservedRange"},
		{"bad reference", put(400, "InvalidResourceReference", "no"), cloud.Configuration, "InvalidResourceReference"},
		{"no ipConfiguration left", put(400, "InvalidIPConfigCount", "no"), cloud.Configuration, "InvalidIPConfigCount"},
		{"primary", put(400, "IpConfigDeleteNotSupported", "no"), cloud.Configuration, "IpConfigDeleteNotSupported"},
		{"outbound rule", put(400, "OutboundRuleCannotBeUsedWithBackendAddressPoolThatIsReferencedBySecondaryIpConfigs", "no"), cloud.Configuration, "OutboundRule"},
		{"never heard of", put(400, "SomethingNew", "of which we know nothing"), cloud.Unclassified, "SomethingNew: of which we know nothing"},
		{"subscription disabled", put(409, "ReadOnlyDisabledSubscription", "no"), cloud.Permission, "ReadOnlyDisabledSubscription"},
		{"held by something else", func(s *site) {
			s.Script(azure.Fault{Method: "PUT", Path: "/networkInterfaces/n2", Status: 400, Code: codeAllocated, Times: -1, Message: "IP configuration x is using the private IP address 10.0.1.50 which is already allocated to resource " + s.pool("back") + "."})
		}, cloud.Configuration, "no network interface of a machine"},
		{"no such identity", func(s *site) {
			s.Script(azure.Fault{Service: azure.Metadata, Path: "/token", Status: 400, Body: text(`{"error":"invalid_request","error_description":"Identity not found"}`), Times: -1})
		}, cloud.Permission, "assign a managed identity"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := held(t, func(c *azure.Config) { c.FreeEarly = true })
			tt.spoil(s)
			start := time.Now()
			_, err := s.acquire(t, s.on(t, "n2", func(o *Options) { o.Method = Put }), 10*time.Second)
			var e *cloud.Error
			if !errors.As(err, &e) || e.Class != tt.class || !strings.Contains(err.Error(), tt.part) || strings.Contains(err.Error(), "\n") {
				t.Errorf("class of %#v, want %v: %v", e, tt.class, err)
			}
			if took := time.Since(start); took > 5*time.Second {
				t.Errorf("that took %s", took)
			}
		})
	}
}

func text(s string) *string { return &s }

// An address that is primary somewhere, or in another subnet, is not touched.
func TestUntouchable(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*azure.Config, ids){
		"primary elsewhere": func(c *azure.Config, i ids) {
			propsOf(c.Network[i.nic("n1")])["ipConfigurations"] = []any{i.entry("main", "10.0.1.50", nil)}
		},
		"primary here": func(c *azure.Config, i ids) {
			propsOf(c.Network[i.nic("n2")])["ipConfigurations"] = []any{i.entry("main", "10.0.1.50", nil)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg, i := usual(t)
			edit(&cfg, i)
			s := begin(t, cfg, i)
			told, err := s.acquire(t, s.on(t, "n2"), 5*time.Second)
			var e *cloud.Error
			if !errors.As(err, &e) || e.Class != cloud.Configuration || !strings.Contains(err.Error(), "primary address of network interface") || told != 0 {
				t.Errorf("told %d times, %v", told, err)
			}
			for _, r := range s.Requests() {
				if r.Method == "POST" && r.Service == azure.ARM || r.Method == "PUT" && r.Status < 300 {
					t.Errorf("something was changed: %v", r)
				}
			}
		})
	}
}
