package main

import (
	"context"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"pgrex/lib/ipmi/ipmitest"
)

// A whole reboot, of a machine that takes its time, is one session, opened once and closed once.
func TestOneSession(t *testing.T) {
	b := ipmitest.Start(t, ipmitest.Options{})
	var opened atomic.Int32
	b.Script(ipmitest.Script{
		In: func(p []byte) bool {
			// RMCP+, and the request to open a session.
			if len(p) > 5 && p[4] == 6 && p[5]&0x3f == 0x10 {
				opened.Add(1)
			}
			return true
		},
		Order: func(what string) byte {
			b.SetAfter(what == "on", 300*time.Millisecond)
			return 0
		},
	})
	if r := call(t.Context(), b.Port, "action=reboot", "lanplus=1", "cipher=17"); r.code != 0 || opened.Load() != 1 {
		t.Errorf("%d sessions: %+v", opened.Load(), r)
	}
}

// No goroutine outlives an action, however it ends. Not parallel: it counts those of the process.
func TestNoGoroutineIsLeft(t *testing.T) {
	b := ipmitest.Start(t, ipmitest.Options{})
	const short = 400 * time.Millisecond
	ends := map[string]func(){
		"success":        func() { call(t.Context(), b.Port, "action=reboot") },
		"IPMI 1.5":       func() { call(t.Context(), b.Port, "action=reboot", "lanplus=0") },
		"wrong password": func() { call(t.Context(), b.Port, "action=off", "password=wrong") },
		"no answer": func() {
			silent(t, b)
			call(t.Context(), b.Port, "action=off", "ipmitool_timeout=0.05")
			b.Script(ipmitest.Script{})
		},
		"lost": func() {
			b.Script(ipmitest.Script{Order: func(string) byte { b.Script(ipmitest.Script{Out: func([]byte) bool { return false }}); return 0 }})
			call(t.Context(), b.Port, "action=off", "power_timeout=1", "ipmitool_timeout=0.05")
			b.Script(ipmitest.Script{})
		},
		"signal": func() {
			accept(t, b)
			ctx, cancel := context.WithTimeout(t.Context(), short)
			defer cancel()
			call(ctx, b.Port, "action=off")
			b.Script(ipmitest.Script{})
		},
	}
	call(t.Context(), b.Port, "action=status") // what the process starts once
	before := runtime.NumGoroutine()
	for name, end := range ends {
		b.Set(true)
		end()
		left := runtime.NumGoroutine()
		for until := time.Now().Add(2 * time.Second); left > before && time.Now().Before(until); left = runtime.NumGoroutine() {
			time.Sleep(10 * time.Millisecond)
		}
		if left > before {
			all := make([]byte, 1<<16)
			t.Errorf("%s: %d goroutines, %d before\n%s", name, left, before, all[:runtime.Stack(all, true)])
			before = left
		}
	}
}
