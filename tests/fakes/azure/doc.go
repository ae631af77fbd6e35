// Package azure is a stateful stand-in for the parts of Azure that the suite
// talks to: the Resource Manager (ARM) over HTTPS, the login endpoint that
// hands out tokens, and the instance metadata service (IMDS) of a virtual
// machine. It exists because there is no emulator of ARM, and because the
// clients under test are the real SDK: nothing in them is replaced.
//
// It owns virtual machines and their power, long-running operations with a
// chosen latency, roles and permissions, the network as far as the addresses of
// interfaces go (virtual networks and subnets, interfaces, what these refer to),
// faults scripted per request, and a journal of every request. A Power connects a
// machine's power with something real, such as a node of the lab; a Plane does the
// same with the packets for an address.
//
// What it answers follows the published API and what users reported of the real
// one. Where neither is known the code says so with the word "assumed". It does
// not check templates, quotas or billing, and knows no resource that nothing of
// ours asks for.
package azure
