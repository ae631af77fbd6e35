package cloudip

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"pgrex/tests/contract/resource"
	"pgrex/tests/contract/sandbox"
)

// Each test here is a defect that IPaddr2 has or had. The number behind a name is that of the issue or
// pull request at ClusterLabs/resource-agents.

// stop must find the address, not the way to it: with the routes gone an agent that looks for the
// interface first says "stopped" and leaves the address, to be back together with the link (891).
func TestStopWithLinkDown(t *testing.T) {
	for name, break_ := range map[string]func(*testing.T){
		"interface down": func(t *testing.T) { ip(t, "link", "set", "eth0", "down") },
		"routes gone":    func(t *testing.T) { ip(t, "route", "flush", "dev", "eth0") },
		"no carrier":     func(t *testing.T) { ip(t, "-n", peer, "link", "set", "eth0", "down") },
		"own address gone": func(t *testing.T) {
			ip(t, "address", "add", "192.168.144.77/24", "dev", "eth0")
			ip(t, "address", "del", subnet4, "dev", "eth0")
		},
	} {
		t.Run(name, func(t *testing.T) {
			begin(t)
			action("start", v4(nil)).Must(t, ok)
			break_(t)
			if name == "own address gone" && len(has(t, vip4)) == 0 {
				// The kernel took the address along. It is no longer here, and that is what is said.
				monitor(v4(nil)).Want(t, notRunning)
				return
			}
			action("stop", v4(nil)).Want(t, ok)
			wantGone(t, vip4)
		})
	}
}

// Nearly every real interface has a second name, with which a link that is down goes unnoticed (2027, 2039, 2047).
func TestAltName(t *testing.T) {
	begin(t)
	ip(t, "link", "property", "add", "dev", "eth0", "altname", "enp2s5")
	t.Cleanup(func() { _ = exec.Command("ip", "link", "property", "del", "dev", "eth0", "altname", "enp2s5").Run() })
	for _, nic := range []string{"eth0", "enp2s5", ""} {
		p := v4(params{"nic": nic})
		action("start", p).Must(t, ok)
		monitor(p).Want(t, ok)
		ip(t, "-n", peer, "link", "set", "eth0", "down")
		o := monitor(p).Want(t, notRunning)
		if !strings.Contains(o.Reason(), "eth0") {
			t.Errorf("the reason %q does not name the interface", o.Reason())
		}
		monitor(p.With(params{"check_link_status": "false"})).Want(t, ok)
		ip(t, "-n", peer, "link", "set", "eth0", "up")
		linkUp(t, "eth0")
		monitor(p).Want(t, ok)
		action("stop", p).Must(t, ok)
	}
}

// Several routes that match, with and without metric (1963, 2210, 1981).
func TestSeveralRoutes(t *testing.T) {
	begin(t)
	ip(t, "address", "add", "192.168.144.77/24", "dev", "eth1", "metric", "50")
	ip(t, "route", "add", "192.168.144.0/25", "dev", "eth1", "metric", "700")
	ip(t, "route", "add", "blackhole", "192.168.144.0/26")
	p := v4(nil)
	action("start", p).Must(t, ok)
	wantHas(t, vip4, "eth1", vip4+"/25")
	monitor(p).Want(t, ok)
	ip(t, "route", "add", "192.168.144.0/27", "dev", "eth0", "proto", "static")
	monitor(p).Want(t, ok)
	action("stop", p).Must(t, ok)
	action("start", p.With(params{"proto": "kernel"})).Must(t, ok)
	wantHas(t, vip4, "eth0", vip4+"/24")
	action("stop", p).Must(t, ok)
	ip(t, "route", "del", "192.168.144.0/25", "dev", "eth1")
	action("start", p.With(params{"proto": "static"})).Must(t, ok)
	wantHas(t, vip4, "eth0", vip4+"/27")
	action("stop", p).Must(t, ok)
	ip(t, "route", "del", "blackhole", "192.168.144.0/26")
}

