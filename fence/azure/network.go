package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"pgrex/lib/azure"
	"pgrex/lib/life"
	"pgrex/lib/stonith"
)

// What an IP configuration was before it was moved is kept in tags of its
// interface, by the names that fence_azure_arm uses.
const (
	tagSubnet = "FENCE_TAG_SUBNET_ID_"
	tagType   = "FENCE_TAG_IP_TYPE_"
	tagIP     = "FENCE_TAG_IP_"

	dynamic = "Dynamic"
)

// nic is a network interface in ARM's own JSON: what we do not know of must be
// sent back as it came, or Azure takes it away.
type nic struct {
	id   string
	body map[string]any
}

// interfaces reads all network interfaces of a machine.
func (d *device) interfaces(ctx context.Context, vm string, m *armcompute.VirtualMachine) ([]nic, error) {
	var nics []nic
	if m.Properties == nil || m.Properties.NetworkProfile == nil {
		return nil, nil
	}
	for _, r := range m.Properties.NetworkProfile.NetworkInterfaces {
		if r == nil || r.ID == nil || !strings.HasPrefix(*r.ID, "/") {
			return nil, stonith.Errorf(stonith.Status, "network fencing: virtual machine %q has a network interface without an id", vm)
		}
		n, err := d.readNIC(ctx, *r.ID)
		if err != nil {
			return nil, err
		}
		nics = append(nics, n)
	}
	return nics, nil
}

func (d *device) readNIC(ctx context.Context, id string) (nic, error) {
	n := nic{id: id}
	// Numbers stay as they are written; a float would change a large one.
	if err := d.fetch(ctx, id, d.arm.Place.Network, (*azure.Exact)(&n.body)); err != nil {
		return n, d.explain(ctx, err, "reading network interface "+azure.Last(id), "")
	}
	return n, nil
}

// configs are the IP configurations of an interface.
func (n nic) configs() []map[string]any {
	var all []map[string]any
	list, ok := azure.Object(n.body["properties"])["ipConfigurations"].([]any)
	if !ok {
		return nil
	}
	for _, c := range list {
		all = append(all, azure.Object(c))
	}
	return all
}

// settled says that Azure has carried out the last change of the interface.
func (n nic) settled() bool {
	return strings.EqualFold(azure.Text(azure.Object(n.body["properties"]), "provisioningState"), "Succeeded")
}

func (n nic) tags() map[string]any { return azure.Object(n.body["tags"]) }

func subnetOf(config map[string]any) string {
	return azure.Text(azure.Object(azure.Object(config["properties"])["subnet"]), "id")
}

// isolated reports whether a machine is cut off: it has interfaces, all their IP
// configurations are in a fence subnet with the right rules, and Azure has
// carried that out. A network that is not prepared is no error here.
func (d *device) isolated(ctx context.Context, vm string, m *armcompute.VirtualMachine) (bool, error) {
	nics, err := d.interfaces(ctx, vm, m)
	if err != nil {
		return false, err
	}
	f := &fences{d, map[string]subnet{}}
	cut := 0
	for _, n := range nics {
		if !n.settled() || len(n.configs()) == 0 {
			return false, nil
		}
		for _, c := range n.configs() {
			id := subnetOf(c)
			// Only one that bears the right name can be it; that saves the look at the rules.
			if !strings.EqualFold(azure.Last(id), fenceSubnet) {
				return false, nil
			}
			fence, err := f.of(ctx, id)
			var bad *unfitError
			if errors.As(err, &bad) {
				return false, nil
			}
			if err != nil {
				return false, err
			}
			if !strings.EqualFold(fence.ID, id) {
				return false, nil
			}
			cut++
		}
	}
	return cut > 0, nil
}

// checkFenceSubnets is the part of validate-all that looks at the network.
func (d *device) checkFenceSubnets(ctx context.Context, vm string, m *armcompute.VirtualMachine) error {
	nics, err := d.interfaces(ctx, vm, m)
	if err != nil {
		return err
	}
	f := &fences{d, map[string]subnet{}}
	for _, n := range nics {
		for _, c := range n.configs() {
			if _, err := f.of(ctx, subnetOf(c)); err != nil {
				return err
			}
		}
	}
	return nil
}

// isolate moves every IP configuration of a machine to the fence subnet.
func (d *device) isolate(ctx context.Context, vm string) error {
	f := &fences{d, map[string]subnet{}}
	return d.editAll(ctx, vm, func(n nic) (bool, error) { return n.cut(ctx, f) })
}

// editAll changes every network interface of a machine, one after the other.
func (d *device) editAll(ctx context.Context, vm string, change func(nic) (bool, error)) error {
	m, err := d.machine(ctx, vm)
	if err != nil {
		return err
	}
	nics, err := d.interfaces(ctx, vm, m)
	if err != nil {
		return err
	}
	for _, n := range nics {
		if err := d.edit(ctx, vm, n, change); err != nil {
			return err
		}
	}
	return nil
}

