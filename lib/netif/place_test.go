package netif_test

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"pgrex/lib/netif"
	"pgrex/lib/netif/netiftest"
)

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// network has two LANs, a management LAN that shares the first one's addresses with a worse metric, and
// a default route.
func network(t *testing.T) *netiftest.Kernel {
	t.Helper()
	k := &netiftest.Kernel{List: []netif.Link{netiftest.Loopback(), netiftest.Ethernet(2, "eth0"), netiftest.Ethernet(3, "eth1"), netiftest.Ethernet(4, "mgmt")}}
	k.List[1].AltNames = []string{"enp2s5"}
	for _, a := range []netif.Address{
		{Index: 1, Prefix: prefix("127.0.0.1/8"), Flags: netif.AddrNoPrefixRoute},
		{Index: 2, Prefix: prefix("192.0.2.1/24"), Broadcast: netip.MustParseAddr("192.0.2.255"), Metric: 100},
		{Index: 3, Prefix: prefix("198.51.100.1/24")},
		{Index: 4, Prefix: prefix("192.0.2.101/24"), Metric: 200},
		{Index: 2, Prefix: prefix("2001:db8::1/64"), Metric: 256},
		{Index: 2, Prefix: prefix("fe80::1/64"), Metric: 256},
		{Index: 3, Prefix: prefix("fe80::2/64"), Metric: 256},
	} {
		if err := k.AddAddress(a, false); err != nil {
			t.Fatal(err)
		}
	}
	k.Table = append(k.Table, netif.Route{Dst: prefix("0.0.0.0/0"), Gateway: netip.MustParseAddr("192.0.2.254"), Index: 2, Table: netif.TableMain, Type: netif.TypeUnicast})
	k.Calls = nil
	return k
}

