package azure

import (
	"net"
	"testing"
	"time"

	"pgrex/tests/contract/sandbox"
	"pgrex/tests/lab/host"
	"pgrex/tests/lab/network"
)

// TestIPaddr2 shows why cloudip exists: an address on the operating system gets no
// packets while the cloud gives them to somebody else, or to nobody.
func TestIPaddr2(t *testing.T) {
	t.Parallel()
	w := begin(t, nil)
	w.give("n1", vip)
	c := w.calls()
	n1, n2 := w.nodes["n1"], w.nodes["n2"]
	if r := n1.ipaddr2("start"); r.Code != 0 {
		t.Fatal(r)
	}
	c.from("n1", 10*time.Second)

	// The failover that works on every LAN.
	n1.die()
	if r := n2.ipaddr2("start"); r.Code != 0 {
		t.Fatal(r)
	}
	if r := n2.ipaddr2("monitor"); r.Code != 0 {
		t.Errorf("IPaddr2 does not even believe itself: %v", r)
	}
	c.silent(2 * time.Second)
	w.give("", vip)
	c.silent(time.Second)
	w.give("n2", vip)
	c.from("n2", 10*time.Second)
	c.order("n1 n2")
}

// TestSpoof shows that a machine cannot speak for an address that is not its own.
func TestSpoof(t *testing.T) {
	t.Parallel()
	w := begin(t, nil)
	w.give("n1", vip)
	n1, n2 := w.nodes["n1"], w.nodes["n2"]
	for _, n := range []*node{n1, n2} {
		n.ip("address", "add", vip.String()+"/24", "dev", network.Service.Interface())
	}
	ear := listenAs(t, w.client, network.Client)
	says := func(n *node) bool {
		mouth := listenAs(t, n.ns, vip.String())
		for range 5 {
			if _, err := mouth.WriteTo([]byte(n.name), ear.LocalAddr()); err != nil {
				t.Fatal(err)
			}
		}
		return heard(t, ear, n.name)
	}
	sandbox.Eventually(t, "the owner to be heard", 5*time.Second, func() bool { return says(n1) })
	if says(n2) {
		t.Error("a packet arrived from a machine that does not own its address")
	}
}

// listenAs opens a socket for one address of a machine.
func listenAs(t *testing.T, ns *host.Netns, address string) *net.UDPConn {
	t.Helper()
	var conn *net.UDPConn
	err := host.InNetns(ns.Path(), func() error {
		var err error
		conn, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(address)})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// heard says whether a word arrives within a moment.
func heard(t *testing.T, ear *net.UDPConn, word string) bool {
	t.Helper()
	if err := ear.SetReadDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 64)
	for {
		k, err := ear.Read(b)
		if err != nil {
			return false
		}
		if string(b[:k]) == word {
			return true
		}
	}
}
