// Package stonith is the fence-agent contract: it turns one call by Pacemaker's fencer, or by a
// person, into a Call, carries the action out on a Device, and turns the outcome into one exit code,
// one line on standard output and the error texts that Pacemaker and people search for.
//
// It owns what every fence agent has in common: the parameters that all of them have (common.go),
// reading standard input and the command line (stdin.go, options.go, input.go), meta-data, manual
// and usage (xml.go, text.go), the rule that a machine is off only when it was read back as off in
// a request sent after the command (power.go), and the only os.Exit (main.go). It knows no device:
// an agent hands in a declaration and a function that opens one.
//
// The contract is that of the fence-agents project as Pacemaker 2.1 and 3.0 use it. Resource agents
// speak another one, which is lib/ocf's.
package stonith
