package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"pgrex/lib/stonith"
)

// Monitor proves that the identity works and that machines can be read: the first
// page of the list, and the machine that the configuration names. With
// network_fencing it also brings back machines that were fenced and are off now.
func (d *device) Monitor(ctx context.Context) error {
	if d.call.Values.Bool("network_fencing") {
		if err := d.bringBack(ctx); err != nil {
			return err
		}
	} else if _, err := d.names(ctx, 1); err != nil {
		return err
	}
	for _, vm := range d.call.Plugs {
		if _, err := d.machine(ctx, vm); err != nil {
			return err
		}
	}
	return nil
}

// List names all machines of the resource group.
func (d *device) List(ctx context.Context) ([]stonith.Plug, error) {
	names, err := d.names(ctx, 0)
	if err != nil {
		return nil, err
	}
	plugs := make([]stonith.Plug, len(names))
	for i, vm := range names {
		plugs[i].Name = vm
		if d.call.Action != "list-status" {
			continue
		}
		if plugs[i].State, err = d.state(ctx, vm); err != nil {
			return nil, err
		}
	}
	return plugs, nil
}

// names lists the machines of the group; pages bounds how much is read, 0 means
// everything.
func (d *device) names(ctx context.Context, pages int) ([]string, error) {
	var names []string
	pager := d.vms.NewListPager(d.group, nil)
	for n := 0; pager.More() && (pages == 0 || n < pages); n++ {
		page, err := pager.NextPage(ctx)
		if err != nil {
			return nil, d.explain(ctx, err, fmt.Sprintf("listing the virtual machines of resource group %q", d.group), "")
		}
		d.arm.Answered = true
		if page.NextLink != nil && *page.NextLink != "" && !d.arm.Ours(*page.NextLink) {
			return nil, stonith.Errorf(stonith.Generic, "listing the virtual machines of resource group %q: the list goes on at an address that is not the Resource Manager's", d.group)
		}
		names = append(names, namesOf(page.Value)...)
	}
	return names, nil
}

func namesOf(page []*armcompute.VirtualMachine) []string {
	var names []string
	for _, m := range page {
		if m != nil && m.Name != nil && *m.Name != "" {
			names = append(names, *m.Name)
		}
	}
	return names
}

// rights are what the agent needs on a machine.
func (d *device) rights() []string {
	rights := []string{
		"Microsoft.Compute/virtualMachines/read",
		"Microsoft.Compute/virtualMachines/powerOff/action",
		"Microsoft.Compute/virtualMachines/start/action",
	}
	if d.call.Values.Bool("network_fencing") {
		rights = append(rights,
			"Microsoft.Network/networkInterfaces/read", "Microsoft.Network/networkInterfaces/write",
			"Microsoft.Network/virtualNetworks/read", "Microsoft.Network/virtualNetworks/subnets/join/action",
			"Microsoft.Network/networkSecurityGroups/read", "Microsoft.Network/networkSecurityGroups/join/action")
	}
	return rights
}

// Validate checks names and rights: the machines can be read, and the identity may
// do to them what fencing needs. Where the role does not allow to ask for rights,
// the log says that nothing is known, and that is no failure.
func (d *device) Validate(ctx context.Context) error {
	if _, err := d.names(ctx, 1); err != nil {
		return err
	}
	for _, vm := range d.call.Plugs {
		m, err := d.machine(ctx, vm)
		if err != nil {
			return err
		}
		scope := d.vmID(vm)
		known, missing, err := d.arm.Missing(ctx, scope, d.rights())
		switch {
		case err != nil:
			return d.explain(ctx, err, "asking for the rights on "+scope, "")
		case !known:
			d.call.Log.Warn(fmt.Sprintf("cannot tell whether %s may switch %q off and on: its role has no Microsoft.Authorization/permissions/read", d.arm.Who, vm))
		case len(missing) > 0:
			return stonith.Errorf(stonith.Privileges, "%s lacks rights on %s: %s; assign it a role with these actions (it takes some minutes to be in force)",
				d.arm.Who, scope, strings.Join(missing, ", "))
		}
		if d.call.Values.Bool("network_fencing") {
			if err := d.checkFenceSubnets(ctx, vm, m); err != nil {
				return err
			}
		}
	}
	return nil
}
