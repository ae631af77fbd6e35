package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"pgrex/lib/stonith"
)

// operation is an order that ARM has accepted and carries out behind our back.
type operation struct {
	want stonith.State
	verb string
	// url tells how it goes; "" if ARM did not say where to ask.
	url string
	// over says that it needs no more asking.
	over bool
	last time.Time
}

// operationPause is the least time between two looks at an operation. Its own
// Retry-After is far longer and made for those who do not wait.
const operationPause = 500 * time.Millisecond

// begun notes an accepted order.
func (d *device) begun(vm string, want stonith.State, verb string, resp *http.Response) *operation {
	op := &operation{want: want, verb: verb, last: time.Now()}
	if resp == nil {
		op.over = true
		return op
	}
	op.url = resp.Header.Get("Azure-AsyncOperation")
	if !d.ours(op.url) {
		d.call.Log.Debug("the operation cannot be followed, only the machine's state", "vm", vm)
		op.url, op.over = "", true
	}
	return op
}

// ours reports whether a URL belongs to the Resource Manager: our token is sent
// to nobody else.
func (d *device) ours(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.User != nil {
		return false
	}
	arm, err := url.Parse(d.raw.Endpoint())
	if err != nil {
		return false
	}
	return strings.EqualFold(u.Host, arm.Host) || strings.HasSuffix(strings.ToLower(u.Host), "."+strings.ToLower(arm.Host))
}

// operationAnswer is how ARM describes an operation.
type operationAnswer struct {
	Status string    `json:"status"`
	Error  errorBody `json:"error"`
}

// follow looks at an operation. The only error is that it has failed: when it
// cannot be read the machine's own state has to do.
func (d *device) follow(ctx context.Context, vm string, op *operation) error {
	if op.over || time.Since(op.last) < operationPause {
		return nil
	}
	op.last = time.Now()
	var answer operationAnswer
	if err := d.fetch(ctx, op.url, "", &answer); err != nil {
		f := asRefusal(err)
		var syntax *json.SyntaxError
		if f != nil && f.status < http.StatusInternalServerError && f.status != http.StatusTooManyRequests || errors.As(err, &syntax) {
			d.call.Log.Warn(fmt.Sprintf("%s of %q: how it goes cannot be read (%s); watching the machine's state alone", op.verb, vm, plain(err)))
			op.over = true
		}
		return nil
	}
	return op.judge(vm, answer, d.call.Log.Info)
}

// judge is what an answer means.
func (op *operation) judge(vm string, answer operationAnswer, say func(string, ...any)) error {
	switch strings.ToLower(answer.Status) {
	case "succeeded":
		op.over = true
		say("the operation succeeded; waiting for the machine to show it", "vm", vm, "order", op.verb)
	case "failed", "canceled", "cancelled":
		op.over = true
		f := refusal{code: answer.Error.Code, message: answer.Error.Message}
		if f.code == "" {
			f.code = answer.Status
		}
		if strings.Contains(f.code, "Preempted") {
			// Somebody gave the machine another order, most likely the same: two nodes fencing.
			say("the operation gave way to a newer one; watching the machine's state alone", "vm", vm, "order", op.verb)
			return nil
		}
		return stonith.Errorf(stonith.Generic, "%s of virtual machine %q was accepted and then failed (%s)", op.verb, vm, f.words())
	}
	return nil
}
