package azure

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// An address that does not answer leaves time for the next one, and all together have the time of one.
func TestEachInTurn(t *testing.T) {
	hosts := []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"), netip.MustParseAddr("192.0.2.3")}
	refused := errors.New("refused")
	var tried []string
	dial := func(ctx context.Context, h netip.Addr) (net.Conn, error) {
		tried = append(tried, h.String())
		switch h {
		case hosts[0]:
			<-ctx.Done()
			return nil, ctx.Err()
		case hosts[1]:
			return nil, refused
		}
		c, _ := net.Pipe()
		return c, ctx.Err()
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	begin := time.Now()
	conn, err := eachInTurn(ctx, hosts, dial)
	if err != nil || conn == nil {
		t.Fatalf("the third address answers: %v", err)
	}
	_ = conn.Close()
	if took := time.Since(begin); took < 90*time.Millisecond || took > 250*time.Millisecond {
		t.Errorf("a silent address took %v of 300 ms", took)
	}
	if want := []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}; !slices.Equal(tried, want) {
		t.Errorf("tried %v", tried)
	}
	if _, err := eachInTurn(ctx, hosts[:2], dial); !errors.Is(err, refused) || !Silent(err) {
		t.Errorf("nobody answers: %v", err)
	}
}

func TestAddressOf(t *testing.T) {
	ip := net.ParseIP("10.0.0.1")
	for _, a := range []net.Addr{&net.UDPAddr{IP: ip}, &net.TCPAddr{IP: ip}, &net.IPNet{IP: ip}, &net.TCPAddr{IP: ip.To4()}} {
		if got := addressOf(a); got != netip.MustParseAddr("10.0.0.1") {
			t.Errorf("%T: %v", a, got)
		}
	}
	if addressOf(&net.UnixAddr{}).IsValid() {
		t.Error("a path is no address")
	}
}

func TestOtherSource(t *testing.T) {
	parse := netip.MustParseAddr
	all := []netip.Addr{parse("10.0.0.50"), parse("fe80::1"), parse("10.0.0.51"), parse("fd00::50"), parse("10.0.0.4"), parse("fd00::4")}
	w := Wire{Avoid: []netip.Addr{parse("10.0.0.50"), parse("10.0.0.51"), parse("fd00::50")}}
	for chosen, want := range map[string]string{"10.0.0.50": "10.0.0.4", "fd00::50": "fd00::4"} {
		if got, ok := w.other(all, parse(chosen)); !ok || got.String() != want {
			t.Errorf("instead of %s: %v", chosen, got)
		}
	}
	if got, ok := w.other(all[:3], parse("10.0.0.50")); ok {
		t.Errorf("there is none, not %v", got)
	}
}

// A connection comes from another address than the one to be avoided, or there is none.
func TestAvoid(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	loopback := netip.MustParseAddr("127.0.0.1")
	for _, avoid := range [][]netip.Addr{nil, {netip.MustParseAddr("192.0.2.1")}} {
		conn, err := Wire{Avoid: avoid}.dialFromElsewhere(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Errorf("%v: %v", avoid, err)
			continue
		}
		if from := addressOf(conn.LocalAddr()); from != loopback {
			t.Errorf("%v: from %v", avoid, from)
		}
		_ = conn.Close()
	}
	// Mostly the loopback interface has no other address of that family.
	conn, err := Wire{Avoid: []netip.Addr{loopback}}.dialFromElsewhere(t.Context(), "tcp", l.Addr().String())
	if err == nil {
		if from := addressOf(conn.LocalAddr()); from == loopback {
			t.Errorf("from %v", from)
		}
		_ = conn.Close()
	} else if !strings.Contains(err.Error(), "from the virtual address 127.0.0.1") {
		t.Error(err)
	}
}