// A link that is down and a route that is not there yet may be there tomorrow: no code that bans the
// node (2113, 334). Without link nothing stays on the interface.
func TestStartWithoutLink(t *testing.T) {
	begin(t)
	ip(t, "-n", peer, "link", "set", "eth0", "down")
	o := action("start", v4(nil)).Want(t, generic)
	if !strings.Contains(o.Reason(), "eth0") || !strings.Contains(o.Reason(), "down") {
		t.Errorf("reason: %q", o.Reason())
	}
	wantGone(t, vip4)
	ip(t, "-n", peer, "link", "set", "eth0", "up")
	linkUp(t, "eth0")
	action("start", v4(nil)).Want(t, ok)
	action("start", params{"ip": "203.0.113.1"}).Want(t, generic)
	// An interface that vanished is a failure of this node in a recurring monitor, nothing in a probe.
	gone := params{"ip": "203.0.113.1", "nic": "eth9"}
	monitor(gone).Want(t, generic)
	probe(gone).Want(t, notRunning)
	action("stop", gone).Want(t, ok)
}

// start sets an interface up that is administratively down.
func TestStartSetsLinkUp(t *testing.T) {
	begin(t)
	ip(t, "link", "set", "eth0", "down")
	p := v4(params{"nic": "eth0", "cidr_netmask": "24"})
	action("start", p).Want(t, ok)
	monitor(p).Want(t, ok)
}

// A label or prefix that somebody set by hand is mended by start, not failed on for ever (1985, 1982).
func TestMended(t *testing.T) {
	begin(t)
	p := v4(params{"nic": "eth0", "cidr_netmask": "24", "iflabel": "vip"})
	ip(t, "address", "add", vip4+"/24", "dev", "eth0")
	monitor(p).Want(t, generic)
	action("start", p).Want(t, ok)
	wantHas(t, vip4, "eth0:vip")
	monitor(p).Want(t, ok)
	action("stop", p).Must(t, ok)
	ip(t, "address", "add", vip4+"/16", "dev", "eth0")
	monitor(p).Want(t, generic)
	action("start", p).Want(t, ok)
	wantHas(t, vip4, vip4+"/24", "eth0:vip")
	monitor(p).Want(t, ok)
}

// The address on two interfaces: both go (59).
func TestTwoInterfaces(t *testing.T) {
	begin(t)
	action("start", v4(nil)).Must(t, ok)
	ip(t, "address", "add", vip4+"/32", "dev", "eth1")
	monitor(v4(nil)).Want(t, ok)
	action("stop", v4(nil)).Want(t, ok)
	wantGone(t, vip4)
	ip(t, "address", "add", vip4+"/32", "dev", "eth1")
	p := v4(params{"nic": "eth0", "cidr_netmask": "24"})
	probe(p).Want(t, generic) // it is here, so "not running" would be a lie
	action("start", p).Want(t, ok)
	wantHas(t, vip4, "eth0")
}

// Addresses of the same subnet that are not ours stay, also where the kernel would take them along.
func TestOthersStay(t *testing.T) {
	begin(t)
	ip(t, "address", "flush", "dev", "eth0", "scope", "global")
	p := v4(params{"nic": "eth0", "cidr_netmask": "24"})
	action("start", p).Must(t, ok)
	ip(t, "address", "add", "192.168.144.77/24", "dev", "eth0", "label", "eth0:own")
	action("stop", p).Want(t, ok)
	wantGone(t, vip4)
	wantHas(t, "192.168.144.77", "eth0:own")
	// An address that contains another's digits (1624).
	ip(t, "address", "add", "192.168.144.20/24", "dev", "eth0")
	probe(p).Want(t, notRunning)
	action("stop", p).Want(t, ok)
	wantHas(t, "192.168.144.20")
}

// Routes of the address go with it (1692).
func TestRoutesRemoved(t *testing.T) {
	begin(t)
	action("start", v4(nil)).Must(t, ok)
	ip(t, "route", "add", "198.51.100.0/24", "via", strings.TrimSuffix(peer4, "/24"), "src", vip4)
	ip(t, "route", "add", vip4+"/32", "dev", "eth0", "proto", "kernel", "scope", "link", "table", "main", "src", strings.TrimSuffix(subnet4, "/24"))
	action("stop", v4(nil)).Want(t, ok)
	if routes := ip(t, "route", "show", "table", "all"); strings.Contains(routes, vip4+" ") {
		t.Errorf("left:\n%s", routes)
	}
}

