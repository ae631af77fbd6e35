package azure

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// maxFile bounds what is read of a certificate file.
const maxFile = 1 << 20

// Identity is who a program wants to be. The zero value is the machine's own managed identity.
type Identity struct {
	// Managed is the client id or resource id of a user-assigned managed identity; "" is the
	// system-assigned one, or the only one there is. It counts only without Application.
	Managed string
	// Application is the client id of a service principal, Tenant its directory.
	Application, Tenant string
	// Secret is the application's secret, or the passphrase of CertificateFile.
	Secret string
	// CertificateFile and FederatedTokenFile are other proofs than a secret; the latter goes before.
	CertificateFile, FederatedTokenFile string
}

// Credential is who we are. Its errors are of a type that Explain knows.
type Credential struct {
	inner azcore.TokenCredential
	name  string
	hide  func(...string)
}

// GetToken signs in, or says who could not.
func (c Credential) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	t, err := c.inner.GetToken(ctx, o)
	if err != nil {
		return t, &SignInError{c.name, err}
	}
	c.hide(t.Token)
	return t, nil
}

// description is what the login endpoint or the metadata service says about a
// failure, without the tail of numbers for Microsoft's support.
func description(body []byte) string {
	var doc struct {
		Text string `json:"error_description"`
	}
	if json.Unmarshal(body, &doc) != nil {
		return ""
	}
	text, _, _ := strings.Cut(doc.Text, " Trace ID")
	return text
}

// NewCredential makes a credential of one of the SDK's. name is who it is, for sentences; hide, if not
// nil, is told every token, so that none is ever logged.
func NewCredential(inner azcore.TokenCredential, name string, hide func(...string)) Credential {
	if hide == nil {
		hide = func(...string) {}
	}
	return Credential{inner, name, hide}
}

// credential chooses how to sign in. No request is made yet.
func (o Options) credential(p Place, web, local *http.Client) (Credential, error) {
	who := o.Identity
	if who.Application == "" {
		return o.managed(p, local)
	}
	if p.adfs {
		who.Tenant = "adfs"
	}
	options := o.client(p, web)
	options.Retry.MaxRetries = 2
	var cred azcore.TokenCredential
	var err error
	name := "application " + who.Application
	switch {
	case who.FederatedTokenFile != "":
		name += " (workload identity)"
		cred, err = azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
			ClientOptions: options, ClientID: who.Application, TenantID: who.Tenant, TokenFilePath: who.FederatedTokenFile,
			DisableInstanceDiscovery: p.private,
		})
	case who.CertificateFile != "":
		name += " (certificate)"
		cred, err = who.certificate(p, options)
	case who.Secret == "":
		return Credential{}, wrong(NoSecret, nil, "username is set, but nothing to prove it by: set password, password_file, password_script, certificate_file or federated_token_file")
	default:
		cred, err = azidentity.NewClientSecretCredential(who.Tenant, who.Application, who.Secret, &azidentity.ClientSecretCredentialOptions{
			ClientOptions: options, DisableInstanceDiscovery: p.private,
		})
	}
	if err != nil {
		return Credential{}, wrong(Usage, err, "cannot sign in as %s: %v", name, Plain(err))
	}
	return NewCredential(cred, name, o.Hide), nil
}

func (o Options) managed(p Place, local *http.Client) (Credential, error) {
	options := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: o.client(p, local)}
	// The service on the same host answers in milliseconds, or asks to come again soon.
	options.Retry.MaxRetries, options.Retry.RetryDelay = 3, 100*time.Millisecond
	options.Retry.TryTimeout = min(options.Retry.TryTimeout, metadataPatience)
	name := "the managed identity of this machine"
	if id := o.Identity.Managed; id != "" {
		options.ID = azidentity.ClientID(id)
		if strings.HasPrefix(id, "/") {
			options.ID = azidentity.ResourceID(id)
		}
		name = "the managed identity " + id
	}
	cred, err := azidentity.NewManagedIdentityCredential(options)
	if err != nil {
		return Credential{}, wrong(NoIdentity, err, "cannot use %s: %v", name, Plain(err))
	}
	return NewCredential(cred, name, o.Hide), nil
}

func (i Identity) certificate(p Place, options policy.ClientOptions) (azcore.TokenCredential, error) {
	data, err := readFile(i.CertificateFile)
	if err != nil {
		return nil, err
	}
	certs, key, err := parseCertificate(data, i.Secret)
	if err != nil {
		return nil, err
	}
	return azidentity.NewClientCertificateCredential(i.Tenant, i.Application, certs, key, &azidentity.ClientCertificateCredentialOptions{
		ClientOptions: options, DisableInstanceDiscovery: p.private,
	})
}

func readFile(path string) ([]byte, error) {
	// O_NONBLOCK: a FIFO that nobody writes must not hang the action.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile))
}

// client is what all clients of the SDK have in common. Its own retries are off for ARM: patience
// (retry.go) knows what is worth repeating.
func (o Options) client(p Place, web *http.Client) policy.ClientOptions {
	return policy.ClientOptions{
		Cloud:     p.Configuration,
		Transport: web,
		Telemetry: policy.TelemetryOptions{ApplicationID: o.Program},
		Retry: policy.RetryOptions{
			MaxRetries: -1, TryTimeout: o.RequestTimeout,
			RetryDelay: 200 * time.Millisecond, MaxRetryDelay: 5 * time.Second,
		},
	}
}
