package azure

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"sync"

	"pgrex/lib/azure"
	"pgrex/lib/cloud"
)

func fmtWhat(format string, a ...any) string { return fmt.Sprintf(format, a...) }

func fault(class cloud.Class, format string, a ...any) error {
	return &cloud.Error{Class: class, Err: fmt.Errorf(format, a...)}
}

// classified gives an error of lib/azure its class.
func classified(err error) error {
	var e *azure.Error
	if err == nil || !errors.As(err, &e) {
		return err
	}
	return &cloud.Error{Class: classOf(e), Err: e}
}

func classOf(e *azure.Error) cloud.Class {
	switch e.Class {
	case azure.Forbidden, azure.NoIdentity, azure.Protected, azure.Usage, azure.NoSecret, azure.NotFound:
		// Also what concerns this machine alone (its certificate, its own resources, or what it does not get
		// to see): the class Configuration would stop the address on every machine.
		return cloud.Permission
	case azure.Refused:
		if e.Refusal == nil {
			return cloud.Unclassified
		}
		return classOfCode(e.Refusal)
	}
	return cloud.Transient
}

// misfits are the codes of refusals that say parameters and resources do not fit together.
var misfits = []string{
	"PrivateIPAddressNotInSubnet", "PrivateIPAddressNotInAnySubnet", "PrivateIPAddressInReservedRange", "InvalidIPAddressFormat",
	"InvalidResource", "InvalidResourceReference", "InvalidIPConfigCount", "IpConfigDeleteNotSupported", "IpConfigMoveNotSupported",
	"MustHaveExactlyOnePrimaryIpConfiguration", "IpConfigurationsOnSameNicCannotUseDifferentSubnets", "PublicIPAddressInUse",
	"OutboundRuleCannotBeUsedWithBackendAddressPoolThatIsReferencedBySecondaryIpConfigs",
}

func classOfCode(f *azure.Refusal) cloud.Class {
	if slices.ContainsFunc(misfits, f.Has) {
		return cloud.Configuration
	}
	if strings.Contains(f.Code, "ReadOnlyDisabledSubscription") {
		return cloud.Permission
	}
	// Who holds the address at that moment is a matter of time.
	if f.Has(codeAllocated) || f.Has(codeCleanup) || f.Status == http.StatusPreconditionFailed {
		return cloud.Transient
	}
	return cloud.Unclassified
}

const (
	codeAllocated = "PrivateIPAddressIsAllocated"
	codePublic    = "PublicIPAddressInUse"
	// An address that was given up a moment ago is kept back for a while.
	codeCleanup = "PrivateIPAddressIsBeingCleanedUp"
)

// explain makes the error of a request about a NIC.
func (p *Provider) explain(ctx context.Context, err error, what, scope string) error {
	if err == nil {
		return nil
	}
	return classified(p.arm.Explain(ctx, err, azure.Subject{What: what, Thing: "the network interface", Scope: scope}))
}

// refusalIn is the answer of ARM in an error, nil if there is none.
func refusalIn(err error) *azure.Refusal {
	var e *azure.Error
	if errors.As(err, &e) && e.Refusal != nil {
		return e.Refusal
	}
	return azure.AsRefusal(err)
}

// stale says that the resource has changed since it was read.
func stale(err error) bool {
	f := refusalIn(err)
	return f != nil && f.Status == http.StatusPreconditionFailed
}

// passing says that the same may work a moment later, after another look.
func passing(err error) bool {
	var c *cloud.Error
	if errors.As(err, &c) && c.Class != cloud.Transient {
		return false
	}
	if f := refusalIn(err); f != nil && (f.Locked() || f.Has(codeCleanup) || f.Status == http.StatusPreconditionFailed) {
		return true
	}
	var e *azure.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Class {
	case azure.Throttled, azure.Locked, azure.Broken, azure.Unreachable, azure.Lost, azure.NoAnswer, azure.NoToken:
		return true
	}
	return false
}

// allocatedTo finds the holder in "... is using the private IP address A which is already allocated to resource R".
var allocatedTo = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)already allocated to resource\s+['"]?(/[^\s'",;]+)`)
})

// holderIn is the id of the resource that a refusal says has the address, or the public address that goes
// with it; ok is false if the refusal is about something else.
func holderIn(err error) (id string, ok bool) {
	f := refusalIn(err)
	if f == nil || !f.Has(codeAllocated) && !f.Has(codePublic) {
		return "", false
	}
	if m := allocatedTo().FindStringSubmatch(f.Message); m != nil {
		return strings.TrimRight(m[1], "./"), true
	}
	return "", true
}

func isPrimary(n nic, c config, address netip.Addr) error {
	return fault(cloud.Configuration, "%s is the primary address of network interface %s (ipConfiguration %s) and cannot move; choose an address that is nobody's own",
		address, n.describe(), c.name())
}
