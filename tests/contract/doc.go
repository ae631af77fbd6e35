// Package contract holds tests of the built agents, run as Pacemaker runs them:
// a program with an action as its argument, parameters in the environment, an
// exit code and a reason as the answer. Judges from outside (ocf-tester, ocft,
// the schemas of resource-agents, pcs, crmsh, strace) say what is right where
// there is one, and a table of exit codes does where there is none.
//
// The tests look at no package of ours from inside; what a server does is asked
// of the server, and what a cluster remembers of the cluster. Failovers are not
// tested here but in tests/lab, whose machines are borrowed for what needs a
// cluster.
//
// All tests run in namespaces of their own (mounts, network, processes): the
// agents are installed there and nowhere else, nothing else listens, and
// whatever a test leaves behind ends with it. They need root and the packages
// that `make deps` installs, and fail without them.
package contract
