package azure

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestRoles compares the rights of the lab's nodes with those that the documentation
// tells people to give.
func TestRoles(t *testing.T) {
	have := [][]string{sorted(Role()), sorted(OperationsRole())}
	if guide := roles(t, "azure.md"); !slices.EqualFunc(guide, have, slices.Equal) {
		t.Errorf("azure.md gives %q, the lab %q", guide, have)
	}
	var single []string
	for _, page := range []string{"cloudip-azure.md", "fence_azure.md"} {
		for _, r := range roles(t, page) {
			single = append(single, r...)
		}
	}
	if single = slices.Compact(sorted(single)); !slices.Equal(single, sorted(slices.Concat(have...))) {
		t.Errorf("the agents' pages give %q, the lab %q", single, have)
	}
}

func sorted(s []string) []string {
	slices.Sort(s)
	return s
}

// roles are the rights of each role that a page has as JSON.
func roles(t *testing.T, page string) [][]string {
	t.Helper()
	b, err := os.ReadFile("../../../docs/" + page)
	if err != nil {
		t.Fatal(err)
	}
	var all [][]string
	for rest := string(b); ; {
		var found bool
		if _, rest, found = strings.Cut(rest, `"Name":`); !found {
			break
		}
		role := struct{ Actions []string }{}
		if err := json.NewDecoder(strings.NewReader(`{"Name":` + rest)).Decode(&role); err != nil || len(role.Actions) == 0 {
			t.Fatalf("%s: no role: %v", page, err)
		}
		all = append(all, sorted(role.Actions))
	}
	if len(all) == 0 {
		t.Fatalf("%s has no role", page)
	}
	return all
}
