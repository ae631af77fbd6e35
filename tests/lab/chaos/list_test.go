package chaos

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// numbers are those of the list, in its order: it has gaps.
func numbers() []string {
	var out []string
	for _, r := range [][2]int{{1, 8}, {10, 16}, {20, 30}, {31, 36}, {40, 45}, {50, 56}, {60, 65}, {70, 76}, {80, 84}, {90, 96}, {100, 106}, {110, 113}} {
		for i := r[0]; i <= r[1]; i++ {
			n := strconv.Itoa(i)
			if i < 10 {
				n = "0" + n
			}
			out = append(out, "T"+n)
		}
	}
	return out
}

// TestListNamesWhatThereIs: each line of the list in docs/reliability.md names
// scenarios, faults, rounds, stories and tests that there are, or says that and why
// there is nothing.
func TestListNamesWhatThereIs(t *testing.T) {
	const root = "../../.."
	page, err := os.ReadFile(root + "/docs/reliability.md")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(page), "<!-- list -->\n")
	list, _, found := strings.Cut(list, "<!-- end of list -->")
	if !found {
		t.Fatal("docs/reliability.md has lost the marks of its list")
	}
	scenarios, err := os.ReadFile("../scenarios.txt")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for line := range strings.Lines(string(scenarios)) {
		if f := strings.Fields(line); len(f) == 2 {
			known[f[0]] = true
		}
	}
	for _, k := range Kinds() {
		known[k.Name], known[k.Group] = true, true
	}
	want := numbers()
	for line := range strings.Lines(list) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) != 6 {
			t.Fatalf("not four cells: %s", line)
		}
		number := strings.TrimSpace(cells[1])
		if !strings.HasPrefix(number, "T") {
			continue
		}
		if len(want) == 0 || number != want[0] {
			t.Fatalf("%s comes where %v should", number, want)
		}
		want = want[1:]
		if strings.TrimSpace(cells[3]) == "" && strings.TrimSpace(cells[4]) == "" {
			t.Errorf("%s: neither shown nor told why not", number)
		}
		for _, w := range absent(t, root, cells[3], known) {
			t.Errorf("%s: %s", number, w)
		}
	}
	if len(want) > 0 {
		t.Errorf("not in the list: %v", want)
	}
}

// named is a directory, or something quoted.
var named = regexp.MustCompile("`[^`]+`|\\b(?:agents|lib|fence|tests)/[a-z/]+")

// absent are the names in a cell that nothing has.
func absent(t *testing.T, root, cell string, known map[string]bool) (wrong []string) {
	t.Helper()
	dir := ""
	for _, w := range named.FindAllString(cell, -1) {
		name := strings.Trim(w, "`")
		switch {
		case w == name:
			dir = filepath.Join(root, name)
		case strings.HasPrefix(name, "Test"):
			if !hasTest(t, dir, name) {
				wrong = append(wrong, dir+" has no test "+name)
			}
		case strings.HasSuffix(name, ".txt"):
			if _, err := os.Stat(filepath.Join(dir, "testdata/scenarios", name)); err != nil {
				wrong = append(wrong, err.Error())
			}
		case strings.Contains(name, "@"):
			if _, err := ParseRound(1, name, Kinds()); err != nil {
				wrong = append(wrong, err.Error())
			}
		case name == "in" || name == "out": // ways of a cut
		case !known[name]:
			wrong = append(wrong, "no scenario, no fault and no group is called "+name)
		}
	}
	return wrong
}

// hasTest says whether a package has a test of a name.
func hasTest(t *testing.T, dir, name string) bool {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(b), "\nfunc "+name+"(") {
			return true
		}
	}
	return false
}
