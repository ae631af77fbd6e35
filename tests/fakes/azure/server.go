package azure

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// answer is what a request gets.
type answer struct {
	code   int
	header http.Header
	// body is sent as JSON; raw, if not nil, as it is.
	body any
	raw  *string
	// principal and right are for the journal.
	principal, right string
}

// armError is the error object of ARM, also inside of operations.
type armError struct {
	Code    string     `json:"code"`
	Message string     `json:"message"`
	Details []armError `json:"details,omitempty"`
}

func fail(status int, code, message string, details ...string) answer {
	e := armError{Code: code, Message: message}
	for _, d := range details {
		e.Details = append(e.Details, armError{Code: d, Message: d})
	}
	return answer{code: status, body: map[string]any{"error": e}}
}

// Handler serves ARM and the login endpoint: the names of both lead to it.
func (c *Cloud) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isLogin(r.URL.Path) {
			c.serve(w, r, Login, c.login)
			return
		}
		c.serve(w, r, ARM, c.arm)
	})
}

// MetadataHandler serves the instance metadata service as the named machine
// sees it.
func (c *Cloud) MetadataHandler(group, vm string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.serve(w, r, Metadata, func(r *http.Request, _ []byte, _ *Fault) answer { return c.metadata(r, group, vm) })
	})
}

const maxBody = 4 << 20

// serve is the way of every request: journal, fault, work, answer.
func (c *Cloud) serve(w http.ResponseWriter, r *http.Request, service string, work func(*http.Request, []byte, *Fault) answer) {
	start := time.Now()
	body, err := io.ReadAll(io.LimitReader(r.Body, maxBody))
	if err != nil {
		return // the client has gone
	}
	noted := string(body)
	if service == Login {
		noted = withoutSecrets(body)
	}
	entry := c.note(service, r, noted)
	fault := c.fault(service, r)
	a := c.answer(r, body, service, fault, work)
	if fault != nil && fault.onlyOperation() && a.header.Get("Azure-AsyncOperation") == "" {
		c.giveBack(fault) // it was refused, so there is no operation to spoil
		fault = nil
	}
	c.amend(entry, func(q *Request) {
		q.Principal, q.Right, q.Fault = a.principal, a.right, fault != nil
	})
	if fault != nil && fault.Hang {
		<-r.Context().Done()
		return
	}
	if fault != nil && fault.Drop {
		drop(w)
		return
	}
	a.write(w)
	c.amend(entry, func(q *Request) {
		q.Status, q.Took = a.code, Duration(time.Since(start))
	})
}

func (c *Cloud) answer(r *http.Request, body []byte, service string, fault *Fault, work func(*http.Request, []byte, *Fault) answer) answer {
	if service == ARM {
		c.mu.Lock()
		d := c.cfg.Latency.Answer
		c.mu.Unlock()
		pause(r, d)
	}
	if fault == nil {
		return work(r, body, nil)
	}
	pause(r, fault.Delay)
	replaced := fault.Status != 0 || fault.Body != nil || fault.Hang || fault.Drop
	var a answer
	if !replaced || fault.Effect {
		a = work(r, body, fault)
	}
	if fault.Status != 0 || fault.Body != nil {
		principal, right := a.principal, a.right
		code := fault.Status
		if code == 0 {
			code = http.StatusOK
		}
		a = fail(code, fault.Code, fault.Message, fault.Details...)
		if code < 300 {
			a.body = nil
		}
		a.raw, a.principal, a.right = fault.Body, principal, right
	}
	if a.header == nil {
		a.header = http.Header{}
	}
	if fault.RetryAfter != "" {
		a.header.Set("Retry-After", fault.RetryAfter)
	}
	for k, v := range fault.Header {
		a.header.Set(k, v)
	}
	return a
}

// pause waits, but not for a client that has gone.
func pause(r *http.Request, d Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(time.Duration(d))
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.Context().Done():
	}
}

func (a answer) write(w http.ResponseWriter) {
	h := w.Header()
	for k, v := range a.header {
		h[k] = v
	}
	id := uuid()
	h.Set("X-Ms-Request-Id", id)
	h.Set("X-Ms-Correlation-Request-Id", id)
	var out []byte
	switch {
	case a.raw != nil:
		out = []byte(*a.raw)
	case a.body != nil:
		h.Set("Content-Type", "application/json; charset=utf-8")
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(a.body); err != nil {
			a.code, out = http.StatusInternalServerError, []byte(fmt.Sprintf("the stand-in could not write its answer: %v", err))
			break
		}
		out = b.Bytes()
	}
	w.WriteHeader(a.code)
	_, _ = w.Write(out)
}

// drop closes the connection at once, without a byte of an answer.
func drop(w http.ResponseWriter) {
	if h, ok := w.(http.Hijacker); ok {
		if conn, _, err := h.Hijack(); err == nil {
			_ = conn.Close()
			return
		}
	}
	panic(http.ErrAbortHandler) // HTTP/2 has no hijacking; this resets the stream
}
