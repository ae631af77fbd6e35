package azure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// answer is a response of ARM in its own JSON; details are the inner codes.
func answer(status int, code, message string, details ...string) *http.Response {
	inner := ""
	for _, d := range details {
		inner += fmt.Sprintf(`,{"code":%q,"message":"of %s"}`, d, d)
	}
	body := fmt.Sprintf(`{"error":{"code":%q,"message":%q,"details":[%s]}}`, code, message, strings.TrimPrefix(inner, ","))
	if code == "" {
		body = "<html>an intermediary</html>"
	}
	return &http.Response{
		StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)),
		Request: &http.Request{Method: http.MethodPut, URL: &url.URL{Scheme: "https", Host: "management.azure.com", Path: "/x"}},
	}
}

func testClient(t *testing.T) *Client {
	t.Helper()
	p, err := findPlace(t.Context(), Options{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := &Client{Who: "the managed identity of this machine", Place: p}
	cred, err := azidentity.NewManagedIdentityCredential(nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.raw, err = arm.NewClient("test", "v1.0.0", cred, nil); err != nil {
		t.Fatal(err)
	}
	return c
}

var subject = Subject{What: "giving 10.0.1.50 to n2", Thing: "the network interface", Scope: "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkInterfaces/n2"}

// Every answer that Azure is known to give to what this suite asks, with its class, whether it is a lock that
// somebody else's change holds, and what the sentence says.
func TestClassOfRefusal(t *testing.T) {
	const authorization = "The client 'x' with object id 'x' does not have authorization to perform action 'Microsoft.Network/networkInterfaces/write' over scope '/subscriptions/s' or the scope is invalid."
	const linked = "The client has permission to perform action 'Microsoft.Network/networkInterfaces/write' on scope '/a'; however, it does not have permission to perform action(s) 'Microsoft.Network/virtualNetworks/subnets/join/action' on the linked scope(s) '/b' (respectively)"
	for _, tt := range []struct {
		status  int
		code    string
		message string
		details []string
		class   Class
		locked  bool
		part    string
	}{
		// Locked by another operation: said by 429, and not throttling.
		{429, "RetryableError", "A retryable error occurred.", []string{"RetryableErrorDueToAnotherOperation"}, Locked, true, "is changing the network interface"},
		{429, "RetryableError", "A retryable error occurred.", []string{"ReferencedResourceNotProvisioned"}, Locked, true, "is changing the network interface"},
		{429, "RetryableErrorDueToAnotherOperation", "", nil, Locked, true, "is changing"},
		{429, "ReferencedResourceNotProvisioned", "", nil, Locked, true, "is changing"},
		{429, "AnotherOperationInProgress", "", nil, Locked, true, "is changing"},
		{409, "AnotherOperationInProgress", "", nil, Locked, true, "is changing"},
		{409, "Conflict", "", nil, Locked, true, "is changing"},
		{409, "OperationNotAllowed", "The VM is being changed.", nil, Locked, true, "is changing"},
		{409, "", "", nil, Locked, true, "is changing"},
		// Too many requests.
		{429, "SubscriptionRequestsThrottled", "", nil, Throttled, false, "takes no more requests for now (SubscriptionRequestsThrottled"},
		{429, "TooManyRequests", "", nil, Throttled, false, "takes no more requests"},
		{429, "", "", nil, Throttled, false, "takes no more requests"},
		// An administrator's lock, and limits, pass by themselves as little as a missing right.
		{409, "ScopeLocked", "The scope is locked.", nil, Protected, false, "an administrator has to remove the lock"},
		{409, "ReadOnlyDisabledSubscription", "", nil, Refused, false, "ReadOnlyDisabledSubscription"},
		{409, "OperationNotAllowed", "Operation could not be completed as it results in exceeding approved Total Regional Cores quota.", nil, Refused, false, "quota"},
		// Rights.
		{403, "AuthorizationFailed", authorization, nil, Forbidden, false, "lacks the right Microsoft.Network/networkInterfaces/write on /subscriptions/s;"},
		{403, "LinkedAuthorizationFailed", linked, nil, Forbidden, false, "lacks the right Microsoft.Network/virtualNetworks/subnets/join/action on /b;"},
		{403, "RequestDisallowedByPolicy", "no", nil, Forbidden, false, "forbidden to the managed identity"},
		{401, "InvalidAuthenticationToken", "", nil, NotAccepted, false, "does not accept the managed identity"},
		// What does not fit together; who calls knows the codes.
		{400, "PrivateIPAddressIsAllocated", "", nil, Refused, false, "refused with status 400 (PrivateIPAddressIsAllocated"},
		{400, "PrivateIPAddressNotInSubnet", "", nil, Refused, false, "PrivateIPAddressNotInSubnet"},
		{400, "PrivateIPAddressInReservedRange", "", nil, Refused, false, "PrivateIPAddressInReservedRange"},
		{400, "InvalidResource", "", nil, Refused, false, "InvalidResource"},
		{400, "InvalidIPConfigCount", "", nil, Refused, false, "InvalidIPConfigCount"},
		{400, "IpConfigDeleteNotSupported", "", nil, Refused, false, "IpConfigDeleteNotSupported"},
		{400, "OutboundRuleCannotBeUsedWithBackendAddressPoolThatIsReferencedBySecondaryIpConfigs", "", nil, Refused, false, "OutboundRule"},
		{412, "PreconditionFailed", "", []string{"PreconditionFailedEtagMismatch"}, Refused, false, "status 412"},
		{400, "InvalidApiVersionParameter", "", nil, Refused, false, "check the parameter cloud"},
		{404, "ResourceNotFound", "", nil, NotFound, false, "not found"},
		{404, "ResourceGroupNotFound", "", nil, NotFound, false, `no resource group "g"`},
		{404, "SubscriptionNotFound", "", nil, NotFound, false, "check subscriptionId"},
		// ARM fails.
		{500, "InternalServerError", "", nil, Broken, false, "fails with status 500"},
		{502, "", "", nil, Broken, false, "fails with status 502"},
		{503, "ServiceUnavailable", "", nil, Broken, false, "fails with status 503"},
		{408, "", "", nil, Broken, false, "fails with status 408"},
		{400, "SomethingNew", "of which we know nothing", nil, Refused, false, "SomethingNew: of which we know nothing"},
	} {
		t.Run(fmt.Sprint(tt.status, " ", tt.code, tt.details), func(t *testing.T) {
			c := testClient(t)
			err := runtime.NewResponseError(answer(tt.status, tt.code, tt.message, tt.details...))
			e := c.Explain(t.Context(), err, subject)
			if e.Class != tt.class || !strings.Contains(e.Text, tt.part) || !strings.HasPrefix(e.Text, subject.What) || strings.Contains(e.Text, "\n") {
				t.Errorf("class %d, want %d: %s", e.Class, tt.class, e.Text)
			}
			f := e.Refusal
			if f == nil || f.Status != tt.status || f.Code != tt.code || len(f.Details) != len(tt.details) || f.Locked() != tt.locked {
				t.Errorf("taken apart: %+v", f)
			}
			if !errors.Is(e, err) || !c.Answered {
				t.Error("the error inside is lost, or counts as silence")
			}
		})
	}
}

type timeoutError struct{}

func (timeoutError) Error() string   { return "i/o timeout" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }

// No answer at all has a class of its own, and another once ARM was heard of in this action.
func TestClassOfSilence(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 443}, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	away := &net.OpError{Op: "dial", Net: "tcp", Addr: refused.Addr, Err: os.NewSyscallError("connect", syscall.EHOSTUNREACH)}
	for name, tt := range map[string]struct {
		err    error
		before Class // ARM has not answered yet
		after  Class
		part   string
	}{
		"no name":     {&net.DNSError{Err: "no such host", Name: "management.azure.com", IsNotFound: true}, Unreachable, Lost, "the name management.azure.com cannot be resolved"},
		"no route":    {away, Unreachable, Lost, "no route to host (192.0.2.1:443)"},
		"refused":     {refused, Unreachable, Lost, "connection refused"},
		"no answer":   {timeoutError{}, Unreachable, NoAnswer, "no answer in time"},
		"out of time": {context.DeadlineExceeded, Unreachable, NoAnswer, "no answer in time"},
		"closed":      {io.ErrUnexpectedEOF, Unreachable, Lost, "closed without an answer"},
	} {
		t.Run(name, func(t *testing.T) {
			for answered, want := range map[bool]Class{false: tt.before, true: tt.after} {
				c := testClient(t)
				c.Answered = answered
				err := &url.Error{Op: "Put", URL: "https://management.azure.com/x", Err: tt.err}
				e := c.Explain(t.Context(), err, subject)
				if e.Class != want || !strings.Contains(e.Text, tt.part) || !strings.Contains(e.Text, "this node needs a way to it") {
					t.Errorf("answered before %v: class %d, want %d: %s", answered, e.Class, want, e.Text)
				}
				// Pacemaker takes these words for its own.
				if strings.Contains(e.Text, "timed out") || strings.Contains(e.Text, "timeout") {
					t.Error(e.Text)
				}
			}
		})
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if e := testClient(t).Explain(ended, &endedError{context.Canceled, "status 503"}, subject); e.Class != Ended || !strings.Contains(e.Text, "the last one: status 503") {
		t.Errorf("class %d: %s", e.Class, e.Text)
	}
	if e := testClient(t).Explain(t.Context(), nil, subject); e != nil {
		t.Errorf("nothing is wrong: %v", e)
	}
}

// A failure to sign in is definite where the answer was no.
func TestClassOfSignIn(t *testing.T) {
	for text, want := range map[string]Class{
		"AADSTS7000215: Invalid client secret provided.":                      NoIdentity,
		"AADSTS7000222: The provided client secret keys for app are expired.": NoIdentity,
		"AADSTS700016: Application was not found in the directory":            NoIdentity,
		"AADSTS90002: Tenant not found":                                       NoIdentity,
		"Identity not found":                                                  NoIdentity,
		"there are multiple user assigned identities, please specify":         NoIdentity,
		"ManagedIdentityCredential: context deadline exceeded":                NoToken,
		"the instance metadata service could not be reached":                  NoToken,
	} {
		e := testClient(t).Explain(t.Context(), &SignInError{"application a", errors.New(text)}, subject)
		if e.Class != want || !strings.HasPrefix(e.Text, "cannot sign in as application a") {
			t.Errorf("%s: class %d, want %d: %s", text, e.Class, want, e.Text)
		}
	}
}

// What is sent again by itself, after what pause, and what is not: a lock is its owner's business, since the
// resource has to be looked at first.
func TestAgain(t *testing.T) {
	header := func(r *http.Response, name, value string) *http.Response {
		r.Header.Set(name, value)
		return r
	}
	silent, refused := error(timeoutError{}), error(&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)})
	for name, tt := range map[string]struct {
		resp  *http.Response
		err   error
		try   int
		since time.Duration
		wait  time.Duration // 0: not again
	}{
		"done":                       {resp: answer(200, "x", ""), try: 1},
		"refused for good":           {resp: answer(400, "x", ""), try: 1},
		"not implemented":            {resp: answer(501, "x", ""), try: 1},
		"server error":               {resp: answer(500, "x", ""), try: 1, wait: firstPause},
		"server error, third":        {resp: answer(503, "x", ""), try: 3, wait: 4 * firstPause},
		"server error, last":         {resp: answer(503, "x", ""), try: tries},
		"server error that asks":     {resp: header(answer(503, "x", ""), "Retry-After", "3"), try: 1, wait: 3 * time.Second},
		"slow request":               {resp: answer(408, "", ""), try: 1, wait: firstPause},
		"locked":                     {resp: answer(429, "RetryableError", "", "RetryableErrorDueToAnotherOperation"), try: 1},
		"conflict":                   {resp: answer(409, "AnotherOperationInProgress", ""), try: 1},
		"throttled":                  {resp: answer(429, "TooManyRequests", ""), try: 1, wait: throttlePause},
		"throttled, as asked":        {resp: header(answer(429, "TooManyRequests", ""), "Retry-After", "7"), try: 9, wait: 7 * time.Second},
		"throttled, in milliseconds": {resp: header(answer(429, "TooManyRequests", ""), "x-ms-retry-after-ms", "150"), try: 1, wait: 150 * time.Millisecond},
		"throttled beyond our end":   {resp: header(answer(429, "TooManyRequests", ""), "Retry-After", "900"), try: 1},
		"throttled beyond the bound": {resp: answer(429, "TooManyRequests", ""), try: 1, since: 59 * time.Second},
		"a date is no number":        {resp: header(answer(429, "TooManyRequests", ""), "Retry-After", "Sat, 21 Nov 2026 12:00:00 GMT"), try: 1, wait: throttlePause},
		"connection refused":         {err: refused, try: 1, wait: firstPause},
		"connection refused, last":   {err: refused, try: tries},
		"silent":                     {err: silent, try: 1, wait: firstPause},
		"silent again":               {err: silent, try: silentTries},
		"cannot sign in":             {err: &SignInError{"x", refused}, try: 1},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
			defer cancel()
			p := patience{log: slog.New(slog.DiscardHandler), throttled: time.Minute}
			wait, why := p.again(ctx, tt.resp, tt.err, tt.try, tt.since)
			if wait != tt.wait || (why == "") != (tt.wait == 0) {
				t.Errorf("again after %v (%s), want %v", wait, why, tt.wait)
			}
			cancel()
			if _, why := p.again(ctx, tt.resp, tt.err, tt.try, tt.since); why != "" {
				t.Errorf("again after the end: %s", why)
			}
		})
	}
}
