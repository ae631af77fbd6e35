package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"pgrex/lib/stonith"
)

// plainError carries a text for people over the error it was made of.
type plainError struct {
	text string
	err  error
}

func (e *plainError) Error() string { return e.text }
func (e *plainError) Unwrap() error { return e.err }

// plain makes one short line of an error of the network or of the SDK, whose own
// texts fill pages and hold words that mean something to Pacemaker.
func plain(err error) error {
	if err == nil {
		return nil
	}
	var (
		dns  *net.DNSError
		op   *net.OpError
		cert *tls.CertificateVerificationError
		// address is the wrapper of every error of net/http.
		address *url.Error
		text    string
	)
	switch {
	case errors.As(err, &dns):
		text = fmt.Sprintf("the name %s cannot be resolved", quotable(dns.Name))
	case silent(err):
		text = "no answer in time"
	case errors.As(err, &cert):
		text = "its certificate is not trusted: " + quotable(cert.Err.Error())
	case errors.As(err, &op) && op.Err != nil:
		text = quotable(op.Err.Error())
		if op.Addr != nil {
			text += " (" + op.Addr.String() + ")"
		}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		text = "the connection was closed without an answer"
	case errors.As(err, &address):
		return &plainError{plain(address.Err).Error(), err} // without the address itself, which is long
	default:
		if f := asRefusal(err); f != nil {
			text = f.words()
		} else {
			text = quotable(err.Error())
		}
	}
	return &plainError{text, err}
}

// silent reports whether there was no answer, as opposed to a bad one.
func silent(err error) bool {
	var n net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &n) && n.Timeout()
}

var (
	timeWord = regexp.MustCompile(`(?i)time(d?)[ _-]?out`)
	spaces   = regexp.MustCompile(`\s+`)
)

const maxQuote = 400

// quotable makes a foreign text fit for one line of ours. Pacemaker searches the
// lines for "timeout", "timed out" and "unrecognised action" and takes them for
// words of ours about itself.
func quotable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '�' {
			return ' '
		}
		return r
	}, s)
	s = timeWord.ReplaceAllString(s, "time$1-lapse")
	s = strings.NewReplacer("nrecognised", "nknown", "nrecognized", "nknown", "nsupported", "nknown").Replace(s)
	s = strings.TrimSpace(spaces.ReplaceAllString(s, " "))
	if r := []rune(s); len(r) > maxQuote {
		s = string(r[:maxQuote]) + "..."
	}
	return strings.TrimRight(s, ". ")
}

// signInError says that there is no token.
type signInError struct {
	who string
	err error
}

func (e *signInError) Error() string { return e.err.Error() }
func (e *signInError) Unwrap() error { return e.err }

// signIn takes the failure to sign in out of an error.
func signIn(err error) (*signInError, bool) {
	var s *signInError
	ok := errors.As(err, &s)
	return s, ok
}

// hints are what to do about the answers of the login endpoint and the metadata
// service, by a part of them.
var hints = []struct{ part, hint string }{
	{"AADSTS7000215", "the secret is wrong, or is its ID instead of its value"},
	{"AADSTS7000222", "the secret has expired; make a new one"},
	{"AADSTS700016", "check username (the client ID), tenantId and cloud"},
	{"AADSTS90002", "check tenantId and cloud"},
	{"AADSTS700027", "register the certificate in certificate_file with the application"},
	{"AADSTS70021", "the application does not trust the issuer of federated_token_file"},
	{"Identity not found", "assign a managed identity to this machine, or set identity"},
	{"multiple user assigned", "set identity to one of them"},
}

// reason is the sentence of a failure to sign in.
func (e *signInError) reason() string {
	// The SDK keeps of most errors no more than the text, and adds advice of its own.
	text, _, _ := strings.Cut(plain(e.err).Error(), " To troubleshoot, visit")
	text = strings.TrimRight(text, ". ")
	if strings.HasSuffix(text, context.DeadlineExceeded.Error()) {
		text = "no answer in time"
	}
	var refused *azidentity.AuthenticationFailedError
	if errors.As(e.err, &refused) && refused.RawResponse != nil {
		text = fmt.Sprintf("status %d", refused.RawResponse.StatusCode)
		if body, err := runtime.Payload(refused.RawResponse); err == nil {
			if d := description(body); d != "" {
				text = quotable(d)
			}
		}
	}
	for _, h := range hints {
		if strings.Contains(text, h.part) {
			return fmt.Sprintf("cannot sign in as %s: %s; %s", e.who, text, h.hint)
		}
	}
	return fmt.Sprintf("cannot sign in as %s: %s", e.who, text)
}

