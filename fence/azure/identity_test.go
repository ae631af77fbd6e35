package main

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"pgrex/tests/fakes/azure"
)

// selfSigned makes a certificate with its key, as an administrator would register one.
func selfSigned(t *testing.T) (cert, both []byte, pkcs pkcs12s) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "fencing"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	pkcs = pkcs12s{}
	for name, by := range map[string]struct {
		*pkcs12.Encoder
		passphrase string
	}{
		"legacy": {pkcs12.LegacyRC2, passphrase}, "des": {pkcs12.LegacyDES, passphrase}, "modern": {pkcs12.Modern2023, passphrase},
		"newest": {pkcs12.Modern2026, passphrase}, "open": {pkcs12.Passwordless, ""},
	} {
		if pkcs[name], err = by.Encode(key, parsed, nil, by.passphrase); err != nil {
			t.Fatal(err)
		}
	}
	return cert, append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), cert...), pkcs
}

// pkcs12s are files of one certificate by the way they are encrypted, and passphrase is what opens them.
type pkcs12s map[string][]byte

const passphrase = "s3cr3t-passphrase"

func write(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// Every way to sign in, right and wrong.
func TestIdentities(t *testing.T) {
	cert, both, pkcs := selfSigned(t)
	_, stranger, _ := selfSigned(t)
	locked := pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("not looked at")})
	by := func(data []byte, more ...string) []string {
		return append([]string{"username=app-id", "certificate_file=" + write(t, data)}, more...)
	}
	cfg := usual()
	resource := "/subscriptions/x/resourceGroups/ids/providers/Microsoft.ManagedIdentity/userAssignedIdentities/fencing"
	cfg.Principals = []azure.Principal{
		{Name: "system", SystemOf: "n1", Grants: documented},
		{Name: "user", ClientID: "user-id", AssignedTo: []string{"n1"}, ResourceID: resource, Grants: documented},
		{Name: "app", ClientID: "app-id", Secret: "s3cr3t-value", CertificatePEM: string(cert), FederatedToken: "token-of-elsewhere", Grants: documented},
	}
	s := begin(t, cfg)
	tenant := "tenantId=" + s.Tenant()
	secret := write(t, []byte("s3cr3t-value\n"))
	tests := []struct {
		name   string
		params []string
		as     string // who asked ARM; "" means that nobody could
		parts  []string
	}{
		{name: "by default", as: "system"},
		{name: "msi", params: []string{"msi=true"}, as: "system"},
		{name: "msi before username", params: []string{"msi=1", "username=app-id", "password=wrong"}, as: "system", parts: []string{"are ignored"}},
		{name: "msi=false", params: []string{"msi=false", "username=app-id", "password=s3cr3t-value", tenant}, as: "app"},
		{name: "user-assigned", params: []string{"identity=user-id"}, as: "user"},
		{name: "user-assigned by resource", params: []string{"identity=" + resource}, as: "user"},
		{name: "not assigned", params: []string{"identity=nobody"}, parts: []string{"cannot sign in as the managed identity nobody", "Identity not found", "assign a managed identity"}},
		{name: "secret", params: []string{"login=app-id", "passwd=s3cr3t-value", tenant}, as: "app"},
		{name: "secret by file", params: []string{"username=app-id", "password_file=" + secret, tenant}, as: "app"},
		{name: "secret by script", params: []string{"username=app-id", "password_script=cat " + secret, tenant}, as: "app"},
		{name: "wrong secret", params: []string{"username=app-id", "password=wr0ng-value", tenant}, parts: []string{"cannot sign in as application app-id", "AADSTS7000215", "the secret is wrong"}},
		{name: "no such application", params: []string{"username=other", "password=x-value", tenant}, parts: []string{"AADSTS700016", "check username"}},
		{name: "no such tenant", params: []string{"username=app-id", "password=s3cr3t-value", "tenantId=nowhere"}, parts: []string{"AADSTS90002", "check tenantId"}},
		{name: "certificate", params: []string{"username=app-id", "certificate_file=" + write(t, both), tenant}, as: "app"},
		{name: "other certificate", params: []string{"username=app-id", "certificate_file=" + write(t, stranger), tenant}, parts: []string{"AADSTS700027", "register the certificate"}},
		{name: "certificate without key", params: []string{"username=app-id", "certificate_file=" + write(t, cert), tenant}, parts: []string{"cannot sign in as application app-id (certificate)"}},
		{name: "no certificate", params: []string{"username=app-id", "certificate_file=/nonexistent", tenant}, parts: []string{"no such file"}},
		{name: "PEM and a password", params: by(both, "password="+passphrase, tenant), as: "app"},
		{name: "encrypted PEM", params: by(append(locked, cert...), "password="+passphrase, tenant), parts: []string{"make a PKCS#12 file of it"}},
		{name: "PKCS#12, RC2", params: by(pkcs["legacy"], "password="+passphrase, tenant), as: "app"},
		{name: "PKCS#12, 3DES", params: by(pkcs["des"], "password="+passphrase, tenant), as: "app"},
		{name: "PKCS#12, AES as OpenSSL 3 has it", params: by(pkcs["modern"], "password="+passphrase, tenant), as: "app"},
		{name: "PKCS#12, PBMAC1", params: by(pkcs["newest"], "password="+passphrase, tenant), as: "app"},
		{name: "PKCS#12 without a passphrase", params: by(pkcs["open"], tenant), as: "app"},
		{name: "PKCS#12, passphrase by file", params: by(pkcs["modern"], "password_file="+write(t, []byte(passphrase+"\n")), tenant), as: "app"},
		{name: "PKCS#12, wrong passphrase", params: by(pkcs["modern"], "password=wr0ng", tenant), parts: []string{"the passphrase of the PKCS#12 file is another"}},
		{name: "PKCS#12, no passphrase", params: by(pkcs["modern"], tenant), parts: []string{"the PKCS#12 file has a passphrase"}},
		{name: "PKCS#12, cut off", params: by(pkcs["modern"][:200], "password="+passphrase, tenant), parts: []string{"neither PEM nor PKCS#12"}},
		{name: "empty certificate file", params: by(nil, tenant), parts: []string{"neither PEM nor PKCS#12"}},
		{name: "workload identity", params: []string{"username=app-id", "federated_token_file=" + write(t, []byte("token-of-elsewhere")), tenant}, as: "app"},
		{name: "stale workload identity", params: []string{"username=app-id", "federated_token_file=" + write(t, []byte("old-token")), tenant}, parts: []string{"AADSTS700027"}},
		{name: "no workload token", params: []string{"username=app-id", "federated_token_file=/nonexistent", tenant}, parts: []string{"no such file"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s.ForgetRequests()
			debug := filepath.Join(t.TempDir(), "debug")
			r := s.call(t, "status", append([]string{"plug=n2", "verbose=1", "verbose_level=5", "debug_file=" + debug}, tt.params...)...)
			written, err := os.ReadFile(debug)
			if err != nil {
				t.Fatal(err)
			}
			if tt.as != "" {
				r.check(t, 0, "Status: ON", tt.parts...)
			} else {
				r.check(t, 1, "", tt.parts...)
			}
			for _, q := range s.Requests() {
				if strings.HasPrefix(q.Path, "/subscriptions") && q.Principal != tt.as {
					t.Errorf("ARM was asked by %q: %v", q.Principal, q)
				}
			}
			for _, word := range []string{"s3cr3t", "wr0ng", "stand-in-token", "token-of-elsewhere", "PRIVATE"} {
				if strings.Contains(r.stderr+r.stdout+string(written), word) {
					t.Errorf("a secret is shown: %v\n%s", r, written)
				}
			}
		})
	}
}

