package azure

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	arm "pgrex/lib/azure"
	"pgrex/lib/azure/names"
	"pgrex/tests/fakes/azure"
	"pgrex/tests/fakes/azure/azuretest"
)

// TestMain lets many tests wait at the same time: they do little else.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	m.Run()
}

type obj = map[string]any

const group = "db"

var vip = netip.MustParseAddr("10.0.1.50")

func propsOf(body map[string]any) obj { return arm.Object(body["properties"]) }

func listOf(v any) []any {
	list, _ := v.([]any)
	return list
}

func ms(n int) azure.Duration { return azure.Duration(time.Duration(n) * time.Millisecond) }

// ids makes ids as a cloud with default settings does.
type ids struct{ *azure.Cloud }

func newIDs(t *testing.T) ids {
	t.Helper()
	c, err := azure.New(azure.Config{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return ids{c}
}

func (i ids) nic(name string) string { return i.NetworkID(group, "networkInterfaces", name) }
func (i ids) vnet() string           { return i.NetworkID(group, "virtualNetworks", "net") }
func (i ids) subnet() string         { return i.vnet() + "/subnets/db" }
func (i ids) asg(name string) string { return i.NetworkID(group, "applicationSecurityGroups", name) }
func (i ids) pip(name string) string { return i.NetworkID(group, "publicIPAddresses", name) }
func (i ids) pool(name string) string {
	return i.NetworkID(group, "loadBalancers", "lb") + "/backendAddressPools/" + name
}

// documented is the role in docs/cloudip-azure.md.
var documented = []string{
	"Microsoft.Compute/virtualMachines/read",
	"Microsoft.Network/networkInterfaces/read", "Microsoft.Network/networkInterfaces/write",
	"Microsoft.Network/virtualNetworks/read", "Microsoft.Network/virtualNetworks/checkIpAddressAvailability/read",
	"Microsoft.Network/virtualNetworks/moveIpConfigurations/action",
	"Microsoft.Network/virtualNetworks/subnets/read", "Microsoft.Network/virtualNetworks/subnets/join/action",
	"Microsoft.Network/networkSecurityGroups/join/action",
	"Microsoft.Network/applicationSecurityGroups/joinIpConfiguration/action",
	"Microsoft.Network/publicIPAddresses/join/action",
	"Microsoft.Network/loadBalancers/backendAddressPools/join/action",
	"Microsoft.Network/locations/operations/read",
	"Microsoft.Authorization/permissions/read",
}

// entry is an ipConfiguration in ARM's JSON.
func (i ids) entry(name, address string, more obj) obj {
	p := obj{"subnet": obj{"id": i.subnet()}, "privateIPAllocationMethod": "Static", "privateIPAddress": address, "primary": name == "main"}
	for k, v := range more {
		p[k] = v
	}
	return obj{"name": name, "futureOfConfig": obj{"n": 12345678901234567}, "properties": p}
}

// usual is a group of three machines with one NIC each, in one subnet; nobody has the VIP. The NICs have
// fields that no SDK knows.
func usual(t *testing.T) (azure.Config, ids) {
	t.Helper()
	i := newIDs(t)
	cfg := azure.Config{
		Network: map[string]map[string]any{
			i.vnet(): {"properties": obj{"subnets": []any{
				obj{"name": "db", "properties": obj{"addressPrefixes": []any{"10.0.1.0/24", "fd00:1::/64"}}},
				obj{"name": "other", "properties": obj{"addressPrefix": "10.0.2.0/24"}},
			}}},
			i.asg("web"): {}, i.asg("db"): {}, i.pip("public"): {},
			i.NetworkID(group, "loadBalancers", "lb"): {"properties": obj{"backendAddressPools": []any{obj{"name": "back"}, obj{"name": "out"}},
				"outboundRules": []any{obj{"name": "r", "properties": obj{"backendAddressPool": obj{"id": i.pool("out")}}}}}},
		},
		Latency: azure.Latency{Update: ms(60), Tail: ms(20)},
	}
	for n, name := range []string{"n1", "n2", "n3"} {
		cfg.VMs = append(cfg.VMs, azure.VM{Name: name, Group: group, NICs: []string{i.nic(name)}})
		cfg.Principals = append(cfg.Principals, azure.Principal{Name: name, SystemOf: name, Grants: []azure.Grant{{Scope: "/", Actions: documented}}})
		cfg.Network[i.nic(name)] = obj{
			"tags": obj{"owner": "dba"}, "futureField": obj{"n": 12345678901234567, "list": []any{1.5, nil, "x"}},
			"properties": obj{
				"macAddress": fmt.Sprintf("00-0D-3A-00-00-0%d", n+1), "enableAcceleratedNetworking": true, "enableIPForwarding": true, "futureProperty": "kept",
				"virtualMachine":   obj{"id": i.VMID(group, name)},
				"ipConfigurations": []any{i.entry("main", fmt.Sprintf("10.0.1.1%d", n), nil)},
			},
		}
	}
	return cfg, i
}

// hold gives an address to a machine from the beginning.
func (i ids) hold(cfg *azure.Config, name, address string, more obj) {
	p := propsOf(cfg.Network[i.nic(name)])
	p["ipConfigurations"] = append(listOf(p["ipConfigurations"]), i.entry("was-here", address, more))
}

// held is the usual cloud in which n1 has the address, and the subscription knows how to move it.
func held(t *testing.T, edit ...func(*azure.Config)) *site {
	t.Helper()
	cfg, i := usual(t)
	cfg.Move = azure.MoveOn
	i.hold(&cfg, "n1", "10.0.1.50", nil)
	for _, f := range edit {
		f(&cfg)
	}
	return begin(t, cfg, i)
}

// site is a cloud that is served, and what its machines keep on their disks.
type site struct {
	*azure.Cloud
	ids
	served *azuretest.Site
	dirs   map[string]string
	log    *notes
}

// notes keeps log lines.
type notes struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (n *notes) Write(p []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.b.Write(p)
}

func (n *notes) String() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.b.String()
}

func begin(t *testing.T, cfg azure.Config, i ids) *site {
	t.Helper()
	served := azuretest.Start(t, cfg, nil)
	s := &site{Cloud: served.Cloud, ids: i, served: served, dirs: map[string]string{}, log: &notes{}}
	for _, vm := range cfg.VMs {
		s.dirs[vm.Name] = t.TempDir()
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("requests:\n%s\nlog:\n%s", s.trace(0), s.log)
		}
	})
	return s
}

