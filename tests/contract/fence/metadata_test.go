package fence

import (
	"bytes"
	"encoding/xml"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"pgrex/tests/contract/sandbox"
)

// metadata is the part of the document that users of an agent look at.
type metadata struct {
	Name       string `xml:"name,attr"`
	Parameters []struct {
		Name       string `xml:"name,attr"`
		Required   string `xml:"required,attr"`
		Deprecated string `xml:"deprecated,attr"`
		Obsoletes  string `xml:"obsoletes,attr"`
		Getopt     struct {
			Mixed string `xml:"mixed,attr"`
		} `xml:"getopt"`
		Content struct {
			Type    string `xml:"type,attr"`
			Default string `xml:"default,attr"`
			Options []struct {
				Value string `xml:"value,attr"`
			} `xml:"option"`
		} `xml:"content"`
	} `xml:"parameters>parameter"`
	Actions []struct {
		Name string `xml:"name,attr"`
	} `xml:"actions>action"`
}

func metadataOf(t *testing.T, program string) (metadata, string) {
	t.Helper()
	r := call(t, program, "action=metadata\n")
	if r.code != 0 {
		t.Fatalf("%s: code %d: %s", program, r.code, r.stderr)
	}
	var m metadata
	if err := xml.Unmarshal([]byte(r.stdout), &m); err != nil {
		t.Fatalf("%s: %v", program, err)
	}
	return m, r.stdout
}

// The schema of fence-agents accepts the meta-data.
func TestSchema(t *testing.T) {
	t.Parallel()
	_, text := metadataOf(t, agent)
	if err := sandbox.XMLLint(text, "--relaxng", sandbox.FenceSchema); err != nil {
		t.Error(err)
	}
	if committed := sandbox.ReadFile(t, "../../../metadata/fence_ipmi.xml"); strings.TrimSpace(committed) != text {
		t.Error("metadata/fence_ipmi.xml is not what the program prints: make build metadata")
	}
}

// Everything that can be configured for fence_ipmilan can be for fence_ipmi: the same names, types
// that take the same values, the same options and actions.
func TestParametersOfTheOriginal(t *testing.T) {
	t.Parallel()
	ours, _ := metadataOf(t, agent)
	theirs, _ := metadataOf(t, original)
	type parameter struct {
		kind, mixed, deprecated, obsoletes string
		options                            []string
	}
	have := map[string]parameter{}
	for _, p := range ours.Parameters {
		x := parameter{kind: p.Content.Type, mixed: p.Getopt.Mixed, deprecated: p.Deprecated, obsoletes: p.Obsoletes}
		for _, o := range p.Content.Options {
			x.options = append(x.options, o.Value)
		}
		have[p.Name] = x
	}
	if len(theirs.Parameters) < 30 {
		t.Fatalf("only %d parameters in the original's meta-data", len(theirs.Parameters))
	}
	for _, p := range theirs.Parameters {
		x, ok := have[p.Name]
		if !ok {
			t.Errorf("%s is missing", p.Name)
			continue
		}
		if x.kind != p.Content.Type {
			t.Errorf("%s is %s, in the original %s", p.Name, x.kind, p.Content.Type)
		}
		if p.Obsoletes != "" && x.obsoletes != p.Obsoletes {
			t.Errorf("%s obsoletes %q, in the original %q", p.Name, x.obsoletes, p.Obsoletes)
		}
		for _, o := range p.Content.Options {
			if !strings.Contains(" "+strings.Join(x.options, " ")+" ", " "+o.Value+" ") {
				t.Errorf("%s does not take %s", p.Name, o.Value)
			}
		}
		for _, option := range strings.Split(p.Getopt.Mixed, ", ") {
			option, _, _ = strings.Cut(option, "=")
			if !strings.Contains(x.mixed, option) {
				t.Errorf("%s: option %s of the original is not among %s", p.Name, option, x.mixed)
			}
		}
		if p.Required == "0" {
			for _, q := range ours.Parameters {
				if q.Name == p.Name && q.Required != "0" {
					t.Errorf("%s is required, and not in the original", p.Name)
				}
			}
		}
	}
	actions := map[string]bool{}
	for _, a := range ours.Actions {
		actions[a.Name] = true
	}
	for _, a := range theirs.Actions {
		if !actions[a.Name] {
			t.Errorf("action %s is missing", a.Name)
		}
	}
}

