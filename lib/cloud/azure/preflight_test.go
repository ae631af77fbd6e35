package azure

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgrex/lib/cloud"
	"pgrex/tests/fakes/azure"
)

// findings run a preflight and show it as lines.
func (s *site) findings(t *testing.T, p *Provider, address netip.Addr) string {
	t.Helper()
	var lines []string
	for _, f := range p.Preflight(t.Context(), address) {
		if strings.Contains(f.Text, "\n") {
			t.Errorf("more than a line: %q", f.Text)
		}
		lines = append(lines, []string{"fine", "untold", "warn", "FATAL"}[f.Level]+": "+f.Text)
	}
	return strings.Join(lines, "\n")
}

// without is the documented role without some rights.
func without(rights ...string) []string {
	var rest []string
	for _, r := range documented {
		keep := true
		for _, o := range rights {
			keep = keep && r != o
		}
		if keep {
			rest = append(rest, r)
		}
	}
	return rest
}

func TestPreflight(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		edit    func(*azure.Config, ids)
		spoil   func(*testing.T, *site)
		options func(*Options)
		address string
		want    []string
		// not must not be there; unless it is said, nothing must be fatal.
		not   []string
		fatal bool
	}{
		{name: "all is well", edit: func(c *azure.Config, i ids) { i.hold(c, "n1", "10.0.1.50", nil) },
			want: []string{"fine: this is machine n2", "fine: network interface n2 (00:0d:3a:00:00:02)", "fine: 10.0.1.50 is in subnet db (10.0.1.0/24)", "fine: 10.0.1.50 is held by n1 (machine n1)",
				"has Microsoft.Network/networkInterfaces/read, Microsoft.Network/networkInterfaces/write on n1", "no tool of the guest"}, not: []string{"warn"}},
		{name: "not in the subnet", address: "10.0.3.1", options: func(o *Options) { o.MAC = "00:0d:3a:00:00:02" }, fatal: true, want: []string{"FATAL: 10.0.3.1 is not in 10.0.1.0/24", "choose an address"}},
		{name: "reserved", address: "10.0.1.3", fatal: true, want: []string{"Azure keeps for itself"}},
		{name: "the last", address: "10.0.1.255", fatal: true, want: []string{"Azure keeps for itself"}},
		{name: "primary here", address: "10.0.1.11", fatal: true, want: []string{"FATAL: 10.0.1.11 is the primary address of network interface n2"}},
		{name: "primary elsewhere", address: "10.0.1.10", fatal: true, want: []string{"FATAL: 10.0.1.10 is the primary address of network interface n1"}},
		{name: "alone", edit: func(c *azure.Config, i ids) {
			c.VMs = c.VMs[1:2]
			delete(c.Network, i.nic("n1"))
			delete(c.Network, i.nic("n3"))
		}, want: []string{"warn: no other machine of resource group db has a network interface in subnet db"}},
		{name: "security groups differ", edit: func(c *azure.Config, i ids) {
			c.Network[i.NetworkID(group, "networkSecurityGroups", "g")] = obj{}
			propsOf(c.Network[i.nic("n1")])["networkSecurityGroup"] = obj{"id": i.NetworkID(group, "networkSecurityGroups", "g")}
		}, want: []string{"warn: network interfaces n2 and n1 (machine n1) have different network security groups", "has Microsoft.Network/networkSecurityGroups/join/action on g"}},
		{name: "no right to write", spoil: func(t *testing.T, s *site) { s.regrant("n2", without(writeNIC)) }, fatal: true,
			want: []string{"lacks the right Microsoft.Network/networkInterfaces/write on " + "/subscriptions", "assign it a role"}},
		{name: "no right to join", spoil: func(t *testing.T, s *site) {
			s.regrant("n2", without("Microsoft.Network/virtualNetworks/subnets/join/action"))
		}, fatal: true, want: []string{"lacks the right Microsoft.Network/virtualNetworks/subnets/join/action"}},
		{name: "no right to move", spoil: func(t *testing.T, s *site) {
			s.regrant("n2", without("Microsoft.Network/virtualNetworks/moveIpConfigurations/action"))
		}, want: []string{"warn:", "moveIpConfigurations/action", "the address moves by two changes"}},
		{name: "no right to move, and wanted", options: func(o *Options) { o.Method = Move }, spoil: func(t *testing.T, s *site) {
			s.regrant("n2", without("Microsoft.Network/virtualNetworks/moveIpConfigurations/action"))
		}, fatal: true, want: []string{"FATAL:", "moveIpConfigurations/action"}},
		{name: "no right to follow", spoil: func(t *testing.T, s *site) { s.regrant("n2", without("Microsoft.Network/locations/operations/read")) },
			want: []string{"warn:", "a failed operation is noticed later"}},
		{name: "may not ask for rights", spoil: func(t *testing.T, s *site) { s.regrant("n2", without("Microsoft.Authorization/permissions/read")) },
			want: []string{"untold: cannot tell whether"}, not: []string{"lacks"}},
		{name: "no right to see the NIC", spoil: func(t *testing.T, s *site) { s.regrant("n2", without(readNIC)) }, fatal: true, want: []string{"lacks the right Microsoft.Network/networkInterfaces/read"}},
		{name: "no identity", spoil: func(t *testing.T, s *site) { s.dirs["identity n2"] = "nobody-at-all" }, fatal: true, want: []string{"FATAL: cannot sign in as the managed identity nobody-at-all"}},
		{name: "out of reach", options: func(o *Options) { o.Azure.RequestTimeout = 500e6 }, spoil: func(t *testing.T, s *site) {
			s.Script(azure.Fault{Service: azure.ARM, Path: "/subscriptions", Hang: true, Times: -1})
		}, fatal: true, want: []string{"was not reached", "needs a way to it"}},
		{name: "no metadata service", spoil: func(t *testing.T, s *site) {
			s.Script(azure.Fault{Service: azure.Metadata, Path: "/instance", Status: 500, Times: -1})
		}, fatal: true, want: []string{"169.254.169.254", "primary address only"}},
		{name: "load balancer asked for", options: func(o *Options) { o.Preserve.LB = true }, edit: func(c *azure.Config, i ids) {
			i.hold(c, "n1", "10.0.1.50", obj{"loadBalancerBackendAddressPools": []any{obj{"id": i.pool("back")}}})
		}, spoil: func(t *testing.T, s *site) {
			s.regrant("n2", without("Microsoft.Network/loadBalancers/backendAddressPools/join/action"))
		}, fatal: true, want: []string{"backendAddressPools/join/action"}},
		{name: "IPv6", address: "fd00:1::50", want: []string{"fd00:1::50 is in subnet db (fd00:1::/64)"}},
		{name: "IPv6 without a subnet", address: "fd00:2::50", fatal: true, want: []string{"fd00:2::50"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg, i := usual(t)
			if tt.edit != nil {
				tt.edit(&cfg, i)
			}
			s := begin(t, cfg, i)
			if tt.spoil != nil {
				s.identity("n2")
				tt.spoil(t, s)
			}
			address := vip
			if tt.address != "" {
				address = netip.MustParseAddr(tt.address)
			}
			options := func(o *Options) {
				if tt.options != nil {
					tt.options(o)
				}
			}
			got := s.findings(t, s.on(t, "n2", options), address)
			for _, w := range tt.want {
				if !strings.Contains(got, w) {
					t.Errorf("it lacks %q:\n%s", w, got)
				}
			}
			for _, n := range append(tt.not, map[bool]string{false: "FATAL", true: "never"}[tt.fatal]) {
				if strings.Contains(got, n) {
					t.Errorf("it has %q:\n%s", n, got)
				}
			}
			for _, r := range s.Requests() {
				if r.Service == azure.ARM && r.Method != "GET" {
					t.Errorf("it changes something: %v", r)
				}
			}
		})
	}
}

