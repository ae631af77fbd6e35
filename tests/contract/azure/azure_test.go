package azure

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

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
		r := run(t, tt.stdin, append([]string{agent}, tt.args...)...)
		if r.code != tt.code || r.stdout != tt.stdout {
			t.Errorf("%s: %+v", tt.name, r)
		}
		if strings.Contains(r.stdout+r.stderr, "s3cr3t") {
			t.Errorf("%s shows the secret", tt.name)
		}
	}
	s.sequence(t, "vm2 off", "vm2 on", "vm2 off", "vm2 on")
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

// TestFencer lets Pacemaker's own fencer, stand-alone, register the agent and fence
// by it, with node names that are not machine names.
func TestFencer(t *testing.T) {
	s := begin(t)
	s.fencer(t)
	admin := func(args ...string) result {
		t.Helper()
		return run(t, "", append([]string{"/usr/sbin/stonith_admin", "--timeout", "30"}, args...)...)
	}
	must := func(r result) {
		t.Helper()
		if r.code != 0 {
			t.Fatalf("%+v", r)
		}
	}
	must(admin("-R", "az", "-a", "fence_azure", "-o", "pcmk_host_map=node1:vm1;node2:vm2"))
	must(admin("-Q", "az"))
	if r := admin("-l", "node2"); r.code != 0 || !strings.Contains(r.stdout, "az") {
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
	if r := admin("-F", "node2"); r.code == 0 {
		t.Errorf("off although the operation failed: %+v", r)
	}
	if log, err := os.ReadFile(fencerLog); err != nil || !strings.Contains(string(log), "the host is on fire") {
		t.Errorf("the fencer's log does not hold Azure's reason (%v)", err)
	}
	if got := s.PowerState(group, "vm2"); got != azure.Running {
		t.Errorf("vm2 is %s", got)
	}
}

const fencerLog = "/var/log/pacemaker/fenced.log"

// fencer starts Pacemaker's fencer alone and ends it with the test.
func (s *site) fencer(t *testing.T) {
	t.Helper()
	cmd := exec.Command("/usr/lib/pacemaker/pacemaker-fenced", "-s", "-V")
	cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+caFile, "PCMK_logfile="+fencerLog, "PCMK_logfacility=none")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		if r := run(t, "", "/usr/sbin/stonith_admin", "--timeout", "2", "-L"); r.code == 0 {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatal("pacemaker-fenced does not answer")
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// The tools of users know the agent: pcs and crmsh by its meta-data, Pacemaker by
// validate-all.
func TestTools(t *testing.T) {
	begin(t)
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"pcs", "stonith", "describe", "fence_azure"}, "resourceGroup: Resource group"},
		{[]string{"crm", "ra", "info", "stonith:fence_azure"}, "Switches virtual machines"},
		{[]string{"/usr/sbin/stonith_admin", "--metadata", "-a", "fence_azure"}, `name="fence_azure"`},
		{[]string{"/usr/sbin/stonith_admin", "--validate", "--agent", "fence_azure", "--option", "plug=vm2"}, "succeeded"},
		{[]string{"sh", "-c", agent + " -o metadata | xmllint --noout --relaxng /usr/share/cluster/relaxng/metadata.rng - 2>&1"}, "validates"},
	} {
		if r := run(t, "", tt.args...); r.code != 0 || !strings.Contains(r.stdout, tt.want) {
			t.Errorf("%v: %+v", tt.args, r)
		}
	}
	if r := run(t, "", "/usr/sbin/stonith_admin", "--validate", "--agent", "fence_azure", "--option", "plug=nobody"); r.code == 0 {
		t.Errorf("a machine that does not exist is valid: %+v", r)
	}
}