// IPv6: the kernel's duplicate address detection is waited for, a duplicate is an error and does not
// stay, and one that turns up later is seen (180, 181).
func TestDuplicateIPv6(t *testing.T) {
	begin(t)
	p := v6(params{"nodad": "false"})
	o := action("start", p).Want(t, ok)
	wantHas(t, vip6, "scope global")
	if strings.Contains(ip(t, "-o", "address", "show", "dev", "eth0"), "tentative") {
		t.Error("start came back before the address could be used")
	}
	t.Logf("start with duplicate address detection: %v", o.Took)
	action("stop", p).Must(t, ok)

	ip(t, "-n", peer, "address", "add", vip6+"/64", "dev", "eth0", "nodad")
	o = action("start", p).Want(t, generic)
	if !strings.Contains(o.Reason(), vip6) || !strings.Contains(o.Reason(), "eth0") {
		t.Errorf("reason: %q", o.Reason())
	}
	wantGone(t, vip6)

	// Added by something else without waiting: the kernel marks it, and it is not served.
	ip(t, "address", "add", vip6+"/64", "dev", "eth0")
	sandbox.Eventually(t, "dadfailed", 5*time.Second, func() bool {
		return strings.Contains(ip(t, "address", "show", "dev", "eth0"), "dadfailed")
	})
	monitor(p).Want(t, generic)
	probe(p).Want(t, generic)
	ip(t, "-n", peer, "address", "del", vip6+"/64", "dev", "eth0")
	action("start", p).Want(t, ok)
	monitor(p).Want(t, ok)
}

// The same address in another spelling is the same.
func TestIPv6Spelling(t *testing.T) {
	begin(t)
	action("start", v6(params{"ip": "2001:0DB8:1234:0::0002"})).Must(t, ok)
	monitor(v6(nil)).Want(t, ok)
	action("stop", v6(nil)).Want(t, ok)
	wantGone(t, vip6)
}

func TestIPv6Options(t *testing.T) {
	begin(t)
	for _, tt := range []struct {
		params params
		words  string
	}{
		{params{"preferred_lft": "0"}, "deprecated"},
		{params{"preferred_lft": "3600"}, "preferred_lft 3"},
		{params{"lvs_ipv6_addrlabel": "true"}, "deprecated"},
		{params{"noprefixroute": "true"}, "noprefixroute"},
		{params{"nodad": "true"}, "nodad"},
	} {
		p := v6(tt.params)
		action("start", p).Must(t, ok)
		if all := ip(t, "-6", "-o", "address", "show", "dev", "eth0", "to", vip6); !strings.Contains(all, tt.words) {
			t.Errorf("%v: %s", tt.params, all)
		}
		monitor(p).Want(t, ok)
		action("stop", p).Must(t, ok)
	}
	// A link-local address.
	p := v6(params{"ip": "fe80::4711", "nic": "eth0"})
	action("start", p).Want(t, ok)
	monitor(p).Want(t, ok)
	action("stop", p).Want(t, ok)
	wantGone(t, "fe80::4711")
}

