package netif

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// The tests against the real kernel make network namespaces of their own: they need root and iproute2,
// and fail without them.

// newNamespace makes an empty network namespace that ends with the test.
func newNamespace(t *testing.T) *Namespace {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("these tests make network namespaces: run them as root")
	}
	type result struct {
		f   *os.File
		err error
	}
	made := make(chan result)
	go func() {
		runtime.LockOSThread() // and the thread ends with this goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			made <- result{nil, err}
			return
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		made <- result{f, err}
	}()
	r := <-made
	if r.err != nil {
		t.Fatal(r.err)
	}
	n := &Namespace{handle: r.f}
	var err error
	if n.socket, err = dialKernel(int(r.f.Fd())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	n.ip(t, "link set lo up")
	return n
}

// ip runs the tool in the namespace.
func (n *Namespace) ip(t *testing.T, args string) string {
	t.Helper()
	path := fmt.Sprintf("--net=/proc/%d/fd/%d", os.Getpid(), n.handle.Fd())
	out, err := exec.Command("nsenter", append([]string{path, "ip"}, strings.Fields(args)...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("ip %s: %v\n%s", args, err, out)
	}
	return string(out)
}

// pair makes two machines on one LAN, each with eth0 and an address.
func pair(t *testing.T) (a, b *Namespace) {
	t.Helper()
	a, b = newNamespace(t), newNamespace(t)
	a.ip(t, fmt.Sprintf("link add eth0 type veth peer name eth0 netns /proc/%d/fd/%d", os.Getpid(), b.handle.Fd()))
	for i, n := range []*Namespace{a, b} {
		n.ip(t, fmt.Sprintf("address add 192.0.2.%d/24 brd + dev eth0", i+1))
		n.ip(t, fmt.Sprintf("address add 2001:db8::%d/64 dev eth0 nodad", i+1))
		n.ip(t, "link set eth0 up")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for _, n := range []*Namespace{a, b} {
		if err := AwaitLink(ctx, n, n.link(t, "eth0").Index); err != nil {
			t.Fatal(err)
		}
	}
	return a, b
}

func (n *Namespace) link(t *testing.T, name string) Link {
	t.Helper()
	links, err := n.Links()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if l.Is(name) {
			return l
		}
	}
	t.Fatalf("no link %s in %+v", name, links)
	return Link{}
}

func (n *Namespace) address(t *testing.T, index int, s string) Address {
	t.Helper()
	return Address{Index: index, Prefix: netip.MustParsePrefix(s), Flags: AddrPermanent, Preferred: Forever, Valid: Forever, Proto: 80}
}

func TestRealAddress(t *testing.T) {
	t.Parallel()
	a, _ := pair(t)
	l := a.link(t, "eth0")
	want := a.address(t, l.Index, "192.0.2.10/24")
	want.Label, want.Broadcast, want.Metric = "eth0:vip", netip.MustParseAddr("192.0.2.255"), 5
	if err := a.AddAddress(want, false); err != nil {
		t.Fatal(err)
	}
	if err := a.AddAddress(want, false); !errors.Is(err, ErrExists) {
		t.Errorf("added twice: %v", err)
	}
	h, err := Holders(a, want.IP(), "")
	if err != nil || len(h) != 1 || h[0].Link.Name != "eth0" {
		t.Fatalf("%+v, %v", h, err)
	}
	got := h[0].Address
	if got.Flags&AddrSecondary == 0 {
		t.Error("it is not a secondary address")
	}
	got.Flags &^= AddrSecondary
	if got != want {
		t.Errorf("the kernel has %+v, want %+v", got, want)
	}
	relabelled := want
	relabelled.Label = "eth0:other"
	if err := Relabel(a, h[0].Address, relabelled); err != nil {
		t.Fatal(err)
	}
	if out := a.ip(t, "-4 -o address show dev eth0"); !strings.Contains(out, "secondary eth0:other") {
		t.Errorf("not relabelled:\n%s", out)
	}
	removed, err := Remove(a, want.IP(), "")
	if err != nil || len(removed) != 1 {
		t.Errorf("%v, %v", removed, err)
	}
	if err := a.RemoveAddress(want); !errors.Is(err, ErrGone) {
		t.Errorf("removed twice: %v", err)
	}
	for _, bad := range []Address{{Index: 4711, Prefix: want.Prefix}, {Index: l.Index, Prefix: netip.MustParsePrefix("0.0.0.0/0")}} {
		if err := a.AddAddress(bad, false); err == nil {
			t.Errorf("%+v was added", bad)
		}
	}
}

func TestRealIPv6Address(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	l := a.link(t, "eth0")
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	want := a.address(t, l.Index, "2001:db8::10/64")
	want.Preferred = 0
	if err := a.AddAddress(want, false); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := AwaitUsable(ctx, a, want.IP(), l.Index); err != nil {
		t.Fatal(err)
	}
	t.Logf("usable after %v", time.Since(begin))
	h, err := Holders(a, want.IP(), "")
	if err != nil || len(h) != 1 || h[0].Flags&AddrTentative != 0 || h[0].Flags&AddrDeprecated == 0 {
		t.Errorf("%+v, %v", h, err)
	}

	// The same on the other machine is a duplicate.
	m := b.link(t, "eth0")
	if err := b.AddAddress(b.address(t, m.Index, "2001:db8::10/64"), false); err != nil {
		t.Fatal(err)
	}
	if err := AwaitUsable(ctx, b, want.IP(), m.Index); !errors.Is(err, ErrDuplicate) {
		t.Errorf("a duplicate: %v", err)
	}
	// One that goes away while it is waited for.
	other := b.address(t, m.Index, "2001:db8::11/64")
	if err := b.AddAddress(other, false); err != nil {
		t.Fatal(err)
	}
	again := mustDial(b)
	time.AfterFunc(50*time.Millisecond, func() { _, _ = Remove(again, other.IP(), "") })
	if err := AwaitUsable(ctx, b, other.IP(), m.Index); !errors.Is(err, ErrGone) {
		t.Errorf("one that went away: %v", err)
	}
	if _, err := Remove(a, want.IP(), ""); err != nil {
		t.Error(err)
	}
}

// mustDial opens a second way to a namespace: one is for one goroutine.
func mustDial(n *Namespace) *socket {
	s, err := dialKernel(int(n.handle.Fd()))
	if err != nil {
		panic(err)
	}
	return s
}

// A deadline ends the wait for what does not come.
func TestRealWaitsEnd(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	b.ip(t, "link set eth0 down")
	l := a.link(t, "eth0")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begin := time.Now()
	err := AwaitLink(ctx, a, l.Index)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "the link is down") || time.Since(begin) > 2*time.Second {
		t.Errorf("after %v: %v", time.Since(begin), err)
	}
	// And it ends at once when the thing happens, not at the next look.
	long, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	far, index := mustDial(b), b.link(t, "eth0").Index
	time.AfterFunc(200*time.Millisecond, func() { _ = far.SetUp(index) })
	begin = time.Now()
	if err := AwaitLink(long, a, l.Index); err != nil || time.Since(begin) > 5*time.Second {
		t.Errorf("link up: %v after %v", err, time.Since(begin))
	}
}

