package planted

import (
	"testing"

	"pgrex/tests/lab/chaos"
)

const tree = "../../../.."

// TestApply shows that every bug can still be planted and that its rounds can be
// played. That it is found is shown by "lab chaos --planted all".
func TestApply(t *testing.T) {
	seen := map[string]bool{}
	for _, b := range Bugs() {
		if seen[b.Name] || len(b.Signs) == 0 || len(b.Rounds) == 0 {
			t.Errorf("%s is there twice or incomplete", b.Name)
		}
		seen[b.Name] = true
		sources, err := b.Sources(tree)
		if err != nil {
			t.Error(err)
			continue
		}
		if err := b.Check(t.Context(), tree, t.TempDir()); err != nil {
			t.Error(err)
		}
		if len(sources) == 0 {
			t.Errorf("%s changes nothing", b.Name)
		}
		for i, text := range b.Rounds {
			if _, err := chaos.ParseRound(i+1, text, chaos.Kinds()); err != nil {
				t.Errorf("%s: %v", b.Name, err)
			}
		}
	}
}
