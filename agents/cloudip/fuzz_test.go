package main

import (
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// Parameters, and what one call leaves for the next.
func FuzzText(f *testing.F) {
	for _, s := range []string{
		"192.0.2.10", "::ffff:192.0.2.1", "fe80::1%eth0", "255.255.255.255", "24", "255.255.255.0", "255.0.255.0", "0", "+24", "forever", "4294967296", "boot", "256", "+",
		"00:0d:3a:aa:bb:cc", "000D3AAABBCC", "0-0-0", "%x",
		" 1 00:0d:3a:aa:bb:cc 192.0.2.10 3 200ms true false false", "n 1 00:00:00:00:00:00:00:00 :: -1 -1h x 1 T", "12345 boot", "-9223372036854775808 ", "",
	} {
		f.Add(s)
	}
	st := state{dir: f.TempDir(), name: "x", clock: func() time.Duration { return time.Hour }}
	f.Fuzz(func(t *testing.T, s string) {
		if ip, err := parseIP(s); err == nil && (!ip.IsValid() || ip.IsUnspecified() || ip.IsMulticast() || ip.Zone() != "") {
			t.Errorf("address %v", ip)
		}
		if n, err := parseMask(s); err == nil && (n < 1 || n > 128) {
			t.Errorf("mask %d", n)
		}
		_, _ = parseLifetime(s)
		_, _ = parseProtocol(s)
		_ = checkBroadcast(s)
		if mac, err := parseMAC(s); err == nil && len(net.HardwareAddr(mac)) != 6 {
			t.Errorf("hardware address %x", mac)
		}
		if x, err := parseTask(strings.Split(s, " ")); err == nil && !x.ip.IsValid() {
			t.Errorf("task %+v", x)
		}
		if err := os.WriteFile(st.path(held), []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
		if ago, ok := st.age(held); ok && ago < 0 {
			t.Errorf("%q was %v ago", s, ago)
		}
	})
}
