package azure

import (
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

// Refusal is an error answer of ARM taken apart.
type Refusal struct {
	// Status is that of HTTP, 0 for the error of an operation.
	Status        int
	Code, Message string
	// Details are the codes inside: for a lock they say more than the outer one.
	Details []string
	// After is what Retry-After asks for, 0 for nothing.
	After time.Duration
}

// AsRefusal takes the answer out of an error; nil if there was no answer in it.
func AsRefusal(err error) *Refusal {
	var r *azcore.ResponseError
	if !errors.As(err, &r) {
		return nil
	}
	f := &Refusal{Status: r.StatusCode, Code: r.ErrorCode}
	if r.RawResponse == nil {
		return f
	}
	f.After = retryAfter(r.RawResponse)
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
func (f *Refusal) read(body []byte) {
	var doc struct {
		Error errorBody `json:"error"`
	}
	if json.Unmarshal(body, &doc) != nil {
		return // an intermediary's HTML, or nothing: the status has to do
	}
	if f.Code == "" {
		f.Code = doc.Error.Code
	}
	f.Message = doc.Error.Message
	for _, d := range doc.Error.Details {
		f.Details = append(f.Details, d.Code)
	}
}

// Words is the refusal for a sentence: code and first sentence of the message.
func (f *Refusal) Words() string {
	code := f.Code
	if code == "" {
		code = "status " + strconv.Itoa(f.Status)
	}
	if f.Message == "" {
		return Quotable(code)
	}
	return Quotable(code + ": " + f.Message)
}

// forGood are the codes of 409 that no waiting helps against: a lock set by an
// administrator, and limits.
var forGood = []string{"ScopeLocked", "ReadOnlyDisabledSubscription", "SkuNotAvailable", "AllocationFailed", "ZonalAllocationFailed", "QuotaExceeded"}

// Locked reports whether the resource, or one that it refers to, is being changed
// by somebody else at the moment. Azure says so by 409, and by 429 with codes
// that have nothing to do with the number of requests.
func (f *Refusal) Locked() bool {
	codes := append([]string{f.Code}, f.Details...)
	switch f.Status {
	case http.StatusConflict:
		if strings.Contains(strings.ToLower(f.Message), "quota") {
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

// Has reports whether the refusal has a code, outside or inside.
func (f *Refusal) Has(code string) bool {
	return strings.EqualFold(f.Code, code) || slices.ContainsFunc(f.Details, func(d string) bool { return strings.EqualFold(d, code) })
}

func isLock(err error) bool {
	f := AsRefusal(err)
	return f != nil && f.Locked()
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

// missingRight is compiled when it is first needed, as all patterns here: a monitor that asks nothing of Azure
// links them too.
var missingRight = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`action(?:\(s\))? '([^']+)'(?: (?:over|on the linked) scope(?:\(s\))? '([^']+)')?`)
})

// Right is the right that a 403 says is missing, and where; "" if it does not say.
// For a linked resource (a subnet to be joined) the last one named is the missing.
func (f *Refusal) Right() (action, scope string) {
	all := missingRight().FindAllStringSubmatch(f.Message, -1)
	if len(all) == 0 {
		return "", ""
	}
	last := all[len(all)-1]
	return last[1], last[2]
}
