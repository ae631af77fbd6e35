package azure

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The power states of a machine, as they stand behind "PowerState/".
const (
	Running      = "running"
	Starting     = "starting"
	Stopping     = "stopping"
	Stopped      = "stopped"
	Deallocating = "deallocating"
	Deallocated  = "deallocated"
	Unknown      = "unknown"
)

type machine struct {
	VM
	provisioning string
	// turn counts the orders; a change that an older order would make is void.
	turn int
	op   *operation
}

func vmKey(group, name string) string { return strings.ToLower(group + "/" + name) }

// AddVM adds a machine, replacing one of the same name.
func (c *Cloud) AddVM(vm VM) error {
	if vm.Name == "" || vm.Group == "" {
		return fmt.Errorf("virtual machine %q in group %q: both names are needed", vm.Name, vm.Group)
	}
	if vm.Power == "" {
		vm.Power = Running
	}
	if vm.ID == "" {
		vm.ID = uuid()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.groups[strings.ToLower(vm.Group)]; !ok {
		c.groups[strings.ToLower(vm.Group)] = vm.Group
	}
	c.vms[vmKey(vm.Group, vm.Name)] = &machine{VM: vm, provisioning: "Succeeded"}
	for _, id := range vm.NICs {
		if n := c.network[strings.ToLower(id)]; n != nil {
			props(n.body)["virtualMachine"] = map[string]any{"id": c.VMID(vm.Group, vm.Name)}
		}
	}
	return nil
}

// RemoveVM deletes a machine.
func (c *Cloud) RemoveVM(group, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.vms, vmKey(group, name))
}

// VMs are the machines as they are now, in order of their names.
func (c *Cloud) VMs() []VM {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []VM
	for _, k := range slices.Sorted(maps.Keys(c.vms)) {
		all = append(all, c.vms[k].VM)
	}
	return all
}

// PowerState is the power state of a machine, "" if there is none.
func (c *Cloud) PowerState(group, name string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if m := c.vms[vmKey(group, name)]; m != nil {
		return m.Power
	}
	return ""
}

// Change edits a machine in place, as nature would: its guest has shut down, its
// host has failed. Power is not asked.
func (c *Cloud) Change(group, name string, edit func(*VM)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := c.vms[vmKey(group, name)]
	if m == nil {
		return fmt.Errorf("%s/%s: %w", group, name, errNoVM)
	}
	m.turn++
	edit(&m.VM)
	return nil
}

func (c *Cloud) vmBody(m *machine, view bool) map[string]any {
	var nics []any
	for i, id := range m.NICs {
		nics = append(nics, map[string]any{"id": id, "properties": map[string]any{"primary": i == 0}})
	}
	props := map[string]any{
		"vmId":              m.ID,
		"provisioningState": m.provisioning,
		"hardwareProfile":   map[string]any{"vmSize": "Standard_D2s_v5"},
		"networkProfile":    map[string]any{"networkInterfaces": nics},
		"osProfile":         map[string]any{"computerName": m.Name},
		"storageProfile":    map[string]any{"osDisk": map[string]any{"osType": "Linux", "createOption": "FromImage"}},
	}
	if view {
		props["instanceView"] = m.view()
	}
	body := map[string]any{
		"id":         c.VMID(m.Group, m.Name),
		"name":       m.Name,
		"type":       "Microsoft.Compute/virtualMachines",
		"location":   c.cfg.Location,
		"properties": props,
	}
	if m.Tags != nil {
		body["tags"] = m.Tags
	}
	return body
}

func (m *machine) view() map[string]any {
	codes := []string{"ProvisioningState/" + strings.ToLower(m.provisioning), "PowerState/" + m.Power}
	if m.Statuses != nil {
		codes = m.Statuses
	}
	var statuses []any
	for _, code := range codes {
		_, text, _ := strings.Cut(code, "/")
		statuses = append(statuses, map[string]any{"code": code, "level": "Info", "displayStatus": "VM " + text})
	}
	return map[string]any{"statuses": statuses}
}

// order is what an action of ARM does to a machine: the state on the way, the
// state at the end, and whether the power behind it is switched.
type order struct {
	during, end string
	on          bool
	latency     Duration
}

func (c *Cloud) order(action string, skipShutdown bool) (order, bool) {
	l := c.cfg.Latency
	switch action {
	case "poweroff":
		if skipShutdown {
			return order{Stopping, Stopped, false, l.PowerOff}, true
		}
		return order{Stopping, Stopped, false, l.PowerOff + l.Shutdown}, true
	case "deallocate":
		return order{Deallocating, Deallocated, false, l.PowerOff + l.Shutdown + l.Deallocate}, true
	case "start", "restart":
		return order{Starting, Running, true, l.Start}, true
	}
	return order{}, false
}

// act begins an action on a machine and returns the operation that carries it
// out. c.mu is held. A newer order takes the place of one under way, whose
// operation then fails (assumed: OperationPreempted).
func (c *Cloud) act(m *machine, action string, skipShutdown bool, fault *OperationFault) *operation {
	o, _ := c.order(action, skipShutdown)
	op := c.newOperation("Microsoft.Compute", fault)
	if m.op != nil && !m.op.ended() {
		m.op.finish("Canceled", &armError{Code: "OperationPreempted", Message: "The operation was preempted by a more recent operation."})
	}
	m.turn++
	m.op = op
	turn := m.turn
	if fault != nil && (fault.Stuck || !fault.Effect) {
		// The machine stays as it is; how the operation ends is the fault's to say.
		if !fault.Stuck {
			c.after(fault.After, func() { c.finish(op, fault.status(), fault.err()) })
		}
		return op
	}
	idle := m.Power == o.end || action == "poweroff" && m.Power == Deallocated
	if m.Stuck || idle && action != "restart" {
		c.after(c.cfg.Latency.Tail, func() { c.finish(op, fault.status(), fault.err()) })
		return op
	}
	m.Power, m.provisioning = o.during, "Updating"
	tail := c.cfg.Latency.Tail
	c.after(o.latency, func() {
		err := c.carryOut(m, turn, action, o)
		c.after(tail, func() {
			status, reason := fault.status(), fault.err()
			if err != nil {
				status, reason = "Failed", &armError{Code: "InternalExecutionError", Message: err.Error()}
			}
			c.finish(op, status, reason)
		})
	})
	return op
}

// carryOut switches the power and shows the new state, if the order still holds.
func (c *Cloud) carryOut(m *machine, turn int, action string, o order) error {
	c.mu.Lock()
	current := m.turn == turn
	c.mu.Unlock()
	if !current {
		return nil
	}
	if c.power != nil {
		if action == "restart" {
			if err := c.power.Switch(c.ctx, m.Name, false); err != nil {
				return err
			}
		}
		if err := c.power.Switch(c.ctx, m.Name, o.on); err != nil {
			return err
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if m.turn == turn {
		m.Power, m.provisioning = o.end, "Succeeded"
	}
	return nil
}
