package azure

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
)

// Options are what a Client is made of.
type Options struct {
	// Program is what we call ourselves in requests.
	Program string
	// Cloud is one of the names above, "" for Public; MetadataEndpoint belongs to Stack.
	Cloud, MetadataEndpoint string
	Identity                Identity
	// RequestTimeout bounds each attempt at a request. It must be set.
	RequestTimeout time.Duration
	// Throttled bounds what is waited for a service that takes no more requests for now; 0 means
	// until the context's own end.
	Throttled time.Duration
	// Log gets what is tried again. It must be set.
	Log *slog.Logger
	// Hide is told every token, so that none is ever logged; it may be nil.
	Hide func(...string)
	Wire Wire
}

// Client is the Resource Manager, seen by one action of a program.
type Client struct {
	// Who is the identity, for sentences.
	Who   string
	Place Place
	// Answered says that ARM has answered before: then silence means a lost connection.
	Answered bool

	// raw sends what the SDK has no types for, or whose unknown fields must survive.
	raw   *arm.Client
	cred  Credential
	base  policy.ClientOptions
	local *http.Client
	// clients are closed at the end.
	clients []*http.Client
}

// Open prepares the clients. The first request to ARM signs in. Errors are of type *[Error].
func Open(ctx context.Context, o Options) (*Client, error) {
	web, local := o.Wire.Client(true), o.Wire.Client(false)
	c, err := open(ctx, o, web, local)
	if err != nil {
		web.CloseIdleConnections()
		local.CloseIdleConnections()
		return nil, err
	}
	c.local, c.clients = local, []*http.Client{web, local}
	return c, nil
}

func open(ctx context.Context, o Options, web, local *http.Client) (*Client, error) {
	place, err := findPlace(ctx, o, web)
	if err != nil {
		return nil, err
	}
	cred, err := o.credential(place, web, local)
	if err != nil {
		return nil, err
	}
	return Connect(cred, place, o.client(place, web), o.Throttled, o.Log)
}

// Connect makes a client of a credential and the SDK's options, for who has those already.
func Connect(cred Credential, place Place, base policy.ClientOptions, throttled time.Duration, log *slog.Logger) (*Client, error) {
	base.PerCallPolicies = []policy.Policy{patience{log: log, throttled: throttled}}
	c := &Client{Who: cred.name, Place: place, cred: cred, base: base}
	var err error
	if c.raw, err = arm.NewClient("pgrex", "v1.0.0", cred, c.options("")); err != nil {
		return nil, wrong(Usage, err, "%v", Plain(err))
	}
	return c, nil
}

func (c *Client) options(version string) *arm.ClientOptions {
	o := &arm.ClientOptions{ClientOptions: c.base, DisableRPRegistration: true}
	o.APIVersion = version
	return o
}

// Typed gives what a typed client of the SDK is made of, so that it signs in and has patience as this
// one does. version is the API version it is to use, "" for its own.
func (c *Client) Typed(version string) (Credential, *arm.ClientOptions) {
	return c.cred, c.options(version)
}

// Close drops the connections. A token is not given back; it ends by itself.
func (c *Client) Close() {
	for _, h := range c.clients {
		h.CloseIdleConnections()
	}
}

// Host is the name of the Resource Manager.
func (c *Client) Host() string { return host(c.raw.Endpoint()) }

// Fetch reads an id of ARM, or a whole URL that ARM has given us, into v.
func (c *Client) Fetch(ctx context.Context, target, version string, v any) error {
	_, err := c.Send(ctx, Request{Method: http.MethodGet, Target: target, Version: version}, v)
	return err
}

// Request is a request of ARM.
type Request struct {
	// Target is an id of ARM, or a whole URL that ARM has given us; Version is the API's, "" if it
	// stands in the URL.
	Method, Target, Version string
	Header                  http.Header
	// Body is sent as JSON unless it is nil.
	Body any
}

// Send makes a request and reads its answer into v, which may be nil. It returns the header of the
// answer also with an error, if there was an answer.
func (c *Client) Send(ctx context.Context, r Request, v any) (http.Header, error) {
	req, err := c.request(ctx, r)
	if err != nil {
		return nil, err
	}
	resp, err := c.raw.Pipeline().Do(req)
	if err != nil {
		return nil, err
	}
	c.Answered = true
	data, err := runtime.Payload(resp)
	if err != nil {
		return resp.Header, err
	}
	if !runtime.HasStatusCode(resp, http.StatusOK, http.StatusCreated, http.StatusAccepted, http.StatusNoContent) {
		return resp.Header, runtime.NewResponseError(resp)
	}
	if v == nil {
		return resp.Header, nil
	}
	return resp.Header, json.Unmarshal(data, v)
}

func (c *Client) request(ctx context.Context, r Request) (*policy.Request, error) {
	target := r.Target
	if !strings.Contains(target, "://") {
		target = runtime.JoinPaths(c.raw.Endpoint(), target)
	}
	req, err := runtime.NewRequest(ctx, r.Method, target)
	if err != nil {
		return nil, err
	}
	if r.Version != "" {
		q := req.Raw().URL.Query()
		q.Set("api-version", r.Version)
		req.Raw().URL.RawQuery = q.Encode()
	}
	req.Raw().Header.Set("Accept", "application/json")
	for k, values := range r.Header {
		req.Raw().Header[k] = values
	}
	if r.Body == nil {
		return req, nil
	}
	data, err := json.Marshal(r.Body)
	if err != nil {
		return nil, err
	}
	return req, req.SetBody(streaming.NopCloser(bytes.NewReader(data)), "application/json")
}