// explain makes the error of a request: what was wanted, and on which machine.
// The context is that of the action, to tell its end from that of one request.
func (d *device) explain(ctx context.Context, err error, what, vm string) error {
	if err == nil {
		return nil
	}
	if ctx.Err() != nil {
		return &stonith.Error{Class: stonith.TimedOut, Reason: what + ": the action ended before there was an answer", Err: ctx.Err()}
	}
	if s, ok := signIn(err); ok {
		return &stonith.Error{Class: stonith.Login, Reason: s.reason(), Err: err}
	}
	if f := asRefusal(err); f != nil {
		d.answered = true
		class, reason := d.refused(f, what, vm)
		return &stonith.Error{Class: class, Reason: reason, Err: err}
	}
	class := stonith.Login
	if d.answered {
		class = stonith.Lost
		if silent(err) {
			class = stonith.TimedOut
		}
	}
	return &stonith.Error{Class: class, Err: err, Reason: fmt.Sprintf(
		"%s: the Resource Manager (%s) was not reached: %s; this node needs a way to it", what, host(d.raw.Endpoint()), plain(err))}
}

// refused finds class and sentence for an answer of ARM that is an error.
func (d *device) refused(f *refusal, what, vm string) (stonith.Class, string) {
	switch f.status {
	case http.StatusUnauthorized:
		return stonith.Login, fmt.Sprintf("%s: the Resource Manager does not accept %s (%s); check tenantId and cloud, and whether the identity still exists", what, d.who, f.words())
	case http.StatusForbidden:
		action, scope := f.right()
		if action == "" {
			return stonith.Privileges, fmt.Sprintf("%s: forbidden to %s (%s)", what, d.who, f.words())
		}
		if scope == "" {
			scope = d.vmID(vm)
		}
		return stonith.Privileges, fmt.Sprintf("%s: %s lacks the right %s on %s; assign it a role with that action (it takes some minutes to be in force)", what, d.who, quotable(action), quotable(scope))
	case http.StatusNotFound:
		return stonith.Generic, d.notFound(f, what, vm)
	case http.StatusTooManyRequests:
		if !f.locked() {
			again := ""
			if f.after > 0 {
				again = fmt.Sprintf("; it asks to come back in %s", f.after)
			}
			return stonith.Busy, fmt.Sprintf("%s: the Resource Manager takes no more requests for now (%s)%s", what, f.words(), again)
		}
	}
	switch {
	case f.locked():
		return stonith.Busy, fmt.Sprintf("%s: something else is changing the machine just now (%s)", what, f.words())
	case f.code == "ScopeLocked":
		return stonith.Generic, fmt.Sprintf("%s: a lock forbids it (%s); an administrator has to remove the lock", what, f.words())
	case f.status >= http.StatusInternalServerError || f.status == http.StatusRequestTimeout:
		return stonith.Status, fmt.Sprintf("%s: the Resource Manager fails with status %d (%s)", what, f.status, f.words())
	case strings.Contains(f.code, "ApiVersion"), strings.Contains(f.message, "api-version"):
		return stonith.Generic, fmt.Sprintf("%s: this cloud does not know the version of the API (%s); check the parameter cloud", what, f.words())
	}
	return stonith.Generic, fmt.Sprintf("%s: refused with status %d (%s)", what, f.status, f.words())
}

func (d *device) notFound(f *refusal, what, vm string) string {
	switch f.code {
	case "ResourceGroupNotFound":
		return fmt.Sprintf("%s: there is no resource group %q in subscription %s; check resourceGroup", what, d.group, d.subscription)
	case "SubscriptionNotFound", "InvalidSubscriptionId":
		return fmt.Sprintf("%s: %s sees no subscription %q; check subscriptionId and cloud", what, d.who, d.subscription)
	}
	if vm == "" {
		return fmt.Sprintf("%s: not found (%s)", what, f.words())
	}
	return fmt.Sprintf("%s: there is no virtual machine %q in resource group %q; if its name is not the node's name, pcmk_host_map has to say so", what, vm, d.group)
}
