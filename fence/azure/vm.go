package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	"pgrex/lib/azure"
	"pgrex/lib/life"
	"pgrex/lib/stonith"
)

// target is a machine in the course of one action.
type target struct {
	// id is the machine's unique id as first seen: a machine that was deleted and
	// made anew under the same name proves nothing about the old one.
	id string
	// op is the last order that was accepted, nil if there was none.
	op *operation
}

func (d *device) target(vm string) *target {
	t := d.targets[vm]
	if t == nil {
		t = &target{}
		d.targets[vm] = t
	}
	return t
}

// Status reads the machine's state. While an order is under way it reads the
// operation as well, and fails with Azure's reason as soon as that has failed:
// nothing is left to wait for then. What proves a machine off is its instance
// view alone, never the operation.
func (d *device) Status(ctx context.Context, vm string) (stonith.State, error) {
	state, err := d.state(ctx, vm)
	if err != nil {
		return stonith.Unknown, err
	}
	if t := d.target(vm); t.op != nil && state != t.op.want {
		if err := d.follow(ctx, vm, t.op); err != nil {
			return stonith.Unknown, err
		}
	}
	// A plain question has two answers; people and scripts know this agent's
	// predecessor to say ON for whatever is not off.
	if d.call.Action == "status" && state != stonith.Off {
		return stonith.On, nil
	}
	return state, nil
}

// state is the state by the instance view, or by the network where that is cut.
func (d *device) state(ctx context.Context, vm string) (stonith.State, error) {
	m, err := d.machine(ctx, vm)
	if err != nil {
		return stonith.Unknown, err
	}
	power := powerOf(m)
	d.call.Log.Debug("instance view", "vm", vm, "state", power)
	if power == stonith.Off || !d.call.Values.Bool("network_fencing") {
		return power, nil
	}
	cut, err := d.isolated(ctx, vm, m)
	if err != nil {
		return stonith.Unknown, err
	}
	if cut {
		return stonith.Off, nil
	}
	return power, nil
}

// machine reads a machine with its instance view, and makes sure that it is the
// one that was asked for.
func (d *device) machine(ctx context.Context, vm string) (*armcompute.VirtualMachine, error) {
	resp, err := d.vms.Get(ctx, d.group, vm, &armcompute.VirtualMachinesClientGetOptions{Expand: to.Ptr(armcompute.InstanceViewTypesInstanceView)})
	what := fmt.Sprintf("reading virtual machine %q", vm)
	if err != nil {
		return nil, d.explain(ctx, err, what, vm)
	}
	d.arm.Answered = true
	m := &resp.VirtualMachine
	if m.Name == nil || !strings.EqualFold(*m.Name, vm) || m.Properties == nil {
		return nil, stonith.Errorf(stonith.Status, "%s: the answer is not about that machine", what)
	}
	if m.Properties.VMID != nil {
		t := d.target(vm)
		if t.id == "" {
			t.id = *m.Properties.VMID
		}
		if t.id != *m.Properties.VMID {
			return nil, stonith.Errorf(stonith.Generic, "%s: it was replaced by another machine of the same name meanwhile; what became of the old one is not known", what)
		}
	}
	return m, nil
}

const powerPrefix = "PowerState/"

// powerOf is the state that an instance view shows. Only one single, well-known
// word means off; anything missing, doubled or new does not.
func powerOf(m *armcompute.VirtualMachine) stonith.State {
	if m.Properties == nil || m.Properties.InstanceView == nil {
		return stonith.Unknown
	}
	word := ""
	for _, s := range m.Properties.InstanceView.Statuses {
		if s == nil || s.Code == nil || !strings.HasPrefix(*s.Code, powerPrefix) {
			continue
		}
		w := strings.TrimPrefix(*s.Code, powerPrefix)
		if word != "" && w != word {
			return stonith.Unknown
		}
		word = w
	}
	switch word {
	case "running":
		return stonith.On
	case "stopped", "deallocated":
		return stonith.Off
	case "starting", "stopping", "deallocating", "creating", "updating":
		return stonith.Transitional
	}
	return stonith.Unknown
}

// Off powers the machine off without asking its guest, after its network is cut
// if that is wanted.
func (d *device) Off(ctx context.Context, vm string) error {
	if d.call.Values.Bool("network_fencing") {
		if err := d.isolate(ctx, vm); err != nil {
			return err
		}
	}
	return d.order(ctx, vm, stonith.Off, func(ctx context.Context) error {
		_, err := d.vms.BeginPowerOff(ctx, d.group, vm, &armcompute.VirtualMachinesClientBeginPowerOffOptions{SkipShutdown: to.Ptr(true)})
		return err
	})
}

// On starts the machine, after its network is restored if it was cut.
func (d *device) On(ctx context.Context, vm string) error {
	if d.call.Values.Bool("network_fencing") {
		if err := d.restore(ctx, vm); err != nil {
			return err
		}
	}
	if op := d.target(vm).op; op != nil && op.want == stonith.On && !op.Over {
		return nil // it is being started; asking again would only disturb that
	}
	return d.order(ctx, vm, stonith.On, func(ctx context.Context) error {
		_, err := d.vms.BeginStart(ctx, d.group, vm, nil)
		return err
	})
}

// lockPause is the time between two attempts at a machine that something else is
// changing.
const lockPause = time.Second

// order gives an order until it is accepted. A locked machine is asked again until
// the deadline, and looked at in between: whoever has locked it may be switching
// it off.
func (d *device) order(ctx context.Context, vm string, want stonith.State, send func(context.Context) error) error {
	verb := "powerOff"
	if want == stonith.On {
		verb = "start"
	}
	what := fmt.Sprintf("%s of virtual machine %q", verb, vm)
	for warned := false; ; warned = true {
		var resp *http.Response
		err := send(policy.WithCaptureResponse(ctx, &resp))
		// The answer counts, not what the SDK makes of its headers.
		if err == nil || resp != nil && resp.StatusCode >= 200 && resp.StatusCode < 300 {
			d.arm.Answered = true
			d.target(vm).op = d.begun(vm, want, verb, resp)
			d.call.Log.Info(verb+" was accepted", "vm", vm)
			return nil
		}
		f := azure.AsRefusal(err)
		if f == nil || !f.Locked() {
			return d.explain(ctx, err, what, vm)
		}
		d.arm.Answered = true
		if !warned {
			d.call.Log.Warn(fmt.Sprintf("%s: something else is changing the machine just now (%s); trying again until it works", what, f.Words()))
		}
		if state, err := d.state(ctx, vm); err == nil && state == want {
			return nil
		}
		if life.Pause(ctx, max(lockPause, f.After)) != nil {
			class := stonith.WaitingOff
			if want == stonith.On {
				class = stonith.WaitingOn
			}
			return stonith.Errorf(class, "%s: until the end something else was changing the machine (%s); look at its activity log", what, f.Words())
		}
	}
}
