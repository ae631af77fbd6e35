package azure

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgrex/lib/cloud"
	"pgrex/tests/fakes/azure"
)

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

// An attempt that found the address with nobody and failed knows nothing more of what it was tied to; one that then
// takes it from a holder does, and asks for no list of interfaces.
func TestMoveAfterAnotherAttempt(t *testing.T) {
	t.Parallel()
	s := held(t)
	p := s.on(t, "n2")
	a := &acquire{Provider: p, address: vip, accepted: accept, method: Move, warned: map[string]bool{}, blind: true, repeated: true}
	for done := false; !done; {
		var err error
		if done, err = a.step(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	s.checkHolder(t, "n2")
	if n := s.count("GET", "/networkInterfaces"); n != 0 {
		t.Errorf("the interfaces were listed %d times", n)
	}
}
