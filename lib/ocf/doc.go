// Package ocf is the resource-agent contract: it turns one call by a resource manager into a Call,
// runs the handler of the action within the deadline the manager gave, and turns the outcome into
// one exit code and one reason.
//
// It owns what every resource agent has in common: reading the OCF environment (call.go), exit
// codes (code.go), the notify lists (notify.go), logging and the exit reason (log.go), and the run
// loop (run.go) with the only os.Exit. It knows nothing of any service and nothing of the cluster's
// memory; fence agents speak another contract, which is lib/stonith's.
//
// The contract is the OCF Resource Agent API 1.1 and what Pacemaker adds to it.
package ocf
