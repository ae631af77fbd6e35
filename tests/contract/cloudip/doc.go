// Package cloudip holds tests of the built ocf:pgrex:cloudip on a LAN, run as
// Pacemaker runs it. Judges from outside say what is right where there is one
// (ocf-tester, the ocft cases of IPaddr2, the schemas, pcs, crmsh, strace, the
// neighbour's own ARP cache); for the rest there is a test for each defect that
// IPaddr2 is known to have had.
//
// The agent's LAN is two links of the sandbox to another network namespace, the
// peer. All tests share it, so they run one after the other. What needs a cloud is
// tested elsewhere: in agents/cloudip with one in memory, in tests/lab with a
// stand-in for Azure.
package cloudip
