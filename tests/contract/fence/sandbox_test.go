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
		Parallel:  8, // most of these tests wait for the original
		// Python would speak of its own deprecations otherwise.
		Furnish: func() error { return os.Setenv("PYTHONWARNINGS", "ignore") },
	}.ForFencer()))
}
