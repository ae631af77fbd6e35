package azure

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"pgrex/lib/life"
)

const (
	// tries is how often a request is sent that gets no answer or a broken one; two
	// are enough for a silent one, which has cost a whole request_timeout each time.
	tries       = 4
	silentTries = 2
	firstPause  = 200 * time.Millisecond
	// throttlePause is for a refusal for too many requests that names no time.
	throttlePause = 2 * time.Second
)

// patience is a policy of the SDK's pipeline: it repeats requests that failed for
// a reason that passes. All requests of ours may be repeated without harm. A lock
// is not its business: while it lasts the resource has to be looked at, and that is its owner's.
type patience struct {
	log *slog.Logger
	// throttled bounds what is waited for a service that is being throttled; 0
	// means until the action's own end.
	throttled time.Duration
}

// Do sends the request until it is answered for good.
func (p patience) Do(req *policy.Request) (*http.Response, error) {
	ctx := req.Raw().Context()
	start := time.Now()
	last := ""
	for try := 1; ; try++ {
		if try > 1 {
			if err := req.RewindBody(); err != nil {
				return nil, err
			}
		}
		resp, err := req.Next()
		wait, why := p.again(ctx, resp, err, try, time.Since(start))
		if why == "" && err != nil && ctx.Err() != nil && last != "" {
			return nil, &endedError{err, last}
		}
		if why == "" {
			return resp, err
		}
		last = why
		p.log.Warn(fmt.Sprintf("%s; %s %s is sent again after %s", why, req.Raw().Method, req.Raw().URL.Host, wait.Round(time.Millisecond)))
		runtime.Drain(resp)
		if err := life.Pause(ctx, wait); err != nil {
			return nil, &endedError{err, why}
		}
	}
}

// endedError says what was being waited for when the time was over.
type endedError struct {
	err error
	why string
}

func (e *endedError) Error() string { return e.why + "; " + e.err.Error() }
func (e *endedError) Unwrap() error { return e.err }

// again says how long to wait before the request is sent again, and why; no
// reason means that it is not.
func (p patience) again(ctx context.Context, resp *http.Response, err error, try int, since time.Duration) (time.Duration, string) {
	pause := firstPause << (try - 1)
	switch {
	case ctx.Err() != nil:
		return 0, ""
	case err != nil:
		// Who we are does not change by asking again; the credential has its own retries.
		if _, refused := asSignIn(err); refused || Silent(err) && try >= silentTries || try >= tries {
			return 0, ""
		}
		return pause, "no answer (" + Plain(err).Error() + ")"
	case resp.StatusCode == http.StatusTooManyRequests:
		if isLock(runtime.NewResponseError(resp)) {
			return 0, ""
		}
		wait := retryAfter(resp)
		if wait <= 0 {
			wait = throttlePause
		}
		if end, ok := ctx.Deadline(); ok && time.Until(end) <= wait || p.throttled > 0 && since+wait > p.throttled {
			return 0, ""
		}
		return wait, "the Resource Manager takes no more requests for now (429)"
	case resp.StatusCode == http.StatusRequestTimeout || resp.StatusCode >= 500 && resp.StatusCode != http.StatusNotImplemented:
		if try >= tries {
			return 0, ""
		}
		if wait := retryAfter(resp); wait > 0 {
			if end, ok := ctx.Deadline(); ok && time.Until(end) <= wait || p.throttled > 0 && since+wait > p.throttled {
				return 0, ""
			}
			pause = wait
		}
		return pause, fmt.Sprintf("status %d", resp.StatusCode)
	}
	return 0, ""
}
