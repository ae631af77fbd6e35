package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"pgrex/lib/azure"
	"pgrex/lib/stonith"
)

// operation is an order to a machine that ARM has accepted.
type operation struct {
	*azure.Operation
	want stonith.State
	verb string
}

// operationPause is the least time between two looks at an operation.
const operationPause = 500 * time.Millisecond

// begun notes an accepted order.
func (d *device) begun(vm string, want stonith.State, verb string, resp *http.Response) *operation {
	op := &operation{&azure.Operation{Over: true}, want, verb}
	if resp == nil {
		return op
	}
	if op.Operation = d.arm.Begun(resp.Header); op.Over {
		d.call.Log.Debug("the operation cannot be followed, only the machine's state", "vm", vm)
	}
	return op
}

// follow looks at an operation. The only error is that it has failed: when it
// cannot be read the machine's own state has to do.
func (d *device) follow(ctx context.Context, vm string, op *operation) error {
	progress, f := d.arm.Look(ctx, op.Operation, operationPause)
	switch progress {
	case azure.Succeeded:
		d.call.Log.Info("the operation succeeded; waiting for the machine to show it", "vm", vm, "order", op.verb)
	case azure.Unreadable:
		d.call.Log.Warn(fmt.Sprintf("%s of %q: how it goes cannot be read (%s); watching the machine's state alone", op.verb, vm, f.Words()))
	case azure.Failed:
		if strings.Contains(f.Code, "Preempted") {
			// Somebody gave the machine another order, most likely the same: two nodes fencing.
			d.call.Log.Info("the operation gave way to a newer one; watching the machine's state alone", "vm", vm, "order", op.verb)
			return nil
		}
		return stonith.Errorf(stonith.Generic, "%s of virtual machine %q was accepted and then failed (%s)", op.verb, vm, f.Words())
	}
	return nil
}
