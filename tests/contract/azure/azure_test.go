package azure

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"pgrex/tests/contract/sandbox"
	"pgrex/tests/fakes/azure"
)

// TestBinary runs the program with nothing special at all: the public cloud, the
// managed identity, names and addresses as they are on Azure.
func TestBinary(t *testing.T) {
	s := begin(t)
	app := "username=app-id\npassword=s3cr3t\ntenantId=" + s.Tenant() + "\n"
	tests := []struct {
		name, stdin string
		args        []string
		code        int
		stdout      string
	}{
		{"monitor", "action=monitor\n", nil, 0, ""},
		{"monitor as application", "action=monitor\n" + app, nil, 0, ""},
		{"list", "", []string{"-o", "list"}, 0, "vm1,\nvm2,\n"},
		{"validate-all", "", []string{"-o", "validate-all", "-n", "vm2"}, 0, ""},
		{"status", "action=status\nplug=vm2\n", nil, 0, "Status: ON\n"},
		{"off", "action=off\nnodename=node2\nport=vm2\n", nil, 0, "Success: Powered OFF\n"},
		{"status when off", "action=status\nplug=vm2\n", nil, 2, "Status: OFF\n"},
		{"off again", "", []string{"--action=off", "--plug=vm2", "--msi"}, 0, "Success: Already OFF\n"},
		{"on", "action=on\nplug=vm2\n", nil, 0, "Success: Powered ON\n"},
		{"reboot", "nodename=node2\nplug=vm2\n" + app, nil, 0, "Success: Rebooted\n"},
		{"no such machine", "action=off\nplug=node2\n", nil, 1, ""},
	}
	for _, tt := range tests {
		r := sandbox.Call(t, tt.stdin, agent, tt.args...)
		if r.Code != tt.code || r.Stdout != tt.stdout {
			t.Errorf("%s: %+v", tt.name, r)
		}
		if strings.Contains(r.Stdout+r.Stderr, "s3cr3t") {
			t.Errorf("%s shows the secret", tt.name)
		}
	}
	s.sequence(t, "vm2 off", "vm2 on", "vm2 off", "vm2 on")
}

// SIGTERM ends an action at once, in the middle of a wait.
func TestSignal(t *testing.T) {
	s := begin(t)
	s.SetLatency(azure.Latency{PowerOff: ms(20000)})
	r := sandbox.Terminate(t, time.Second, "action=off\nplug=vm2\n", agent)
	if r.Code != 1 || r.Stdout != "" || r.Took > time.Second || !strings.Contains(r.Stderr, "told to stop by a signal") {
		t.Errorf("%+v", r)
	}
}

