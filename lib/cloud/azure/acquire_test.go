package azure

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	arm "pgrex/lib/azure"
	"pgrex/lib/cloud"
	"pgrex/tests/fakes/azure"
)

// calls are the requests of ARM that change or read something, in short. How often an operation and the NIC it
// changes are looked at is a matter of time: a series of that is one.
func (s *site) calls() []string {
	var all []string
	for line := range strings.Lines(s.trace(0)) {
		parts := strings.Fields(line)
		if parts[2] == "operation" {
			continue
		}
		call := parts[1] + " " + strings.TrimPrefix(parts[2], "networkInterfaces/")
		if parts[4] != "200" && parts[4] != "202" {
			call += " " + parts[4]
		}
		if len(all) == 0 || all[len(all)-1] != call || parts[1] != "GET" {
			all = append(all, call)
		}
	}
	return all
}

// Which requests a takeover takes, for every way and everything that can be known beforehand.
func TestCallsOfATakeOver(t *testing.T) {
	t.Parallel()
	move := func(m azure.Move) func(*azure.Config) { return func(c *azure.Config) { c.Move = m } }
	early := func(c *azure.Config) { c.FreeEarly = true }
	again := "GET n2, GET n1, POST virtualNetworks/net/moveIpConfigurations, GET n2"
	tests := []struct {
		name   string
		method Method
		cloud  func(*azure.Config)
		// first is what the first takeover of a machine that knows nothing asks, second what a later one of
		// another process does.
		first, second string
	}{
		{"one call", Auto, move(azure.MoveOn),
			"GET virtualMachines/n2, GET n2, PUT n2 400, GET n1, POST virtualNetworks/net/moveIpConfigurations, GET n2", again},
		{"one call, wanted", Move, move(azure.MoveOn),
			"GET virtualMachines/n2, GET n2, PUT n2 400, GET n1, POST virtualNetworks/net/moveIpConfigurations, GET n2", again},
		{"not registered", Auto, func(c *azure.Config) { early(c) },
			"GET virtualMachines/n2, GET n2, PUT n2 400, GET n1, POST virtualNetworks/net/moveIpConfigurations 400, PUT n1, PUT n2, GET n2",
			"GET n2, GET n1, PUT n1, PUT n2, GET n2"},
		{"two changes", Put, func(c *azure.Config) { early(c); move(azure.MoveOn)(c) },
			"GET virtualMachines/n2, GET n2, PUT n2 400, GET n1, PUT n1, PUT n2, GET n2",
			"GET n2, GET n1, PUT n1, PUT n2, GET n2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg, i := usual(t)
			tt.cloud(&cfg)
			i.hold(&cfg, "n1", "10.0.1.50", nil)
			s := begin(t, cfg, i)
			method := func(o *Options) { o.Method = tt.method }
			s.must(t, s.on(t, "n2", method))
			s.checkHolder(t, "n2")
			if got := strings.Join(s.calls(), ", "); got != tt.first {
				t.Errorf("first:\n got %s\nwant %s", got, tt.first)
			}
			s.must(t, s.on(t, "n1", method))
			s.checkHolder(t, "n1")
			s.ForgetRequests()
			s.must(t, s.on(t, "n2", method))
			s.checkHolder(t, "n2")
			if got := strings.Join(s.calls(), ", "); got != tt.second {
				t.Errorf("again:\n got %s\nwant %s", got, tt.second)
			}
			// Nothing to do costs one look.
			s.ForgetRequests()
			s.must(t, s.on(t, "n2", method))
			if got := strings.Join(s.calls(), ", "); got != "GET n2" {
				t.Errorf("when it is ours already: %s", got)
			}
		})
	}
}

// Whoever is told that the NIC is another than the one he has seen looks again.
func TestIfMatch(t *testing.T) {
	t.Parallel()
	for _, who := range []string{"n1", "n2"} {
		cfg, i := usual(t)
		i.hold(&cfg, "n1", "10.0.1.50", nil)
		s := begin(t, cfg, i)
		s.Script(azure.Fault{Method: "PUT", Path: "/networkInterfaces/" + who, Status: 412, Code: "PreconditionFailed", Details: []string{"PreconditionFailedEtagMismatch"}, Times: 2})
		s.must(t, s.on(t, "n2", func(o *Options) { o.Method = Put }))
		s.checkHolder(t, "n2")
	}
}

