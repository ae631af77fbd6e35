package packages

import (
	"bytes"
	"debug/buildinfo"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// unpack gives the contents of every rpm or deb, by the name of the package.
func unpack(t *testing.T, dir, suffix string) map[string]string {
	t.Helper()
	roots := map[string]string{}
	for _, name := range files(t, dir, suffix) {
		path, to := filepath.Join(dir, name), t.TempDir()
		if suffix == ".deb" {
			command(t, "", "dpkg-deb", "--extract", path, to)
			roots[strings.TrimSpace(command(t, "", "dpkg-deb", "--field", path, "Package"))] = to
			continue
		}
		command(t, to, "sh", "-c", `rpm2archive - <"$0" | tar -xz`, path)
		roots[command(t, "", "rpm", "-qp", "--qf", "%{NAME}", path)] = to
	}
	return roots
}

// The deb of a package has the files of its rpm, and all packages together have
// what `make install` installs and the licences of what is linked.
func TestSameLayout(t *testing.T) {
	dir, _ := build(t)
	rpms, debs := unpack(t, dir, ".rpm"), unpack(t, dir, ".deb")
	if got, want := slices.Sorted(maps.Keys(debs)), slices.Sorted(maps.Keys(rpms)); !slices.Equal(got, want) {
		t.Fatalf("packages of Debian %q, rpms %q", got, want)
	}
	all := map[string]file{}
	for name, root := range rpms {
		rpm, deb := tree(t, root), tree(t, debs[name])
		for path, f := range rpm {
			switch g, ok := deb[path]; {
			case !ok:
				t.Errorf("%s: %s is not in the deb", name, path)
			case f != g:
				t.Errorf("%s: %s differs: %v in the rpm, %v in the deb, contents equal: %v", name, path, f.mode, g.mode, f.content == g.content)
			}
			if _, twice := all[path]; twice {
				t.Errorf("%s is in two packages", path)
			}
			all[path] = f
		}
		if len(deb) != len(rpm) {
			t.Errorf("%s: %d files in the deb, %d in the rpm", name, len(deb), len(rpm))
		}
		if _, ok := rpm["/usr/share/doc/"+name+"/copyright"]; !ok {
			t.Errorf("%s has no licences", name)
		}
		delete(all, "/usr/share/doc/"+name+"/copyright")
	}
	stage := t.TempDir()
	command(t, checkoutWithPrograms(t), "make", "-s", "-o", "agents", "install", "DESTDIR="+stage)
	installed := tree(t, stage)
	for path, f := range installed {
		switch g, ok := all[path]; {
		case !ok:
			t.Errorf("%s is installed and in no package", path)
		case f.mode != g.mode:
			t.Errorf("%s has the mode %v, in its package %v", path, f.mode, g.mode)
		}
	}
	for path := range all {
		if _, ok := installed[path]; !ok {
			t.Errorf("%s is in a package and not installed", path)
		}
	}
}

// checkoutWithPrograms is a checkout that has files in the place of programs:
// what is installed where is asked, not what it is.
func checkoutWithPrograms(t *testing.T) string {
	t.Helper()
	dir := checkout(t)
	for program := range strings.FieldsSeq(command(t, dir, "make", "-s", "--eval", "print: ; @echo $(AGENTS) $(WITH_CLOUD) $(addprefix fence_,$(FENCES))", "print")) {
		if err := os.WriteFile(filepath.Join(dir, "bin", program), nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// withCloud are the packages that may link the SDK of a cloud.
var withCloud = []string{"pgrex-cloudip-azure", "pgrex-fence-azure"}

// Each package has one program, which says its version and commit, and the
// licence of every module it links. A node without a cloud gets no cloud's SDK.
func TestPrograms(t *testing.T) {
	dir, old := build(t)
	commit := strings.TrimSpace(command(t, project, "git", "rev-parse", "--short=12", "HEAD"))
	for _, version := range []struct{ dir, want string }{
		{old, oldVersion + " (commit "},
		{dir, specVersion(t) + " (commit " + commit + ")"},
	} {
		for name, root := range unpack(t, version.dir, ".deb") {
			var programs []string
			for path, f := range tree(t, root) {
				if f.mode&0o111 != 0 {
					programs = append(programs, root+path)
				}
			}
			if len(programs) != 1 {
				t.Errorf("%s has the programs %q, want one", name, programs)
				continue
			}
			if out := command(t, "", programs[0], "--version"); !strings.Contains(out, version.want) {
				t.Errorf("%s --version: %q, want %q", filepath.Base(programs[0]), out, version.want)
			}
			info, err := buildinfo.ReadFile(programs[0])
			if err != nil {
				t.Fatal(err)
			}
			copyright := read(t, root+"/usr/share/doc/"+name+"/copyright")
			for _, module := range info.Deps {
				if !bytes.Contains(copyright, []byte(module.Path+" "+module.Version+": ")) {
					t.Errorf("%s links %s and does not pass its licence on", name, module.Path)
				}
				if strings.Contains(strings.ToLower(module.Path), "azure") && !slices.Contains(withCloud, name) {
					t.Errorf("%s links %s", name, module.Path)
				}
			}
		}
	}
}

// pageLink is a link of Markdown to a file, not to another site or within the page.
var pageLink = regexp.MustCompile(`\]\(([^):#\s]+)(?:#[^)\s]*)?\)`)

// The documentation leads nowhere where the package has nothing.
func TestPackagedLinks(t *testing.T) {
	dir, _ := build(t)
	pages := tree(t, unpack(t, dir, ".deb")["pgrex"])
	n := 0
	for path, page := range pages {
		if filepath.Ext(path) != ".md" {
			continue
		}
		for _, m := range pageLink.FindAllStringSubmatch(page.content, -1) {
			n++
			if _, ok := pages[filepath.Join(filepath.Dir(path), m[1])]; !ok {
				t.Errorf("%s: there is no %s", path, m[1])
			}
		}
	}
	if n < 100 {
		t.Errorf("only %d links found: this test looks in the wrong place", n)
	}
}

func specVersion(t *testing.T) string {
	t.Helper()
	for line := range strings.Lines(string(read(t, project+"/rpm/pgrex.spec"))) {
		if v, ok := strings.CutPrefix(line, "Version:"); ok {
			return strings.TrimSpace(v)
		}
	}
	t.Fatal("the spec has no version")
	return ""
}

// A formatter has nothing to say about the manual pages.
func TestManualPages(t *testing.T) {
	pages, err := filepath.Glob(project + "/metadata/*.[78]")
	if err != nil || len(pages) < 4 {
		t.Fatalf("%q, %v", pages, err)
	}
	for _, page := range pages {
		out, err := exec.CommandContext(t.Context(), "groff", "-man", "-ww", "-z", "-Tutf8", page).CombinedOutput()
		if err != nil || len(out) > 0 {
			t.Errorf("%s: %v\n%s", page, err, out)
		}
	}
}
