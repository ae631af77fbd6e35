// Package azure holds tests of the built cloudip in a cloud: machines that are
// network namespaces, in a virtual network that delivers the packets for an address
// to the interface that the stand-in's Resource Manager names, with the instance
// metadata service at its real address and the Resource Manager over HTTPS at its
// real name. The agent is unmodified. A client talks to the address all the time,
// and what it heard from whom is judged.
//
// They need root, the packages that `make deps` installs, bin/cloudip and
// bin/cloudip-azure (or PGREX_BIN), and fail without them.
package azure