// A change that somebody else makes at the same time is not lost.
func TestConcurrentChangeSurvives(t *testing.T) {
	t.Parallel()
	cfg, i := usual(t)
	i.hold(&cfg, "n1", "10.0.1.50", nil)
	s := begin(t, cfg, i)
	s.Script(azure.Fault{Method: "PUT", Path: "/networkInterfaces/n1", Delay: ms(300)})
	go func() {
		// After the driver's look at n1 and before its change is looked at.
		if s.Await(t.Context(), func(r azure.Request) bool { return r.Is("PUT", "/networkInterfaces/n1") }) == nil {
			body := s.Network(s.nic("n1"))
			body["tags"] = obj{"owner": "dba", "new": "tag"}
			if err := s.PutNetwork(s.nic("n1"), body); err != nil {
				t.Error(err)
			}
		}
	}()
	s.must(t, s.on(t, "n2", func(o *Options) { o.Method = Put }))
	s.checkHolder(t, "n2")
	if tags := arm.Object(s.Network(s.nic("n1"))["tags"]); tags["new"] != "tag" {
		t.Errorf("the tag of somebody else is lost: %v", tags)
	}
}

// strip takes off a NIC's JSON what a move is meant to change and what ARM makes up.
func strip(body map[string]any) string {
	b := maps.Clone(body)
	delete(b, "etag")
	p := maps.Clone(propsOf(b))
	delete(p, "provisioningState")
	var rest []any
	for _, c := range listOf(p["ipConfigurations"]) {
		c := maps.Clone(arm.Object(c))
		delete(c, "etag")
		cp := maps.Clone(propsOf(c))
		delete(cp, "provisioningState")
		c["properties"] = cp
		if cp["privateIPAddress"] != vip.String() {
			rest = append(rest, c)
		}
	}
	p["ipConfigurations"] = rest
	b["properties"] = p
	data, err := json.Marshal(b)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// Fields that no SDK knows, other addresses and the primary ipConfigurations are after the move what they were before.
func TestNothingElseChanges(t *testing.T) {
	t.Parallel()
	for _, m := range []Method{Put, Move} {
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			cfg, i := usual(t)
			cfg.Move = azure.MoveOn
			i.hold(&cfg, "n1", "10.0.1.51", nil)
			i.hold(&cfg, "n2", "10.0.1.5", nil)
			p := propsOf(cfg.Network[i.nic("n1")])
			p["ipConfigurations"] = append(listOf(p["ipConfigurations"]), i.entry("vip", "10.0.1.50", obj{"futureOfAddress": obj{"x": 98765432109876543}}))
			s := begin(t, cfg, i)
			before := map[string]string{"n1": strip(s.Network(s.nic("n1"))), "n2": strip(s.Network(s.nic("n2")))}
			for _, name := range []string{"n2", "n1", "n2"} {
				s.must(t, s.on(t, name, func(o *Options) { o.Method = m }))
				s.checkHolder(t, name)
			}
			for name, was := range before {
				if is := strip(s.Network(s.nic(name))); is != was {
					t.Errorf("%s was\n%s\nand is\n%s", name, was, is)
				}
			}
			got, _ := nic{"", s.Network(s.nic("n2"))}.find(vip)
			if n := arm.Object(got["futureOfConfig"])["n"]; n != json.Number("12345678901234567") {
				t.Errorf("a field that is unknown: %v", n)
			}
			if n := arm.Object(got.props()["futureOfAddress"])["x"]; n != json.Number("98765432109876543") {
				t.Errorf("a property that is unknown: %v", n)
			}
			if got.primary() {
				t.Error("it became primary")
			}
		})
	}
}

// What ARM answers to a change that comes too early, and when it frees an address, is not known: all of it works.
func TestWaysOfTheCloud(t *testing.T) {
	t.Parallel()
	for _, busy := range []azure.Busy{azure.BusyConflict, azure.BusyRetry, azure.BusySupersede} {
		for _, early := range []bool{false, true} {
			for _, m := range []Method{Put, Auto} {
				t.Run(string(busy)+string(m), func(t *testing.T) {
					t.Parallel()
					cfg, i := usual(t)
					cfg.Busy, cfg.FreeEarly, cfg.Move = busy, early, azure.MoveOn
					i.hold(&cfg, "n1", "10.0.1.50", nil)
					s := begin(t, cfg, i)
					for _, name := range []string{"n2", "n3", "n1"} {
						s.must(t, s.on(t, name, func(o *Options) { o.Method = m }))
						s.checkHolder(t, name)
					}
				})
			}
		}
	}
}

// The former holder may be off, and its NIC without a machine.
func TestHolderIsOff(t *testing.T) {
	t.Parallel()
	for _, m := range []Method{Put, Move} {
		cfg, i := usual(t)
		cfg.Move = azure.MoveOn
		cfg.VMs[0].Power = azure.Deallocated
		i.hold(&cfg, "n1", "10.0.1.50", nil)
		s := begin(t, cfg, i)
		s.must(t, s.on(t, "n2", func(o *Options) { o.Method = m }))
		s.checkHolder(t, "n2")
	}
}

// A holder that is remembered and gone is no obstacle.
func TestRememberedHolderIsGone(t *testing.T) {
	t.Parallel()
	cfg, i := usual(t)
	s := begin(t, cfg, i)
	p := s.on(t, "n2")
	if err := p.state.edit(vip, func(r *record) { r.Peer = i.nic("long-gone") }); err != nil {
		t.Fatal(err)
	}
	s.must(t, p)
	s.checkHolder(t, "n2")
}

