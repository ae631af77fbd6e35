//go:build lan

package main

import (
	"context"
	"os"

	"pgrex/lib/cloud"
	"pgrex/lib/ocf"
	"pgrex/lib/proc"
)

// withAzure is this agent with the driver of Azure. It is a package of its own
// (pgrex-cloudip-azure), so that a node on a LAN carries no cloud's SDK.
const withAzure = "/usr/libexec/pgrex/cloudip-azure"

// handOver lets the agent that has the driver take this call's place if the call needs it: same process, same
// arguments, same environment. Where it is not installed the call goes on here, and
// says so as soon as the driver is needed (buildAzure).
func handOver() {
	name := os.Getenv("OCF_RESKEY_provider")
	if name == "" {
		name = providerAuto
	}
	if kind, err := chooseProvider(name, providers()); err != nil || kind == nil {
		return
	}
	_ = proc.OS{}.HandOver(withAzure)
}

// buildAzure says what is missing. That is this node's trouble and no other's.
func buildAzure(context.Context, *ocf.Call) (cloud.Provider, error) {
	return nil, ocf.Errorf(ocf.ErrInstalled, "%s is not there, and the address is one of Azure: install the package pgrex-cloudip-azure on this node", withAzure)
}
