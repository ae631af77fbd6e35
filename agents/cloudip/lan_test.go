package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pgrex/lib/netif"
	"pgrex/lib/netif/netiftest"
	"pgrex/lib/ocf"
)

func TestLife(t *testing.T) {
	for _, ip := range []string{"192.0.2.10", "2001:db8::10"} {
		t.Run(ip, func(t *testing.T) {
			b := lan(t).with("ip=" + ip)
			where := "eth0 192.0.2.10/24"
			if strings.Contains(ip, ":") {
				where = "eth0 2001:db8::10/64"
			}
			b.want("probe", ocf.NotRunning)
			b.want("stop", ocf.OK)
			b.want("start", ocf.OK)
			b.wantHas(where)
			changes := len(b.kernel.Calls)
			b.want("start", ocf.OK)
			b.want("monitor", ocf.OK)
			b.want("probe", ocf.OK)
			if len(b.kernel.Calls) != changes {
				t.Errorf("a second start or a monitor changed something: %v", b.kernel.Calls[changes:])
			}
			b.want("stop", ocf.OK)
			b.wantHas("")
			b.want("stop", ocf.OK)
			b.want("monitor", ocf.NotRunning)
		})
	}
}

// stop needs nothing but the address: no route, no link, no valid parameter besides it.
func TestStopAlways(t *testing.T) {
	for name, spoil := range map[string]func(*bench){
		"interface down, routes gone": func(b *bench) {
			b.kernel.List[1].Flags, b.kernel.Table = 0, nil
		},
		"interface renamed":                  func(b *bench) { b.with("nic=eth7") },
		"another prefix configured":          func(b *bench) { b.with("cidr_netmask=16") },
		"another prefix that makes no sense": func(b *bench) { b.with("cidr_netmask=frog") },
		"wrong in everything else": func(b *bench) {
			b.with("arp_count=-1", "arp_interval=x", "iflabel=much-too-long-for-this", "broadcast=frog", "lvs_support=true", "clusterip_hash=x", "provider=frog")
		},
		"on another interface too": func(b *bench) { b.put(3, "192.0.2.10/32") },
		"listed routes fail":       func(*bench) {},
	} {
		t.Run(name, func(t *testing.T) {
			b := lan(t)
			b.want("start", ocf.OK)
			spoil(b)
			b.want("stop", ocf.OK)
			b.wantHas("")
		})
	}
	t.Run("no address configured", func(t *testing.T) {
		for _, ip := range []string{"", "frog", "192.0.2.256"} {
			b := lan(t)
			b.params["ip"] = ip
			b.want("stop", ocf.OK)
		}
	})
	t.Run("what cannot be removed is told", func(t *testing.T) {
		b := lan(t)
		b.want("start", ocf.OK)
		b.kernel.Fail = func(call string) error {
			if strings.HasPrefix(call, "remove") {
				return unix.EBUSY
			}
			return nil
		}
		b.want("stop", ocf.ErrGeneric, "192.0.2.10")
	})
}

