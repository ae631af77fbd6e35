// Package azure is lib/cloud's driver for Azure: it makes a network interface (NIC) of the virtual machine
// it runs on the holder of a private IP address, as a secondary ipConfiguration.
//
// It owns how that is done and in which order (acquire.go, claim.go, follow.go), the changes of a NIC in
// ARM's own JSON so that no unknown field is lost (nic.go, template.go, tags.go), what is known of an address
// between one action and the next (state.go), who we are on Azure (self.go), and the preflight (preflight.go,
// rights.go, guest.go). The Resource Manager itself is lib/azure's.
//
// What decides is always what ARM says now, never what is remembered: a memory only saves a request or an
// association of the address. So whatever is killed half-way can be begun again, here or on another machine.
package azure
