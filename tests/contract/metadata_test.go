package contract

import (
	"bytes"
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	metadataSchema = "/usr/share/resource-agents/metadata.rng"
	ocfTesterDTD   = "/usr/share/resource-agents/ra-api-1.dtd"
)

// metadata is what the tests need of an agent's description.
type metadata struct {
	Name       string `xml:"name,attr"`
	Parameters []struct {
		Name string `xml:"name,attr"`
	} `xml:"parameters>parameter"`
	Actions []struct {
		Name string `xml:"name,attr"`
	} `xml:"actions>action"`
}

// describe asks the agent and keeps its answer as a file for the validators.
// Without a resource manager's greeting an agent does not know which version of
// OCF it is asked for.
func describe(t *testing.T, env ...string) (string, metadata) {
	t.Helper()
	cmd := exec.Command(agent, "meta-data")
	cmd.Env = append([]string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, env...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("meta-data: %v", err)
	}
	file := filepath.Join(tempDir(t), "pgsql.xml")
	if err := os.WriteFile(file, out, 0o644); err != nil {
		t.Fatal(err)
	}
	var m metadata
	if err := xml.Unmarshal(out, &m); err != nil {
		t.Fatalf("meta-data: %v", err)
	}
	if m.Name != "pgsql" || len(m.Parameters) < 33 || len(m.Actions) < 10 {
		t.Fatalf("meta-data of %q describes %d parameters and %d actions: that cannot be all", m.Name, len(m.Parameters), len(m.Actions))
	}
	return file, m
}

// Each of the two forms is judged by the schemas of those it is for; see
// docs/meta-data.md.
func TestMetadataSchema(t *testing.T) {
	schema := pcsSchema(t)
	for _, tt := range []struct {
		name, committed string
		env             []string
		validate        [][]string
	}{
		{"plain", "pgsql.xml", nil, [][]string{{"--relaxng", metadataSchema}, {"--valid"}, {"--relaxng", schema}}},
		{"OCF 1.1", "pgsql.ocf-1.1.xml", ocf11, [][]string{{"--relaxng", schema}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file, _ := describe(t, tt.env...)
			text := readFile(t, file)
			for _, args := range tt.validate {
				if out, err := xmllint(text, args...); err != nil {
					t.Errorf("xmllint %v: %v\n%s", args, err, out)
				}
			}
			if text != readFile(t, "../../metadata/"+tt.committed) {
				t.Errorf("the agent does not print what metadata/%s says: run make metadata", tt.committed)
			}
		})
	}
}

// ocf11 is how a resource manager says that it speaks OCF 1.1.
var ocf11 = []string{"OCF_RA_VERSION_MAJOR=1", "OCF_RA_VERSION_MINOR=1"}

// pcsSchema is where pcs keeps its schema of OCF 1.1; the place differs between
// distributions.
func pcsSchema(t *testing.T) string {
	t.Helper()
	for _, pattern := range []string{"/usr/share/pcs/data/ocf-1.1.rng", "/usr/lib/pcs/data/ocf-1.1.rng"} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return found[0]
		}
	}
	t.Fatal("pcs has no schema ocf-1.1.rng where it was looked for: is pcs installed (make deps)?")
	return ""
}

// xmllint judges a text as ocf-tester has it done: from its standard input, in
// the directory of the DTD.
func xmllint(text string, args ...string) (string, error) {
	cmd := exec.Command("xmllint", slices.Concat([]string{"--noout"}, args, []string{"-"})...)
	cmd.Dir = filepath.Dir(ocfTesterDTD)
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// The validators must be able to say no, or the tests above say nothing.
func TestMetadataValidatorsRefuse(t *testing.T) {
	file, _ := describe(t)
	good := readFile(t, file)
	bad := strings.Replace(good, "<content ", "<contents ", 1)
	if good == bad {
		t.Fatal("no parameter to spoil")
	}
	for _, args := range [][]string{{"--relaxng", metadataSchema}, {"--relaxng", pcsSchema(t)}, {"--valid"}} {
		if _, err := xmllint(bad, args...); err == nil {
			t.Errorf("xmllint %v accepts spoilt meta-data", args)
		}
	}
}

// Anybody may ask, with any environment.
func TestMetadataForNobody(t *testing.T) {
	out := command(t, "su", "nobody", "-s", "/bin/sh", "-c", "env -i "+agent+" meta-data")
	if !strings.Contains(out, "<resource-agent ") {
		t.Errorf("no meta-data for the user nobody: %.200s", out)
	}
}

// pcs and crmsh read the description with their own parsers; every parameter
// must arrive.
func TestMetadataManagers(t *testing.T) {
	t.Parallel()
	_, m := describe(t)
	for _, tt := range []struct{ name, command string }{
		{"pcs", "pcs resource describe ocf:pgrex:pgsql"},
		{"crmsh", "crm ra info ocf:pgrex:pgsql"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			args := strings.Fields(tt.command)
			cmd := exec.Command(args[0], args[1:]...)
			cmd.Env = append(os.Environ(), "COLUMNS=200", "TERM=dumb", "PAGER=cat", "HOME="+tempDir(t))
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, err := cmd.Output()
			if err != nil {
				t.Fatalf("%s: %v\n%s%s", tt.command, err, out, stderr.Bytes())
			}
			if stderr.Len() > 0 {
				t.Errorf("%s complains: %s", tt.command, stderr.Bytes())
			}
			for _, p := range m.Parameters {
				if !hasWord(string(out), p.Name) {
					t.Errorf("%s does not show the parameter %s", tt.command, p.Name)
				}
			}
		})
	}
}

// hasWord reports whether a line begins with the word.
func hasWord(text, word string) bool {
	for line := range strings.Lines(text) {
		fields := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t\n:*(", r) })
		if len(fields) > 0 && fields[0] == word {
			return true
		}
	}
	return false
}

// Pacemaker itself, by its public tool.
func TestMetadataPacemaker(t *testing.T) {
	out := command(t, "crm_resource", "--show-metadata", "ocf:pgrex:pgsql")
	if !strings.Contains(out, `<resource-agent name="pgsql"`) {
		t.Errorf("crm_resource --show-metadata: %.300s", out)
	}
	list := command(t, "crm_resource", "--list-agents", "ocf:pgrex")
	if !hasWord(list, "pgsql") {
		t.Errorf("crm_resource --list-agents ocf:pgrex: %q", list)
	}
}