// What start answers where it cannot succeed; nothing may be left on an interface.
func TestStartFails(t *testing.T) {
	for _, tt := range []struct {
		name   string
		params []string
		spoil  func(*bench)
		code   ocf.Code
		words  string
	}{
		{"ip missing", []string{"ip="}, nil, ocf.ErrConfigured, "ip"},
		{"ip wrong", []string{"ip=frog"}, nil, ocf.ErrConfigured, "frog"},
		{"ip with a zone", []string{"ip=fe80::1%eth0"}, nil, ocf.ErrConfigured, "zone"},
		{"prefix wrong", []string{"cidr_netmask=33"}, nil, ocf.ErrConfigured, "cidr_netmask"},
		{"netmask wrong", []string{"cidr_netmask=255.0.255.0"}, nil, ocf.ErrConfigured, "cidr_netmask"},
		{"prefix of nothing", []string{"cidr_netmask=0"}, nil, ocf.ErrConfigured, "such as 24"},
		{"netmask of nothing", []string{"cidr_netmask=0.0.0.0"}, nil, ocf.ErrConfigured, "such as 24"},
		{"IPv6 with a netmask", []string{"ip=2001:db8::10", "cidr_netmask=255.255.255.0"}, nil, ocf.ErrConfigured, "such as 64"},
		{"IPv6 with a netmask by its older name", []string{"ip=2001:db8::10", "netmask=255.255.0.0"}, nil, ocf.ErrConfigured, "such as 64"},
		{"IPv6 with a prefix of nothing", []string{"ip=2001:db8::10", "cidr_netmask=0"}, nil, ocf.ErrConfigured, "such as 24"},
		{"older name of the prefix wrong", []string{"netmask=frog"}, nil, ocf.ErrConfigured, "frog"},
		{"broadcast wrong", []string{"broadcast=frog"}, nil, ocf.ErrConfigured, "broadcast"},
		{"label too long", []string{"nic=eth0", "iflabel=elevenchars"}, nil, ocf.ErrConfigured, "15"},
		{"unknown sender", []string{"arp_sender=pigeon"}, nil, ocf.ErrConfigured, "pigeon"},
		{"negative count", []string{"arp_count=-1"}, nil, ocf.ErrConfigured, "arp_count"},
		{"refresh no number", []string{"arp_count_refresh=often"}, nil, ocf.ErrConfigured, "arp_count_refresh"},
		{"lvs", []string{"lvs_support=true"}, nil, ocf.ErrConfigured, "IPaddr2"},
		{"cluster IP", []string{"clusterip_hash=sourceip"}, nil, ocf.ErrConfigured, "IPaddr2"},
		{"mac", []string{"mac=auto"}, nil, ocf.ErrConfigured, "IPaddr2"},
		{"cloned", []string{"CRM_meta_clone_max=2"}, nil, ocf.ErrConfigured, "clone"},
		{"no such interface", []string{"nic=eth9", "cidr_netmask=24"}, nil, ocf.ErrConfigured, "eth9"},
		{"no such interface, for a cluster", []string{"nic=eth9", "crm_feature_set=3.16.2"}, nil, ocf.ErrInstalled, "eth9"},
		{"link-local without interface", []string{"ip=fe80::10"}, nil, ocf.ErrConfigured, "nic"},
		{"no subnet", []string{"ip=203.0.113.1"}, nil, ocf.ErrGeneric, "203.0.113.1"},
		{"link without partner", nil, func(b *bench) { b.kernel.List[1].Oper = netif.OperLowerLayerDown }, ocf.ErrGeneric, "lower layer down"},
		{"in use", []string{"run_arping=true"}, func(b *bench) {
			b.kernel.Neighbours[netip.MustParseAddr("192.0.2.10")] = net.HardwareAddr{2, 0, 0, 0, 0, 99}
		}, ocf.ErrGeneric, "02:00:00:00:00:63"},
		{"not allowed", nil, func(b *bench) {
			b.kernel.Fail = func(call string) error {
				if strings.HasPrefix(call, "add ") {
					return fmt.Errorf("cannot add: %w", unix.EPERM)
				}
				return nil
			}
		}, ocf.ErrPerm, "not permitted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := lan(t).with(tt.params...)
			if tt.spoil != nil {
				tt.spoil(b)
			}
			b.want("start", tt.code, tt.words)
			for _, a := range b.kernel.Addrs {
				if a.IP().String() == b.params["ip"] {
					t.Errorf("left: %+v", a)
				}
			}
		})
	}
}

// A link that is down is one that may come back: no answer of start keeps the resource off the node
// for good.
func TestStartMayBeTriedAgain(t *testing.T) {
	b := lan(t)
	b.kernel.List[1].Oper = netif.OperDown
	b.want("start", ocf.ErrGeneric)
	b.with("check_link_status=false")
	b.want("start", ocf.OK)
	b.want("monitor", ocf.OK)
	b.with("check_link_status=true")
	b.want("monitor", ocf.NotRunning, "eth0", "down")
	// To a probe "not running" would leave it here, to be back together with the link.
	b.want("probe", ocf.ErrGeneric, "eth0", "down")
}

func TestStartSetsLinkUp(t *testing.T) {
	b := lan(t)
	b.kernel.List[1].Flags, b.kernel.List[1].Oper = 0, netif.OperDown
	b.want("start", ocf.OK)
	if !slices.Contains(b.kernel.Calls, "up eth0") {
		t.Errorf("calls: %v", b.kernel.Calls)
	}
}

