package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

// refusal is an error answer of ARM taken apart.
type refusal struct {
	status        int
	code, message string
	// details are the codes inside: for a lock they say more than the outer one.
	details []string
	// after is what Retry-After asks for, 0 for nothing.
	after time.Duration
}

// asRefusal takes the answer out of an error; nil if there was no answer in it.
func asRefusal(err error) *refusal {
	var r *azcore.ResponseError
	if !errors.As(err, &r) {
		return nil
	}
	f := &refusal{status: r.StatusCode, code: r.ErrorCode}
	if r.RawResponse == nil {
		return f
	}
	f.after = retryAfter(r.RawResponse)
	if body, err := runtime.Payload(r.RawResponse); err == nil {
		f.read(body)
	}
	return f
}

type errorBody struct {
	Code    string      `json:"code"`
	Message string      `json:"message"`
	Details []errorBody `json:"details"`
}

// read takes code, message and details out of a body, as far as they are there.
func (f *refusal) read(body []byte) {
	var doc struct {
		Error errorBody `json:"error"`
	}
	if json.Unmarshal(body, &doc) != nil {
		return // an intermediary's HTML, or nothing: the status has to do
	}
	if f.code == "" {
		f.code = doc.Error.Code
	}
	f.message = doc.Error.Message
	for _, d := range doc.Error.Details {
		f.details = append(f.details, d.Code)
	}
}

// words is the refusal for a sentence: code and first sentence of the message.
func (f *refusal) words() string {
	code := f.code
	if code == "" {
		code = "status " + strconv.Itoa(f.status)
	}
	if f.message == "" {
		return quotable(code)
	}
	return quotable(code + ": " + f.message)
}

// forGood are the codes of 409 that no waiting helps against: a lock set by an
// administrator, and limits.
var forGood = []string{"ScopeLocked", "ReadOnlyDisabledSubscription", "SkuNotAvailable", "AllocationFailed", "ZonalAllocationFailed", "QuotaExceeded"}

// locked reports whether the resource, or one that it refers to, is being changed
// by somebody else at the moment. Azure says so by 409, and by 429 with codes
// that have nothing to do with the number of requests.
func (f *refusal) locked() bool {
	codes := append([]string{f.code}, f.details...)
	switch f.status {
	case http.StatusConflict:
		if strings.Contains(strings.ToLower(f.message), "quota") {
			return false
		}
		return !slices.ContainsFunc(codes, func(c string) bool { return slices.Contains(forGood, c) })
	case http.StatusTooManyRequests:
		return slices.ContainsFunc(codes, func(c string) bool {
			return strings.HasPrefix(c, "RetryableError") || c == "ReferencedResourceNotProvisioned" || c == "AnotherOperationInProgress"
		})
	}
	return false
}

func isLock(err error) bool {
	f := asRefusal(err)
	return f != nil && f.locked()
}

// retryAfter reads the header, in seconds or milliseconds. A date is not used:
// clocks differ.
func retryAfter(resp *http.Response) time.Duration {
	if resp == nil {
		return 0
	}
	for _, h := range []struct {
		name string
		unit time.Duration
	}{{"Retry-After-Ms", time.Millisecond}, {"X-Ms-Retry-After-Ms", time.Millisecond}, {"Retry-After", time.Second}} {
		n, err := strconv.Atoi(strings.TrimSpace(resp.Header.Get(h.name)))
		if err == nil && n > 0 && n < int(24*time.Hour/time.Second)*1000 {
			return time.Duration(n) * h.unit
		}
	}
	return 0
}

var missingRight = regexp.MustCompile(`action(?:\(s\))? '([^']+)'(?: (?:over|on the linked) scope(?:\(s\))? '([^']+)')?`)

// right is the right that a 403 says is missing, and where; "" if it does not say.
// For a linked resource (a subnet to be joined) the last one named is the missing.
func (f *refusal) right() (action, scope string) {
	all := missingRight.FindAllStringSubmatch(f.message, -1)
	if len(all) == 0 {
		return "", ""
	}
	last := all[len(all)-1]
	return last[1], last[2]
}
