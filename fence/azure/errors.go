package main

import (
	"context"
	"errors"
	"fmt"

	"pgrex/lib/azure"
	"pgrex/lib/stonith"
)

// explain makes the error of a request: what was wanted, and on which machine.
func (d *device) explain(ctx context.Context, err error, what, vm string) error {
	if err == nil {
		return nil
	}
	e := d.arm.Explain(ctx, err, azure.Subject{What: what, Thing: "the machine", Scope: d.vmID(vm)})
	if e.Class == azure.NotFound && vm != "" && (e.Refusal.Code != "ResourceGroupNotFound" && e.Refusal.Code != "SubscriptionNotFound" && e.Refusal.Code != "InvalidSubscriptionId") {
		e.Text = fmt.Sprintf("%s: there is no virtual machine %q in resource group %q; if its name is not the node's name, pcmk_host_map has to say so", what, vm, d.group)
	}
	return failure(e)
}

// failure is an error of lib/azure in the words of a fence agent.
func failure(err error) error {
	var e *azure.Error
	if !errors.As(err, &e) {
		return err
	}
	reason := e.Text
	if e.Class == azure.Usage {
		reason = "Failed: " + reason
	}
	return &stonith.Error{Class: classOf(e.Class), Reason: reason, Err: err}
}

func classOf(c azure.Class) stonith.Class {
	switch c {
	case azure.Usage:
		return stonith.Usage
	case azure.NoSecret:
		return stonith.NoPassword
	case azure.NoIdentity, azure.NoToken, azure.NotAccepted, azure.Unreachable:
		return stonith.Login
	case azure.Forbidden:
		return stonith.Privileges
	case azure.Throttled, azure.Locked:
		return stonith.Busy
	case azure.Broken:
		return stonith.Status
	case azure.Lost:
		return stonith.Lost
	case azure.NoAnswer, azure.Ended:
		return stonith.TimedOut
	}
	return stonith.Generic
}
