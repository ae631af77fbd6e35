package network

import (
	"context"
	"net"
	"net/netip"
	"testing"
	"time"

	"pgrex/tests/lab/host"
)

const pingTime = 5 * time.Second

// own is the address that plugIn gives to a machine.
func own(i int) netip.Addr { return netip.MustParseAddr(Address(Service, i)) }

// give puts an address on a machine's card, without telling anybody.
func give(t *testing.T, m machine, verb string, a netip.Addr) {
	t.Helper()
	_, err := host.Output(t.Context(), "nsenter", "--net="+m.ns.Path(), "ip", "address", verb, a.String()+"/24", "dev", Service.Interface())
	if err != nil {
		t.Fatal(err)
	}
}

// at is a machine under another address.
func at(m machine, a netip.Addr) machine {
	m.addr = &net.UDPAddr{IP: a.AsSlice(), Port: m.addr.Port}
	return m
}

// everywhere opens the machine's socket for all its addresses.
func everywhere(t *testing.T, m machine, local string) machine {
	t.Helper()
	_ = m.conn.Close()
	err := host.InNetns(m.ns.Path(), func() error {
		var err error
		m.conn, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(local), Port: m.addr.Port})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.conn.Close() })
	return m
}

// settle waits until one machine reaches another: the kernel takes up to a second
// to notice that both ends of a new cable are up.
func settle(t *testing.T, from, to machine) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), pingTime)
	defer cancel()
	err := host.Poll(ctx, "a new cable", 10*time.Millisecond, func() (bool, error) { return reaches(t, from, to), nil })
	if err != nil {
		t.Fatal(err)
	}
}

// drain forgets what a machine has received.
func drain(m machine) {
	for {
		_ = m.conn.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
		if _, _, err := m.conn.ReadFromUDP(make([]byte, 8)); err != nil {
			return
		}
	}
}

// TestVNet shows that an address answers where the network says it is and nowhere
// else, whatever the machines have configured.
func TestVNet(t *testing.T) {
	if err := host.NeedRoot(); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	s, err := NewVNet(ctx)
	if err != nil {
		t.Fatal(err)
	}
	bind := func(a netip.Addr, c Card) {
		t.Helper()
		if err := s.Bind(ctx, map[netip.Addr]Card{a: c}); err != nil {
			t.Fatal(err)
		}
	}
	for i, name := range map[int]string{1: "a", 2: "b", 3: "c"} {
		bind(own(i), Card{name, Service})
	}
	a, b, c := plugIn(t, s, "a", 1), plugIn(t, s, "b", 2), plugIn(t, s, "c", 3)
	a, b = everywhere(t, a, "0.0.0.0"), everywhere(t, b, "0.0.0.0")
	vip := netip.MustParseAddr(VIPPrimary)
	expect := func(what string, onA, onB bool) {
		t.Helper()
		gotA := reaches(t, c, at(a, vip))
		drain(b)
		gotB := reaches(t, c, at(b, vip))
		drain(a)
		if gotA != onA || gotB != onB {
			t.Errorf("%s: reached on a: %v, on b: %v", what, gotA, gotB)
		}
	}
	settle(t, c, a)
	settle(t, a, b)
	give(t, a, "add", vip)
	expect("on the system only", false, false)
	// The router answers for the address all the same.
	out, err := host.Output(ctx, "nsenter", "--net="+c.ns.Path(), "ip", "neigh", "show", vip.String())
	if err != nil || out == "" {
		t.Errorf("nobody answered ARP: %q %v", out, err)
	}
	bind(vip, Card{"b", Service})
	expect("of b, but on a's system", false, false)
	bind(vip, Card{"a", Service})
	expect("of a", true, false)
	give(t, b, "add", vip)
	expect("of a, on both systems", true, false)
	bind(vip, Card{"b", Service})
	expect("of b, on both systems", false, true)

	// With a's address for a source, b is not believed.
	give(t, b, "add", own(1))
	spoof := everywhere(t, b, Address(Service, 1))
	if reaches(t, spoof, c) {
		t.Error("a packet with another card's address arrived")
	}
	b = everywhere(t, spoof, "0.0.0.0")
	give(t, b, "delete", own(1))

	// Links come and go with the power; what is bound stays so.
	if err := s.Down(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	expect("of b without a link", false, false)
	bind(vip, Card{"a", Service})
	bind(vip, Card{"b", Service})
	if err := s.Up(ctx, "b"); err != nil {
		t.Fatal(err)
	}
	b = everywhere(t, b, "0.0.0.0")
	settle(t, c, b)
	expect("of b with a link again", false, true)
	if err := s.Cut(ctx, "b", Both, Service); err != nil {
		t.Fatal(err)
	}
	expect("of b, cut off", false, false)
	if err := s.HealAll(ctx); err != nil {
		t.Fatal(err)
	}
	bind(vip, Card{})
	expect("of nobody", false, false)
}

// TestHide shows that only the way to the API is taken away.
func TestHide(t *testing.T) {
	if err := host.NeedRoot(); err != nil {
		t.Fatal(err)
	}
	s, err := NewVNet(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Bind(t.Context(), map[netip.Addr]Card{own(1): {"a", Service}}); err != nil {
		t.Fatal(err)
	}
	a := plugIn(t, s, "a", 1)
	reach := func(address string) bool {
		ctx, cancel := context.WithTimeout(t.Context(), pingTime)
		defer cancel()
		_, err := host.Output(ctx, "nsenter", "--net="+a.ns.Path(), "ping", "-c", "1", "-W", "0.2", address)
		return err == nil
	}
	if _, err := host.Output(t.Context(), "nsenter", "--net="+a.ns.Path(), "ip", "route", "add", "default", "via", Router); err != nil {
		t.Fatal(err)
	}
	for _, hidden := range []bool{false, true, false} {
		if err := s.Hide(t.Context(), "a", hidden); err != nil {
			t.Fatal(err)
		}
		for !reach(Gateway) {
			if t.Context().Err() != nil {
				t.Fatal("the gateway does not answer")
			}
		}
		if got := reach(CloudAPI); got == hidden {
			t.Errorf("hidden %v: the API answers: %v", hidden, got)
		}
	}
}
