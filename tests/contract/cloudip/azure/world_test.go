package azure

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pgrex/tests/contract/sandbox"
	fake "pgrex/tests/fakes/azure"
	"pgrex/tests/lab/azure"
	"pgrex/tests/lab/host"
	"pgrex/tests/lab/network"
)

const (
	// What Pacemaker calls, and what that hands over to.
	agent     = "/usr/lib/ocf/resource.d/pgrex/cloudip"
	withAzure = "/usr/libexec/pgrex/cloudip-azure"
	ipaddr2   = "/usr/lib/ocf/resource.d/heartbeat/IPaddr2"
	hosts     = sandbox.Work + "/hosts"
)

var vip = netip.MustParseAddr(network.VIPPrimary)

func TestMain(m *testing.M) {
	os.Exit(sandbox.Main(m, sandbox.Config{
		Needs:     []string{"nsenter", "unshare", "ip", "nft", "sysctl", ipaddr2},
		Installed: []string{agent, withAzure},
		// Its own logs and state; each machine gets another /run.
		Empty:    []sandbox.Dir{{Path: "/var/log/pacemaker", Mode: 0o755}},
		Parallel: 6, // most of the time goes by in waiting for the cloud
		Furnish: func() error {
			// The same for all machines of all clouds.
			if err := os.WriteFile(hosts, []byte("127.0.0.1 localhost\n"+azure.Hosts()), 0o644); err != nil {
				return err
			}
			return unix.Mount(hosts, "/etc/hosts", "", unix.MS_BIND, "")
		},
	}))
}

func ms(n int) fake.Duration { return fake.Duration(time.Duration(n) * time.Millisecond) }

// world is a pair of machines and a client in a cloud of their own.
type world struct {
	*azure.Azure
	t     *testing.T
	sw    *network.Switch
	dir   string
	nodes map[string]*node
	// client is the namespace of the one who talks to the address.
	client *host.Netns
}

const (
	clientName   = "client"
	clientNumber = 0xc0
)

// latency is that of a quick cloud.
var latency = fake.Latency{Answer: ms(5), Update: ms(400), Program: ms(150), Tail: ms(100), Metadata: ms(300)}

// begin builds a world. edit changes the cloud's configuration first; it may be nil.
func begin(t *testing.T, edit func(*fake.Config)) *world {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	w := &world{t: t, dir: sandbox.TempDir(t), nodes: map[string]*node{}}
	var err error
	if w.sw, err = network.NewVNet(ctx); err != nil {
		t.Fatal(err)
	}
	cfg := fake.Config{Latency: latency}
	if edit != nil {
		edit(&cfg)
	}
	w.Azure, err = azure.New(ctx, w.sw, azure.Options{
		Nodes: []string{"n1", "n2"}, Config: cfg, Power: w,
		Others: map[string]azure.Other{clientName: {Number: clientNumber, Address: network.Client}},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	for i, name := range []string{"n1", "n2"} {
		w.nodes[name] = &node{name: name, number: i + 1, w: w}
		w.nodes[name].boot()
	}
	w.plugClient(ctx)
	return w
}

func (w *world) plugClient(ctx context.Context) {
	w.t.Helper()
	var err error
	if w.client, err = host.NewNetns(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = w.client.Close() })
	nic := network.Service.Interface()
	err = w.sw.Plug(ctx, clientName, clientNumber, w.client.Path(), network.Service)
	if err == nil {
		_, err = host.Input(ctx, fmt.Sprintf("link set lo up\naddress add %s/24 dev %s\nlink set %s up\n", network.Client, nic, nic),
			"nsenter", "--net="+w.client.Path(), "ip", "-batch", "-")
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// Switch is what the cloud's orders do to a machine.
func (w *world) Switch(_ context.Context, vm string, on bool) error {
	n := w.nodes[vm]
	if n == nil {
		return errors.New("there is no machine " + vm)
	}
	if on {
		n.boot()
	} else {
		n.die()
	}
	return nil
}

// nicBody is as much of an interface as a test changes; the rest is ARM's default.
type nicBody struct {
	Location   string `json:"location"`
	Properties struct {
		Configs []nicConfig `json:"ipConfigurations"`
		MAC     string      `json:"macAddress"`
		VM      any         `json:"virtualMachine"`
	} `json:"properties"`
}

type nicConfig struct {
	Name       string `json:"name"`
	Properties struct {
		Primary bool   `json:"primary"`
		Method  string `json:"privateIPAllocationMethod"`
		Address string `json:"privateIPAddress"`
		Subnet  any    `json:"subnet"`
	} `json:"properties"`
}

// give makes a machine's interface hold the address, as a portal would.
func (w *world) give(machine string, a netip.Addr) {
	w.t.Helper()
	for _, name := range []string{"n1", "n2"} {
		id := w.NIC(name, network.Service)
		var n nicBody
		w.try(recode(w.Network(id), &n))
		own := n.Properties.Configs[0]
		n.Properties.Configs = []nicConfig{own}
		if name == machine {
			own.Name, own.Properties.Primary, own.Properties.Address = "vip", false, a.String()
			n.Properties.Configs = append(n.Properties.Configs, own)
		}
		body := map[string]any{}
		w.try(recode(n, &body))
		w.try(w.PutNetwork(id, body))
	}
}

// recode carries a value over into another of the same shape.
func recode(from, to any) error {
	b, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, to)
}

// holder is the machine that the cloud delivers the address to.
func (w *world) holder() string {
	id := w.Holder(vip)
	for name := range w.nodes {
		if id == w.NIC(name, network.Service) {
			return name
		}
	}
	return id
}

// only checks that exactly one machine has the address at the end, in the cloud
// and on its system.
func (w *world) only(machine string) {
	w.t.Helper()
	if got := w.holder(); got != machine {
		w.t.Errorf("in the cloud the address belongs to %q, want %s", got, machine)
	}
	for name, n := range w.nodes {
		if n.on() && n.has(vip) != (name == machine) {
			w.t.Errorf("the system of %s has the address: %v", name, n.has(vip))
		}
	}
}
