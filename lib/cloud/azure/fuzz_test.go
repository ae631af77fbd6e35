package azure

import (
	"net/netip"
	"os"
	"strings"
	"testing"
)

// What a call has left for the next, and the guest's files that a check looks at.
func FuzzFiles(f *testing.F) {
	for _, s := range []string{
		`{"Boot":"b","Self":null,"Flight":{"URL":"https://x"}}`, `{"Boot":7}`, `{"Flight":[]}`, `null`, "", "{", "Provisioning.MonitorHostName=y\n", "A=\"'y'\n=\n==",
	} {
		f.Add(s)
	}
	address := netip.MustParseAddr("10.0.0.5")
	s := store{dir: f.TempDir(), root: f.TempDir()}
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(s.path(address), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if r := s.read(address); r.Boot != s.boot() && (r.Self != nil || r.Flight != nil) {
			t.Errorf("%q: of another boot, and believed: %+v", text, r)
		}
		if err := s.edit(address, func(*record) {}); err != nil {
			t.Error(err)
		}
		if on("A", "y", text) && !strings.Contains(text, "A") {
			t.Errorf("%q sets A", text)
		}
	})
}
