package azure

import (
	"net/http"
	"strings"
)

// The services a request may be for.
const (
	ARM      = "arm"
	Login    = "login"
	Metadata = "imds"
)

// Fault is what goes wrong with a request. Of the faults that match a request
// the first in order of their making is used.
type Fault struct {
	// Service, Method and Path choose the requests; an empty one matches any.
	// Path is a part of the path, in any case.
	Service, Method, Path string
	// Skip lets as many matching requests pass first. Times is how many are
	// hit then: 0 means one, -1 all.
	Skip, Times int
	// Delay comes before anything else.
	Delay Duration
	// Hang never answers: the connection stays open until the client leaves.
	Hang bool
	// Drop closes the connection without an answer.
	Drop bool
	// Effect lets the request do its work before Hang, Drop or Status.
	Effect bool
	// Status is the status code of the answer; 0 leaves the answer alone. Code
	// and Message fill ARM's error body, Details its inner codes.
	Status        int
	Code, Message string
	Details       []string
	// RetryAfter is the value of that header, Header any others.
	RetryAfter string
	Header     map[string]string
	// Body, if not nil, is sent as it stands (with status 200 if none is set).
	Body *string
	// Operation tells how the operation that the request begins will end. Without
	// anything else the fault is not used up by requests that begin none.
	Operation *OperationFault
}

// onlyOperation says that the fault does nothing to the request itself.
func (f *Fault) onlyOperation() bool {
	return f.Operation != nil && f.Status == 0 && f.Body == nil && !f.Hang && !f.Drop
}

// OperationFault is how an accepted operation goes wrong.
type OperationFault struct {
	// Status is Failed (if empty), Canceled or, for one that is only slow, Succeeded.
	Status, Code, Message string
	// After is how long the operation goes on until then; with Effect, how much
	// longer than others a change of the network takes.
	After Duration
	// Stuck operations never end.
	Stuck bool
	// Effect lets the operation do its work nevertheless.
	Effect bool
	// Rollback lets a network resource be again what it was. Otherwise it shows
	// what it should have become, as Failed.
	Rollback bool
}

func (f *OperationFault) status() string {
	switch {
	case f == nil:
		return "Succeeded"
	case f.Status == "":
		return "Failed"
	}
	return f.Status
}

func (f *OperationFault) err() *armError {
	if f == nil || f.Status == "Succeeded" {
		return nil
	}
	return &armError{Code: f.Code, Message: f.Message}
}

type scripted struct {
	Fault
	seen int
}

// Script adds a fault.
func (c *Cloud) Script(f Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = append(c.faults, &scripted{Fault: f})
}

// ClearFaults forgets all faults.
func (c *Cloud) ClearFaults() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = nil
}

// fault takes the fault for a request out of the script, nil if there is none.
func (c *Cloud) fault(service string, r *http.Request) *Fault {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.faults {
		if s.Service != "" && s.Service != service || s.Method != "" && s.Method != r.Method ||
			!strings.Contains(strings.ToLower(r.URL.Path), strings.ToLower(s.Path)) {
			continue
		}
		n := s.seen - s.Skip
		if s.Times >= 0 && n >= max(s.Times, 1) {
			continue
		}
		s.seen++
		if n >= 0 {
			return &s.Fault
		}
	}
	return nil
}

// giveBack takes a fault as unused.
func (c *Cloud) giveBack(f *Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.faults {
		if &s.Fault == f {
			s.seen--
		}
	}
}
