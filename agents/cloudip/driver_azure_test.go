//go:build !lan

package main

import (
	"context"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgrex/lib/azure"
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

// Each way to say who we are becomes that identity, and no other.
func TestAzureIdentity(t *testing.T) {
	proof := filepath.Join(t.TempDir(), "proof")
	if err := os.WriteFile(proof, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	app := map[string]string{"username": "app", "tenantId": "tenant"}
	with := func(name, value string) map[string]string {
		m := maps.Clone(app)
		m[name] = value
		return m
	}
	protected := with("certificate_file", proof)
	protected["password_file"] = proof
	for name, tt := range map[string]struct {
		params map[string]string
		want   azure.Identity
	}{
		"the machine's own":     {nil, azure.Identity{}},
		"user-assigned":         {map[string]string{"identity": "/subscriptions/s/x"}, azure.Identity{Managed: "/subscriptions/s/x"}},
		"secret":                {with("password_file", proof), azure.Identity{Application: "app", Tenant: "tenant", Secret: "s3cret"}},
		"certificate":           {with("certificate_file", proof), azure.Identity{Application: "app", Tenant: "tenant", CertificateFile: proof}},
		"protected certificate": {protected, azure.Identity{Application: "app", Tenant: "tenant", CertificateFile: proof, Secret: "s3cret"}},
		"workload identity":     {with("federated_token_file", proof), azure.Identity{Application: "app", Tenant: "tenant", FederatedTokenFile: proof}},
	} {
		t.Run(name, func(t *testing.T) {
			c := ocf.NewCall(declaration(), "start", func(name string) (string, bool) {
				v, ok := tt.params[strings.TrimPrefix(name, "OCF_RESKEY_")]
				return v, ok
			}, slog.New(slog.DiscardHandler))
			if err := fitAzure(c); err != nil {
				t.Error(err)
			}
			if got, err := azureIdentity(c); err != nil || got != tt.want {
				t.Errorf("%+v, %v", got, err)
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