// Where the clouds are. Nothing answers there; what counts is where the agent goes.
func TestClouds(t *testing.T) {
	cfg := usual()
	cfg.Principals = append(cfg.Principals, azure.Principal{Name: "app", ClientID: "app-id", Secret: "secret", Grants: documented})
	s := begin(t, cfg)
	s.everywhere(t)
	// An identity of this test alone: the SDK keeps tokens for the whole process, by identity and cloud.
	user := s.AddPrincipal(azure.Principal{Name: "user", AssignedTo: []string{"n1"}, Grants: documented})
	for name, want := range map[string][2]string{
		"":       {"management.azure.com", "login.microsoftonline.com"},
		"public": {"management.azure.com", "login.microsoftonline.com"},
		"usgov":  {"management.usgovcloudapi.net", "login.microsoftonline.us"},
		"USGov":  {"management.usgovcloudapi.net", "login.microsoftonline.us"},
		"china":  {"management.chinacloudapi.cn", "login.chinacloudapi.cn"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, params := range [][]string{{"identity=" + user.ClientID}, {"username=app-id", "password=secret", "tenantId=" + s.Tenant()}} {
				s.ForgetRequests()
				if err := s.Change(group, "n2", func(vm *azure.VM) { vm.Power = azure.Running }); err != nil {
					t.Fatal(err)
				}
				r := s.call(t, "off", append([]string{"plug=n2", "cloud=" + name, "metadata_endpoint="}, params...)...)
				if r.code != 0 {
					t.Fatal(r)
				}
				for _, q := range s.Requests() {
					if q.Service == azure.ARM && q.Host != want[0] || q.Service == azure.Login && q.Host != want[1] {
						t.Errorf("asked %s: %v", q.Host, q)
					}
				}
			}
		})
	}
}
