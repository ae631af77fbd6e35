package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"pgrex/lib/stonith"
)

// readPatience is how long an action that switches nothing waits for a service
// that throttles: Pacemaker would end it without a word.
const readPatience = 20 * time.Second

// device is the Resource Manager, seen by one call.
type device struct {
	call                *stonith.Call
	subscription, group string
	who                 string
	place               place
	vms                 *armcompute.VirtualMachinesClient
	// raw sends what the SDK has no types for, or whose unknown fields must survive.
	raw *arm.Client
	// clients are closed at the end.
	clients []*http.Client
	targets map[string]*target
	// answered says that ARM has answered before: then silence means a lost connection.
	answered bool
}

// open prepares the clients. The first request to ARM signs in.
func open(ctx context.Context, w wire, c *stonith.Call) (*device, error) {
	web, local := w.client(true), w.client(false)
	d := &device{call: c, clients: []*http.Client{web, local}, targets: map[string]*target{}}
	if err := d.prepare(ctx, web, local); err != nil {
		_ = d.Close(ctx) // it only drops idle connections
		return nil, err
	}
	return d, nil
}

func (d *device) prepare(ctx context.Context, web, local *http.Client) error {
	var err error
	if d.place, err = findPlace(ctx, d.call, web); err != nil {
		return err
	}
	if d.subscription, d.group, err = findGroup(ctx, d.call, local); err != nil {
		return err
	}
	cred, err := newCredential(d.call, d.place, web, local)
	if err != nil {
		return err
	}
	d.who = cred.name
	return d.connect(cred, clientOptions(d.call, d.place, web))
}

// connect makes the clients of ARM.
func (d *device) connect(cred credential, base policy.ClientOptions) error {
	wait := patience{log: d.call.Log}
	switch d.call.Action {
	case "on", "off", "reboot":
	default:
		wait.throttled = readPatience
	}
	base.PerCallPolicies = []policy.Policy{wait}
	options := &arm.ClientOptions{ClientOptions: base, DisableRPRegistration: true}
	var err error
	if d.raw, err = arm.NewClient("fence", "v1.0.0", cred, options); err != nil {
		return stonith.Errorf(stonith.Usage, "Failed: %w", plain(err))
	}
	options.APIVersion = d.place.compute
	if d.vms, err = armcompute.NewVirtualMachinesClient(d.subscription, cred, options); err != nil {
		return stonith.Errorf(stonith.Usage, "Failed: %w", plain(err))
	}
	return nil
}

// Close drops the connections. A token is not given back; it ends by itself.
func (d *device) Close(context.Context) error {
	for _, c := range d.clients {
		c.CloseIdleConnections()
	}
	return nil
}

// groupID is the resource id of the resource group.
func (d *device) groupID() string {
	return "/subscriptions/" + d.subscription + "/resourceGroups/" + d.group
}

// vmID is the resource id of a machine.
func (d *device) vmID(name string) string {
	return d.groupID() + "/providers/Microsoft.Compute/virtualMachines/" + name
}

// fetch reads an id of ARM, or a whole URL that ARM has given us, into v.
func (d *device) fetch(ctx context.Context, target, version string, v any) error {
	_, err := d.send(ctx, http.MethodGet, target, version, nil, nil, v)
	return err
}

// send makes one request of ARM. The body and v are JSON; either may be nil.
func (d *device) send(ctx context.Context, method, target, version string, header http.Header, body, v any) (http.Header, error) {
	if !strings.Contains(target, "://") {
		target = runtime.JoinPaths(d.raw.Endpoint(), target)
	}
	req, err := runtime.NewRequest(ctx, method, target)
	if err != nil {
		return nil, err
	}
	if version != "" {
		q := req.Raw().URL.Query()
		q.Set("api-version", version)
		req.Raw().URL.RawQuery = q.Encode()
	}
	req.Raw().Header.Set("Accept", "application/json")
	for k, values := range header {
		req.Raw().Header[k] = values
	}
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		if err := req.SetBody(streaming.NopCloser(bytes.NewReader(data)), "application/json"); err != nil {
			return nil, err
		}
	}
	resp, err := d.raw.Pipeline().Do(req)
	if err != nil {
		return nil, err
	}
	d.answered = true
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