// What is there in another form than the parameters want is told by monitor and mended by start.
func TestMended(t *testing.T) {
	for _, tt := range []struct {
		name    string
		params  []string
		index   int
		prefix  string
		label   string
		monitor string
	}{
		{"prefix", []string{"cidr_netmask=24"}, 2, "192.0.2.10/16", "", "16"},
		{"label", []string{"iflabel=vip"}, 2, "192.0.2.10/24", "eth0", "vip"},
		{"label in nic", []string{"nic=eth0:vip"}, 2, "192.0.2.10/24", "eth0", "vip"},
		{"interface", []string{"nic=eth0"}, 3, "192.0.2.10/24", "", "eth1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := lan(t).with(tt.params...)
			if err := b.kernel.AddAddress(netif.Address{Index: tt.index, Prefix: netip.MustParsePrefix(tt.prefix), Label: tt.label}, false); err != nil {
				t.Fatal(err)
			}
			b.want("monitor", ocf.ErrGeneric, tt.monitor)
			b.want("probe", ocf.ErrGeneric, tt.monitor)
			b.want("start", ocf.OK)
			b.wantHas("eth0 192.0.2.10/24")
			b.want("monitor", ocf.OK)
		})
	}
}

func TestLabelAndBroadcast(t *testing.T) {
	for _, tt := range []struct {
		params           []string
		label, broadcast string
	}{
		{nil, "", "invalid IP"},
		{[]string{"nic=eth0", "iflabel=vip", "broadcast=+"}, "eth0:vip", "192.0.2.255"},
		{[]string{"nic=eth0:old", "iflabel=vip", "broadcast=-"}, "eth0:old", "invalid IP"},
		{[]string{"broadcast=192.0.255.255"}, "", "192.0.255.255"},
		{[]string{"cidr_netmask=255.255.255.0"}, "", "invalid IP"},
		{[]string{"netmask=24"}, "", "invalid IP"},
	} {
		b := lan(t).with(tt.params...)
		b.want("start", ocf.OK)
		b.wantHas("eth0 192.0.2.10/24")
		for _, a := range b.kernel.Addrs {
			if a.IP().String() == "192.0.2.10" && (a.Label != tt.label || a.Broadcast.String() != tt.broadcast) {
				t.Errorf("%v: label %q, broadcast %v", tt.params, a.Label, a.Broadcast)
			}
		}
	}
}

func TestIPv6Flags(t *testing.T) {
	for _, tt := range []struct {
		params    []string
		flags     uint32
		preferred uint32
	}{
		{nil, netif.AddrPermanent, netif.Forever},
		{[]string{"preferred_lft=0"}, netif.AddrPermanent, 0},
		{[]string{"preferred_lft=3600", "noprefixroute=true"}, netif.AddrPermanent | netif.AddrNoPrefixRoute, 3600},
		{[]string{"lvs_ipv6_addrlabel=true", "nodad=yes"}, netif.AddrPermanent | netif.AddrNoDAD, 0},
	} {
		b := lan(t).with(append(tt.params, "ip=2001:db8::10")...)
		b.want("start", ocf.OK)
		for _, a := range b.kernel.Addrs {
			if a.IP().String() == "2001:db8::10" && (a.Flags != tt.flags || a.Preferred != tt.preferred || a.Valid != netif.Forever) {
				t.Errorf("%v: %+v", tt.params, a)
			}
		}
	}
}

// An address that the kernel found to be a duplicate is not served, however it got there.
func TestDuplicateIPv6(t *testing.T) {
	b := lan(t).with("ip=2001:db8::10")
	b.want("start", ocf.OK)
	i := slices.IndexFunc(b.kernel.Addrs, func(a netif.Address) bool { return a.IP().String() == "2001:db8::10" })
	b.kernel.Addrs[i].Flags |= netif.AddrDADFailed
	b.want("monitor", ocf.ErrGeneric, "duplicate")
	b.want("start", ocf.OK) // taken off and tried again
	b.want("monitor", ocf.OK)
}

// announcements are those that were sent, by form.
func (b *bench) announcements() (requests, replies, advertisements int) {
	for _, p := range b.kernel.Sent {
		a, err := netif.ParseARP(p)
		switch {
		case err == nil && a.Reply:
			replies++
		case err == nil && a.Sender == a.Target:
			requests++
		}
		if _, err := netif.ParseAdvertisement(p); err == nil {
			advertisements++
		}
	}
	return requests, replies, advertisements
}

