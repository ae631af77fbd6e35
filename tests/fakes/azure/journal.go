package azure

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// Request is an entry of the journal. Tokens and secrets are not in it.
type Request struct {
	// At is the time since the cloud was made, Took until the answer.
	At, Took Duration
	// When is the time of day, for comparison with other logs.
	When time.Time
	// Service is ARM, Login or Metadata.
	Service, Method, Path, Query string
	// Host is what the client asked for.
	Host string
	// Principal is the name of the identity, Right what it needed.
	Principal, Right string
	Body             string
	// Status is the code of the answer, 0 if there was none.
	Status int
	// Fault says that the script had a hand in it.
	Fault bool
	// UserAgent is what the client called itself.
	UserAgent string
}

// String is the request's line for test output.
func (r Request) String() string {
	q := ""
	if r.Query != "" {
		q = "?" + r.Query
	}
	return fmt.Sprintf("%s %s %s%s -> %d", r.Service, r.Method, r.Path, q, r.Status)
}

// Is reports whether the request is of this method and its path ends so, in any
// case.
func (r Request) Is(method, end string) bool {
	return r.Method == method && strings.HasSuffix(strings.ToLower(r.Path), strings.ToLower(end))
}

// Requests are all requests so far, in the order of their arrival. One that is
// not yet answered has status 0.
func (c *Cloud) Requests() []Request {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Request(nil), c.journal...)
}

// ForgetRequests empties the journal.
func (c *Cloud) ForgetRequests() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.journal = nil
}

// Await returns when some request satisfies ok.
func (c *Cloud) Await(ctx context.Context, ok func(Request) bool) error {
	for {
		c.mu.Lock()
		changed := c.changed
		for _, r := range c.journal {
			if ok(r) {
				c.mu.Unlock()
				return nil
			}
		}
		c.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("the awaited request did not come: %w", ctx.Err())
		}
	}
}

func (c *Cloud) note(service string, r *http.Request, body string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.journal = append(c.journal, Request{
		At: Duration(time.Since(c.began)), When: time.Now(), Service: service, Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery,
		Host: r.Host, Body: body, UserAgent: r.UserAgent(),
	})
	c.wake()
	return len(c.journal) - 1
}

func (c *Cloud) amend(i int, edit func(*Request)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i < len(c.journal) { // it may have been emptied meanwhile
		edit(&c.journal[i])
	}
	c.wake()
}

func (c *Cloud) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}
