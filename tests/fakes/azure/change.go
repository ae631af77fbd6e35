package azure

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Busy is what happens to a change of a resource on which an operation runs. All
// of them have been reported of the real one.
type Busy string

// The answers to a change that comes too early.
const (
	// BusyConflict refuses it: 409 AnotherOperationInProgress.
	BusyConflict Busy = ""
	// BusyRetry refuses it: 429 RetryableError, which is not throttling.
	BusyRetry Busy = "retry"
	// BusySupersede carries it out and cancels the one that runs.
	BusySupersede Busy = "supersede"
)

// busy refuses a change of a resource that is being changed, or clears the way for
// it; c.mu is held.
func (c *Cloud) busy(r *http.Request, n *resource) *answer {
	if n == nil || !n.locked() {
		return nil
	}
	var a answer
	switch c.cfg.Busy {
	case BusySupersede:
		n.op.back()
		n.op.finish("Canceled", &armError{Code: "CanceledAndSupersededDueToAnotherOperation", Message: fmt.Sprintf(
			"Operation %s (%s) was canceled and superseded by another operation.", n.op.name, n.op.id)})
		return nil
	case BusyRetry:
		a = failWith(http.StatusTooManyRequests, "RetryableError", "A retryable error occurred.", armError{
			Code:    "RetryableErrorDueToAnotherOperation",
			Message: fmt.Sprintf("Operation %s (%s) is updating resource %s. The call can be retried in 10 seconds.", n.op.name, n.op.id, n.id),
		})
		a.header = http.Header{"Retry-After": {"10"}}
	default:
		u := url.URL{Scheme: "https", Host: r.Host, RawQuery: r.URL.RawQuery, Path: fmt.Sprintf(
			"/subscriptions/%s/providers/Microsoft.Network/locations/%s/operations/%s", c.cfg.Subscription, c.cfg.Location, n.op.id)}
		a = fail(http.StatusConflict, "AnotherOperationInProgress", fmt.Sprintf(
			"Another operation on this or dependent resource is in progress. To retrieve status of the operation use uri: %s.", u.String()))
	}
	return &a
}

// beginChange locks network resources, whose bodies show already what they shall
// be, and lets the change happen: after a while it is in the data plane, then they
// are Succeeded, then the operation ends. A failed operation leaves the bodies as
// they are and the data plane as it was (assumed), unless undo, which may be nil, goes back.
// c.mu is held.
func (c *Cloud) beginChange(name string, fault *Fault, latency Duration, undo func(), on ...*resource) *operation {
	var of *OperationFault
	if fault != nil {
		of = fault.Operation
	}
	op := c.newOperation("Microsoft.Network", of)
	op.name = name
	for _, n := range on {
		n.op = op
		n.settle("Updating")
	}
	op.undo = undo
	if of != nil && !of.Effect {
		if !of.Stuck {
			c.after(of.After, func() {
				c.mu.Lock()
				op.back()
				c.mu.Unlock()
				c.endChange(op, on, of.status(), of.err())
			})
		}
		return op
	}
	if of != nil {
		latency += of.After
	}
	lead := latency
	if p := c.cfg.Latency.Program; p > 0 {
		lead = min(latency, p)
		if of != nil {
			lead = min(latency, p+of.After)
		}
	}
	c.after(lead, func() { c.carryThrough(op, on, of, latency-lead) })
	return op
}

// carryThrough is the second half of a change, from the data plane on.
func (c *Cloud) carryThrough(op *operation, on []*resource, of *OperationFault, rest Duration) {
	c.mu.Lock()
	over := op.ended()
	tail := c.cfg.Latency.Tail
	c.mu.Unlock()
	if over {
		return // superseded, or cancelled by hand
	}
	if err := c.program(on...); err != nil {
		c.endChange(op, on, "Failed", &armError{Code: "InternalServerError", Message: err.Error()})
		return
	}
	if of != nil && of.Stuck {
		return
	}
	c.after(rest, func() {
		c.mu.Lock()
		if !op.ended() && of.status() == "Succeeded" {
			for _, n := range on {
				n.settle("Succeeded")
			}
		}
		c.mu.Unlock()
		c.after(tail, func() { c.endChange(op, on, of.status(), of.err()) })
	})
}

