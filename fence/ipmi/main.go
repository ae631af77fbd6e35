// Command fence_ipmi fences machines by their management controllers (BMCs) over IPMI. It takes the
// parameters of fence_ipmilan, and needs no ipmitool.
//
// It owns the declaration (params.go) and the translation between a BMC and the contract of fence
// agents (device.go). How a BMC is talked to is in lib/ipmi; when a machine counts as off, in
// lib/stonith.
package main

import "pgrex/lib/stonith"

func main() { stonith.Main(declaration()) }
