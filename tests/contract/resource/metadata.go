package resource

import (
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pgrex/tests/contract/sandbox"
)

// description is what the tests need of an agent's meta-data.
type description struct {
	Name       string `xml:"name,attr"`
	Parameters []struct {
		Name string `xml:"name,attr"`
	} `xml:"parameters>parameter"`
	Actions []struct {
		Name string `xml:"name,attr"`
	} `xml:"actions>action"`
}

// ocf11 is how a resource manager says that it speaks OCF 1.1. Without this
// greeting an agent does not know which version of OCF it is asked for.
var ocf11 = []string{"OCF_RA_VERSION_MAJOR=1", "OCF_RA_VERSION_MINOR=1"}

func (a Agent) describe(t *testing.T, env ...string) string {
	t.Helper()
	cmd := exec.Command(a.Path, "meta-data")
	cmd.Env = append([]string{"PATH=" + systemPath}, env...)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("meta-data: %v", err)
	}
	return string(out)
}

// CheckMetadata has the agent's description judged by everybody who reads it: in
// both forms by the schemas of those it is for (docs/meta-data.md), by pcs and
// crmsh, which must show every parameter, and by Pacemaker. The agent must print
// what metadata/ says, to any user, and describe at least so many parameters and
// actions. It needs xmllint, pcs, crm, crm_resource, su, and the three schemas of
// package sandbox.
func (a Agent) CheckMetadata(t *testing.T, parameters, actions int) {
	plain := a.describe(t)
	var d description
	if err := xml.Unmarshal([]byte(plain), &d); err != nil {
		t.Fatalf("meta-data: %v", err)
	}
	if d.Name != a.Name() || len(d.Parameters) < parameters || len(d.Actions) < actions {
		t.Fatalf("meta-data of %q describes %d parameters and %d actions: that cannot be all", d.Name, len(d.Parameters), len(d.Actions))
	}
	ours := [][]string{{"--relaxng", sandbox.ResourceSchema}, {"--valid"}, {"--relaxng", sandbox.OCF11Schema}}
	t.Run("plain", func(t *testing.T) { a.judge(t, plain, a.Name()+".xml", ours...) })
	t.Run("OCF 1.1", func(t *testing.T) { a.judge(t, a.describe(t, ocf11...), a.Name()+".ocf-1.1.xml", ours[2]) })
	// The validators must be able to say no, or the tests above say nothing.
	t.Run("spoilt", func(t *testing.T) {
		bad := strings.Replace(plain, "<content ", "<contents ", 1)
		for _, options := range ours {
			if sandbox.XMLLint(bad, options...) == nil {
				t.Errorf("xmllint %v accepts spoilt meta-data", options)
			}
		}
	})
	t.Run("nobody", func(t *testing.T) {
		out := sandbox.Command(t, "su", "nobody", "-s", "/bin/sh", "-c", "env -i "+a.Path+" meta-data")
		if !strings.Contains(out, "<resource-agent ") {
			t.Errorf("no meta-data for the user nobody: %.200s", out)
		}
	})
	t.Run("pcs", func(t *testing.T) { a.shown(t, d, "pcs", "resource", "describe", "--full", a.standard()) })
	t.Run("crmsh", func(t *testing.T) { a.shown(t, d, "crm", "ra", "info", a.standard()) })
	t.Run("Pacemaker", func(t *testing.T) {
		out := sandbox.Command(t, "crm_resource", "--show-metadata", a.standard())
		if !strings.Contains(out, `<resource-agent name="`+a.Name()+`"`) {
			t.Errorf("crm_resource --show-metadata: %.300s", out)
		}
		list := sandbox.Command(t, "crm_resource", "--list-agents", "ocf:"+a.provider())
		if !sandbox.HasWord(list, a.Name()) {
			t.Errorf("crm_resource --list-agents ocf:%s: %q", a.provider(), list)
		}
	})
}

// standard is the agent's name in a cluster's configuration.
func (a Agent) standard() string { return "ocf:" + a.provider() + ":" + a.Name() }

func (a Agent) judge(t *testing.T, text, committed string, schemas ...[]string) {
	t.Helper()
	for _, options := range schemas {
		if err := sandbox.XMLLint(text, options...); err != nil {
			t.Error(err)
		}
	}
	root, err := sandbox.Root()
	if err != nil {
		t.Fatal(err)
	}
	if text != sandbox.ReadFile(t, filepath.Join(root, "metadata", committed)) {
		t.Errorf("the agent does not print what metadata/%s says: run make metadata", committed)
	}
}

// shown asks a resource manager, which has a parser of its own.
func (a Agent) shown(t *testing.T, d description, program string, args ...string) {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "COLUMNS=200", "TERM=dumb", "PAGER=cat", "HOME="+sandbox.TempDir(t))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s%s", cmd.Args, err, out, stderr.String())
	}
	if stderr.Len() > 0 {
		t.Errorf("%v complains: %s", cmd.Args, stderr.String())
	}
	for _, p := range d.Parameters {
		if !sandbox.HasWord(string(out), p.Name) {
			t.Errorf("%v does not show the parameter %s", cmd.Args, p.Name)
		}
	}
}
