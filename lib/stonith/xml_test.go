package stonith

import (
	"bytes"
	"encoding/xml"
	"strings"
	"testing"
)

// Every parameter stands in the meta-data under its new and old names, and says enough.
func TestMetadata(t *testing.T) {
	a := testAgent(nil)
	var b bytes.Buffer
	if err := a.WriteXML(&b, "fence_other"); err != nil {
		t.Fatal(err)
	}
	var doc xmlAgent
	if err := xml.Unmarshal(b.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	if doc.Name != "fence_other" {
		t.Errorf("name %q", doc.Name)
	}
	names := map[string]xmlParameter{}
	for _, p := range doc.Parameters {
		if _, twice := names[p.Name]; twice {
			t.Errorf("%s stands there twice", p.Name)
		}
		names[p.Name] = p
		if p.Short.Text == "" || !strings.Contains(p.Getopt.Mixed, "--") {
			t.Errorf("%s says too little", p.Name)
		}
	}
	for old, name := range map[string]string{"ipaddr": "ip", "login": "username", "passwd": "password", "passwd_script": "password_script", "port": "plug", "debug": "debug_file"} {
		if names[old].Deprecated != "1" || names[name].Obsoletes != old || names[name].Deprecated != "" {
			t.Errorf("%s and %s: %+v %+v", old, name, names[old], names[name])
		}
	}
	if on := doc.Actions[0]; on.Name != "on" || on.Automatic != "0" {
		t.Errorf("first action %+v", on)
	}
}

// No two parameters share a spelling or a letter.
func TestDeclaration(t *testing.T) {
	for _, plugs := range []bool{false, true} {
		a := testAgent(nil)
		a.Plugs = plugs
		if err := a.Validate(); err != nil {
			t.Error(err)
		}
	}
	a := testAgent(nil)
	a.Parameters = append(a.Parameters, Parameter{Letter: "o"}, Parameter{Old: []string{"ip"}})
	if err := a.Validate(); err == nil || !strings.Contains(err.Error(), "-o") || !strings.Contains(err.Error(), "ip") {
		t.Errorf("a bad declaration passes: %v", err)
	}
}

func TestManual(t *testing.T) {
	a := testAgent(nil)
	a.Long = ".SH not a request\n'nor this\nback\\slash"
	var b bytes.Buffer
	if err := a.WriteManual(&b, "fence_test"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`\&.SH not a request`, `\&'nor this`, `back\eslash`} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing", want)
		}
	}
}
