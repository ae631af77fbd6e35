package azure

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// Class is what kind of trouble an error is.
type Class int

// The classes of errors.
const (
	Refused     Class = iota // ARM refuses it for a reason of its own
	Usage                    // the options do not fit together
	NoSecret                 // nothing to prove the identity by
	NoIdentity               // the identity cannot be used, or was refused a token
	NoToken                  // whoever gives tokens was not reached
	NotAccepted              // ARM does not accept the token
	Forbidden                // a right is missing
	NotFound                 // there is no such resource, or it may not be seen
	Throttled                // too many requests
	Locked                   // something else is changing the resource just now
	Protected                // an administrator's lock forbids it
	Broken                   // ARM fails (status 5xx)
	Unreachable              // ARM was not reached at all
	Lost                     // ARM has answered before, and now the connection fails
	NoAnswer                 // ARM has answered before, and now does not in time
	Ended                    // the caller's time was over
)

// Error is an error of a request with its class and a sentence for people.
type Error struct {
	Class Class
	// Text is one line: what was wanted, what is wrong, what to do.
	Text string
	// Refusal is the answer of ARM, nil if there was none.
	Refusal *Refusal
	Err     error
}

// Error is the sentence.
func (e *Error) Error() string { return e.Text }

// Unwrap gives the error inside.
func (e *Error) Unwrap() error { return e.Err }

func wrong(class Class, err error, format string, a ...any) *Error {
	return &Error{Class: class, Text: fmt.Sprintf(format, a...), Err: err}
}

// Subject is what a request was about, for sentences.
type Subject struct {
	// What was wanted, such as `reading virtual machine "n1"`.
	What string
	// Thing is the resource in a word, such as "the machine"; Scope its id.
	Thing, Scope string
}

// Explain makes the error of a request; nil stays nil. The context is that of the action, to tell its
// end from that of one request.
func (c *Client) Explain(ctx context.Context, err error, s Subject) *Error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		waiting := ""
		var e *endedError
		if errors.As(err, &e) {
			waiting = "; the last one: " + e.why
		}
		return wrong(Ended, ctx.Err(), "%s: the action ended before there was an answer%s", s.What, waiting)
	}
	if in, ok := asSignIn(err); ok {
		class := NoToken
		if in.Definite() {
			class = NoIdentity
		}
		return wrong(class, err, "%s", in.Reason())
	}
	if f := AsRefusal(err); f != nil {
		c.Answered = true
		e := c.refused(f, s)
		e.Refusal, e.Err = f, err
		return e
	}
	class := Unreachable
	if c.Answered {
		class = Lost
		if Silent(err) {
			class = NoAnswer
		}
	}
	return wrong(class, err, "%s: the Resource Manager (%s) was not reached: %v; this node needs a way to it", s.What, c.Host(), Plain(err))
}

// refused finds class and sentence for an answer of ARM that is an error.
func (c *Client) refused(f *Refusal, s Subject) *Error {
	switch f.Status {
	case http.StatusUnauthorized:
		return wrong(NotAccepted, nil, "%s: the Resource Manager does not accept %s (%s); check tenantId and cloud, and whether the identity still exists", s.What, c.Who, f.Words())
	case http.StatusForbidden:
		action, scope := f.Right()
		if action == "" {
			return wrong(Forbidden, nil, "%s: forbidden to %s (%s)", s.What, c.Who, f.Words())
		}
		if scope == "" {
			scope = s.Scope
		}
		return wrong(Forbidden, nil, "%s: %s lacks the right %s on %s; assign it a role with that action (it takes some minutes to be in force)", s.What, c.Who, Quotable(action), Quotable(scope))
	case http.StatusNotFound:
		return wrong(NotFound, nil, "%s: %s", s.What, c.notFound(f, s))
	case http.StatusTooManyRequests:
		if !f.Locked() {
			again := ""
			if f.After > 0 {
				again = fmt.Sprintf("; it asks to come back in %s", f.After)
			}
			return wrong(Throttled, nil, "%s: the Resource Manager takes no more requests for now (%s)%s", s.What, f.Words(), again)
		}
	}
	switch {
	case f.Locked():
		return wrong(Locked, nil, "%s: something else is changing %s just now (%s)", s.What, s.Thing, f.Words())
	case f.Code == "ScopeLocked":
		return wrong(Protected, nil, "%s: a lock forbids it (%s); an administrator has to remove the lock", s.What, f.Words())
	case f.Status >= http.StatusInternalServerError || f.Status == http.StatusRequestTimeout:
		return wrong(Broken, nil, "%s: the Resource Manager fails with status %d (%s)", s.What, f.Status, f.Words())
	case strings.Contains(f.Code, "ApiVersion"), strings.Contains(f.Message, "api-version"):
		return wrong(Refused, nil, "%s: this cloud does not know the version of the API (%s); check the parameter cloud", s.What, f.Words())
	}
	return wrong(Refused, nil, "%s: refused with status %d (%s)", s.What, f.Status, f.Words())
}

// notFound says what there is not, as far as ARM tells.
func (c *Client) notFound(f *Refusal, s Subject) string {
	subscription, group := GroupOf(s.Scope)
	switch f.Code {
	case "ResourceGroupNotFound":
		return fmt.Sprintf("there is no resource group %q in subscription %s; check resourceGroup", group, subscription)
	case "SubscriptionNotFound", "InvalidSubscriptionId":
		return fmt.Sprintf("%s sees no subscription %q; check subscriptionId and cloud", c.Who, subscription)
	}
	return fmt.Sprintf("not found (%s)", f.Words())
}

// GroupOf takes subscription and resource group out of an id.
func GroupOf(id string) (subscription, group string) {
	parts := strings.Split(strings.Trim(id, "/"), "/")
	for i := 0; i+1 < len(parts); i += 2 {
		switch strings.ToLower(parts[i]) {
		case "subscriptions":
			subscription = parts[i+1]
		case "resourcegroups":
			group = parts[i+1]
		}
	}
	return subscription, group
}
