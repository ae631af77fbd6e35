package netif

import (
	"bytes"
	"encoding/hex"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

var (
	testHardware = net.HardwareAddr{2, 0, 0x5e, 0x10, 0, 1}
	testIP       = netip.MustParseAddr("192.0.2.10")
	testIPv6     = netip.MustParseAddr("2001:db8::10")
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// The bytes on the wire, as RFC 826, 5227 and 5944 have them.
func TestARPBytes(t *testing.T) {
	for _, tt := range []struct {
		name string
		arp  ARP
		want string
	}{
		{"probe", Probe(testHardware, testIP),
			"0001 0800 06 04 0001  02005e100001 00000000  000000000000 c000020a"},
		{"announcement as request", Announcement(testHardware, testIP, false),
			"0001 0800 06 04 0001  02005e100001 c000020a  000000000000 c000020a"},
		{"announcement as reply", Announcement(testHardware, testIP, true),
			"0001 0800 06 04 0002  02005e100001 c000020a  02005e100001 c000020a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			want := unhex(t, tt.want)
			if got := tt.arp.Marshal(); !bytes.Equal(got, want) {
				t.Errorf("got  %x\nwant %x", got, want)
			}
			// Ethernet pads short frames.
			back, err := ParseARP(append(want, make([]byte, 18)...))
			if err != nil || !reflect.DeepEqual(back, tt.arp) {
				t.Errorf("read back %+v, %v", back, err)
			}
		})
	}
}

func TestARPClaims(t *testing.T) {
	other := netip.MustParseAddr("192.0.2.11")
	for _, tt := range []struct {
		name            string
		arp             ARP
		always, probing bool
	}{
		{"reply of the holder", ARP{Reply: true, Sender: testIP, Target: other}, true, true},
		{"request of the holder for somebody else", ARP{Sender: testIP, Target: other}, true, true},
		{"announcement", ARP{Sender: testIP, Target: testIP}, true, true},
		{"somebody else's probe", ARP{Sender: netip.IPv4Unspecified(), Target: testIP}, false, true},
		{"request of a client", ARP{Sender: other, Target: testIP}, false, false},
		{"reply about another address", ARP{Reply: true, Sender: other, Target: testIP}, false, false},
	} {
		if tt.arp.Claims(testIP, false) != tt.always || tt.arp.Claims(testIP, true) != tt.probing {
			t.Errorf("%s: claims %v, %v while probing", tt.name, tt.arp.Claims(testIP, false), tt.arp.Claims(testIP, true))
		}
	}
}

// RFC 4861 section 4.4.
func TestAdvertisementBytes(t *testing.T) {
	a := Advertisement{IP: testIPv6, Hardware: testHardware, Router: true}
	want := unhex(t, `60000000 0020 3a ff  20010db8000000000000000000000010  ff020000000000000000000000000001
		88 00 0000 a0000000  20010db8000000000000000000000010  02 01 02005e100001`)
	got := a.Marshal()
	if len(got) != len(want) {
		t.Fatalf("%d bytes, want %d", len(got), len(want))
	}
	// What the sum is, is checked by its own law: over the whole it comes to zero.
	if sum := checksum(got[8:40], got[40:]); sum != 0 {
		t.Errorf("the checksum does not fit: rest %04x", sum)
	}
	copy(want[42:44], got[42:44])
	if !bytes.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
	back, err := ParseAdvertisement(got)
	if err != nil || !reflect.DeepEqual(back, a) {
		t.Errorf("read back %+v, %v", back, err)
	}
}

func TestAdvertisementRefused(t *testing.T) {
	good := Advertisement{IP: testIPv6, Hardware: testHardware}.Marshal()
	for name, spoil := range map[string]func([]byte) []byte{
		"short":              func(b []byte) []byte { return b[:60] },
		"empty":              func([]byte) []byte { return nil },
		"IPv4":               func(b []byte) []byte { b[0] = 4 << 4; return b },
		"forwarded":          func(b []byte) []byte { b[7] = 64; return b },
		"another message":    func(b []byte) []byte { b[40] = 135; return b },
		"solicited":          func(b []byte) []byte { b[44] |= 0x40; return b },
		"wrong sum":          func(b []byte) []byte { b[43] ^= 1; return b },
		"option without end": func(b []byte) []byte { b[65] = 0; return fixSum(b) },
		"option too long":    func(b []byte) []byte { b[65] = 9; return fixSum(b) },
		"no hardware":        func(b []byte) []byte { b[64] = 1; return fixSum(b) },
	} {
		if a, err := ParseAdvertisement(spoil(bytes.Clone(good))); err == nil {
			t.Errorf("%s: accepted as %+v", name, a)
		}
	}
}

func fixSum(b []byte) []byte {
	b[42], b[43] = 0, 0
	sum := checksum(b[8:40], b[40:])
	b[42], b[43] = byte(sum>>8), byte(sum)
	return b
}

// What is accepted is understood: written again, it is the same packet.
func FuzzARP(f *testing.F) {
	f.Add(Probe(testHardware, testIP).Marshal())
	f.Add(Announcement(testHardware, testIP, true).Marshal())
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := ParseARP(b)
		if err != nil {
			return
		}
		if again := a.Marshal(); !bytes.Equal(again, b[:arpLength]) {
			t.Errorf("%x read as %+v, written as %x", b, a, again)
		}
	})
}

