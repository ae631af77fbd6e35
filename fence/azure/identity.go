package main

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

	"pgrex/lib/stonith"
)

// maxFile bounds what is read of a certificate file.
const maxFile = 1 << 20

// credential is who we are. name is for sentences.
type credential struct {
	inner azcore.TokenCredential
	name  string
	hide  func(...string)
}

// GetToken signs in, or says who could not.
func (c credential) GetToken(ctx context.Context, o policy.TokenRequestOptions) (azcore.AccessToken, error) {
	t, err := c.inner.GetToken(ctx, o)
	if err != nil {
		return t, &signInError{c.name, err}
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

// newCredential chooses how to sign in. No request is made yet.
func newCredential(c *stonith.Call, p place, web, local *http.Client) (credential, error) {
	if managed(c) {
		return managedCredential(c, p, local)
	}
	id, tenant := c.Values.String("username"), c.Values.String("tenantId")
	if p.adfs {
		tenant = "adfs"
	}
	options := clientOptions(c, p, web)
	options.Retry.MaxRetries = 2
	var cred azcore.TokenCredential
	var err error
	name := "application " + id
	switch {
	case c.IsSet("federated_token_file"):
		name += " (workload identity)"
		cred, err = azidentity.NewWorkloadIdentityCredential(&azidentity.WorkloadIdentityCredentialOptions{
			ClientOptions: options, ClientID: id, TenantID: tenant, TokenFilePath: c.Values.String("federated_token_file"),
			DisableInstanceDiscovery: p.private,
		})
	case c.IsSet("certificate_file"):
		name += " (certificate)"
		cred, err = certificateCredential(c, p, tenant, id, options)
	case !c.HasPassword || c.Password == "":
		return credential{}, stonith.Errorf(stonith.NoPassword, "username is set, but nothing to prove it by: set password, password_file, password_script, certificate_file or federated_token_file")
	default:
		cred, err = azidentity.NewClientSecretCredential(tenant, id, c.Password, &azidentity.ClientSecretCredentialOptions{
			ClientOptions: options, DisableInstanceDiscovery: p.private,
		})
	}
	if err != nil {
		return credential{}, stonith.Errorf(stonith.Usage, "Failed: cannot sign in as %s: %w", name, plain(err))
	}
	return credential{cred, name, c.Hide}, nil
}

func managedCredential(c *stonith.Call, p place, local *http.Client) (credential, error) {
	options := &azidentity.ManagedIdentityCredentialOptions{ClientOptions: clientOptions(c, p, local)}
	// The service on the same host answers in milliseconds, or asks to come again soon.
	options.Retry.MaxRetries, options.Retry.RetryDelay = 3, 100*time.Millisecond
	options.Retry.TryTimeout = min(options.Retry.TryTimeout, metadataPatience)
	name := "the managed identity of this machine"
	if id := c.Values.String("identity"); id != "" {
		options.ID = azidentity.ClientID(id)
		if strings.HasPrefix(id, "/") {
			options.ID = azidentity.ResourceID(id)
		}
		name = "the managed identity " + id
	}
	cred, err := azidentity.NewManagedIdentityCredential(options)
	if err != nil {
		return credential{}, stonith.Errorf(stonith.Login, "cannot use %s: %w", name, plain(err))
	}
	return credential{cred, name, c.Hide}, nil
}

func certificateCredential(c *stonith.Call, p place, tenant, id string, options policy.ClientOptions) (azcore.TokenCredential, error) {
	data, err := readFile(c.Values.String("certificate_file"))
	if err != nil {
		return nil, err
	}
	var passphrase []byte
	if c.HasPassword && c.Password != "" {
		passphrase = []byte(c.Password)
	}
	certs, key, err := azidentity.ParseCertificates(data, passphrase)
	if err != nil {
		return nil, err
	}
	return azidentity.NewClientCertificateCredential(tenant, id, certs, key, &azidentity.ClientCertificateCredentialOptions{
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

// clientOptions are what all clients of the SDK have in common. Its own retries
// are off for ARM: patience (retry.go) knows what is worth repeating.
func clientOptions(c *stonith.Call, p place, web *http.Client) policy.ClientOptions {
	return policy.ClientOptions{
		Cloud:     p.Configuration,
		Transport: web,
		Telemetry: policy.TelemetryOptions{ApplicationID: "pgrex-fence_azure"},
		Retry: policy.RetryOptions{
			MaxRetries: -1, TryTimeout: c.Values.Duration(requestTimeout),
			RetryDelay: 200 * time.Millisecond, MaxRetryDelay: 5 * time.Second,
		},
	}
}
