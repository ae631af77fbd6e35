package fence

import (
	"testing"

	"pgrex/tests/contract/sandbox"
)

// Debian 13 has Pacemaker 3.0, and newer versions of the other judges.
func TestOnDebian13(t *testing.T) {
	if sandbox.IsElsewhere() {
		return
	}
	t.Parallel()
	sandbox.Elsewhere(t, "TestFenced", "TestLevels", "TestHostArgument", "TestSchema", "TestClusterTools", "TestValidate",
		"TestParametersOfTheOriginal", "TestSameAsTheOriginal", "TestRunner")
}