func TestAnnouncements(t *testing.T) {
	for _, tt := range []struct {
		name                   string
		params                 []string
		requests, replies, na  int
		background             string
		refreshReq, refreshNAs int
	}{
		{"default", nil, 1, 1, 0, "4 200ms", 0, 0},
		{"none", []string{"arp_count=0"}, 0, 0, 0, "", 0, 0},
		{"one", []string{"arp_count=1"}, 1, 1, 0, "", 0, 0},
		{"replies only", []string{"send_arp_opts=-A", "arp_count=3", "arp_interval=50"}, 0, 1, 0, "2 50ms", 0, 0},
		{"requests only", []string{"send_arp_opts=-U"}, 1, 0, 0, "4 200ms", 0, 0},
		{"in the foreground", []string{"arp_bg=false", "arp_count=3", "arp_interval=1"}, 3, 3, 0, "", 0, 0},
		{"refreshed", []string{"arp_count_refresh=2"}, 1, 1, 0, "4 200ms", 2, 0},
		{"IPv6", []string{"ip=2001:db8::10"}, 0, 0, 1, "4 200ms", 0, 0},
		{"IPv6 refreshed", []string{"ip=2001:db8::10", "arp_count_refresh=3", "arp_count=0"}, 0, 0, 0, "", 0, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := lan(t).with(tt.params...)
			b.want("start", ocf.OK)
			req, rep, na := b.announcements()
			if req != tt.requests || rep != tt.replies || na != tt.na {
				t.Errorf("%d requests, %d replies, %d advertisements", req, rep, na)
			}
			background := ""
			if len(b.launched) > 0 {
				background = strings.Join(b.launched[0][5:7], " ")
				if task, err := parseTask(b.launched[0][1:]); err != nil || task.ip.String() != b.params["ip"] || task.index != 2 {
					t.Errorf("the process in the background is told %v: %+v, %v", b.launched[0], task, err)
				}
			}
			if background != tt.background {
				t.Errorf("in the background %q, want %q", background, tt.background)
			}
			b.kernel.Sent = nil
			b.want("probe", ocf.OK)
			if len(b.kernel.Sent) != 0 || b.kernel.Solicited != 0 {
				t.Error("a probe sends packets")
			}
			b.want("monitor", ocf.OK)
			if req, _, na := b.announcements(); req != tt.refreshReq || na != tt.refreshNAs {
				t.Errorf("monitor sent %d requests and %d advertisements", req, na)
			}
		})
	}
}

// Somebody else has the address: without run_arping start takes it over and says so, and monitor goes
// on saying so until it is mended.
func TestConflict(t *testing.T) {
	b := lan(t)
	vip, other := netip.MustParseAddr("192.0.2.10"), net.HardwareAddr{2, 0, 0, 0, 0, 99}
	b.kernel.Neighbours[vip] = other
	b.want("start", ocf.OK)
	if !strings.Contains(b.log.String(), other.String()) {
		t.Errorf("start does not say who has it:\n%s", b.log.String())
	}
	b.want("monitor", ocf.Degraded, other.String(), "192.0.2.10", "eth0")
	delete(b.kernel.Neighbours, vip)
	b.want("monitor", ocf.Degraded) // the answer to the last monitor's question
	b.want("monitor", ocf.OK)
	// One of this machine's own interfaces that answers is no conflict.
	b.kernel.Neighbours[vip] = b.kernel.List[2].Hardware
	b.want("monitor", ocf.OK)
	b.want("monitor", ocf.OK)
	// What an administrator wrote into the table of neighbours is no answer, and stays.
	b.kernel.Cache[vip] = netif.Neighbour{Hardware: other, State: netif.NeighbourPermanent}
	b.want("monitor", ocf.OK)
	if !b.kernel.Cache[vip].Fixed() {
		t.Error("an entry of an administrator is gone")
	}
	// What was known of the holder before the address came here is none either.
	b.kernel.Cache[vip] = netif.Neighbour{Hardware: other, State: netif.NeighbourStale}
	b.want("probe", ocf.OK)
	b.want("monitor", ocf.OK)
	b.want("stop", ocf.OK)
	b.kernel.Cache[vip] = netif.Neighbour{Hardware: other, State: netif.NeighbourStale}
	b.want("start", ocf.OK)
	b.want("monitor", ocf.OK)
	b.with("run_arping=true")
	b.want("stop", ocf.OK)
	b.want("start", ocf.OK)
}

// Nobody is asked where nobody can answer, and nothing is announced.
func TestNoARP(t *testing.T) {
	for name, spoil := range map[string]func(*bench){
		"loopback": func(b *bench) { b.with("ip=127.0.0.3") },
		"NOARP":    func(b *bench) { b.kernel.List[1].Flags |= netif.LinkNoARP },
		"InfiniBand": func(b *bench) {
			b.kernel.List[1].Hardware = make(net.HardwareAddr, 20)
			b.with("run_arping=true")
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := lan(t)
			spoil(b)
			b.want("start", ocf.OK)
			b.want("monitor", ocf.OK)
			if len(b.kernel.Sent) != 0 || len(b.launched) != 0 || b.kernel.Solicited != 0 {
				t.Errorf("sent %x, launched %v, asked %d times", b.kernel.Sent, b.launched, b.kernel.Solicited)
			}
		})
	}
}