// endChange ends an operation, unless it has ended, and shows how on what it held.
func (c *Cloud) endChange(op *operation, on []*resource, status string, err *armError) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if op.ended() {
		return
	}
	for _, n := range on {
		if n.op == op && text(props(n.body), "provisioningState") == "Updating" {
			n.settle(status)
		}
	}
	op.finish(status, err)
}

// Cancel ends the operation that runs on a resource, as somebody at the portal
// would, and reports whether there was one.
func (c *Cloud) Cancel(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.network[strings.ToLower(id)]
	if n == nil || !n.locked() {
		return false
	}
	op := n.op
	op.back()
	for _, other := range c.network {
		if other.op == op && text(props(other.body), "provisioningState") == "Updating" {
			other.settle("Canceled")
		}
	}
	op.finish("Canceled", &armError{Code: "Canceled", Message: "The operation was canceled."})
	return true
}

// readPut reads the body of a PUT of a whole resource and checks what every such
// PUT is checked for; c.mu is held.
func (c *Cloud) readPut(r *http.Request, old *resource, raw []byte) (map[string]any, *answer) {
	refuse := func(a answer) (map[string]any, *answer) { return nil, &a }
	body, err := decode(raw)
	if err != nil || body == nil {
		return refuse(badContent())
	}
	if text(body, "location") == "" {
		return refuse(fail(http.StatusBadRequest, "LocationRequired", "The location property is required for this definition."))
	}
	if old != nil && !strings.EqualFold(text(body, "location"), text(old.body, "location")) {
		return refuse(fail(http.StatusConflict, "InvalidResourceLocation", fmt.Sprintf(
			"The resource '%s' already exists in location '%s'. A resource with the same name cannot be created in location '%s'.", text(old.body, "name"), text(old.body, "location"), text(body, "location"))))
	}
	if a := precondition(r, old); a != nil {
		return nil, a
	}
	if a := c.busy(r, old); a != nil {
		return nil, a
	}
	return body, nil
}

func badContent() answer {
	return fail(http.StatusBadRequest, "InvalidRequestContent", "The request content was invalid and could not be deserialized.")
}

// precondition compares the etag a client has read with the resource's.
func precondition(r *http.Request, old *resource) *answer {
	var a answer
	match := r.Header.Get("If-Match")
	switch {
	case old == nil && match != "":
		a = failWith(http.StatusPreconditionFailed, "PreconditionFailed", "Precondition failed.", armError{
			Code: "PreconditionFailedResourceDoesNotExist", Message: "If-Match header was sent for a resource that does not exist."})
	case old != nil && match != "" && match != "*" && match != text(old.body, "etag"):
		a = failWith(http.StatusPreconditionFailed, "PreconditionFailed", "Precondition failed.", armError{
			Code:    "PreconditionFailedEtagMismatch",
			Message: fmt.Sprintf("Etag provided in if-match header %s does not match etag %s of resource %s in NRP data store.", match, text(old.body, "etag"), old.id)})
	case old != nil && r.Header.Get("If-None-Match") == "*":
		a = failWith(http.StatusPreconditionFailed, "PreconditionFailed", "Precondition failed.", armError{
			Code: "PreconditionFailedResourceExists", Message: fmt.Sprintf("Resource %s exists.", old.id)})
	default:
		return nil
	}
	return &a
}

// failWith is fail with details that have texts of their own.
func failWith(status int, code, message string, details ...armError) answer {
	return answer{code: status, body: map[string]any{"error": armError{Code: code, Message: message, Details: details}}}
}

// Lock locks a scope against changes, as a management lock does: level is ReadOnly
// or CanNotDelete.
func (c *Cloud) Lock(scope, level string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.locks[strings.ToLower(scope)] = level
}

// Unlock takes a lock away.
func (c *Cloud) Unlock(scope string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.locks, strings.ToLower(scope))
}

// checkLocks refuses a change below a locked scope; c.mu is held.
func (c *Cloud) checkLocks(method, scope string) *answer {
	word := map[string]string{http.MethodPut: "write", http.MethodPatch: "write", http.MethodPost: "write", http.MethodDelete: "delete"}[method]
	if word == "" {
		return nil
	}
	for locked, level := range c.locks {
		if within(scope, locked) && (word == "delete" || level == "ReadOnly") {
			a := fail(http.StatusConflict, "ScopeLocked", fmt.Sprintf(
				"The scope '%s' cannot perform %s operation because following scope(s) are locked: '%s'. Please remove the lock and try again.", scope, word, locked))
			return &a
		}
	}
	return nil
}
