package main

import (
	"context"
	"errors"
	"fmt"

	"pgrex/lib/cloud"
	"pgrex/lib/netif"
	"pgrex/lib/ocf"
)

// preflightLevel is the check level from which validate-all looks beyond the parameters.
const preflightLevel = 10

// validate is validate-all: at level 0 what the parameters and the interfaces of this node say, at
// level 10 whether a start on this node would succeed, one line for each thing that was looked at.
func (a *agent) validate(ctx context.Context) error {
	if a.conf.err != nil {
		return a.conf.err
	}
	place, err := netif.Find(a.net, netif.Want{IP: a.conf.ip, NIC: a.conf.nic, Bits: a.conf.bits, Protocol: a.conf.protocol})
	// In a cloud the cloud tells the interface.
	if err != nil && (a.kind == nil || !errors.Is(err, netif.ErrNoPlace) && !errors.Is(err, netif.ErrNeedsLink)) {
		return a.noPlace(err)
	}
	var provider cloud.Provider
	if a.kind != nil {
		// That makes no request, and finds parameters that do not fit together.
		if provider, err = a.cloud(ctx); err != nil {
			return err
		}
	}
	if a.call.CheckLevel < preflightLevel {
		return nil
	}
	findings := a.local(place)
	if provider != nil {
		findings = append(findings, provider.Preflight(ctx, a.conf.ip)...)
	}
	return a.report(findings)
}

// local looks at this node.
func (a *agent) local(p netif.Place) []cloud.Finding {
	if p.Link.Name == "" {
		return nil
	}
	findings := []cloud.Finding{{Text: fmt.Sprintf("%s goes on %s with the prefix length %d", a.conf.ip, p.Link.Name, p.Bits)}}
	if why := p.Link.Down(); why != "" {
		level := cloud.Warn
		if a.conf.checkLink && p.Link.Flags&netif.LinkUp != 0 {
			level = cloud.Fatal
		}
		findings = append(findings, cloud.Finding{Level: level, Text: fmt.Sprintf("the link of %s is down (%s)", p.Link.Name, why)})
	}
	return findings
}

// report prints the findings; one that would make start fail is an error.
func (a *agent) report(findings []cloud.Finding) error {
	names := map[cloud.Level]string{cloud.Fine: "ok", cloud.Untold: "unknown", cloud.Warn: "warning", cloud.Fatal: "error"}
	var fatal []string
	for _, f := range findings {
		_, _ = fmt.Fprintf(a.out, "%s: %s\n", names[f.Level], f.Text)
		if f.Level == cloud.Fatal {
			fatal = append(fatal, f.Text)
		}
	}
	if len(fatal) > 0 {
		return ocf.Errorf(ocf.ErrGeneric, "a start on this node would fail, %d reasons, the first: %s", len(fatal), fatal[0])
	}
	return nil
}
