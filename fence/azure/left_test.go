package main

import (
	"context"
	"runtime"
	"testing"
	"time"

	"pgrex/tests/fakes/azure"
)

// No goroutine and no connection outlives an action, however it ends. Not parallel: it counts the
// goroutines of the process.
func TestNothingIsLeft(t *testing.T) {
	cfg := usual()
	cfg.Principals = append(cfg.Principals, azure.Principal{Name: "app", ClientID: "app-id", Secret: "secret", Grants: documented})
	s := begin(t, cfg)
	ends := map[string]func(){
		"success":     func() { s.call(t, "reboot", "plug=n2") },
		"application": func() { s.call(t, "status", "plug=n2", "username=app-id", "password=secret", "tenantId="+s.Tenant()) },
		"no machine":  func() { s.call(t, "off", "plug=nobody") },
		"failed": func() {
			s.Script(azure.Fault{Path: "/powerOff", Times: 1, Operation: &azure.OperationFault{Code: "InternalExecutionError", Message: "no"}})
			s.call(t, "off", "plug=n2")
		},
		"silence": func() {
			s.Script(azure.Fault{Path: "/virtualMachines/n2", Times: 2, Hang: true})
			s.call(t, "status", "plug=n2", "request_timeout=1")
		},
		"signal": func() {
			s.SetLatency(azure.Latency{PowerOff: ms(2000)})
			defer s.SetLatency(cfg.Latency)
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			defer cancel()
			s.callIn(ctx, "off", "plug=n2")
		},
	}
	settle := func(limit int) int {
		n := runtime.NumGoroutine()
		for until := time.Now().Add(10 * time.Second); n > limit && time.Now().Before(until); n = runtime.NumGoroutine() {
			time.Sleep(10 * time.Millisecond)
		}
		return n
	}
	before := runtime.NumGoroutine()
	for name, end := range ends {
		if err := s.Change(group, "n2", func(vm *azure.VM) { vm.Power = azure.Running }); err != nil {
			t.Fatal(err)
		}
		end()
		if left := settle(before); left > before {
			all := make([]byte, 1<<16)
			t.Errorf("%s: %d goroutines, %d before\n%s", name, left, before, all[:runtime.Stack(all, true)])
			before = left
		}
	}
}