func TestRealLinks(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	a.ip(t, "link property add dev eth0 altname enp2s5")
	if l := a.link(t, "enp2s5"); l.Name != "eth0" || l.Down() != "" || !l.Speaks() || l.Kind != "veth" {
		t.Errorf("%+v", l)
	}
	if l := a.link(t, "lo"); !l.Loopback() || l.Speaks() || l.Down() != "" {
		t.Errorf("%+v", l)
	}
	a.ip(t, "link add quiet type veth peer name quiet2")
	a.ip(t, "link set quiet arp off up")
	if l := a.link(t, "quiet"); l.Speaks() || l.Down() == "" {
		t.Errorf("%+v: %s", l, l.Down())
	}
	b.ip(t, "link set eth0 down")
	if l := a.link(t, "eth0"); l.Down() != "lower layer down" && l.Down() != "no carrier" {
		t.Errorf("%+v: %q", l, l.Down())
	}
	a.ip(t, "link set eth0 down")
	if l := a.link(t, "eth0"); l.Down() != "set down" {
		t.Errorf("%+v: %q", l, l.Down())
	}
}

// promote_secondaries=0 is the kernel's default: the other addresses of a subnet go with its first.
func TestRealSecondariesStay(t *testing.T) {
	t.Parallel()
	for _, promote := range []string{"0", "1"} {
		n := newNamespace(t)
		n.ip(t, "link add eth0 type veth peer name eth1")
		n.ip(t, "link set eth0 up")
		if err := n.within(func() error {
			return os.WriteFile("/proc/sys/net/ipv4/conf/eth0/promote_secondaries", []byte(promote), 0o644)
		}); err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{"10.0.0.10/24", "10.0.0.11/24", "10.0.0.12/24"} {
			n.ip(t, "address add "+s+" dev eth0 label eth0:x")
		}
		if _, err := Remove(n, netip.MustParseAddr("10.0.0.10"), ""); err != nil {
			t.Fatal(err)
		}
		out := n.ip(t, "-4 -o address show dev eth0")
		if strings.Contains(out, "10.0.0.10/") || strings.Count(out, "eth0:x") != 2 || strings.Count(out, "secondary") != 1 {
			t.Errorf("promote_secondaries=%s:\n%s", promote, out)
		}
		if routes := n.ip(t, "route show"); !strings.Contains(routes, "10.0.0.0/24 dev eth0") {
			t.Errorf("promote_secondaries=%s: the route of the subnet is lost:\n%s", promote, routes)
		}
	}
}