// The tools of clusters read the meta-data.
func TestClusterTools(t *testing.T) {
	t.Parallel()
	// With descriptions pcs runs every fence agent there is, which takes a minute on a busy machine.
	if out := sandbox.Command(t, "pcs", "stonith", "list", "--nodesc"); !sandbox.HasWord(out, "fence_ipmi") {
		t.Errorf("pcs stonith list:\n%s", out)
	}
	describe := sandbox.Command(t, "pcs", "stonith", "describe", "fence_ipmi", "--full")
	for _, want := range []string{"lanplus", "privlvl", "power_wait", "password_file"} {
		if !strings.Contains(describe, want) {
			t.Errorf("pcs stonith describe does not show %s:\n%s", want, describe)
		}
	}
	if out := sandbox.Command(t, "crm", "ra", "info", "stonith:fence_ipmi"); !strings.Contains(out, "privlvl") {
		t.Errorf("crm ra info:\n%s", out)
	}
	if out := sandbox.Command(t, "stonith_admin", "--metadata", "--agent", "fence_ipmi"); !strings.Contains(out, `<resource-agent name="fence_ipmi"`) {
		t.Errorf("stonith_admin --metadata:\n%.500s", out)
	}
	if out := sandbox.Command(t, "stonith_admin", "--list-installed"); !strings.Contains(out, "fence_ipmi\n") {
		t.Errorf("stonith_admin --list-installed:\n%s", out)
	}
}

// stonith_admin and pcs tell a good configuration from a bad one.
func TestValidate(t *testing.T) {
	t.Parallel()
	validate := func(options ...string) (string, error) {
		args := []string{"--validate", "--agent", "fence_ipmi"}
		for _, o := range options {
			args = append(args, "--option", o)
		}
		out, err := exec.Command("stonith_admin", args...).CombinedOutput()
		return string(out), err
	}
	if out, err := validate("ip=192.0.2.1", "username=x", "password=y", "lanplus=1"); err != nil || !strings.Contains(out, "succeeded") {
		t.Errorf("%v: %s", err, out)
	}
	for _, bad := range [][]string{{"username=x"}, {"ip=192.0.2.1", "cipher=0"}, {"ip=192.0.2.1", "method=hammer"}, {"ip=192.0.2.1", "hexadecimal_kg=xyz"}, {"ip=192.0.2.1", "target=0x24"}} {
		if out, err := validate(bad...); err == nil {
			t.Errorf("%q passes: %s", bad, out)
		}
	}
	cib := filepath.Join(t.TempDir(), "cib.xml")
	empty := sandbox.Command(t, "cibadmin", "--empty")
	if err := os.WriteFile(cib, []byte(empty), 0o644); err != nil {
		t.Fatal(err)
	}
	sandbox.Command(t, "pcs", "-f", cib, "stonith", "create", "fence-a", "fence_ipmi", "ip=192.0.2.1", "username=x", "password=y", "lanplus=1", "pcmk_host_list=a", "op", "monitor", "interval=60s")
	// What an existing configuration of fence_ipmilan may have is accepted: old names warn only.
	sandbox.Command(t, "pcs", "-f", cib, "stonith", "create", "fence-b", "fence_ipmi", "ipaddr=192.0.2.1", "login=x", "passwd=y", "power_wait=4", "method=onoff")
	if out, err := exec.Command("pcs", "-f", cib, "stonith", "create", "fence-c", "fence_ipmi", "ip=192.0.2.1", "nonsense=1").CombinedOutput(); err == nil {
		t.Errorf("an unknown parameter passes: %s", out)
	}
	if b, err := os.ReadFile(cib); err != nil || bytes.Count(b, []byte(`type="fence_ipmi"`)) != 2 {
		t.Errorf("%v: %s", err, b)
	}
}
