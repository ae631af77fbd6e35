package azure

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"regexp"
	"strings"
	"sync"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
)

// plainError carries a text for people over the error it was made of.
type plainError struct {
	text string
	err  error
}

func (e *plainError) Error() string { return e.text }
func (e *plainError) Unwrap() error { return e.err }

// Plain makes one short line of an error of the network or of the SDK, whose own
// texts fill pages and hold words that mean something to Pacemaker.
func Plain(err error) error {
	if err == nil {
		return nil
	}
	var (
		dns   *net.DNSError
		op    *net.OpError
		cert  *tls.CertificateVerificationError
		proxy *proxyError
		// address is the wrapper of every error of net/http.
		address *url.Error
		text    string
	)
	switch {
	case errors.As(err, &dns):
		text = fmt.Sprintf("the name %s cannot be resolved", Quotable(dns.Name))
	case Silent(err):
		text = "no answer in time"
	case errors.As(err, &cert):
		text = "its certificate is not trusted: " + Quotable(cert.Err.Error())
	case errors.As(err, &proxy):
		text = proxy.Error()
	case errors.As(err, &op) && op.Op == "proxyconnect": // net/http's word
		text = "the proxy was not reached: " + Quotable(op.Err.Error())
	case errors.As(err, &op) && op.Err != nil:
		text = Quotable(op.Err.Error())
		if op.Addr != nil {
			text += " (" + op.Addr.String() + ")"
		}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		text = "the connection was closed without an answer"
	case errors.As(err, &address):
		return &plainError{Plain(address.Err).Error(), err} // without the address itself, which is long
	default:
		if f := AsRefusal(err); f != nil {
			text = f.Words()
		} else {
			text = Quotable(err.Error())
		}
	}
	return &plainError{text, err}
}

// Silent reports whether there was no answer, as opposed to a bad one.
func Silent(err error) bool {
	var n net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &n) && n.Timeout()
}

var timeWord = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`(?i)time(d?)[ _-]?out`) })

const maxQuote = 400

// Quotable makes a foreign text fit for one line of ours. Pacemaker searches the
// lines for "timeout", "timed out" and "unrecognised action" and takes them for
// words of ours about itself.
func Quotable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '�' {
			return ' '
		}
		return r
	}, s)
	s = timeWord().ReplaceAllString(s, "time$1-lapse")
	s = strings.NewReplacer("nrecognised", "nknown", "nrecognized", "nknown", "nsupported", "nknown").Replace(s)
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > maxQuote {
		s = string(r[:maxQuote]) + "..."
	}
	return strings.TrimRight(s, ". ")
}

// SignInError says that there is no token.
type SignInError struct {
	who string
	err error
}

// Error is the text of the error inside.
func (e *SignInError) Error() string { return e.err.Error() }

// Unwrap gives the error inside.
func (e *SignInError) Unwrap() error { return e.err }

// asSignIn takes the failure to sign in out of an error.
func asSignIn(err error) (*SignInError, bool) {
	var s *SignInError
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

// Definite reports whether the answer was no, as opposed to none or a broken one.
func (e *SignInError) Definite() bool {
	reason := e.Reason()
	for _, h := range hints {
		if strings.Contains(reason, h.part) {
			return true
		}
	}
	return false
}

// Reason is the sentence of a failure to sign in.
func (e *SignInError) Reason() string {
	// The SDK keeps of most errors no more than the text, and adds advice of its own.
	text, _, _ := strings.Cut(Plain(e.err).Error(), " To troubleshoot, visit")
	text = strings.TrimRight(text, ". ")
	if strings.HasSuffix(text, context.DeadlineExceeded.Error()) {
		text = "no answer in time"
	}
	var refused *azidentity.AuthenticationFailedError
	if errors.As(e.err, &refused) && refused.RawResponse != nil {
		text = fmt.Sprintf("status %d", refused.RawResponse.StatusCode)
		if body, err := runtime.Payload(refused.RawResponse); err == nil {
			if d := description(body); d != "" {
				text = Quotable(d)
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
