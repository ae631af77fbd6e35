package main

import (
	"bytes"
	"encoding/xml"
	"io"
	"slices"
	"strings"
	"testing"

	arm "pgrex/lib/azure"
	"pgrex/lib/meta/metatest"
	"pgrex/lib/proc"
)

func TestGenerated(t *testing.T) {
	a := declaration(arm.Wire{})
	metatest.Generated(t, map[string]func(io.Writer) error{
		"../../metadata/fence_azure.xml":       func(w io.Writer) error { return a.WriteXML(w, a.Name) },
		"../../docs/fence_azure-parameters.md": a.WriteMarkdown,
		"../../metadata/fence_azure.8":         func(w io.Writer) error { return a.WriteManual(w, a.Name) },
	})
}

type agentXML struct {
	Parameters []struct {
		Name   string `xml:"name,attr"`
		Getopt struct {
			Mixed string `xml:"mixed,attr"`
		} `xml:"getopt"`
		Content struct {
			Type    string  `xml:"type,attr"`
			Default *string `xml:"default,attr"`
		} `xml:"content"`
	} `xml:"parameters>parameter"`
	Actions []struct {
		Name string `xml:"name,attr"`
	} `xml:"actions>action"`
}

// compatible types: where the original takes any string, a narrower type of ours takes every value
// that meant something to it.
var compatible = map[string][]string{
	"string": {"string", "select"}, "integer": {"integer"}, "boolean": {"boolean"}, "second": {"second"},
}

// TestParametersOfTheOriginal holds the declaration against the fence_azure_arm that is installed: every
// parameter and action is there under the same name, with a compatible type and the same options.
func TestParametersOfTheOriginal(t *testing.T) {
	const original = "/usr/sbin/fence_azure_arm"
	res, err := proc.OS{}.Run(t.Context(), proc.Cmd{Path: original, Args: []string{"-o", "metadata"}})
	if err != nil || res.ExitCode != 0 {
		t.Fatalf("%s -o metadata: %v, exit status %d: this test needs the package fence-agents (make deps)", original, err, res.ExitCode)
	}
	var theirs, ours agentXML
	if err := xml.Unmarshal(res.Stdout, &theirs); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	a := declaration(arm.Wire{})
	if err := a.WriteXML(&b, a.Name); err != nil {
		t.Fatal(err)
	}
	if err := xml.Unmarshal(b.Bytes(), &ours); err != nil {
		t.Fatal(err)
	}
	if len(theirs.Parameters) < 20 {
		t.Fatalf("the original has %d parameters only; was its output understood?", len(theirs.Parameters))
	}
	for _, want := range theirs.Parameters {
		found := false
		for _, p := range ours.Parameters {
			if p.Name != want.Name {
				continue
			}
			found = true
			if !slices.Contains(compatible[want.Content.Type], p.Content.Type) {
				t.Errorf("%s: type %s, the original has %s", p.Name, p.Content.Type, want.Content.Type)
			}
			if got, theirs := options(p.Getopt.Mixed), options(want.Getopt.Mixed); !slices.Equal(got, theirs) {
				t.Errorf("%s: options %v, the original has %v", p.Name, got, theirs)
			}
			if want.Content.Default != nil && !slices.Contains(otherDefaults, p.Name) && (p.Content.Default == nil || *p.Content.Default != *want.Content.Default) {
				t.Errorf("%s: default %v, the original has %s", p.Name, p.Content.Default, *want.Content.Default)
			}
		}
		if !found {
			t.Errorf("there is no parameter %s", want.Name)
		}
	}
	for _, want := range theirs.Actions {
		if !slices.ContainsFunc(ours.Actions, func(a struct {
			Name string `xml:"name,attr"`
		}) bool {
			return a.Name == want.Name
		}) {
			t.Errorf("there is no action %s", want.Name)
		}
	}
}

// otherDefaults are parameters whose default differs, which is said in docs/fence_azure.md.
var otherDefaults = []string{"stonith_status_sleep", "disable_timeout"}

// options are the letter and the word of an option: "-n, --plug=[id]" has n and plug.
func options(mixed string) []string {
	var all []string
	for o := range strings.SplitSeq(mixed, ",") {
		word, _, _ := strings.Cut(strings.TrimSpace(o), "=")
		all = append(all, strings.TrimLeft(word, "-"))
	}
	return all
}

func TestDeclaration(t *testing.T) {
	for _, p := range parameters() {
		if p.Short == "" || p.Long == "" || strings.HasSuffix(p.Short, ".") {
			t.Errorf("%s needs a long text, and a short one without a full stop", p.Name)
		}
	}
}

func TestBadParameters(t *testing.T) {
	s := begin(t, usual())
	tests := []struct {
		name   string
		params []string
		want   string
	}{
		{"no plug", []string{}, "You have to enter plug number"},
		{"unknown cloud", []string{"plug=n2", "cloud=mars"}, "none of public, usgov, china, stack"},
		{"closed cloud", []string{"plug=n2", "cloud=germany"}, "closed in 2021"},
		{"stack without address", []string{"plug=n2", "metadata_endpoint="}, "needs metadata_endpoint"},
		{"address without TLS", []string{"plug=n2", "metadata_endpoint=http://127.0.0.1"}, "https://"},
		{"application without tenant", []string{"plug=n2", "username=app"}, "needs tenantId"},
		{"application without secret", []string{"plug=n2", "username=app", "tenantId=t"}, "nothing to prove it by"},
		{"relative path", []string{"plug=n2", "username=app", "tenantId=t", "certificate_file=x.pem"}, "not an absolute path"},
		{"certificate without application", []string{"plug=n2", "certificate_file=/x.pem"}, "need username"},
		{"no time", []string{"plug=n2", "request_timeout=0"}, "less than 1"},
	}
	for _, tt := range tests {
		s.ForgetRequests()
		r := s.call(t, "off", tt.params...)
		r.check(t, 1, "", tt.want)
		for _, q := range s.Requests() {
			if q.Method == "POST" {
				t.Errorf("%s: nevertheless %v", tt.name, q)
			}
		}
	}
}
