package main

import (
	"context"
	"fmt"

	"pgrex/lib/cloud"
	"pgrex/lib/ocf"
)

// The values of provider that name no cloud.
const (
	providerAuto = "auto"
	providerNone = "none"
)

// The values of release_on_stop.
const (
	releaseNever = "never"
	releaseTry   = "try"
)

// providerKind is one cloud the agent knows. The clouds are listed in providers; each brings its own
// file with its parameters (params_<name>.go), this (provider_<name>.go) and what makes its driver
// (driver_<name>.go), which is not built into the agent for a LAN (driver_lan.go).
type providerKind struct {
	// name is the value of the parameter provider.
	name string
	// detect reports whether this machine is one of that cloud, from what is known locally: it makes
	// no request and takes no time. It is asked by every monitor with provider=auto.
	detect func() bool
	// build makes the provider from the parameters of the call. It makes no request either. Its
	// errors are shown as they are; one of type *cloud.Error chooses its exit code.
	build func(ctx context.Context, c *ocf.Call) (cloud.Provider, error)
}

// providers are the clouds, in the order in which provider=auto tries them.
func providers() []providerKind {
	return []providerKind{azureKind()}
}

// chooseProvider finds the cloud for the parameters of a call; nil means a LAN.
func chooseProvider(name string, kinds []providerKind) (*providerKind, error) {
	if name == providerNone {
		return nil, nil
	}
	for _, k := range kinds {
		if name == k.name || name == providerAuto && k.detect() {
			return &k, nil
		}
	}
	if name == providerAuto {
		return nil, nil
	}
	return nil, fmt.Errorf("provider=%s is not built into this agent", name)
}
