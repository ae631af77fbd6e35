package azure_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"pgrex/tests/fakes/azure"
	"pgrex/tests/fakes/azure/azuretest"
)

const group = "db"

// site is a cloud, served over HTTPS, and the options by which the SDK finds it.
type site struct {
	*azuretest.Site
	options policy.ClientOptions
}

func begin(t *testing.T, cfg azure.Config, power azure.Power) site {
	t.Helper()
	s := azuretest.Start(t, cfg, power)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: s.Authority.Pool()}, ForceAttemptHTTP2: true, DialContext: s.Dial("n1")}
	t.Cleanup(transport.CloseIdleConnections)
	return site{s, policy.ClientOptions{
		Transport: &http.Client{Transport: transport},
		Retry:     policy.RetryOptions{MaxRetries: -1},
		Cloud: cloud.Configuration{ActiveDirectoryAuthorityHost: s.URL() + "/", Services: map[cloud.ServiceName]cloud.ServiceConfiguration{
			cloud.ResourceManager: {Endpoint: s.URL(), Audience: s.Audience()},
		}},
	}}
}

var everything = []azure.Grant{{Scope: "/", Actions: []string{"*"}}}

func two() azure.Config {
	return azure.Config{
		VMs: []azure.VM{{Name: "n1", Group: group}, {Name: "n2", Group: group}},
		Principals: []azure.Principal{
			{Name: "system", SystemOf: "n1", Grants: everything},
			{Name: "app", ClientID: "app-id", Secret: "s3cret", Grants: everything},
		},
	}
}

func (s site) vms(t *testing.T, cred azcore.TokenCredential) *armcompute.VirtualMachinesClient {
	t.Helper()
	c, err := armcompute.NewVirtualMachinesClient(s.Subscription(), cred, &arm.ClientOptions{ClientOptions: s.options, DisableRPRegistration: true})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s site) managed(t *testing.T) azcore.TokenCredential {
	t.Helper()
	cred, err := azidentity.NewManagedIdentityCredential(&azidentity.ManagedIdentityCredentialOptions{ClientOptions: s.options})
	if err != nil {
		t.Fatal(err)
	}
	return cred
}