// A namespace of its own for the address: found, served, and a missing one is not running (888).
func TestNetworkNamespace(t *testing.T) {
	begin(t)
	const addr = "192.168.144.66"
	for name, nic := range map[string]string{"named": "eth0", "detected": ""} {
		t.Run(name, func(t *testing.T) {
			p := params{"ip": addr, "network_namespace": peer, "nic": nic}
			probe(p).Want(t, notRunning)
			ip(t, "neighbour", "replace", addr, "lladdr", wrong, "dev", "eth0", "nud", "stale")
			action("start", p).Must(t, ok)
			wantGone(t, addr)
			if out := ip(t, "-n", peer, "-o", "address", "show", "dev", "eth0"); !strings.Contains(out, addr+"/24") {
				t.Errorf("not in the namespace:\n%s", out)
			}
			monitor(p).Want(t, ok)
			if pids := announcers(t); len(pids) != 1 {
				t.Errorf("announcing: %v", pids)
			}
			// The announcements come out of the namespace: this machine, the neighbour there, learns.
			sandbox.Eventually(t, "the neighbour learns", 5*time.Second, func() bool {
				return len(announcers(t)) == 0 && !strings.Contains(ip(t, "neighbour", "show", addr), wrong)
			})
			action("stop", p).Want(t, ok)
			if out := ip(t, "-n", peer, "-o", "address", "show"); strings.Contains(out, addr) {
				t.Errorf("left in the namespace:\n%s", out)
			}
		})
	}
	p := params{"ip": addr, "network_namespace": "no-such"}
	probe(p).Want(t, notRunning)
	action("stop", p).Want(t, ok)
	if o := action("start", p).Want(t, generic); !strings.Contains(o.Reason(), "no-such") {
		t.Errorf("reason: %q", o.Reason())
	}
	action("start", params{"ip": addr, "network_namespace": "../etc"}).Want(t, notConfigured)
}

// Addresses on loopback: of its own kind by themselves, others where it is named, also cloned (323).
func TestLoopback(t *testing.T) {
	begin(t)
	ip(t, "address", "add", vip4+"/32", "dev", "lo")
	probe(v4(nil)).Want(t, notRunning)
	action("stop", v4(nil)).Want(t, ok)
	wantHas(t, vip4, "lo")
	p := v4(params{"nic": "lo", "cidr_netmask": "32"})
	probe(p).Want(t, ok)
	action("stop", p).Want(t, ok)
	wantGone(t, vip4)
	c := action("start", p)
	c.Env = []string{"OCF_RESKEY_CRM_meta_clone_max=2", "OCF_RESKEY_CRM_meta_clone=0"}
	c.Want(t, ok)
	action("stop", p).Must(t, ok)
	c.Params = v4(nil)
	c.Want(t, notConfigured)
	c.Action = "stop"
	c.Want(t, ok)
}

// Everything that makes no sense is refused before anything is changed, and never keeps stop from
// succeeding.
func TestWrongInputs(t *testing.T) {
	begin(t)
	for name, value := range map[string]string{
		"ip": "not_ip_address", "cidr_netmask": "not_netmask", "broadcast": "not_broadcast", "nic": "not_nic", "arp_interval": "0",
		"arp_count": "-1", "arp_count_refresh": "x", "arp_bg": "perhaps", "arp_sender": "pigeon", "run_arping": "maybe", "nodad": "3",
		"noprefixroute": "?", "preferred_lft": "-1", "proto": "avian", "iflabel": "a_label_that_is_too_long", "lvs_support": "true",
		"lvs_ipv6_addrlabel_value": "-1", "mac": "auto", "clusterip_hash": "sourceip", "clusterip_firewall": "nft", "unique_clone_address": "true",
		"check_link_status": "sometimes", "provider": "nimbus", "cloud_check_interval": "-1", "release_on_stop": "always", "network_namespace": "a/b",
		"netmask": "33", "cloud": "mars", "metadata_endpoint": "http://management.example",
	} {
		t.Run(name, func(t *testing.T) {
			p := v4(params{name: value})
			for _, what := range []string{"start", "validate-all"} {
				o := action(what, p).Want(t, notConfigured)
				if !strings.Contains(o.Reason(), name) && !strings.Contains(o.Reason(), value) {
					t.Errorf("%s: the reason %q tells of neither %s nor %s", what, o.Reason(), name, value)
				}
				wantGone(t, vip4)
			}
			action("stop", p).Want(t, ok)
			if name == "ip" || name == "network_namespace" {
				return // these name another address
			}
			// What is here is removed whatever the parameters say.
			action("start", v4(nil)).Must(t, ok)
			action("stop", p).Want(t, ok)
			wantGone(t, vip4)
		})
	}
	for _, value := range []string{"", "fe80::1%eth0", "::ffff:192.0.2.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "192.168.144.2/24", "192.168.144.02"} {
		action("start", params{"ip": value}).Want(t, notConfigured)
		action("stop", params{"ip": value}).Want(t, ok)
	}
}

