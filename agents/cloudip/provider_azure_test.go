package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"pgrex/lib/netif"
	"pgrex/lib/netif/netiftest"
	"pgrex/lib/ocf"
)

// A secret that is missing on this node keeps the address off this node, not off the cluster; parameters that
// do not fit together are the same on all.
func TestAzureProof(t *testing.T) {
	dir := t.TempDir()
	file := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("secret\n"), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good, open := file("good", 0o600), file("open", 0o644)
	for _, tt := range []struct {
		name   string
		params map[string]string
		code   ocf.Code
	}{
		{"a secret", map[string]string{"username": "u", "tenantId": "t", "password_file": good}, ocf.OK},
		{"no such file", map[string]string{"username": "u", "tenantId": "t", "password_file": dir + "/none"}, ocf.ErrPerm},
		{"for all to read", map[string]string{"username": "u", "tenantId": "t", "password_file": open}, ocf.ErrPerm},
		{"a directory", map[string]string{"username": "u", "tenantId": "t", "password_file": dir}, ocf.ErrPerm},
		{"no such certificate", map[string]string{"username": "u", "tenantId": "t", "certificate_file": dir + "/none"}, ocf.ErrPerm},
		{"a certificate for all to read", map[string]string{"username": "u", "tenantId": "t", "certificate_file": open}, ocf.ErrPerm},
		{"no tenant", map[string]string{"username": "u", "password_file": good}, ocf.ErrConfigured},
		{"two identities", map[string]string{"username": "u", "tenantId": "t", "password_file": good, "identity": "i"}, ocf.ErrConfigured},
		{"nothing to prove it by", map[string]string{"username": "u", "tenantId": "t"}, ocf.ErrConfigured},
		{"nobody", map[string]string{"password_file": good}, ocf.ErrConfigured},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := ocf.NewCall(declaration(), "start", func(name string) (string, bool) {
				tt.params["ip"] = "192.0.2.10"
				for k, v := range tt.params {
					if name == "OCF_RESKEY_"+k {
						return v, true
					}
				}
				return "", false
			}, slog.New(slog.DiscardHandler))
			var hidden []string
			c.Hide = func(secrets ...string) { hidden = append(hidden, secrets...) }
			_, err := buildAzure(context.Background(), c)
			if tt.code == ocf.OK && !slices.Equal(hidden, []string{"secret"}) {
				t.Errorf("masked in the log: %q", hidden)
			}
			if err != nil {
				err = cloudError(err)
			}
			if got := ocf.CodeOf(err); got != tt.code {
				t.Errorf("%d, want %d: %v", got, tt.code, err)
			}
		})
	}
}

// The cloud's interface is found by every name by which start finds the device.
func TestHardwareIn(t *testing.T) {
	links := []netif.Link{netiftest.Loopback(), netiftest.Ethernet(2, "eth0"), netiftest.Ethernet(3, "eth1")}
	links[2].AltNames = []string{"enP30832p0s0"}
	for nic, want := range map[string]string{
		"eth0": links[1].Hardware.String(), "eth1": links[2].Hardware.String(), "enP30832p0s0": links[2].Hardware.String(), "eth9": "",
	} {
		if got := hardwareIn(links, nic); got != want {
			t.Errorf("%s: %q, want %q", nic, got, want)
		}
	}
}
