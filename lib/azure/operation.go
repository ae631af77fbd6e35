package azure

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Operation is an order that ARM has accepted and carries out behind our back.
type Operation struct {
	// URL tells how it goes; "" if ARM did not say where to ask. It is all that is needed to go on
	// with an operation of an earlier process.
	URL string
	// Over says that it needs no more asking.
	Over bool
	last time.Time
	// missed counts the looks in a row that got no usable answer.
	missed int
}

// missedLooks is after how many of those an operation counts as unreadable: what it does shows on its
// resource, too, and that may be readable all the time.
const missedLooks = 3

// Begun is the operation that an accepted order has begun, by the header of the answer. Without a URL
// that can be followed it is over from the start.
func (c *Client) Begun(h http.Header) *Operation {
	op := &Operation{URL: h.Get("Azure-AsyncOperation"), last: time.Now()}
	if !c.Ours(op.URL) {
		op.URL, op.Over = "", true
	}
	return op
}

// Ours reports whether a URL belongs to the Resource Manager: our token is sent
// to nobody else.
func (c *Client) Ours(address string) bool {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.User != nil {
		return false
	}
	arm, err := url.Parse(c.raw.Endpoint())
	if err != nil {
		return false
	}
	return strings.EqualFold(u.Host, arm.Host) || strings.HasSuffix(strings.ToLower(u.Host), "."+strings.ToLower(arm.Host))
}

// Progress is how an operation goes.
type Progress int

// What a look at an operation can show.
const (
	Running    Progress = iota // or cannot be told just now
	Succeeded                  // it is over
	Failed                     // it is over, or was cancelled
	Unreadable                 // it will never be told; only the resource itself can show it
)

// Look asks how an operation goes, unless it is over or was asked for less than pause ago: its own
// Retry-After is far longer and made for those who do not wait. The refusal says why it failed, or why
// it cannot be read.
func (c *Client) Look(ctx context.Context, op *Operation, pause time.Duration) (Progress, *Refusal) {
	if op.Over || time.Since(op.last) < pause {
		return Running, nil
	}
	op.last = time.Now()
	var answer struct {
		Status string    `json:"status"`
		Error  errorBody `json:"error"`
	}
	if err := c.Fetch(ctx, op.URL, "", &answer); err != nil {
		f := AsRefusal(err)
		var syntax *json.SyntaxError
		switch {
		case f != nil && f.Status < http.StatusInternalServerError && f.Status != http.StatusTooManyRequests:
			op.Over = true
			return Unreadable, f
		case errors.As(err, &syntax):
			op.Over = true
			return Unreadable, &Refusal{Code: Plain(err).Error()}
		}
		if op.missed++; op.missed < missedLooks || ctx.Err() != nil {
			return Running, nil
		}
		op.Over = true
		if f == nil {
			f = &Refusal{Code: Plain(err).Error()}
		}
		return Unreadable, f
	}
	op.missed = 0
	switch strings.ToLower(answer.Status) {
	case "succeeded":
		op.Over = true
		return Succeeded, nil
	case "failed", "canceled", "cancelled":
		op.Over = true
		f := &Refusal{Code: answer.Error.Code, Message: answer.Error.Message}
		for _, d := range answer.Error.Details {
			f.Details = append(f.Details, d.Code)
		}
		if f.Code == "" {
			f.Code = answer.Status
		}
		return Failed, f
	}
	return Running, nil
}