// A machine of Azure without the driver is that node's trouble: exit code and reason say so, nothing is
// started, and what is there is stopped.
func TestDriverMissing(t *testing.T) {
	begin(t)
	p := v4(params{"provider": "azure"})
	for _, what := range []string{"start", "validate-all"} {
		if o := action(what, p).Want(t, resource.NotInstalled); !strings.Contains(o.Reason(), "install the package pgrex-cloudip-azure") {
			t.Errorf("%s: the reason %q names no package", what, o.Reason())
		}
		wantGone(t, vip4)
	}
	probe(p).Want(t, notRunning)
	action("stop", p).Want(t, ok)
	action("start", v4(nil)).Must(t, ok)
	action("stop", p).Want(t, ok)
	wantGone(t, vip4)
}

// Values that IPaddr2 takes and that are easily refused.
func TestOldSpellings(t *testing.T) {
	begin(t)
	for _, p := range []params{
		{"cidr_netmask": "255.255.255.0"}, {"netmask": "24"}, {"nic": "eth0:vip"}, {"broadcast": "-"}, {"broadcast": "+"}, {"arp_bg": "yes"},
		{"arp_bg": "0"}, {"run_arping": "no"}, {"flush_routes": "true"}, {"clusterip_hash": "sourceip-sourceport"}, {"lvs_support": "false"}, {"ip": " " + vip4 + " "},
	} {
		p = v4(params{"arp_interval": "10"}.With(p))
		action("start", p).Want(t, ok)
		monitor(p).Want(t, ok)
		wantHas(t, vip4, vip4+"/24")
		action("stop", p).Want(t, ok)
	}
}

// The address of PG-REX's configuration as it stands there: moving over is a change of the name.
func TestMovingOver(t *testing.T) {
	begin(t)
	p := v4(params{"nic": "eth0", "cidr_netmask": "24"})
	old := cloudip
	old.Path = reference
	old.Action("start", p).Must(t, ok)
	probe(p).Want(t, ok)
	monitor(p).Want(t, ok)
	action("start", p).Want(t, ok)
	action("stop", p).Want(t, ok)
	wantGone(t, vip4)
	action("start", p).Must(t, ok)
	old.Probe(p).Want(t, ok)
	old.Action("stop", p).Want(t, ok)
	probe(p).Want(t, notRunning)
	if _, err := os.Stat(stateDir); err != nil {
		t.Error(err)
	}
}

// What may change without a restart takes effect by reload-agent; what makes no sense is refused there.
func TestReload(t *testing.T) {
	begin(t)
	p := v4(nil)
	action("start", p).Must(t, ok)
	action("reload-agent", p.With(params{"arp_count_refresh": "2"})).Want(t, ok)
	action("reload-agent", p.With(params{"arp_count_refresh": "-2"})).Want(t, notConfigured)
	monitor(p).Want(t, ok)
	action("status", p).Want(t, ok)
	out := sandbox.Command(t, cloudip.Path, "meta-data")
	if !strings.Contains(out, `<action name="reload-agent"`) {
		t.Error("reload-agent is not offered")
	}
}

// A monitor is cheap: the time of the processor, which a busy machine does not change. `make bench-ip`
// prints how long one takes.
func TestMonitorIsCheap(t *testing.T) {
	begin(t)
	action("start", v4(nil)).Must(t, ok)
	c := monitor(v4(nil))
	best := time.Hour
	for range 20 {
		cmd := exec.Command(c.Agent.Path, c.Action)
		cmd.Env = c.Environment()
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		best = min(best, cmd.ProcessState.UserTime()+cmd.ProcessState.SystemTime())
	}
	if best > 15*time.Millisecond {
		t.Errorf("the cheapest of twenty monitors took %v of a processor", best)
	}
}
