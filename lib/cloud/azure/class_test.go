package azure

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgrex/lib/azure"
	"pgrex/lib/azure/names"
	"pgrex/lib/cloud"
	azuresim "pgrex/tests/fakes/azure"
)

// The class of every answer that is known, and whether acquiring goes on after it (see the table in
// docs/cloudip-azure.md).
func TestClasses(t *testing.T) {
	for _, tt := range []struct {
		class   azure.Class
		status  int
		code    string
		details []string
		want    cloud.Class
		goesOn  bool
	}{
		{azure.Locked, 429, "RetryableError", []string{"RetryableErrorDueToAnotherOperation"}, cloud.Transient, true},
		{azure.Locked, 429, "RetryableError", []string{"ReferencedResourceNotProvisioned"}, cloud.Transient, true},
		{azure.Throttled, 429, "SubscriptionRequestsThrottled", nil, cloud.Transient, true},
		{azure.Throttled, 429, "TooManyRequests", nil, cloud.Transient, true},
		{azure.Locked, 409, "AnotherOperationInProgress", nil, cloud.Transient, true},
		{azure.Locked, 409, "Conflict", nil, cloud.Transient, true},
		{azure.Locked, 409, "OperationNotAllowed", nil, cloud.Transient, true},
		{azure.Protected, 409, "ScopeLocked", nil, cloud.Permission, false},
		{azure.Refused, 409, "ReadOnlyDisabledSubscription", nil, cloud.Permission, false},
		{azure.Refused, 400, "PrivateIPAddressIsAllocated", nil, cloud.Transient, false}, // the holder is looked for instead
		{azure.Refused, 400, "PrivateIPAddressIsBeingCleanedUp", nil, cloud.Transient, true},
		{azure.Refused, 400, "PrivateIPAddressNotInSubnet", nil, cloud.Configuration, false},
		{azure.Refused, 400, "PrivateIPAddressInReservedRange", nil, cloud.Configuration, false},
		{azure.Refused, 400, "InvalidResource", nil, cloud.Configuration, false},
		{azure.Refused, 400, "InvalidResourceReference", nil, cloud.Configuration, false},
		{azure.Refused, 400, "InvalidIPConfigCount", nil, cloud.Configuration, false},
		{azure.Refused, 400, "IpConfigDeleteNotSupported", nil, cloud.Configuration, false},
		{azure.Refused, 400, "OutboundRuleCannotBeUsedWithBackendAddressPoolThatIsReferencedBySecondaryIpConfigs", nil, cloud.Configuration, false},
		{azure.Refused, 400, "Outer", []string{"PrivateIPAddressNotInSubnet"}, cloud.Configuration, false},
		{azure.Refused, 412, "PreconditionFailed", []string{"PreconditionFailedEtagMismatch"}, cloud.Transient, true},
		{azure.Forbidden, 403, "AuthorizationFailed", nil, cloud.Permission, false},
		{azure.Forbidden, 403, "LinkedAuthorizationFailed", nil, cloud.Permission, false},
		{azure.NotAccepted, 401, "InvalidAuthenticationToken", nil, cloud.Transient, false},
		{azure.NotFound, 404, "ResourceNotFound", nil, cloud.Permission, false},
		{azure.Broken, 500, "InternalServerError", nil, cloud.Transient, true},
		{azure.Broken, 503, "", nil, cloud.Transient, true},
		{azure.Refused, 400, "SomethingNew", nil, cloud.Unclassified, false},
		// Without an answer.
		{azure.NoIdentity, 0, "", nil, cloud.Permission, false},
		{azure.NoSecret, 0, "", nil, cloud.Permission, false},
		{azure.Usage, 0, "", nil, cloud.Permission, false},
		{azure.NoToken, 0, "", nil, cloud.Transient, true},
		{azure.Unreachable, 0, "", nil, cloud.Transient, true},
		{azure.Lost, 0, "", nil, cloud.Transient, true},
		{azure.NoAnswer, 0, "", nil, cloud.Transient, true},
		{azure.Ended, 0, "", nil, cloud.Transient, false},
		{azure.Refused, 0, "", nil, cloud.Unclassified, false},
	} {
		t.Run(fmt.Sprint(tt.class, tt.status, tt.code, tt.details), func(t *testing.T) {
			e := &azure.Error{Class: tt.class, Text: "it"}
			if tt.status != 0 {
				e.Refusal = &azure.Refusal{Status: tt.status, Code: tt.code, Details: tt.details}
			}
			if got := classOf(e); got != tt.want {
				t.Errorf("class %v, want %v", got, tt.want)
			}
			if got := passing(classified(e)); got != tt.goesOn {
				t.Errorf("goes on: %v", got)
			}
		})
	}
}

// Which Azure it is stands in the machine's metadata; a name that is not known is the public one's.
func TestCloudOf(t *testing.T) {
	for environment, want := range map[string]string{
		"AzurePublicCloud": names.Public, "AzureUSGovernmentCloud": names.USGov, "AzureChinaCloud": names.China, "": names.Public, "AzureMars": names.Public,
	} {
		if got := cloudOf(environment); got != want {
			t.Errorf("%q is %q, want %q", environment, got, want)
		}
	}
}

// Without being told otherwise an operation is looked at each second, whatever pause the service asks for.
func TestPoll(t *testing.T) {
	if p := New(Options{}); p.o.Poll != time.Second {
		t.Errorf("every %v", p.o.Poll)
	}
	t.Parallel()
	s := held(t)
	s.Script(azuresim.Fault{Method: "PUT", Path: "/networkInterfaces/n2", Skip: 1, Operation: &azuresim.OperationFault{Status: "Succeeded", Effect: true, After: ms(2000)}})
	s.Script(azuresim.Fault{Path: "/operations/", Header: map[string]string{"Retry-After": "30"}, Times: -1})
	s.must(t, s.on(t, "n2", func(o *Options) { o.Method, o.Poll = Put, 500*time.Millisecond }))
	looks := 0
	for _, r := range s.Requests() {
		if strings.Contains(r.Path, "/operations/") {
			looks++
		}
	}
	if looks < 4 || looks > 12 {
		t.Errorf("an operation of two seconds was looked at %d times", looks)
	}
}
