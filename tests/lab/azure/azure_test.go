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
	have := Role()
	slices.Sort(have)
	var together []string
	for _, page := range []string{"azure.md", "cloudip-azure.md", "fence_azure.md"} {
		b, err := os.ReadFile("../../../docs/" + page)
		if err != nil {
			t.Fatal(err)
		}
		role := struct{ Actions []string }{}
		_, rest, found := strings.Cut(string(b), `"Name":`)
		if err := json.NewDecoder(strings.NewReader(`{"Name":` + rest)).Decode(&role); !found || err != nil || len(role.Actions) == 0 {
			t.Fatalf("%s: no role: %v", page, err)
		}
		slices.Sort(role.Actions)
		if page == "azure.md" {
			if !slices.Equal(role.Actions, have) {
				t.Errorf("%s gives %q, the lab %q", page, role.Actions, have)
			}
			continue
		}
		together = append(together, role.Actions...)
	}
	slices.Sort(together)
	if together = slices.Compact(together); !slices.Equal(together, have) {
		t.Errorf("documented %q, in the lab %q", together, have)
	}
}
