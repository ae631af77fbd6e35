package main

import (
	"context"
	"fmt"
	"slices"
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
		d.answered = true
		if page.NextLink != nil && *page.NextLink != "" && !d.ours(*page.NextLink) {
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

const permissionsVersion = "2015-07-01"

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
		known, missing, err := d.missing(ctx, scope, d.rights())
		switch {
		case err != nil:
			return err
		case !known:
			d.call.Log.Warn(fmt.Sprintf("cannot tell whether %s may switch %q off and on: its role has no Microsoft.Authorization/permissions/read", d.who, vm))
		case len(missing) > 0:
			return stonith.Errorf(stonith.Privileges, "%s lacks rights on %s: %s; assign it a role with these actions (it takes some minutes to be in force)",
				d.who, scope, strings.Join(missing, ", "))
		}
		if d.call.Values.Bool("network_fencing") {
			if err := d.checkFenceSubnets(ctx, vm, m); err != nil {
				return err
			}
		}
	}
	return nil
}

// permission is one role's part in what the caller may do at a scope.
type permission struct {
	Actions    []string `json:"actions"`
	NotActions []string `json:"notActions"`
}

// missing asks which rights the caller lacks at a scope; known is false if it may
// not ask.
func (d *device) missing(ctx context.Context, scope string, rights []string) (known bool, missing []string, err error) {
	var page struct {
		Value    []permission `json:"value"`
		NextLink string       `json:"nextLink"`
	}
	var all []permission
	next, version := scope+"/providers/Microsoft.Authorization/permissions", permissionsVersion
	for range maxPages {
		page.Value, page.NextLink = nil, ""
		if err := d.fetch(ctx, next, version, &page); err != nil {
			if f := asRefusal(err); f != nil && f.status == 403 {
				return false, nil, nil
			}
			return false, nil, d.explain(ctx, err, "asking for the rights on "+scope, "")
		}
		all = append(all, page.Value...)
		if page.NextLink == "" || !d.ours(page.NextLink) {
			break
		}
		next, version = page.NextLink, ""
	}
	for _, r := range rights {
		if !slices.ContainsFunc(all, func(p permission) bool { return p.allows(r) }) {
			missing = append(missing, r)
		}
	}
	return true, missing, nil
}

// maxPages bounds a list that never ends.
const maxPages = 100

func (p permission) allows(right string) bool {
	match := func(pattern string) bool { return covers(strings.ToLower(pattern), strings.ToLower(right)) }
	return slices.ContainsFunc(p.Actions, match) && !slices.ContainsFunc(p.NotActions, match)
}

// covers reports whether a pattern with any number of * covers a right. Parts are
// searched from the left; the last one has to stand at the end.
func covers(pattern, right string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == right
	}
	if !strings.HasPrefix(right, parts[0]) {
		return false
	}
	right = right[len(parts[0]):]
	for _, p := range parts[1 : len(parts)-1] {
		i := strings.Index(right, p)
		if i < 0 {
			return false
		}
		right = right[i+len(p):]
	}
	return strings.HasSuffix(right, parts[len(parts)-1])
}