// on makes the driver of a machine, as a new process would.
func (s *site) on(t *testing.T, name string, edit ...func(*Options)) *Provider {
	t.Helper()
	o := Options{
		Azure: arm.Options{
			Program: "test", Cloud: names.Stack, MetadataEndpoint: s.served.URL(), RequestTimeout: 3 * time.Second,
			Wire: arm.Wire{Roots: s.served.Authority.Pool(), Dial: s.served.Dial(name)},
			// The SDK keeps the tokens of managed identities for the whole process, by their id.
			Identity: arm.Identity{Managed: s.identity(name)},
		},
		Method: Auto, Preserve: Preserve{ASG: true, PublicIP: true}, StateDir: s.dirs[name], Root: s.dirs[name],
		Poll: 20 * time.Millisecond, Log: slog.New(slog.NewTextHandler(s.log, nil)).With("on", name),
	}
	for _, f := range edit {
		f(&o)
	}
	p := New(o)
	t.Cleanup(p.Close)
	return p
}

// identity is the client id of a machine's identity.
func (s *site) identity(name string) string {
	if id := s.dirs["identity "+name]; id != "" {
		return id
	}
	s.once(name)
	return "id-of-" + name
}

// once gives a machine a user-assigned identity beside its own, so that every token has a name in the SDK's cache.
func (s *site) once(name string) {
	id := "id-of-" + name
	if slices.Contains(s.made(), id) {
		return
	}
	s.AddPrincipal(azure.Principal{Name: name, ClientID: id, AssignedTo: []string{name}, Grants: []azure.Grant{{Scope: "/", Actions: documented}}})
	s.dirs["made "+id] = id
}

func (s *site) made() []string {
	var all []string
	for _, v := range s.dirs {
		all = append(all, v)
	}
	return all
}

// trace is what was asked for, a line for each request, without the metadata service.
func (s *site) trace(from int) string {
	var lines []string
	for _, r := range s.Requests()[from:] {
		if r.Service == azure.ARM && !strings.HasPrefix(r.Path, "/metadata/") {
			lines = append(lines, fmt.Sprintf("%s %s %s -> %d", r.Principal, r.Method, short(r.Path), r.Status))
		}
	}
	return strings.Join(lines, "\n")
}

// short is a path without what is always the same.
func short(path string) string {
	if i := strings.LastIndex(path, "/providers/"); i >= 0 {
		path = path[i+len("/providers/"):]
	}
	parts := strings.Split(path, "/")
	if n := len(parts); n > 2 && parts[n-2] == "operations" {
		return "operation"
	}
	return strings.Join(parts[1:], "/")
}

// holders are the machines whose NICs have an address, in ARM.
func (s *site) holders(address netip.Addr) []string {
	var all []string
	for _, vm := range s.VMs() {
		for _, id := range vm.NICs {
			if _, ok := (nic{id, s.Network(id)}).find(address); ok {
				all = append(all, vm.Name)
			}
		}
	}
	return all
}

func (s *site) checkHolder(t *testing.T, name string) {
	t.Helper()
	if got := s.holders(vip); !slices.Equal(got, []string{name}) {
		t.Errorf("%s is held by %v, want %s", vip, got, name)
	}
	if got := s.Holder(vip); got != s.nic(name) {
		t.Errorf("the data plane delivers to %q", got)
	}
}

// acquire runs Acquire within a time, and counts the calls of accepted.
func (s *site) acquire(t *testing.T, p *Provider, within time.Duration) (told int, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	err = p.Acquire(ctx, vip, func(context.Context) error {
		told++
		return nil
	})
	return told, err
}

// must acquires, or fails the test.
func (s *site) must(t *testing.T, p *Provider) {
	t.Helper()
	if told, err := s.acquire(t, p, time.Minute); err != nil || told != 1 {
		t.Fatalf("accepted was called %d times, error %v", told, err)
	}
}

// regrant gives a machine's identity other rights.
func (s *site) regrant(name string, actions []string) {
	s.identity(name)
	// The named identity of the machine was added after its system's, under the same name.
	s.AddPrincipal(azure.Principal{Name: name + " again", ClientID: "id-of-" + name + "-again", AssignedTo: []string{name}, Grants: []azure.Grant{{Scope: "/", Actions: actions}}})
	s.dirs["identity "+name] = "id-of-" + name + "-again"
}

func accept(context.Context) error { return nil }

var errTest = errors.New("the test says no")