// Uniform scale sets have no NICs of their own.
func TestScaleSet(t *testing.T) {
	t.Parallel()
	cfg, i := usual(t)
	s := begin(t, cfg, i)
	s.Script(azure.Fault{Service: azure.Metadata, Path: "/instance", Body: text(`{"compute":{"name":"x_1","resourceId":"/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/x/virtualMachines/1"}}`)})
	if got := s.findings(t, s.on(t, "n2"), vip); !strings.Contains(got, "FATAL: machine x_1 belongs to a scale set") {
		t.Error(got)
	}
}

// The guest's own tools, as their packages and administrators leave them.
func TestGuestTools(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		files map[string]string
		want  string
	}{
		{"none", nil, ""},
		{"cloud-init", map[string]string{"etc/cloud/cloud.cfg": "users: []\n"}, "99-pgrex.cfg"},
		{"cloud-init, told", map[string]string{"etc/cloud/cloud.cfg": "", "etc/cloud/cloud.cfg.d/99-pgrex.cfg": "datasource: {Azure: {apply_network_config_for_secondary_ips: false}}\n"}, ""},
		{"cloud-init, told at length", map[string]string{"etc/cloud/cloud.cfg": "", "etc/cloud/cloud.cfg.d/90.cfg": "datasource:\n  Azure:\n    apply_network_config_for_secondary_ips: False\n"}, ""},
		{"cloud-init, told in a comment", map[string]string{"etc/cloud/cloud.cfg": "# apply_network_config_for_secondary_ips: false\n"}, "99-pgrex.cfg"},
		{"cloud-init without network", map[string]string{"etc/cloud/cloud.cfg": "", "etc/cloud/cloud.cfg.d/99.cfg": "network: {config: disabled}\n"}, ""},
		{"cloud-init without network, at length", map[string]string{"etc/cloud/cloud.cfg": "network:\n  config: disabled\n"}, ""},
		{"cloud-init, disabled", map[string]string{"etc/cloud/cloud.cfg": "", "etc/cloud/cloud-init.disabled": ""}, ""},
		{"nm-cloud-setup", map[string]string{"etc/systemd/system/timers.target.wants/nm-cloud-setup.timer": ""}, "systemctl disable --now nm-cloud-setup"},
		{"cloud-netconfig", map[string]string{"usr/libexec/cloud-netconfig/x": "", "etc/sysconfig/network/ifcfg-eth0": "BOOTPROTO='dhcp'\nCLOUD_NETCONFIG_MANAGE='yes'\n"}, "CLOUD_NETCONFIG_MANAGE='no'"},
		{"cloud-netconfig, told", map[string]string{"usr/libexec/cloud-netconfig/x": "", "etc/sysconfig/network/ifcfg-eth0": "CLOUD_NETCONFIG_MANAGE='no'\n"}, ""},
		{"waagent", map[string]string{"etc/waagent.conf": "Provisioning.Enabled=n\nProvisioning.MonitorHostName=y\n"}, "Provisioning.MonitorHostName"},
		{"waagent, told", map[string]string{"etc/waagent.conf": "Provisioning.MonitorHostName=n\n"}, ""},
	}
	for _, tt := range tests {
		root := t.TempDir()
		for name, data := range tt.files {
			path := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		i := &inspection{Provider: New(Options{Root: root})}
		i.guestTools()
		if len(i.findings) != 1 {
			t.Errorf("%s: %v", tt.name, i.findings)
			continue
		}
		f := i.findings[0]
		if (f.Level == cloud.Warn) != (tt.want != "") || !strings.Contains(f.Text, tt.want) {
			t.Errorf("%s: %+v", tt.name, f)
		}
	}
}