// sequence compares what was done to the machines' power.
func (s *site) sequence(t *testing.T, want ...string) {
	t.Helper()
	for _, w := range want {
		select {
		case got := <-s.power:
			if got != w {
				t.Errorf("the power was switched %q, want %q", got, w)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("the power was not switched %q", w)
		}
	}
}

// TestFencer lets Pacemaker's own fencer register the agent and fence by it, with
// node names that are not machine names.
func TestFencer(t *testing.T) {
	s := begin(t)
	sandbox.Fencer(t)
	admin := func(args ...string) sandbox.Outcome {
		t.Helper()
		return sandbox.Call(t, "", "stonith_admin", append([]string{"--timeout", "30"}, args...)...)
	}
	must := func(r sandbox.Outcome) {
		t.Helper()
		if r.Code != 0 {
			t.Fatalf("%+v", r)
		}
	}
	must(admin("-R", "az", "-a", "fence_azure", "-o", "pcmk_host_map=node1:vm1;node2:vm2"))
	must(admin("-Q", "az"))
	if r := admin("-l", "node2"); r.Code != 0 || !strings.Contains(r.Stdout, "az") {
		t.Errorf("who can fence node2: %+v", r)
	}
	must(admin("-F", "node2"))
	if got := s.PowerState(group, "vm2"); got != azure.Stopped {
		t.Errorf("after off vm2 is %s", got)
	}
	must(admin("-U", "node2"))
	must(admin("-B", "node2"))
	s.sequence(t, "vm2 off", "vm2 on", "vm2 off", "vm2 on")

	// A failure of Azure's is a failure of the fencing, with Azure's reason in the log.
	s.Script(azure.Fault{Path: "/powerOff", Times: -1, Operation: &azure.OperationFault{Code: "InternalExecutionError", Message: "the host is on fire"}})
	if r := admin("-F", "node2"); r.Code == 0 {
		t.Errorf("off although the operation failed: %+v", r)
	}
	if log := sandbox.ReadFile(t, sandbox.FencerLog); !strings.Contains(log, "the host is on fire") {
		t.Errorf("the fencer's log does not hold Azure's reason:\n%s", log)
	}
	if got := s.PowerState(group, "vm2"); got != azure.Running {
		t.Errorf("vm2 is %s", got)
	}
}

// Levels of devices: the second is reached when the identity of the first may not;
// and two devices of one level are both off before either is on again.
func TestLevels(t *testing.T) {
	s := begin(t)
	s.SetLatency(azure.Latency{Answer: ms(5), PowerOff: ms(300), Start: ms(100), Tail: ms(100)})
	s.AddPrincipal(azure.Principal{Name: "reader", ClientID: "reader-id", Secret: "s3cr3t", Grants: []azure.Grant{{Scope: "/", Actions: []string{"Microsoft.Compute/virtualMachines/read"}}}})
	sandbox.Cluster(t)
	admin := func(args ...string) {
		t.Helper()
		if r := sandbox.Call(t, "", "stonith_admin", append([]string{"--timeout", "30"}, args...)...); r.Code != 0 {
			t.Fatalf("%v: %+v", args, r)
		}
	}
	device := func(name string, options ...string) {
		t.Helper()
		args := []string{"-R", name, "-a", "fence_azure"}
		for _, o := range options {
			args = append(args, "-o", o)
		}
		admin(args...)
	}
	device("reader", "pcmk_host_map=node2:vm2", "username=reader-id", "password=s3cr3t", "tenantId="+s.Tenant(), "pcmk_reboot_retries=1")
	device("own", "pcmk_host_map=node2:vm2;node3:vm2")
	device("other", "pcmk_host_map=node3:vm1")
	admin("-r", "node2", "-i", "1", "-v", "reader")
	admin("-r", "node2", "-i", "2", "-v", "own")
	admin("-B", "node2")
	s.sequence(t, "vm2 off", "vm2 on")
	if log := sandbox.ReadFile(t, sandbox.FencerLog); !strings.Contains(log, "lacks the right") {
		t.Errorf("the log does not say why the first level failed:\n%s", log)
	}
	admin("-r", "node3", "-i", "1", "-v", "own", "-v", "other")
	admin("-B", "node3")
	var got []string
	for range 4 {
		select {
		case e := <-s.power:
			got = append(got, e)
		case <-time.After(10 * time.Second):
		}
	}
	if len(got) != 4 || !strings.HasSuffix(got[0], "off") || !strings.HasSuffix(got[1], "off") {
		t.Errorf("the power was switched %q\n%s", got, sandbox.ReadFile(t, sandbox.FencerLog))
	}
}

// The tools of users know the agent: pcs and crmsh by its meta-data, Pacemaker by
// validate-all.
func TestTools(t *testing.T) {
	begin(t)
	for _, tt := range []struct {
		args []string
		want string // a regular expression
	}{
		{[]string{"pcs", "stonith", "describe", "fence_azure"}, `resourceGroup(: |\s+Description: )Resource group`},
		{[]string{"crm", "ra", "info", "stonith:fence_azure"}, "Switches virtual machines"},
		{[]string{"stonith_admin", "--metadata", "-a", "fence_azure"}, `name="fence_azure"`},
		{[]string{"stonith_admin", "--validate", "--agent", "fence_azure", "--option", "plug=vm2"}, "succeeded"},
	} {
		if r := sandbox.Call(t, "", tt.args[0], tt.args[1:]...); r.Code != 0 || !regexp.MustCompile(tt.want).MatchString(r.Stdout) {
			t.Errorf("%v: %+v", tt.args, r)
		}
	}
	// pcs asks every agent there is, which takes it half a minute where all of fence-agents is installed.
	if sandbox.IsElsewhere() && !sandbox.HasWord(sandbox.Command(t, "pcs", "stonith", "list", "--nodesc"), "fence_azure") {
		t.Error("pcs stonith list does not show it")
	}
	if err := sandbox.XMLLint(sandbox.Command(t, agent, "-o", "metadata"), "--relaxng", sandbox.FenceSchema); err != nil {
		t.Error(err)
	}
	if r := sandbox.Call(t, "", "stonith_admin", "--validate", "--agent", "fence_azure", "--option", "plug=nobody"); r.Code == 0 {
		t.Errorf("a machine that does not exist is valid: %+v", r)
	}
}
