package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	arm "pgrex/lib/azure"
	"pgrex/lib/proc"
	"pgrex/lib/stonith"
	"pgrex/tests/fakes/azure"
	"pgrex/tests/fakes/azure/azuretest"
)

const group = "db"

// TestMain lets many tests wait at the same time: they do little else.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	m.Run()
}

// site is a cloud served over HTTPS, seen by an agent that runs on its machine n1.
type site struct {
	*azuretest.Site
	wire arm.Wire
}

// ms is a short time in the cloud's configuration.
func ms(n int) azure.Duration { return azure.Duration(time.Duration(n) * time.Millisecond) }

// usual is a pair of nodes whose identity has the role of the documentation.
func usual() azure.Config {
	return azure.Config{
		VMs:        []azure.VM{{Name: "n1", Group: group}, {Name: "n2", Group: group}},
		Principals: []azure.Principal{{Name: "system", SystemOf: "n1", Grants: documented}},
		Latency:    azure.Latency{PowerOff: ms(30), Start: ms(30), Tail: ms(50)},
	}
}

// documented is the role in docs/fence_azure.md.
var documented = []azure.Grant{{Scope: "/", Actions: []string{
	"Microsoft.Compute/virtualMachines/read",
	"Microsoft.Compute/virtualMachines/powerOff/action",
	"Microsoft.Compute/virtualMachines/start/action",
}}}

func begin(t *testing.T, cfg azure.Config) *site {
	t.Helper()
	s := azuretest.Start(t, cfg, nil)
	return &site{s, arm.Wire{Roots: s.Authority.Pool(), Dial: s.Dial("n1")}}
}

// result is what a call of the agent left.
type result struct {
	code           int
	stdout, stderr string
	took           time.Duration
}

func (r result) String() string {
	return fmt.Sprintf("%d\n%s%s(%s)", r.code, r.stdout, r.stderr, r.took)
}

// call runs the agent as Pacemaker does, on parameters given as name=value.
func (s *site) call(t *testing.T, action string, params ...string) result {
	t.Helper()
	return s.callIn(t.Context(), action, params...)
}

func (s *site) callIn(ctx context.Context, action string, params ...string) result {
	lines := append([]string{
		"action=" + action, "cloud=stack", "metadata_endpoint=" + s.URL(), "nodename=node2", "stonith_status_sleep=0", "request_timeout=2",
	}, params...)
	var out, errs bytes.Buffer
	start := time.Now()
	code := declaration(s.wire).Run(ctx, stonith.Process{
		Program: "fence_azure", LookupEnv: func(string) (string, bool) { return "", false },
		Stdin: strings.NewReader(strings.Join(lines, "\n") + "\n"), Stdout: &out, Stderr: &errs,
		PID: 1, Now: time.Now, Runner: proc.OS{},
	})
	return result{code, out.String(), errs.String(), time.Since(start)}
}

// check compares a call's outcome: exit code, the last line of the output, and
// parts of what it says on standard error.
func (r result) check(t *testing.T, code int, last string, parts ...string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(r.stdout), "\n")
	if r.code != code || lines[len(lines)-1] != last {
		t.Errorf("want exit code %d and %q, got %v", code, last, r)
	}
	for _, p := range parts {
		if !strings.Contains(r.stderr, p) {
			t.Errorf("standard error lacks %q: %v", p, r)
		}
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

// everywhere leads every name to the site, as a resolver that was told so.
func (s *site) everywhere(t *testing.T) {
	t.Helper()
	dial, address := s.wire.Dial, s.Server.Address
	s.wire.Dial = func(ctx context.Context, network, to string) (net.Conn, error) {
		if !strings.HasPrefix(to, "169.254.") {
			to = address
		}
		return dial(ctx, network, to)
	}
}