func FuzzAdvertisement(f *testing.F) {
	f.Add(Advertisement{IP: testIPv6, Hardware: testHardware}.Marshal())
	f.Add(Advertisement{IP: testIPv6, Hardware: testHardware, Router: true}.Marshal())
	f.Add([]byte{6 << 4})
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := ParseAdvertisement(b)
		if err != nil {
			return
		}
		again, err := ParseAdvertisement(a.Marshal())
		if err != nil || !reflect.DeepEqual(again, a) {
			t.Errorf("%x read as %+v, then as %+v, %v", b, a, again, err)
		}
	})
}

// Messages come from the kernel, whose next version may say more or less: nothing in them may bring
// the program down.
func FuzzMessages(f *testing.F) {
	if b, err := encodeAddress(Address{Index: 2, Prefix: netip.MustParsePrefix("192.0.2.10/24"), Label: "eth0:x"}, 20); err == nil {
		f.Add(b)
	}
	if b, err := encodeRoute(Route{Dst: netip.MustParsePrefix("192.0.2.0/24"), Source: testIP, Index: 2}); err == nil {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_, _ = parseLink(b)
		_, _ = parseNeighbour(b)
		if a, err := parseAddress(b); err == nil && !a.IP().IsValid() {
			t.Errorf("%x: an address without address", b)
		}
		if r, err := parseRoute(b); err == nil && !r.Dst.IsValid() {
			t.Errorf("%x: a route to nowhere", b)
		}
	})
}

func TestAddressMessage(t *testing.T) {
	for _, a := range []Address{
		{Index: 2, Prefix: netip.MustParsePrefix("192.0.2.10/24"), Broadcast: netip.MustParseAddr("192.0.2.255"), Label: "eth0:vip",
			Flags: AddrPermanent, Preferred: Forever, Valid: Forever, Metric: 7, Proto: 80},
		{Index: 300, Prefix: netip.MustParsePrefix("2001:db8::10/64"), Flags: AddrPermanent | AddrNoDAD | AddrNoPrefixRoute, Valid: Forever},
		{Index: 3, Prefix: netip.MustParsePrefix("192.0.2.1/32"), Peer: netip.MustParseAddr("192.0.2.2"), Preferred: Forever, Valid: Forever},
	} {
		b, err := encodeAddress(a, 20)
		if err != nil {
			t.Fatal(err)
		}
		if back, err := parseAddress(b); err != nil || back != a {
			t.Errorf("%+v\nread back as %+v, %v", a, back, err)
		}
	}
}

func TestLastAddress(t *testing.T) {
	for prefix, want := range map[string]string{
		"192.0.2.10/24": "192.0.2.255", "10.1.2.3/8": "10.255.255.255", "10.1.2.3/30": "10.1.2.3", "10.1.2.3/31": "invalid IP",
		"10.1.2.3/32": "invalid IP", "2001:db8::1/64": "invalid IP", "192.168.144.130/26": "192.168.144.191",
	} {
		if got := LastAddress(netip.MustParsePrefix(prefix)); got.String() != want {
			t.Errorf("%s: %v, want %s", prefix, got, want)
		}
	}
}

func TestLinkDown(t *testing.T) {
	for _, tt := range []struct {
		link Link
		want string
	}{
		{Link{Flags: LinkUp | LinkLower, Oper: OperUp}, ""},
		{Link{Flags: LinkUp | LinkLower, Oper: OperUnknown}, ""},
		{Link{Flags: LinkUp | LinkLoopback | LinkLower, Oper: OperUnknown}, ""},
		{Link{Flags: LinkUp, Oper: OperUnknown}, "no carrier"},
		{Link{Flags: 0, Oper: OperDown}, "set down"},
		{Link{Flags: LinkUp, Oper: OperUp}, "no carrier"},
		{Link{Flags: LinkUp, Oper: OperDown}, "down"},
		{Link{Flags: LinkUp, Oper: OperLowerLayerDown}, "lower layer down"},
		{Link{Flags: LinkUp, Oper: OperDormant}, "dormant"},
	} {
		if got := tt.link.Down(); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.link, got, tt.want)
		}
	}
}