func TestRealRoutesRemoved(t *testing.T) {
	t.Parallel()
	a, _ := pair(t)
	a.ip(t, "address add 192.0.2.10/24 dev eth0")
	a.ip(t, "route add 198.51.100.0/24 via 192.0.2.2 src 192.0.2.10")
	a.ip(t, "route add 203.0.113.0/24 via 192.0.2.2 src 192.0.2.1 table 77")
	// This one outlives the address as far as the kernel is concerned.
	a.ip(t, "route add 192.0.2.10/32 dev eth0 proto kernel scope link table main src 192.0.2.1")
	if _, err := Remove(a, netip.MustParseAddr("192.0.2.10"), ""); err != nil {
		t.Fatal(err)
	}
	out := a.ip(t, "route show table all")
	if strings.Contains(out, "192.0.2.10") || strings.Contains(out, "198.51.100.0") || !strings.Contains(out, "203.0.113.0/24") {
		t.Errorf("left:\n%s", out)
	}
}

// A neighbour's cache follows an announcement of either form.
func TestRealAnnouncements(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name           string
		ip             netip.Addr
		request, reply bool
	}{
		{"request", netip.MustParseAddr("192.0.2.10"), true, false},
		{"reply", netip.MustParseAddr("192.0.2.10"), false, true},
		{"both", netip.MustParseAddr("192.0.2.10"), true, true},
		{"IPv6", netip.MustParseAddr("2001:db8::10"), false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, b := pair(t)
			l := a.link(t, "eth0")
			b.ip(t, fmt.Sprintf("neighbour add %s lladdr 02:00:00:00:00:99 dev eth0 nud stale", tt.ip))
			p, err := a.Open(l, Family(tt.ip))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = p.Close() }()
			if err := (Herald{Packets: p, IP: tt.ip, Hardware: l.Hardware, Request: tt.request, Reply: tt.reply}).Announce(); err != nil {
				t.Fatal(err)
			}
			deadline := time.Now().Add(5 * time.Second)
			for out := ""; !strings.Contains(out, l.Hardware.String()); out = b.ip(t, "neighbour show "+tt.ip.String()) {
				if time.Now().After(deadline) {
					t.Fatalf("the neighbour does not believe it:\n%s", out)
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
}

func TestRealQuestion(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	l := a.link(t, "eth0")
	links, err := a.Links()
	if err != nil {
		t.Fatal(err)
	}
	ask := func(ip string, own []net.HardwareAddr) (net.HardwareAddr, time.Duration) {
		t.Helper()
		p, err := a.Open(l, unix.AF_INET)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = p.Close() }()
		begin := time.Now()
		who, err := Question{Packets: p, IP: netip.MustParseAddr(ip), Hardware: l.Hardware, Own: own}.Inquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return who, time.Since(begin)
	}
	other := b.link(t, "eth0").Hardware
	if who, took := ask("192.0.2.2", Own(links)); who.String() != other.String() || took > 300*time.Millisecond {
		t.Errorf("in use: %v after %v", who, took)
	}
	if who, took := ask("192.0.2.77", Own(links)); who != nil || took < 500*time.Millisecond {
		t.Errorf("free: %v after %v", who, took)
	}
	// This machine's other interfaces on the LAN answer too, which is no conflict.
	if who, _ := ask("192.0.2.2", append(Own(links), other)); who != nil {
		t.Errorf("own: %v", who)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p, err := a.Open(l, unix.AF_INET)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (Question{Packets: p, IP: testIP, Hardware: l.Hardware}).Inquire(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("a question that was called off: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	if err := p.Send(make([]byte, 28)); err == nil {
		t.Error("sent on a closed link")
	}
}

// Who else has an address that this machine has too is found by the kernel's own means.
func TestRealNeighbour(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	l, other := a.link(t, "eth0"), b.link(t, "eth0").Hardware
	for _, n := range []*Namespace{a, b} {
		n.ip(t, "address add 192.0.2.10/24 dev eth0")
	}
	vip := netip.MustParseAddr("192.0.2.10")
	if n, err := a.Neighbour(l.Index, vip); err != nil || n.State != 0 {
		t.Errorf("before it was asked: %+v, %v", n, err)
	}
	answered := func(find func(int, netip.Addr) (Neighbour, error)) net.HardwareAddr {
		t.Helper()
		for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
			n, err := find(l.Index, vip)
			if err != nil {
				t.Fatal(err)
			}
			if n.Answered() != nil || time.Now().After(end) || n.State&NeighbourFailed != 0 {
				return n.Answered()
			}
		}
	}
	if err := a.Solicit(l.Index, vip); err != nil {
		t.Fatal(err)
	}
	for name, find := range map[string]func(int, netip.Addr) (Neighbour, error){"one": a.Neighbour, "all": a.findNeighbour} {
		if who := answered(find); who.String() != other.String() {
			t.Errorf("%s: %v, want %v", name, who, other)
		}
	}
	// The entry does not lead packets for our own address away.
	if out := a.ip(t, "route get 192.0.2.10"); !strings.Contains(out, "dev lo") {
		t.Errorf("route: %s", out)
	}
	b.ip(t, "address del 192.0.2.10/24 dev eth0")
	if err := a.Solicit(l.Index, vip); err != nil {
		t.Fatal(err)
	}
	if who := answered(a.Neighbour); who != nil {
		t.Errorf("nobody has it, but %v", who)
	}
	if err := errors.Join(a.Forget(l.Index, vip), a.Forget(l.Index, vip)); err != nil {
		t.Error(err)
	}
	if n, err := a.Neighbour(l.Index, vip); err != nil || n.State != 0 {
		t.Errorf("after it was forgotten: %+v, %v", n, err)
	}
	if err := a.Solicit(4711, vip); err == nil {
		t.Error("asked on an interface that is not there")
	}
}

// The address is in a subnet of the machine's own, with the same prefix or as a host's address: neither
// is chosen as the source of a connection, whatever is done to the first address later.
func TestRealNeverSource(t *testing.T) {
	t.Parallel()
	a, _ := pair(t)
	l := a.link(t, "eth0")
	a.ip(t, "route add default via 192.0.2.2")
	a.ip(t, "-6 route add default via 2001:db8::2")
	for _, s := range []string{"192.0.2.10/24", "192.0.2.11/32", "2001:db8::10/128"} {
		addr := a.address(t, l.Index, s)
		if addr.IP().Is6() {
			addr.Preferred = 0
			addr.Flags |= AddrNoDAD
		}
		if err := a.AddAddress(addr, false); err != nil {
			t.Fatal(err)
		}
	}
	source := func(dst string) string {
		_, after, _ := strings.Cut(a.ip(t, "route get "+dst), " src ")
		return strings.Fields(after)[0]
	}
	for dst, want := range map[string]string{
		"169.254.169.254": "192.0.2.1", "203.0.113.9": "192.0.2.1", "192.0.2.2": "192.0.2.1",
		"2001:db8::2": "2001:db8::1", "2001:db8:f::1": "2001:db8::1",
	} {
		if got := source(dst); got != want {
			t.Errorf("to %s from %s, want %s", dst, got, want)
		}
	}
	// A lease that is renewed takes the first address away and puts it back. The host's address has
	// then been there longer and is still not chosen for the subnet and what is behind its gateway.
	a.ip(t, "address del 192.0.2.10/24 dev eth0")
	a.ip(t, "address del 192.0.2.1/24 dev eth0")
	a.ip(t, "address add 192.0.2.1/24 dev eth0")
	a.ip(t, "route replace default via 192.0.2.2")
	for _, dst := range []string{"169.254.169.254", "203.0.113.9", "192.0.2.2"} {
		if got := source(dst); got != "192.0.2.1" {
			t.Errorf("after the lease: to %s from %s", dst, got)
		}
	}
}

func TestRealNamespaceByName(t *testing.T) {
	t.Parallel()
	if n, err := Open("no-such-namespace"); !errors.Is(err, ErrNoNamespace) {
		t.Errorf("%v, %v", n, err)
	}
	n := newNamespace(t)
	n.ip(t, "link add only-here type veth peer name p")
	if _, err := n.Setting("ipv4/conf/only-here/forwarding"); err != nil {
		t.Error(err)
	}
	if _, err := n.Setting("ipv4/conf/not-here/forwarding"); err == nil {
		t.Error("a setting that is not there")
	}
	// The process itself has not moved.
	own, err := Open("")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = own.Close() }()
	links, err := own.Links()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if l.Name == "only-here" {
			t.Error("the process is in the namespace")
		}
	}
}
