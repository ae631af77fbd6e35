// Command cloudip is ocf:pgrex:cloudip, the resource agent for a virtual IP
// address: on a LAN it does what IPaddr2 does, in a cloud it first makes the
// machine's network interface the holder of the address.
//
// It owns the order of things: one file per action. How an address gets onto an
// interface, is announced and looked for on the wire is in lib/netif; who holds
// an address in a cloud and how it moves is in lib/cloud. Built with the tag lan it
// has no driver of a cloud, and hands over to the one that has (driver_lan.go).
package main

import (
	"os"

	"pgrex/lib/ocf"
)

func main() {
	// The announcements that outlive a start are sent by this program too; see announce.go. No
	// resource manager calls that.
	if len(os.Args) > 1 && os.Args[1] == announceCommand {
		os.Exit(announceMain(os.Args[2:]))
	}
	handOver()
	ocf.Main(ocf.Agent{Meta: declaration(), Handlers: handlers()})
}
