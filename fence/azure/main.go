// fence_azure switches virtual machines in Azure off and on for Pacemaker,
// through the Resource Manager (ARM). It is a drop-in for fence_azure_arm.
//
// This package owns orders to a machine and the proof of what came of them
// (vm.go, operation.go), and the network fence (network.go, subnet.go). The
// Resource Manager itself, identities and clouds are lib/azure's, what all fence
// agents have in common is lib/stonith's.
package main

import (
	"pgrex/lib/azure"
	"pgrex/lib/stonith"
)

func main() { stonith.Main(declaration(azure.Wire{})) }
