package azure

import (
	"testing"

	"pgrex/tests/contract/sandbox"
)

// Debian 13 has Pacemaker 3.0, and newer versions of pcs and crmsh.
func TestOnDebian13(t *testing.T) {
	if sandbox.IsElsewhere() {
		return
	}
	sandbox.Elsewhere(t, "TestFencer", "TestLevels", "TestTools", "TestBinary")
}