// The default costs at most 20 ms over what adding takes, and only where nobody answers.
func TestFirstLookIsShort(t *testing.T) {
	b := lan(t)
	begin := time.Now()
	b.want("start", ocf.OK)
	if took := time.Since(begin); took < quickPatience/2 || took > 100*quickPatience {
		t.Errorf("took %v", took)
	}
}

func TestMonitorAnswers(t *testing.T) {
	t.Run("interface vanished", func(t *testing.T) {
		b := lan(t).with("nic=eth9")
		b.want("monitor", ocf.ErrGeneric, "eth9")
		b.want("probe", ocf.NotRunning)
		b.want("stop", ocf.OK)
	})
	t.Run("a wrong parameter of something else", func(t *testing.T) {
		b := lan(t)
		b.want("start", ocf.OK)
		b.with("arp_count=lots", "lvs_support=true")
		b.want("monitor", ocf.OK)
		b.want("start", ocf.ErrConfigured)
		b.want("validate-all", ocf.ErrConfigured)
	})
	t.Run("an address that contains another's digits", func(t *testing.T) {
		b := lan(t).with("ip=192.0.2.1")
		b.params["ip"] = "192.0.2.100"
		b.want("monitor", ocf.NotRunning)
	})
	t.Run("IPv6 written differently", func(t *testing.T) {
		b := lan(t).with("ip=2001:DB8:0:0::0010")
		b.want("start", ocf.OK)
		b.with("ip=2001:db8::10")
		b.want("monitor", ocf.OK)
	})
	t.Run("the kernel does not answer", func(t *testing.T) {
		b := lan(t)
		b.want("start", ocf.OK)
		b.kernel.Fail = func(string) error { return errors.New("no buffer space available") }
		b.want("monitor", ocf.ErrGeneric)
		b.want("probe", ocf.ErrGeneric)
		b.want("stop", ocf.ErrGeneric)
	})
	t.Run("routes gone", func(t *testing.T) {
		b := lan(t)
		b.want("start", ocf.OK)
		b.kernel.Table = nil
		b.want("monitor", ocf.OK)
		b.want("probe", ocf.OK)
	})
	t.Run("altname", func(t *testing.T) {
		b := lan(t)
		b.kernel.List[1].AltNames = []string{"enp2s5"}
		b.with("nic=enp2s5")
		b.want("start", ocf.OK)
		b.want("monitor", ocf.OK)
		b.kernel.List[1].Flags &^= netif.LinkLower
		b.want("monitor", ocf.NotRunning, "no carrier")
	})
	t.Run("on loopback for a load balancer", func(t *testing.T) {
		b := lan(t)
		b.put(1, "192.0.2.10/32")
		b.want("probe", ocf.NotRunning)
		b.want("stop", ocf.OK)
		b.wantHas("lo 192.0.2.10/32")
		b.with("nic=lo", "cidr_netmask=32")
		b.want("probe", ocf.OK)
		b.want("stop", ocf.OK)
		b.wantHas("")
	})
}

// An announcement must not follow the address that it is for.
func TestAnnouncingEnds(t *testing.T) {
	b := lan(t)
	a := b.agent("start")
	task := a.task(netiftest.Ethernet(2, "eth0"), 3)
	task.interval = time.Millisecond
	if err := task.run(t.Context(), b.kernel, a.log); err != nil || len(b.kernel.Sent) != 0 {
		t.Errorf("announced what is not there: %x, %v", b.kernel.Sent, err)
	}
	b.put(2, "192.0.2.10/24")
	if err := task.bounded(b.kernel, time.Minute, a.log); err != nil || len(b.kernel.Sent) != 6 {
		t.Errorf("%d packets, %v", len(b.kernel.Sent), err)
	}
}

// Nor does the process that sends them live on where the kernel does not answer.
func TestAnnouncingIsBounded(t *testing.T) {
	b := lan(t)
	a := b.agent("start")
	task := a.task(netiftest.Ethernet(2, "eth0"), 3)
	task.interval = time.Millisecond
	b.put(2, "192.0.2.10/24")
	hold := make(chan struct{})
	b.kernel.Fail = func(string) error { <-hold; return nil }
	begin := time.Now()
	err := task.bounded(b.kernel, 50*time.Millisecond, a.log)
	close(hold)
	if took := time.Since(begin); !errors.Is(err, context.DeadlineExceeded) || took > time.Second {
		t.Errorf("%v after %v", err, took)
	}
}
