package ipmi

import (
	"context"
	"errors"
	"fmt"

	"github.com/bougou/go-ipmi/pkg/client"
	"github.com/bougou/go-ipmi/pkg/types"
)

// Kind is the way in which a BMC does not do what it was asked.
type Kind int

// The kinds of failure.
const (
	// BadAnswer is an answer that makes no sense.
	BadAnswer Kind = iota
	// Unreachable means that the network said so: no such name, no route, port closed.
	Unreachable
	// Silent means that nothing came back.
	Silent
	// Auth means that user or password are wrong.
	Auth
	// Privilege means that the user may not do this.
	Privilege
	// Suite means that the BMC refuses the cipher suite, or the whole dialect.
	Suite
	// Busy means that the BMC cannot do it now, or did not say why it cannot.
	Busy
	// Unsupported means that the BMC will never do it.
	Unsupported
	// BadConfig is a mistake in Config.
	BadConfig
)

// Error is a failure and its kind. Its text is a sentence for people, without any secret.
type Error struct {
	Kind Kind
	Text string
	// Err is the cause.
	Err error
}

// Error is the sentence.
func (e *Error) Error() string { return e.Text }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

func errorf(kind Kind, format string, a ...any) *Error {
	err := fmt.Errorf(format, a...)
	return &Error{Kind: kind, Text: err.Error(), Err: errors.Unwrap(err)}
}

// KindOf is the kind of an error of this package, BadAnswer for any other.
func KindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return BadAnswer
}

// Completion codes of IPMI 2.0, table 5-2, and of the commands used here.
const (
	codeNodeBusy      = 0xc0
	codeInvalid       = 0xc1
	codeInvalidForLUN = 0xc2
	codeNoSpace       = 0xc4
	codeParameter     = 0xc9
	codeInvalidField  = 0xcc
	codeInitializing  = 0xd2
	codePrivilege     = 0xd4
	codeState         = 0xd5
	codeDisabled      = 0xd6
)

// rejected turns the completion code of a command into an error.
func (b *BMC) rejected(what string, code uint8, err error) *Error {
	switch code {
	case codePrivilege:
		return &Error{Privilege, fmt.Sprintf("the BMC %s refuses to %s for user %q at privilege level %s; the user needs at least operator on the BMC's LAN channel",
			b.cfg.address(), what, b.cfg.User, b.cfg.level()), err}
	case codeInvalid, codeInvalidForLUN, codeParameter, codeInvalidField, codeDisabled:
		return &Error{Unsupported, fmt.Sprintf("the BMC %s does not know how to %s (completion code %#02x)", b.cfg.address(), what, code), err}
	case codeState:
		return &Error{Busy, fmt.Sprintf("the BMC %s cannot %s in its present state (completion code 0xd5)", b.cfg.address(), what), err}
	case codeNodeBusy, codeNoSpace, codeInitializing:
		return &Error{Busy, fmt.Sprintf("the BMC %s is too busy to %s (completion code %#02x)", b.cfg.address(), what, code), err}
	}
	return &Error{Busy, fmt.Sprintf("the BMC %s refuses to %s (completion code %#02x)", b.cfg.address(), what, code), err}
}

// status turns the status code of RMCP+ session set-up into an error.
func (b *BMC) status(code types.RmcpStatusCode, suite int, err error) *Error {
	switch code {
	case types.RmcpStatusCodeInvalidAuthAlg, types.RmcpStatusCodeInvalidIntegrityAlg, types.RmcpStatusCodeNoMatchingAuthPayload,
		types.RmcpStatusCodeNoMatchingIntegrityPayload, types.RmcpStatusCodeInvalidConfidentAlg, types.RmcpStatusCodeNoCipherSuiteMatch:
		return &Error{Suite, fmt.Sprintf("the BMC %s refuses cipher suite %d", b.cfg.address(), suite), err}
	case types.RmcpStatusCodeUnauthorizedName, types.RmcpStatusCodeInvalidNameLength, types.RmcpStatusCodeUnauthorizedGUID:
		return &Error{Auth, fmt.Sprintf("the BMC %s does not know user %q, or does not let it in at privilege level %s", b.cfg.address(), b.cfg.User, b.cfg.level()), err}
	case types.RmcpStatusCodeInvalidRole, types.RmcpStatusCodeUnauthorizedRoleOfPriLevel:
		return &Error{Privilege, fmt.Sprintf("the BMC %s does not give user %q the privilege level %s; set privlvl to what the user has", b.cfg.address(), b.cfg.User, b.cfg.level()), err}
	case types.RmcpStatusCodeNoResToCreateSess, types.RmcpStatusCodeNoResToCreateSessAtRole:
		return &Error{Busy, fmt.Sprintf("the BMC %s has no session left; others hold them all", b.cfg.address()), err}
	case types.RmcpStatusCodeInvalidIntegrityCheckValue:
		return &Error{Auth, fmt.Sprintf("the BMC %s refuses the password of user %q", b.cfg.address(), b.cfg.User), err}
	}
	return &Error{Busy, fmt.Sprintf("the BMC %s refuses a session (RMCP+ status %#02x)", b.cfg.address(), uint8(code)), err}
}

// classify makes an Error of what go-ipmi returned while we were trying to do what.
func (b *BMC) classify(what string, suite int, err error) *Error {
	var own *Error
	var status *types.RmcpStatusError
	if errors.As(err, &own) {
		return own
	}
	if errors.As(err, &status) {
		return b.status(status.StatusCode(), suite, err)
	}
	if errors.Is(err, client.ErrRAKPAuthentication) && errors.Is(err, errLastStep) {
		what := "a Kg key is set on it; set hexadecimal_kg"
		if len(b.cfg.Kg) > 0 {
			what = "hexadecimal_kg is not the Kg key that is set on it"
		}
		return &Error{Auth, fmt.Sprintf("the BMC %s knows the password of user %q and signs with another key: %s", b.cfg.address(), b.cfg.User, what), err}
	}
	if errors.Is(err, client.ErrRAKPAuthentication) {
		return &Error{Auth, fmt.Sprintf("the BMC %s knows no user %q with this password", b.cfg.address(), b.cfg.User), err}
	}
	// Code 0 is go-ipmi's way to say that an accepted command had an answer it cannot read.
	if resp, ok := types.IsResponseError(err); ok && resp.CompletionCode() != 0 {
		return b.rejected(what, uint8(resp.CompletionCode()), err)
	}
	if unreachable(err) {
		return &Error{Unreachable, fmt.Sprintf("the BMC %s cannot be reached: %s; check address, port and cabling", b.cfg.address(), cause(err)), err}
	}
	if silent(err) {
		return &Error{Silent, fmt.Sprintf("the BMC %s gave no answer when asked to %s", b.cfg.address(), what), err}
	}
	return &Error{BadAnswer, fmt.Sprintf("the BMC %s gave an answer that makes no sense when asked to %s: %v", b.cfg.address(), what, err), err}
}

// silent reports whether an error of go-ipmi says that no answer came. Its own error for "nothing
// that fits" is not exported, but it never returns it for anything else.
func silent(err error) bool {
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return true
	case errors.As(err, &timeout) && timeout.Timeout():
		return true
	}
	return containsAny(err.Error(), "no datagram matched", "no matching IPMI response")
}
