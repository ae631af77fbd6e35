package azure

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgrex/tests/contract/sandbox"
	"pgrex/tests/fakes/azure"
	"pgrex/tests/lab/cluster"
)

// machines are the nodes of a lab as virtual machines: what the stand-in does to
// their power is done to the nodes, and each finds Azure at its own addresses.
type machines struct {
	*cluster.Cluster
	cloud *azure.Cloud
	ca    *azure.Authority

	mu      sync.Mutex
	servers map[string][]*azure.Server
}

const vmPrefix = "vm-"

// Switch is the stand-in's power switch.
func (m *machines) Switch(ctx context.Context, vm string, on bool) error {
	node := strings.TrimPrefix(vm, vmPrefix)
	if err := m.Power(ctx, node, on); err != nil || !on {
		return errors.Join(err, m.detach(node))
	}
	return m.attach(ctx, node)
}

// attach puts Azure into a node, whose network is new after every boot.
func (m *machines) attach(ctx context.Context, node string) error {
	if err := m.detach(node); err != nil {
		return err
	}
	ns, err := m.Netns(ctx, node)
	if err != nil {
		return err
	}
	for _, address := range []string{armAddress, imdsAddress} {
		if out, err := exec.CommandContext(ctx, "nsenter", "--net="+ns, "ip", "address", "replace", address+"/32", "dev", "lo").CombinedOutput(); err != nil {
			return fmt.Errorf("address of %s: %w: %s", node, err, out)
		}
	}
	cert, err := m.ca.Certificate(armAddress)
	if err != nil {
		return err
	}
	arm, err := azure.ListenAt(ctx, armAddress+":443@"+ns)
	if err != nil {
		return err
	}
	imds, err := azure.ListenAt(ctx, imdsAddress+":80@"+ns)
	if err != nil {
		return errors.Join(err, arm.Close())
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.servers[node] = []*azure.Server{azure.Serve(arm, m.cloud.Handler(), &cert), azure.Serve(imds, m.cloud.MetadataHandler(group, vmPrefix+node), nil)}
	return nil
}

func (m *machines) detach(node string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var errs []error
	for _, s := range m.servers[node] {
		errs = append(errs, s.Close())
	}
	delete(m.servers, node)
	return errors.Join(errs...)
}

// newMachines builds a lab that is nothing but a cluster, in Azure.
func newMachines(t *testing.T) *machines {
	t.Helper()
	name := labName(sandbox.Run())
	lab := sandbox.Work + "/bin/lab"
	t.Cleanup(func() {
		if out, err := exec.Command(lab, "down", "--name", name).CombinedOutput(); err != nil {
			t.Errorf("lab down: %v\n%s", err, out)
		}
	})
	sandbox.Command(t, lab, "up", "--bare", "--name", name, "--nodes", "2", "--bin", sandbox.Work+"/bin")
	c, err := cluster.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	m := &machines{Cluster: c, servers: map[string][]*azure.Server{}}
	role := []azure.Grant{{Scope: "/", Actions: []string{
		"Microsoft.Compute/virtualMachines/read",
		"Microsoft.Compute/virtualMachines/powerOff/action",
		"Microsoft.Compute/virtualMachines/start/action",
	}}}
	cfg := azure.Config{Latency: azure.Latency{Answer: ms(20), PowerOff: ms(1000), Start: ms(1000), Tail: ms(1000)}}
	for _, node := range c.NodeNames() {
		cfg.VMs = append(cfg.VMs, azure.VM{Name: vmPrefix + node, Group: group})
		cfg.Principals = append(cfg.Principals, azure.Principal{Name: node, SystemOf: vmPrefix + node, Grants: role})
	}
	if m.cloud, err = azure.New(cfg, m); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.cloud.Close)
	if m.ca, err = azure.NewAuthority(); err != nil {
		t.Fatal(err)
	}
	for _, node := range c.NodeNames() {
		t.Cleanup(func() {
			if err := m.detach(node); err != nil {
				t.Error(err)
			}
		})
		if err := m.attach(t.Context(), node); err != nil {
			t.Fatal(err)
		}
		res, err := c.ExecInput(t.Context(), node, string(m.ca.PEM()), "sh", "-c",
			"mkdir -p /etc/ssl/certs && cat >>/etc/ssl/certs/ca-certificates.crt && echo "+armAddress+" management.azure.com login.microsoftonline.com >>/etc/hosts")
		if err != nil || res.ExitCode != 0 {
			t.Fatalf("%s: %v: %s", node, err, res.Message())
		}
	}
	return m
}

// A cluster of two nodes fences by fence_azure the one that has frozen: its machine
// loses its power, comes back, and joins the cluster.
func TestLab(t *testing.T) {
	m := newMachines(t)
	m.must(t, "n1", "pcs", "stonith", "create", "fence-azure", "fence_azure", "pcmk_host_map=n1:vm-n1;n2:vm-n2", "pcmk_host_list=n1,n2", "op", "monitor", "interval=10s")
	m.must(t, "n1", "pcs", "property", "set", "stonith-enabled=true")
	wait := func(what string, within time.Duration, cond func(cluster.View) bool) {
		t.Helper()
		if err := m.Wait(t.Context(), what, within, cond); err != nil {
			t.Fatalf("%v\n%s", err, sandbox.ReadFile(t, m.Logs("n1")+"/pacemaker/pacemaker.log"))
		}
	}
	wait("the device to run", 20*time.Second, func(v cluster.View) bool {
		return slices.ContainsFunc(v.Resources, func(r cluster.ResourceView) bool { return r.ID == "fence-azure" && r.Role == "Started" })
	})
	before, err := m.Node(t.Context(), "n2")
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := m.Freeze(t.Context(), "n2", true); err != nil {
		t.Fatal(err)
	}
	wait("n2 to be fenced", 40*time.Second, func(v cluster.View) bool { return len(v.Fencing) > 0 && v.Fencing[0].Status == "success" })
	t.Logf("fenced %v after it froze", time.Since(start).Round(time.Millisecond))
	sandbox.Eventually(t, "the machine to boot", 20*time.Second, func() bool {
		now, err := m.Node(t.Context(), "n2")
		return err == nil && now.On() && now.Boots > before.Boots
	})
	var asked []string
	for _, r := range m.cloud.Requests() {
		if r.Method == "POST" && strings.HasPrefix(r.Path, "/subscriptions") {
			asked = append(asked, r.Principal+" "+r.Path[strings.LastIndex(r.Path, "/virtualMachines/"):]+"?"+r.Query)
		}
	}
	if len(asked) < 2 || !strings.HasPrefix(asked[0], "n1 /virtualMachines/vm-n2/powerOff?") || !strings.Contains(asked[0], "skipShutdown=true") || !strings.HasPrefix(asked[1], "n1 /virtualMachines/vm-n2/start?") {
		t.Errorf("orders to Azure: %q", asked)
	}
	if err := m.WaitOnline(t.Context()); err != nil {
		t.Error(err)
	}
	t.Logf("both nodes are online %v after it froze", time.Since(start).Round(time.Millisecond))
}

// must runs a program on a node.
func (m *machines) must(t *testing.T, node string, args ...string) string {
	t.Helper()
	out, err := m.Must(t.Context(), node, args...)
	if err != nil {
		t.Fatalf("on %s: %s: %v\n%s", node, strings.Join(args, " "), err, out)
	}
	return out
}