// A NIC that was replaced while the machine ran is found anew.
func TestOwnInterfaceIsAnother(t *testing.T) {
	t.Parallel()
	cfg, i := usual(t)
	s := begin(t, cfg, i)
	p := s.on(t, "n2")
	me, err := p.remembered(t.Context(), vip)
	if err != nil {
		t.Fatal(err)
	}
	for _, wrong := range []string{i.nic("long-gone"), i.nic("n1")} {
		me.NIC = wrong
		if err := p.state.edit(vip, func(r *record) { r.Self = &me }); err != nil {
			t.Fatal(err)
		}
		s.must(t, s.on(t, "n2"))
		s.checkHolder(t, "n2")
	}
}

// accepted is called before the change is complete, and once.
func TestAcceptedComesEarly(t *testing.T) {
	t.Parallel()
	for _, m := range []Method{Put, Move} {
		s := held(t)
		told := 0
		err := s.on(t, "n2", func(o *Options) { o.Method = m }).Acquire(t.Context(), vip, func(context.Context) error {
			told++
			if n := (nic{"", s.Network(s.nic("n2"))}); n.settled() {
				t.Errorf("%s: the change is complete already", m)
			}
			return nil
		})
		if err != nil || told != 1 {
			t.Errorf("%s: told %d times, %v", m, told, err)
		}
	}
}

func TestAcceptedFails(t *testing.T) {
	t.Parallel()
	cfg, i := usual(t)
	s := begin(t, cfg, i)
	err := s.on(t, "n2").Acquire(t.Context(), vip, func(context.Context) error { return errTest })
	if !errors.Is(err, errTest) {
		t.Error(err)
	}
}

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

// 403 for the call, an unknown version, a region or method that has it not: remembered, and the longer way is gone.
func TestMoveIsRefused(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]azure.Fault{
		"no right":       {Status: 403, Code: "AuthorizationFailed", Message: "does not have authorization to perform action 'Microsoft.Network/virtualNetworks/moveIpConfigurations/action' over scope '/x'"},
		"version":        {Status: 400, Code: "InvalidApiVersionParameter"},
		"region":         {Status: 400, Code: "NoRegisteredProviderFound"},
		"feature":        {Status: 409, Code: "FeatureNotEnabled"},
		"not registered": {Status: 403, Code: "SubscriptionNotRegisteredForFeature"},
		"unknown":        {Status: 404, Code: "NotFound"},
		"method":         {Status: 405, Code: "MethodNotAllowed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := held(t)
			f.Path, f.Times = "/moveIpConfigurations", -1
			s.Script(f)
			_, err := s.acquire(t, s.on(t, "n2", func(o *Options) { o.Method = Move }), 5*time.Second)
			var e *cloud.Error
			if !errors.As(err, &e) || e.Class != cloud.Configuration && e.Class != cloud.Permission || !strings.Contains(err.Error(), moveFeature) {
				t.Errorf("wanted and not to be had: %v", err)
			}
			s.ForgetRequests()
			s.must(t, s.on(t, "n2"))
			s.checkHolder(t, "n2")
			s.must(t, s.on(t, "n1", func(o *Options) { o.Method = Put }))
			s.must(t, s.on(t, "n2"))
			if n := s.count("POST", "/moveIpConfigurations"); n != 1 {
				t.Errorf("it was tried %d times", n)
			}
			// The memory has an end.
			p := s.on(t, "n2")
			if err := p.state.write(p.state.refusalPath(), refusal{p.state.boot(), sinceBoot() - time.Second}); err != nil || p.state.moveRefused() {
				t.Error("it is believed for ever", err)
			}
		})
	}
}

// A move that is refused for a reason of its own is not remembered, but does not keep the address from moving.
func TestMoveDoesNotGo(t *testing.T) {
	t.Parallel()
	s := held(t)
	s.Script(azure.Fault{Path: "/moveIpConfigurations", Status: 400, Code: "IpConfigMoveNotSupported", Message: "not this one"})
	p := s.on(t, "n2")
	s.must(t, p)
	s.checkHolder(t, "n2")
	if p.state.moveRefused() {
		t.Error("it is remembered")
	}
}

// One that is said to be locked, although nothing is, is not waited for until the end.
func TestMoveIsLockedForNoReason(t *testing.T) {
	t.Parallel()
	s := held(t)
	s.Script(azure.Fault{Path: "/moveIpConfigurations", Status: 409, Code: "OperationNotAllowed", Times: -1})
	s.must(t, s.on(t, "n2"))
	s.checkHolder(t, "n2")
	if n := s.count("POST", "/moveIpConfigurations"); n != manyMoves {
		t.Errorf("it was tried %d times", n)
	}
}
