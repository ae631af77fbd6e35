package main

import (
	"context"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"pgrex/lib/azure"
	"pgrex/lib/stonith"
)

// readPatience is how long an action that switches nothing waits for a service
// that throttles: Pacemaker would end it without a word.
const readPatience = 20 * time.Second

// device is the Resource Manager, seen by one call.
type device struct {
	call                *stonith.Call
	subscription, group string
	arm                 *azure.Client
	vms                 *armcompute.VirtualMachinesClient
	targets             map[string]*target
}

// open prepares the clients. The first request to ARM signs in.
func open(ctx context.Context, w azure.Wire, c *stonith.Call) (*device, error) {
	client, err := azure.Open(ctx, clientOptions(w, c))
	if err != nil {
		return nil, failure(err)
	}
	d := &device{call: c, arm: client, targets: map[string]*target{}}
	if err := d.prepare(ctx); err != nil {
		client.Close()
		return nil, err
	}
	return d, nil
}

// clientOptions are the parameters in the words of lib/azure.
func clientOptions(w azure.Wire, c *stonith.Call) azure.Options {
	v := c.Values
	o := azure.Options{
		Program: "pgrex-fence_azure", Cloud: v.String("cloud"), MetadataEndpoint: v.String("metadata_endpoint"),
		RequestTimeout: v.Duration(requestTimeout), Log: c.Log, Hide: c.Hide, Wire: w,
		Identity: azure.Identity{Managed: v.String("identity")},
	}
	if !managed(c) {
		o.Identity = azure.Identity{
			Application: v.String("username"), Tenant: v.String("tenantId"),
			CertificateFile: v.String("certificate_file"), FederatedTokenFile: v.String("federated_token_file"),
		}
		if c.HasPassword {
			o.Identity.Secret = c.Password
		}
	}
	switch c.Action {
	case "on", "off", "reboot":
	default:
		o.Throttled = readPatience
	}
	return o
}

func (d *device) prepare(ctx context.Context) error {
	if err := d.findGroup(ctx); err != nil {
		return err
	}
	cred, options := d.arm.Typed(d.arm.Place.Compute)
	var err error
	if d.vms, err = armcompute.NewVirtualMachinesClient(d.subscription, cred, options); err != nil {
		return stonith.Errorf(stonith.Usage, "Failed: %w", azure.Plain(err))
	}
	return nil
}

// findGroup settles subscription and resource group.
func (d *device) findGroup(ctx context.Context) error {
	d.subscription, d.group = d.call.Values.String("subscriptionId"), d.call.Values.String("resourceGroup")
	if d.subscription != "" && d.group != "" {
		return nil
	}
	missing := "resourceGroup is not set"
	if d.subscription == "" {
		missing = "subscriptionId is not set"
	}
	own, err := d.arm.Instance(ctx)
	if err != nil {
		return stonith.Errorf(stonith.Login, "%s and the instance metadata service (169.254.169.254) does not tell it: %w; set it, or see why this machine does not reach the service", missing, azure.Plain(err))
	}
	if d.subscription == "" {
		d.subscription = own.Compute.SubscriptionID
	}
	if d.group == "" {
		d.group = own.Compute.ResourceGroup
	}
	if d.subscription == "" || d.group == "" {
		return stonith.Errorf(stonith.Login, "%s and the instance metadata do not contain it; set it", missing)
	}
	return nil
}

// Close drops the connections.
func (d *device) Close(context.Context) error {
	d.arm.Close()
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

// fetch reads an id of ARM into v.
func (d *device) fetch(ctx context.Context, id, version string, v any) error {
	return d.arm.Fetch(ctx, id, version, v)
}

// put replaces a resource of the network.
func (d *device) put(ctx context.Context, id string, header http.Header, body any) error {
	_, err := d.arm.Send(ctx, azure.Request{Method: http.MethodPut, Target: id, Version: d.arm.Place.Network, Header: header, Body: body}, nil)
	return err
}
