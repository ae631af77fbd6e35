package fence

import (
	"os"
	"testing"

	"pgrex/tests/contract/sandbox"
)

const (
	agent    = "/usr/sbin/fence_ipmi"
	original = "/usr/sbin/fence_ipmilan"
)

func TestMain(m *testing.M) {
	os.Exit(sandbox.Main(m, sandbox.Config{
		Needs:     []string{original, "ipmi_sim", "ipmitool", "strace"},
		Installed: []string{agent},
		Scripts:   map[string]string{"/usr/sbin/fence_seen": listener},
		Release:   sandbox.Debian13,
		Parallel:  8, // most of these tests wait for the original
		// Python would speak of its own deprecations otherwise.
		Furnish: func() error { return os.Setenv("PYTHONWARNINGS", "ignore") },
	}.ForFencer()))
}

// heard is where listener, an agent, writes what it is told before it lets fence_ipmi do it.
const (
	heard    = sandbox.Work + "/seen"
	listener = "#!/bin/sh\ntold=$(cat)\nprintf '%s\\n' \"$told\" >>" + heard + "\nprintf '%s\\n' \"$told\" | " + agent + "\n"
)
