// Package fence holds tests of the built fence agents, called as Pacemaker and people call them: a
// program with name=value lines on standard input or with options, an exit code and a line as the
// answer. Judges from outside say what is right: the schema and the agents of fence-agents, pcs,
// crmsh, stonith_admin, ipmitool, and a real pacemaker-fenced.
//
// fence_ipmi and fence_ipmilan are driven against the same simulator (OpenIPMI's ipmi_sim) in the same
// state, and have to do the same to it and say the same; deviations.go lists where they do not, and
// why. Nothing of fence-agents is committed here: what it says is asked of the installed one.
//
// All tests run in namespaces of their own, like those of the package above. They need root and the
// packages that `make deps` installs, and fail without them.
package fence