func (s site) secret(t *testing.T, secret string) azcore.TokenCredential {
	t.Helper()
	cred, err := azidentity.NewClientSecretCredential(s.Tenant(), "app-id", secret, &azidentity.ClientSecretCredentialOptions{
		ClientOptions: s.options, DisableInstanceDiscovery: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	return cred
}

// The unmodified SDK powers a machine off and on, and sees what it sees of the
// real thing: states on the way, an operation that outlives its effect.
func TestPowerOffAndOn(t *testing.T) {
	cfg := two()
	cfg.Latency = azure.Latency{PowerOff: azure.Duration(30 * time.Millisecond), Start: azure.Duration(30 * time.Millisecond), Tail: azure.Duration(30 * time.Millisecond)}
	hook := make(power, 10)
	s := begin(t, cfg, hook)
	for name, cred := range map[string]azcore.TokenCredential{"managed identity": s.managed(t), "secret": s.secret(t, "s3cret")} {
		t.Run(name, func(t *testing.T) {
			c := s.vms(t, cred)
			off, err := c.BeginPowerOff(t.Context(), group, "n2", &armcompute.VirtualMachinesClientBeginPowerOffOptions{SkipShutdown: to.Ptr(true)})
			if err != nil {
				t.Fatal(err)
			}
			if got := s.PowerState(group, "n2"); got != azure.Stopping {
				t.Errorf("just after powerOff: %s", got)
			}
			if got := <-hook; got != "n2 off" {
				t.Errorf("the power was switched: %s", got)
			}
			if _, err := off.Poll(t.Context()); err != nil || off.Done() {
				t.Errorf("the operation is over with its effect (%v)", err)
			}
			if _, err := off.PollUntilDone(t.Context(), &runtime.PollUntilDoneOptions{Frequency: time.Second}); err != nil {
				t.Fatal(err)
			}
			if got := view(t, c, "n2"); got != "PowerState/stopped" {
				t.Errorf("after powerOff: %s", got)
			}
			on, err := c.BeginStart(t.Context(), group, "n2", nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := on.PollUntilDone(t.Context(), &runtime.PollUntilDoneOptions{Frequency: time.Second}); err != nil {
				t.Fatal(err)
			}
			if got := <-hook; got != "n2 on" || view(t, c, "n2") != "PowerState/running" {
				t.Errorf("after start: %s, %s", got, view(t, c, "n2"))
			}
		})
	}
	for _, r := range s.Requests() {
		if strings.Contains(r.Body, "s3cret") {
			t.Errorf("the journal holds a secret: %v", r)
		}
	}
}

type power chan string

func (p power) Switch(_ context.Context, vm string, on bool) error {
	p <- vm + map[bool]string{true: " on", false: " off"}[on]
	return nil
}

func view(t *testing.T, c *armcompute.VirtualMachinesClient, vm string) string {
	t.Helper()
	r, err := c.Get(t.Context(), group, vm, &armcompute.VirtualMachinesClientGetOptions{Expand: to.Ptr(armcompute.InstanceViewTypesInstanceView)})
	if err != nil {
		t.Fatal(err)
	}
	for _, st := range r.Properties.InstanceView.Statuses {
		if strings.HasPrefix(*st.Code, "PowerState/") {
			return *st.Code
		}
	}
	return ""
}

func TestListInPages(t *testing.T) {
	cfg := azure.Config{PageSize: 2, Principals: two().Principals}
	for _, n := range []string{"n1", "n2", "n3", "n4", "n5"} {
		cfg.VMs = append(cfg.VMs, azure.VM{Name: n, Group: group})
	}
	cfg.VMs = append(cfg.VMs, azure.VM{Name: "other", Group: "elsewhere"})
	s := begin(t, cfg, nil)
	var got []string
	for p := s.vms(t, s.managed(t)).NewListPager(group, nil); p.More(); {
		page, err := p.NextPage(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, vm := range page.Value {
			got = append(got, *vm.Name)
		}
	}
	if strings.Join(got, " ") != "n1 n2 n3 n4 n5" {
		t.Errorf("listed %v", got)
	}
}

func TestRefusals(t *testing.T) {
	s := begin(t, two(), nil)
	managed := s.managed(t)
	get := func(cred azcore.TokenCredential, group, vm string) error {
		_, err := s.vms(t, cred).Get(t.Context(), group, vm, nil)
		return err
	}
	if err := get(managed, group, "nobody"); code(err) != "ResourceNotFound" {
		t.Errorf("unknown machine: %v", err)
	}
	if err := get(managed, "nowhere", "n1"); code(err) != "ResourceGroupNotFound" {
		t.Errorf("unknown group: %v", err)
	}
	if err := get(s.secret(t, "wrong"), group, "n1"); err == nil || !strings.Contains(err.Error(), "AADSTS7000215") {
		t.Errorf("wrong secret: %v", err)
	}
	if err := s.SetGrants("system", []azure.Grant{{Scope: s.GroupID(group), Actions: []string{"Microsoft.Compute/*/read"}}}); err != nil {
		t.Fatal(err)
	}
	if err := get(managed, group, "n1"); err != nil {
		t.Errorf("with the right to read: %v", err)
	}
	_, err := s.vms(t, managed).BeginPowerOff(t.Context(), group, "n1", nil)
	if code(err) != "AuthorizationFailed" || !strings.Contains(err.Error(), "Microsoft.Compute/virtualMachines/powerOff/action") {
		t.Errorf("without the right to power off: %v", err)
	}
	s.ExpireTokens()
	if err := get(managed, group, "n1"); code(err) != "ExpiredAuthenticationToken" {
		t.Errorf("with an expired token: %v", err)
	}
}

func code(err error) string {
	var r *azcore.ResponseError
	if errors.As(err, &r) {
		return r.ErrorCode
	}
	return ""
}

// Each kind of fault reaches the client, once, and leaves its mark in the journal.
func TestFaults(t *testing.T) {
	garbage := "<html>not what you wanted"
	tests := []struct {
		name  string
		fault azure.Fault
		want  func(error) bool
	}{
		{"status", azure.Fault{Status: 429, Code: "TooManyRequests", RetryAfter: "7"}, func(err error) bool {
			var r *azcore.ResponseError
			return errors.As(err, &r) && r.StatusCode == 429 && r.RawResponse.Header.Get("Retry-After") == "7"
		}},
		{"drop", azure.Fault{Drop: true}, func(err error) bool { return err != nil && code(err) == "" }},
		{"hang", azure.Fault{Hang: true}, func(err error) bool { return errors.Is(err, context.DeadlineExceeded) }},
		{"garbage", azure.Fault{Body: &garbage}, func(err error) bool { return err != nil && code(err) == "" }},
		{"delay", azure.Fault{Delay: azure.Duration(20 * time.Millisecond)}, func(err error) bool { return err == nil }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := begin(t, two(), nil)
			tt.fault.Service, tt.fault.Path = azure.ARM, "virtualmachines/n2"
			s.Script(tt.fault)
			c := s.vms(t, s.managed(t))
			if _, err := c.Get(t.Context(), group, "n1", nil); err != nil {
				t.Fatalf("a request that the fault is not for: %v", err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
			defer cancel()
			if _, err := c.Get(ctx, group, "n2", nil); !tt.want(err) {
				t.Errorf("the fault became %v", err)
			}
			if _, err := c.Get(t.Context(), group, "n2", nil); err != nil {
				t.Errorf("after the fault: %v", err)
			}
			hit := 0
			for _, r := range s.Requests() {
				if r.Fault {
					hit++
				}
			}
			if hit != 1 {
				t.Errorf("%d requests are marked: %v", hit, s.Requests())
			}
		})
	}
}

func TestFailedOperation(t *testing.T) {
	s := begin(t, two(), nil)
	s.Script(azure.Fault{Path: "/powerOff", Operation: &azure.OperationFault{Code: "AllocationFailed", Message: "no room"}})
	p, err := s.vms(t, s.managed(t)).BeginPowerOff(t.Context(), group, "n1", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.PollUntilDone(t.Context(), &runtime.PollUntilDoneOptions{Frequency: time.Second}); code(err) != "AllocationFailed" {
		t.Errorf("the operation ended with %v", err)
	}
	if got := s.PowerState(group, "n1"); got != azure.Running {
		t.Errorf("the machine is %s", got)
	}
}

func TestRightsMatch(t *testing.T) {
	tests := []struct {
		grant azure.Grant
		want  bool
	}{
		{azure.Grant{Scope: "/", Actions: []string{"*"}}, true},
		{azure.Grant{Scope: "/", Actions: []string{"*/read"}}, true},
		{azure.Grant{Scope: "/", Actions: []string{"microsoft.compute/*/READ"}}, true},
		{azure.Grant{Scope: "/", Actions: []string{"*"}, NotActions: []string{"Microsoft.Compute/virtualMachines/read"}}, false},
		{azure.Grant{Scope: "/subscriptions/x", Actions: []string{"*"}}, false},
		{azure.Grant{Scope: "/", Actions: []string{"Microsoft.Compute/virtualMachines/*/action"}}, false},
		{azure.Grant{Scope: "/"}, false},
	}
	s := begin(t, two(), nil)
	c := s.vms(t, s.managed(t))
	for _, tt := range tests {
		if err := s.SetGrants("system", []azure.Grant{tt.grant}); err != nil {
			t.Fatal(err)
		}
		_, err := c.Get(t.Context(), group, "n1", nil)
		if (err == nil) != tt.want {
			t.Errorf("%+v: %v", tt.grant, err)
		}
	}
}
