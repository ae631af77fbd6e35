package cloudip

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgrex/tests/contract/resource"
	"pgrex/tests/contract/sandbox"
)

// cloudip is the agent under test.
var cloudip = resource.Agent{Path: "/usr/lib/ocf/resource.d/pgrex/cloudip", Node: "n1"}

// The words of these tests.
type params = resource.Params

const (
	ok            = resource.OK
	generic       = resource.Generic
	noPermission  = resource.NoPermission
	notConfigured = resource.NotConfigured
	notRunning    = resource.NotRunning
	degraded      = 190
)

func action(name string, p params) resource.Call { return cloudip.Action(name, p) }
func monitor(p params) resource.Call             { return cloudip.Monitor(p) }
func probe(p params) resource.Call               { return cloudip.Probe(p) }

const (
	reference = "/usr/lib/ocf/resource.d/heartbeat/IPaddr2"
	peer      = "peer"
	stateDir  = "/run/pgrex"
)

func TestMain(m *testing.M) {
	os.Exit(sandbox.Main(m, sandbox.Config{
		Needs: []string{
			"mount", "su", "strace", "xmllint", "ocf-tester", "ocft", "pcs", "crm", "crm_resource", "arping",
			reference, ocftConfigs + "/IPaddr2", sandbox.ResourceSchema, sandbox.ResourceDTD, sandbox.OCF11Schema,
		},
		Installed: []string{cloudip.Path},
		Empty: []sandbox.Dir{
			{Path: "/run/netns", Mode: 0o755},
			{Path: stateDir, Mode: 0o755},
			{Path: "/run/resource-agents", Mode: 0o755},
			{Path: "/var/lib/resource-agents", Mode: 0o755},
		},
		Furnish: furnish,
	}))
}

// furnish makes the LAN: eth0 and eth1, and the same in the peer.
func furnish() error {
	for _, args := range []string{
		"netns add " + peer,
		"link add eth0 type veth peer name eth0 netns " + peer,
		"link add eth1 type veth peer name eth1 netns " + peer,
		"-n peer link set lo up",
	} {
		if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
			return fmt.Errorf("ip %s: %w\n%s", args, err, out)
		}
	}
	return nil
}

// The node's addresses and the peer's. eth1 is a link without a subnet.
const (
	subnet4, peer4 = "192.168.144.1/24", "192.168.144.9/24"
	subnet6, peer6 = "2001:db8:1234::1/64", "2001:db8:1234::9/64"
)

// begin takes the LAN out of the state that the last test left it in, and brings it into its first.
func begin(t *testing.T) {
	t.Helper()
	// An announcement that goes on would fall into this test.
	for _, pid := range announcers(t) {
		if n, err := strconv.Atoi(pid); err == nil {
			_ = syscall.Kill(n, syscall.SIGKILL) // most have ended by themselves by now
		}
	}
	if err := os.RemoveAll(stateDir + "/cloudip"); err != nil {
		t.Error(err)
	}
	for _, where := range [][]string{nil, {"-n", peer}} {
		for _, nic := range []string{"eth0", "eth1"} {
			ip(t, append(where, "address", "flush", "dev", nic, "scope", "global")...)
			ip(t, append(where, "neighbour", "flush", "dev", nic)...)
			ip(t, append(where, "link", "set", nic, "up")...)
		}
	}
	ip(t, "address", "flush", "dev", "lo", "scope", "global")
	ip(t, "address", "add", subnet4, "brd", "+", "dev", "eth0")
	ip(t, "address", "add", subnet6, "dev", "eth0", "nodad")
	ip(t, "-n", peer, "address", "add", peer4, "dev", "eth0")
	ip(t, "-n", peer, "address", "add", peer6, "dev", "eth0", "nodad")
	linkUp(t, "eth0")
	linkUp(t, "eth1")
}

// ip runs the tool, which must succeed.
func ip(t testing.TB, args ...string) string {
	t.Helper()
	return sandbox.Command(t, "ip", args...)
}

// linkUp waits for a link of the node.
func linkUp(t testing.TB, nic string) {
	t.Helper()
	sandbox.Eventually(t, nic+" is up", 5*time.Second, func() bool {
		return strings.Contains(ip(t, "link", "show", "dev", nic), "state UP")
	})
}

// has reports where the node has an address, as `ip -o address` shows it.
func has(t testing.TB, addr string) []string {
	t.Helper()
	var lines []string
	for line := range strings.Lines(ip(t, "-o", "address", "show")) {
		if strings.Contains(line, " "+addr+"/") {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// wantHas fails the test unless exactly one address is there, with these words.
func wantHas(t *testing.T, addr string, words ...string) {
	t.Helper()
	lines := has(t, addr)
	if len(lines) != 1 {
		t.Errorf("%s: %q, want it once", addr, lines)
		return
	}
	for _, w := range words {
		if !strings.Contains(lines[0]+" ", w) {
			t.Errorf("%s: %q lacks %q", addr, lines[0], w)
		}
	}
}

func wantGone(t *testing.T, addr string) {
	t.Helper()
	if lines := has(t, addr); len(lines) != 0 {
		t.Errorf("%s is still there: %q", addr, lines)
	}
}

// announcers are the processes that announce in the background.
func announcers(t testing.TB) []string {
	t.Helper()
	var pids []string
	for line := range strings.Lines(sandbox.Command(t, "ps", "-eo", "pid=,args=")) {
		if f := strings.Fields(line); len(f) > 2 && f[1] == cloudip.Path && f[2] == "announce" {
			pids = append(pids, f[0])
		}
	}
	return pids
}

const (
	vip4 = "192.168.144.2"
	vip6 = "2001:db8:1234::2"
)

func v4(more params) params { return params{"ip": vip4}.With(more) }
func v6(more params) params { return params{"ip": vip6, "nodad": "true"}.With(more) }
