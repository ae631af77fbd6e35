package azure

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// operation is a long-running operation, read by its own URLs.
type operation struct {
	id, provider string
	// name is what error texts call it.
	name        string
	begun, over time.Time
	status      string
	err         *armError
	// undo goes back to what was before, if that is what its failure does.
	undo func()
}

// back undoes what an operation has changed, unless it has ended.
func (o *operation) back() {
	if o.undo != nil && !o.ended() {
		o.undo()
	}
}

func (o *operation) ended() bool { return o.status != "InProgress" }

func (o *operation) finish(status string, err *armError) {
	o.status, o.err, o.over = status, err, time.Now()
}

// newOperation makes an operation in progress; c.mu is held.
func (c *Cloud) newOperation(provider string, _ *OperationFault) *operation {
	op := &operation{id: uuid(), provider: provider, begun: time.Now(), status: "InProgress"}
	c.operations[op.id] = op
	return op
}

// finish ends an operation that nothing else has ended.
func (c *Cloud) finish(op *operation, status string, err *armError) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !op.ended() {
		op.finish(status, err)
	}
}

// accepted answers a request that has begun an operation. async is the status
// code: 202, or 200/201 for a PUT, whose body is then the resource.
func (c *Cloud) accepted(r *http.Request, op *operation, code int, body any) answer {
	base := url.URL{Scheme: "https", Host: r.Host, Path: fmt.Sprintf("/subscriptions/%s/providers/%s/locations/%s/operations/%s",
		c.cfg.Subscription, op.provider, c.cfg.Location, op.id)}
	version := r.URL.Query().Get("api-version")
	h := http.Header{}
	base.RawQuery = url.Values{"api-version": {version}}.Encode()
	h.Set("Azure-AsyncOperation", base.String())
	h.Set("Azure-AsyncNotification", "Enabled")
	if code == http.StatusAccepted {
		base.RawQuery = url.Values{"api-version": {version}, "monitor": {"true"}}.Encode()
		h.Set("Location", base.String())
	}
	if c.cfg.PollAfter >= 0 {
		h.Set("Retry-After", fmt.Sprint(c.cfg.PollAfter))
	}
	return answer{code: code, header: h, body: body}
}

// operationStatus answers both URLs of an operation; c.mu is held.
func (c *Cloud) operationStatus(r *http.Request, q request, p Principal) answer {
	id, right := q.inner, q.provider+"/locations/operations/read"
	if scope := "/subscriptions/" + q.subscription; c.cfg.OperationRights && !p.allowed(right, scope) {
		return denied(p, right, scope)
	}
	op := c.operations[strings.ToLower(id)]
	if op == nil {
		return fail(http.StatusNotFound, "NotFound", fmt.Sprintf("The entity was not found: operation %s.", id))
	}
	if r.URL.Query().Get("monitor") == "true" {
		switch {
		case !op.ended():
			return c.accepted(r, op, http.StatusAccepted, nil)
		case op.err != nil:
			return fail(http.StatusConflict, op.err.Code, op.err.Message)
		}
		return answer{code: http.StatusOK}
	}
	body := map[string]any{"name": op.id, "startTime": op.begun.UTC().Format(time.RFC3339Nano), "status": op.status}
	h := http.Header{}
	if op.ended() {
		body["endTime"] = op.over.UTC().Format(time.RFC3339Nano)
	} else if c.cfg.PollAfter >= 0 {
		h.Set("Retry-After", fmt.Sprint(c.cfg.PollAfter))
	}
	if op.err != nil {
		body["error"] = op.err
	}
	return answer{code: http.StatusOK, header: h, body: body}
}
