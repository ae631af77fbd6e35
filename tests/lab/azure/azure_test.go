package azure

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestRole compares the rights of the lab's nodes with those that the documentation
// tells people to give.
func TestRole(t *testing.T) {
	var documented []string
	for _, page := range []string{"cloudip-azure.md", "fence_azure.md"} {
		b, err := os.ReadFile("../../../docs/" + page)
		if err != nil {
			t.Fatal(err)
		}
		role := struct{ Actions []string }{}
		_, rest, found := strings.Cut(string(b), `"Name":`)
		if err := json.NewDecoder(strings.NewReader(`{"Name":` + rest)).Decode(&role); !found || err != nil || len(role.Actions) == 0 {
			t.Fatalf("%s: no role: %v", page, err)
		}
		documented = append(documented, role.Actions...)
	}
	slices.Sort(documented)
	have := Role()
	slices.Sort(have)
	if documented = slices.Compact(documented); !slices.Equal(documented, have) {
		t.Errorf("documented %q, in the lab %q", documented, have)
	}
}