func TestFind(t *testing.T) {
	for _, tt := range []struct {
		name  string
		ip    string
		nic   string
		bits  int
		proto uint8
		spoil func(*netiftest.Kernel)
		want  string
		err   error
	}{
		{"by the route", "192.0.2.10", "", -1, 0, nil, "eth0/24 metric 100 brd 192.0.2.255", nil},
		{"the better metric decides, not the order", "192.0.2.10", "", -1, 0, func(k *netiftest.Kernel) { slices.Reverse(k.Table) }, "eth0/24 metric 100 brd 192.0.2.255", nil},
		{"prefix of a given interface", "192.0.2.10", "mgmt", -1, 0, nil, "mgmt/24 metric 200 brd invalid IP", nil},
		{"by another name of the interface", "192.0.2.10", "enp2s5", -1, 0, nil, "eth0/24 metric 100 brd 192.0.2.255", nil},
		{"interface and prefix given need nothing else", "203.0.113.1", "eth1", 20, 0, func(k *netiftest.Kernel) { k.Table, k.Addrs = nil, nil }, "eth1/20 metric 0 brd invalid IP", nil},
		{"a longer prefix is inside the subnet", "192.0.2.10", "", 28, 0, nil, "eth0/28 metric 100 brd invalid IP", nil},
		{"a shorter one is not", "192.0.2.10", "", 16, 0, nil, "", netif.ErrNoPlace},
		{"IPv6 wants the subnet's own", "2001:db8::10", "", 80, 0, nil, "", netif.ErrNoPlace},
		{"IPv6", "2001:db8::10", "", 64, 0, nil, "eth0/64 metric 256 brd invalid IP", nil},
		{"routes gone, the addresses remain", "192.0.2.10", "eth0", -1, 0, func(k *netiftest.Kernel) { k.Table = nil }, "eth0/24 metric 100 brd 192.0.2.255", nil},
		{"the default route is no subnet", "203.0.113.1", "", -1, 0, nil, "", netif.ErrNoPlace},
		{"an interface without the subnet", "192.0.2.10", "eth1", -1, 0, nil, "", netif.ErrNoPlace},
		{"no such interface", "192.0.2.10", "eth9", 24, 0, nil, "", netif.ErrNoLink},
		{"link-local without interface", "fe80::10", "", 64, 0, nil, "", netif.ErrNeedsLink},
		{"link-local", "fe80::10", "eth1", -1, 0, nil, "eth1/64 metric 256 brd invalid IP", nil},
		{"loopback", "127.0.0.3", "", -1, 0, nil, "lo/8 metric 0 brd invalid IP", nil},
		{"only kernel routes", "192.0.2.10", "", -1, 2, nil, "eth0/24 metric 100 brd 192.0.2.255", nil},
		{"only dhcp routes", "192.0.2.10", "", -1, 16, nil, "", netif.ErrNoPlace},
		{"what the address itself brought does not count", "203.0.113.1", "", -1, 0, func(k *netiftest.Kernel) {
			_ = k.AddAddress(netif.Address{Index: 3, Prefix: prefix("203.0.113.1/24")}, false)
		}, "", netif.ErrNoPlace},
		{"a route of another table does not count", "203.0.113.1", "", -1, 0, func(k *netiftest.Kernel) {
			k.Table = append(k.Table, netif.Route{Dst: prefix("203.0.113.0/24"), Index: 3, Table: 100, Scope: netif.ScopeLink, Type: netif.TypeUnicast})
		}, "", netif.ErrNoPlace},
		{"nor does a blackhole", "203.0.113.1", "", -1, 0, func(k *netiftest.Kernel) {
			k.Table = append(k.Table, netif.Route{Dst: prefix("203.0.113.0/24"), Index: 3, Table: netif.TableMain, Scope: netif.ScopeLink, Type: 6})
		}, "", netif.ErrNoPlace},
		{"the longest prefix wins", "192.0.2.200", "", -1, 0, func(k *netiftest.Kernel) {
			k.Table = append(k.Table, netif.Route{Dst: prefix("192.0.2.128/25"), Index: 3, Table: netif.TableMain, Scope: netif.ScopeLink, Type: netif.TypeUnicast, Metric: 999})
		}, "eth1/25 metric 999 brd invalid IP", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := network(t)
			if tt.spoil != nil {
				tt.spoil(k)
			}
			p, err := netif.Find(k, netif.Want{IP: netip.MustParseAddr(tt.ip), NIC: tt.nic, Bits: tt.bits, Protocol: tt.proto})
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if got := fmt.Sprintf("%s/%d metric %d brd %s", p.Link.Name, p.Bits, p.Metric, p.Broadcast); err == nil && got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

func TestHolders(t *testing.T) {
	vip := netip.MustParseAddr("192.0.2.10")
	k := network(t)
	for _, a := range []netif.Address{
		{Index: 1, Prefix: prefix("192.0.2.10/32")}, {Index: 2, Prefix: prefix("192.0.2.10/24")},
		{Index: 3, Prefix: prefix("192.0.2.10/16")}, {Index: 2, Prefix: prefix("192.0.2.100/24")},
	} {
		if err := k.AddAddress(a, false); err != nil {
			t.Fatal(err)
		}
	}
	for nic, want := range map[string]int{"": 2, "eth0": 2, "lo": 3} {
		h, err := netif.Holders(k, vip, nic)
		if err != nil || len(h) != want {
			t.Errorf("nic=%s: %v, %v, want %d", nic, h, err, want)
		}
	}
	k.Fail = func(string) error { return errors.New("out of memory") }
	if h, err := netif.Holders(k, vip, ""); err == nil {
		t.Errorf("a listing that failed is taken for %v", h)
	}
}

func TestRemove(t *testing.T) {
	vip := netip.MustParseAddr("192.0.2.10")
	t.Run("everywhere, whatever the prefix, link down and routes gone", func(t *testing.T) {
		k := network(t)
		_ = k.AddAddress(netif.Address{Index: 2, Prefix: prefix("192.0.2.10/24")}, false)
		_ = k.AddAddress(netif.Address{Index: 3, Prefix: prefix("192.0.2.10/32")}, false)
		k.List[1].Flags, k.Table = 0, nil
		removed, err := netif.Remove(k, vip, "")
		if err != nil || len(removed) != 2 {
			t.Errorf("removed %v, %v", removed, err)
		}
		if h, _ := netif.Holders(k, vip, ""); len(h) != 0 {
			t.Errorf("still there: %v", h)
		}
	})
	for _, promote := range []bool{false, true} {
		t.Run(fmt.Sprintf("the others of its subnet stay, promote_secondaries=%v", promote), func(t *testing.T) {
			k := &netiftest.Kernel{List: []netif.Link{netiftest.Ethernet(2, "eth0")}, PromoteSecondaries: promote}
			for _, p := range []string{"192.0.2.10/24", "192.0.2.11/24", "192.0.2.12/24"} {
				_ = k.AddAddress(netif.Address{Index: 2, Prefix: prefix(p), Label: "eth0:" + p[8:10]}, false)
			}
			if _, err := netif.Remove(k, vip, ""); err != nil {
				t.Fatal(err)
			}
			left, _ := k.Addresses(netif.Family(vip))
			if len(left) != 2 || left[0].Label != "eth0:11" || left[0].Flags&netif.AddrSecondary != 0 || left[1].Flags&netif.AddrSecondary == 0 {
				t.Errorf("left: %+v", left)
			}
		})
	}
	t.Run("routes that are left behind", func(t *testing.T) {
		k := network(t)
		_ = k.AddAddress(netif.Address{Index: 2, Prefix: prefix("192.0.2.10/32")}, false)
		stale := netif.Route{Dst: prefix("192.0.2.10/32"), Index: 2, Table: netif.TableMain, Protocol: netif.ProtocolKernel, Scope: netif.ScopeLink, Type: netif.TypeUnicast}
		bySource := netif.Route{Dst: prefix("10.0.0.0/8"), Gateway: netip.MustParseAddr("192.0.2.254"), Source: vip, Index: 2, Table: netif.TableMain, Type: netif.TypeUnicast}
		foreign := stale
		foreign.Protocol = 4 // an administrator's
		before := len(k.Table)
		k.Table = append(k.Table, stale, bySource, foreign)
		if _, err := netif.Remove(k, vip, ""); err != nil {
			t.Fatal(err)
		}
		if slices.Contains(k.Table, stale) || slices.Contains(k.Table, bySource) || !slices.Contains(k.Table, foreign) || len(k.Table) != before+1 {
			t.Errorf("routes: %+v", k.Table)
		}
	})
	t.Run("not there", func(t *testing.T) {
		k := network(t)
		if removed, err := netif.Remove(k, vip, ""); err != nil || len(removed) != 0 || len(k.Calls) != 0 {
			t.Errorf("%v, %v, %v", removed, err, k.Calls)
		}
	})
	t.Run("a removal that fails is told", func(t *testing.T) {
		k := network(t)
		_ = k.AddAddress(netif.Address{Index: 2, Prefix: prefix("192.0.2.10/24")}, false)
		k.Fail = func(call string) error {
			if call == "remove 192.0.2.10/24" {
				return errors.New("no")
			}
			return nil
		}
		if _, err := netif.Remove(k, vip, ""); err == nil {
			t.Error("no error")
		}
	})
	t.Run("one that comes back is told", func(t *testing.T) {
		k := network(t)
		a := netif.Address{Index: 2, Prefix: prefix("192.0.2.10/24")}
		_ = k.AddAddress(a, false)
		if _, err := netif.Remove(stubborn{k, a}, vip, ""); err == nil {
			t.Error("no error")
		}
	})
}

// stubborn adds an address again whenever it is removed, as network managers do.
type stubborn struct {
	*netiftest.Kernel
	address netif.Address
}

func (s stubborn) RemoveAddress(a netif.Address) error {
	if err := s.Kernel.RemoveAddress(a); err != nil {
		return err
	}
	return s.AddAddress(s.address, false)
}
