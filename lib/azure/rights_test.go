package azure

import "testing"

func TestCovers(t *testing.T) {
	tests := []struct {
		pattern, right string
		want           bool
	}{
		{"*", "microsoft.compute/virtualmachines/read", true},
		{"*/read", "microsoft.compute/virtualmachines/read", true},
		{"*/read", "microsoft.compute/virtualmachines/write", false},
		{"microsoft.compute/*/read", "microsoft.compute/virtualmachines/read", true},
		{"microsoft.compute/*/read", "microsoft.network/virtualnetworks/read", false},
		{"microsoft.compute/virtualmachines/*", "microsoft.compute/virtualmachines/start/action", true},
		{"microsoft.compute/*/start/*", "microsoft.compute/virtualmachines/start/action", true},
		{"*start*start*", "microsoft.compute/virtualmachines/start/action", false},
		{"*/action", "x/action/y", false},
		{"a*a", "a", false},
		{"", "a", false},
		{"a", "a", true},
	}
	for _, tt := range tests {
		if got := covers(tt.pattern, tt.right); got != tt.want {
			t.Errorf("%q covers %q: %v", tt.pattern, tt.right, got)
		}
	}
}