// cut changes an interface so that it is in the fence subnet, and notes in its
// tags what it was. It reports whether there was anything to change.
func (n nic) cut(ctx context.Context, f *fences) (bool, error) {
	changed := false
	tags := n.tags()
	for _, c := range n.configs() {
		props, from := azure.Object(c["properties"]), subnetOf(c)
		fence, err := f.of(ctx, from)
		if err != nil {
			return false, err
		}
		if strings.EqualFold(fence.ID, from) {
			continue
		}
		name := azure.Text(c, "name")
		tags[tagSubnet+name] = from
		tags[tagType+name] = azure.Text(props, "privateIPAllocationMethod")
		tags[tagIP+name] = azure.Text(props, "privateIPAddress")
		props["subnet"] = map[string]any{"id": fence.ID}
		props["privateIPAllocationMethod"] = dynamic
		delete(props, "privateIPAddress") // one of the old subnet
		changed = true
	}
	n.body["tags"] = tags
	return changed, nil
}

// restore moves the IP configurations of a machine back to where they were.
func (d *device) restore(ctx context.Context, vm string) error {
	return d.editAll(ctx, vm, nic.back)
}

// back undoes cut. An IP configuration that is in a fence subnet and has no tags
// was put there by somebody else, who has to take it out.
func (n nic) back() (bool, error) {
	changed := false
	tags := n.tags()
	for _, c := range n.configs() {
		name := azure.Text(c, "name")
		to, how, ip := azure.Text(tags, tagSubnet+name), azure.Text(tags, tagType+name), azure.Text(tags, tagIP+name)
		if to == "" {
			if strings.EqualFold(azure.Last(subnetOf(c)), fenceSubnet) {
				return false, stonith.Errorf(stonith.Generic, "network fencing: IP configuration %q of network interface %q is in %s without the tag %s; move it back by hand",
					name, azure.Last(n.id), fenceSubnet, tagSubnet+name)
			}
			continue
		}
		if how == "" {
			how = dynamic
		}
		props := azure.Object(c["properties"])
		props["subnet"] = map[string]any{"id": to}
		props["privateIPAllocationMethod"] = how
		// A dynamic address is asked for as well: the node's own address must not change.
		delete(props, "privateIPAddress")
		if ip != "" {
			props["privateIPAddress"] = ip
		}
		delete(tags, tagSubnet+name)
		delete(tags, tagType+name)
		delete(tags, tagIP+name)
		changed = true
	}
	if len(tags) == 0 {
		delete(n.body, "tags")
	}
	return changed, nil
}

// edit changes an interface and stores it. Whoever else has changed it meanwhile,
// or is doing so, is waited for; the change is then made to what they left.
func (d *device) edit(ctx context.Context, vm string, n nic, change func(nic) (bool, error)) error {
	what := fmt.Sprintf("moving network interface %q of virtual machine %q", azure.Last(n.id), vm)
	for warned := false; ; {
		changed, err := change(n)
		if err != nil || !changed {
			return err
		}
		header := http.Header{}
		if etag := azure.Text(n.body, "etag"); etag != "" {
			header.Set("If-Match", etag)
		}
		err = d.put(ctx, n.id, header, n.body)
		if err == nil {
			d.call.Log.Info("the change of the network was accepted", "vm", vm, "interface", azure.Last(n.id))
			return nil
		}
		f := azure.AsRefusal(err)
		// An address that was given up a moment ago is kept back for a while.
		passing := f != nil && (f.Locked() || f.Status == http.StatusPreconditionFailed || f.Code == "PrivateIPAddressIsBeingCleanedUp")
		if !passing {
			return d.explain(ctx, err, what, vm)
		}
		if !warned {
			d.call.Log.Warn(fmt.Sprintf("%s: not now (%s); trying again until it works", what, f.Words()))
			warned = true
		}
		if life.Pause(ctx, max(lockPause, f.After)) != nil {
			return stonith.Errorf(stonith.WaitingOff, "%s: until the end something else was changing it (%s)", what, f.Words())
		}
		if n, err = d.readNIC(ctx, n.id); err != nil {
			return err
		}
	}
}

// bringBack looks for machines that were cut off and are really off by now,
// restores their network and starts them. It is the part of monitor by which a
// node comes back; one machine in trouble does not keep it from the others.
func (d *device) bringBack(ctx context.Context) error {
	names, err := d.names(ctx, 0)
	if err != nil {
		return err
	}
	for _, vm := range names {
		m, err := d.machine(ctx, vm)
		if err != nil {
			d.call.Log.Warn("looking for fenced machines: " + err.Error())
			continue
		}
		if powerOf(m) != stonith.Off {
			continue
		}
		cut, err := d.isolated(ctx, vm, m)
		if err == nil && cut {
			d.call.Log.Info("the machine was fenced and is off; restoring its network and starting it", "vm", vm)
			err = d.On(ctx, vm)
		}
		if err != nil {
			d.call.Log.Warn("bringing back a fenced machine: " + err.Error())
		}
	}
	return nil
}
