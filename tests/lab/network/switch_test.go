package network

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"pgrex/tests/lab/host"
)

// machine is a namespace with one card on the service LAN and a UDP socket.
type machine struct {
	ns   *host.Netns
	conn *net.UDPConn
	addr *net.UDPAddr
}

func plugIn(t *testing.T, s *Switch, name string, i int) machine {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	ns, err := host.NewNetns()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ns.Close() })
	if err := s.Plug(ctx, name, i, ns.Path(), Service); err != nil {
		t.Fatal(err)
	}
	nic := Service.Interface()
	_, err = host.Input(ctx, fmt.Sprintf("link set lo up\naddress add %s/24 dev %s\nlink set %s up\n", Address(Service, i), nic, nic),
		"nsenter", "--net="+ns.Path(), "ip", "-batch", "-")
	if err != nil {
		t.Fatal(err)
	}
	m := machine{ns: ns, addr: &net.UDPAddr{IP: net.ParseIP(Address(Service, i)), Port: 9999}}
	err = host.InNetns(ns.Path(), func() error {
		m.conn, err = net.ListenUDP("udp4", m.addr)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.conn.Close() })
	return m
}

// reaches says whether one of several packets arrives.
func reaches(t *testing.T, from, to machine) bool {
	t.Helper()
	for range 3 {
		if _, err := from.conn.WriteToUDP([]byte("x"), to.addr); err != nil {
			return false // no ARP answer
		}
	}
	if err := to.conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	got := false
	for {
		if _, _, err := to.conn.ReadFromUDP(make([]byte, 8)); err != nil {
			return got
		}
		got = true
		if err := to.conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestSwitch shows that cuts cut in the direction they say, and that the witness
// of a power loss is not deaf.
func TestSwitch(t *testing.T) {
	if err := host.NeedRoot(); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	s, err := NewSwitch(ctx)
	if err != nil {
		t.Fatal(err)
	}
	a, b := plugIn(t, s, "a", 1), plugIn(t, s, "b", 2)
	// Everybody knows everybody's hardware address from here on: a cut must not
	// look wider than it is because ARP fails.
	// The kernel takes its time to call a new link usable.
	for end := time.Now().Add(10 * time.Second); !reaches(t, a, b) || !reaches(t, b, a); {
		if time.Now().After(end) {
			t.Fatal("nothing arrives without a cut")
		}
	}
	for _, c := range []struct {
		d        Direction
		in, sent bool // does a hear, is a heard
	}{{Both, false, false}, {In, false, true}, {Out, true, false}} {
		if err := s.Cut(ctx, "a", c.d, Service); err != nil {
			t.Fatal(err)
		}
		if got := reaches(t, b, a); got != c.in {
			t.Errorf("cut %s: a hears b: %v", c.d, got)
		}
		if got := reaches(t, a, b); got != c.sent {
			t.Errorf("cut %s: b hears a: %v", c.d, got)
		}
		if err := s.Heal(ctx, "a", Service); err != nil {
			t.Fatal(err)
		}
		if !reaches(t, a, b) || !reaches(t, b, a) {
			t.Errorf("cut %s did not heal", c.d)
		}
	}
	listen := func(act func()) int {
		ear, err := s.Listen(1)
		if err != nil {
			t.Fatal(err)
		}
		act()
		n, err := ear.Heard()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	if n := listen(func() { reaches(t, a, b) }); n == 0 {
		t.Error("the switch did not hear a")
	}
	if n := listen(func() { reaches(t, b, a) }); n != 0 {
		t.Errorf("the switch heard %d frames of a when b spoke", n)
	}
	if err := s.Down(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	if n := listen(func() { reaches(t, a, b) }); n != 0 {
		t.Errorf("the switch heard %d frames of a without a link", n)
	}
}
