// fence_azure switches virtual machines in Azure off and on for Pacemaker,
// through the Resource Manager (ARM). It is a drop-in for fence_azure_arm.
//
// This package owns what is particular to Azure: identities and clouds
// (identity.go, cloud.go), orders to a machine and the proof of what came of
// them (vm.go, operation.go), the network fence (network.go, subnet.go), and
// sentences for what ARM refuses (errors.go, refusal.go). What all fence agents
// have in common is lib/stonith's.
package main

import "pgrex/lib/stonith"

func main() { stonith.Main(declaration(wire{})) }
