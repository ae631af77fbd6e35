// Package azure holds tests of the built fence_azure, run as Pacemaker runs it,
// in namespaces in which Azure is a stand-in (tests/fakes/azure): its names lead
// there, the instance metadata service is at its real address, and the agent, the
// SDK in it and Pacemaker's fencer are unmodified.
//
// They need root, the packages that `make deps` installs, and bin/fence_azure
// (or PGREX_BIN), and fail without them.
package azure
