package meta

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func ptr(n int) *int { return &n }

func sample() Agent {
	return Agent{
		Name: "sample", Version: "1.0", Short: "a sample", Long: "First.\n\nSecond & <last>.",
		Parameters: []Parameter{
			{Name: "dir", Type: String, Default: "/var/lib/x", Short: "directory", Long: "Where it is."},
			{Name: "file", Type: String, Default: "/var/lib/x/conf", Short: "file", Long: "Which it is.",
				Derived: func(v Values) string { return v.String("dir") + "/conf" }},
			{Name: "port", Type: Integer, Default: "5432", Min: ptr(1), Max: ptr(65535), Short: "port", Long: "Number.", Reloadable: true},
			{Name: "mode", Type: Select, Default: "none", Options: []string{"none", "sync"}, Short: "mode", Long: "How."},
			{Name: "wait", Type: Seconds, Default: "90", Short: "patience", Long: "How long."},
			{Name: "fast", Type: Boolean, Default: "false", Short: "speed", Long: "Whether."},
			{Name: "word", Type: String, Secret: true, Short: "secret", Long: "Hidden.",
				Check: func(s string) error {
					if strings.Contains(s, " ") {
						return errors.New("contains a blank")
					}
					return nil
				}},
			{Name: "ip", Type: String, Required: true, Unique: true, Short: "address", Long: "Which.",
				Deprecated: &Deprecation{ReplacedWith: []string{"dir"}, Why: "Old."}},
		},
		Actions: []Action{
			{Name: "start", Timeout: 120 * time.Second},
			{Name: "monitor", Timeout: 30 * time.Second, Interval: 10 * time.Second},
			{Name: "monitor", Timeout: 30 * time.Second, Interval: 9 * time.Second, Role: RolePromoted},
			{Name: "reload-agent", Timeout: 1500 * time.Millisecond, StartDelay: time.Second},
		},
	}
}

func lookup(m map[string]string) func(string) (string, bool) {
	return func(k string) (string, bool) { s, ok := m[k]; return s, ok }
}

func TestParseDefaults(t *testing.T) {
	v, errs := sample().Parse(lookup(map[string]string{"ip": "1.2.3.4", "dir": "/data"}))
	if len(errs) != 0 {
		t.Fatal(errs)
	}
	if got := v.String("file"); got != "/data/conf" {
		t.Errorf("the derived default is %q", got)
	}
	if v.Int("port") != 5432 || v.Bool("fast") || v.Duration("wait") != 90*time.Second || v.Int("wait") != 90 || v.String("mode") != "none" {
		t.Errorf("defaults: %v", v)
	}
}

func TestParseValues(t *testing.T) {
	tests := []struct {
		name, value, want string // want is the normal form
		err               string // or a part of the error; the default is then in force
	}{
		{"port", " 5433 ", "5433", ""},
		{"port", "5433x", "5432", "not a whole number"},
		{"port", "0", "5432", "less than 1"},
		{"port", "65536", "5432", "more than 65535"},
		{"port", "99999999999999999999", "5432", "not a whole number"},
		{"port", "", "5432", ""},
		{"mode", "sync", "sync", ""},
		{"mode", "Sync", "none", "none of none, sync"},
		{"fast", "YES", "true", ""},
		{"fast", "ja", "true", ""},
		{"fast", "on", "true", ""},
		{"fast", "1", "true", ""},
		{"fast", "nein", "false", ""},
		{"fast", "maybe", "false", "neither true nor false"},
		{"wait", "90", "1m30s", ""},
		{"wait", "90s", "1m30s", ""},
		{"wait", "2min", "2m0s", ""},
		{"wait", "250 ms", "250ms", ""},
		{"wait", "1m30s", "1m30s", ""},
		{"wait", "-1", "1m30s", "negative"},
		{"wait", "-1m1s", "1m30s", "length of time"},
		{"wait", "5 weeks", "1m30s", "unknown unit"},
		{"wait", "9223372036854775807h", "1m30s", "too long"},
		{"dir", "  ", "/var/lib/x", ""},
		{"dir", "/a b", "/a b", ""},
		{"dir", "a\x00b", "/var/lib/x", "zero byte"},
		{"word", "has blank", "has blank", "contains a blank"},
	}
	for _, tt := range tests {
		v, errs := sample().Parse(lookup(map[string]string{"ip": "x", tt.name: tt.value}))
		if got := v.String(tt.name); got != tt.want {
			t.Errorf("%s=%q is %q, want %q", tt.name, tt.value, got, tt.want)
		}
		switch {
		case tt.err == "" && len(errs) > 0:
			t.Errorf("%s=%q: %v", tt.name, tt.value, errs)
		case tt.err != "":
			if len(errs) != 1 || !strings.Contains(errs[0].Error(), tt.err) || !errors.Is(errs[0], ErrBadValue) || !strings.Contains(errs[0].Error(), tt.name) {
				t.Errorf("%s=%q: errors %v, want one with %q", tt.name, tt.value, errs, tt.err)
			}
		}
	}
}

func TestParseReportsAll(t *testing.T) {
	_, errs := sample().Parse(lookup(map[string]string{"port": "x", "mode": "y"}))
	if len(errs) != 3 {
		t.Fatalf("want three errors (port, mode, ip missing), got %v", errs)
	}
}

func TestSecretStaysOut(t *testing.T) {
	_, errs := sample().Parse(lookup(map[string]string{"ip": "x", "word": "geheim nis"}))
	if len(errs) != 1 || strings.Contains(errs[0].Error(), "geheim") {
		t.Fatalf("errors %v", errs)
	}
}

func TestCheckFindsDefects(t *testing.T) {
	if err := sample().Check(); err != nil {
		t.Fatal(err)
	}
	breakage := map[string]func(*Agent){
		"declared twice":     func(a *Agent) { a.Parameters = append(a.Parameters, a.Parameters[0]) },
		"its default":        func(a *Agent) { a.Parameters[2].Default = "x" },
		"without a full":     func(a *Agent) { a.Parameters[0].Short = "Ends." },
		"unknown type":       func(a *Agent) { a.Parameters[0].Type = "real" },
		"has a default":      func(a *Agent) { a.Parameters[0].Required = true },
		"no environment":     func(a *Agent) { a.Parameters[0].Name = "a-b" },
		"no timeout":         func(a *Agent) { a.Actions[0].Timeout = 0 },
		"unknown role":       func(a *Agent) { a.Actions[1].Role = "Master" },
		"start is declared":  func(a *Agent) { a.Actions = append(a.Actions, a.Actions[0]) },
		"a name, a version":  func(a *Agent) { a.Long = "" },
		"needs a long text":  func(a *Agent) { a.Parameters[1].Long = "" },
		"its default is nei": func(a *Agent) { a.Parameters[5].Default = "perhaps" },
	}
	for want, harm := range breakage {
		a := sample()
		harm(&a)
		if err := a.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, got %v", want, err)
		}
	}
}

// The outside checkers decide what is valid; the files are those of the package resource-agents.
func TestXMLAgainstOutsideSchemas(t *testing.T) {
	const schemas = "/usr/share/resource-agents"
	tests := []struct {
		dialect Dialect
		command string
	}{
		{Plain, "cd " + schemas + " && xmllint --noout --valid -"},
		{Plain, "xmllint --noout --nonet --relaxng " + schemas + "/metadata.rng -"},
		{OCF11, "xmllint --noout --nonet --relaxng /usr/share/pcs/data/ocf-1.1.rng -"},
	}
	for _, tt := range tests {
		var b bytes.Buffer
		if err := sample().WriteXML(&b, tt.dialect); err != nil {
			t.Fatal(err)
		}
		cmd := exec.CommandContext(t.Context(), "sh", "-c", tt.command)
		cmd.Stdin = &b
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s (packages libxml2-utils, resource-agents and pcs are needed): %v\n%s", tt.command, err, out)
		}
	}
}

func TestXMLDialects(t *testing.T) {
	has := func(d Dialect, parts ...string) {
		t.Helper()
		var b bytes.Buffer
		if err := sample().WriteXML(&b, d); err != nil {
			t.Fatal(err)
		}
		for _, part := range parts {
			negate := strings.HasPrefix(part, "!")
			if strings.Contains(b.String(), strings.TrimPrefix(part, "!")) == negate {
				t.Errorf("dialect %d: %s\n%s", d, part, b.String())
			}
		}
	}
	both := []string{"<version>1.1</version>", `<action name="reload-agent" timeout="1500ms" start-delay="1s">`,
		`<action name="monitor" timeout="30s" interval="9s" role="Promoted" depth="0">`, "&amp; &lt;last&gt;", `<content type="integer" default="90">`}
	has(Plain, append(both, "!reloadable", "!<option", "!<deprecated", `unique="1"`, `<content type="string" default="none">`)...)
	has(OCF11, append(both, `reloadable="1"`, `<option value="sync">`, `<replaced-with name="dir">`, `unique-group="ip"`, "!unique=")...)
}

func TestTexts(t *testing.T) {
	var usage, page bytes.Buffer
	if err := errors.Join(sample().WriteUsage(&usage), sample().WriteMarkdown(&page)); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(usage.String(), "actions: start monitor reload-agent\n") {
		t.Errorf("usage:\n%s", usage.String())
	}
	for _, p := range sample().Parameters {
		if !strings.Contains(usage.String(), p.Name) || !strings.Contains(page.String(), "\n### "+p.Name+"\n") {
			t.Errorf("%s is missing in a text", p.Name)
		}
	}
}

func TestVersion(t *testing.T) {
	if v := Version(); !strings.Contains(v, "(commit ") {
		t.Errorf("version %q", v)
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"", "1", "90s", "1m30s", "-5", "yes", "sync", "\x00", "９"} {
		f.Add(s)
	}
	a := sample()
	f.Fuzz(func(t *testing.T, s string) {
		v, errs := a.Parse(func(string) (string, bool) { return s, true })
		for _, err := range errs {
			if !errors.Is(err, ErrBadValue) {
				t.Errorf("%v", err)
			}
		}
		// Whatever came in, the getters give something the rules allow, and it is stable.
		if n := v.Int("port"); n < 1 || n > 65535 {
			t.Errorf("port %d from %q", n, s)
		}
		if v.Duration("wait") < 0 {
			t.Errorf("negative wait from %q", s)
		}
		again, _ := a.Parse(func(name string) (string, bool) { return v[name], true })
		if fmt.Sprint(again) != fmt.Sprint(v) {
			t.Errorf("not stable: %v, then %v", v, again)
		}
	})
}

// A text cannot become a request of the page, nor leave its item.
func TestManual(t *testing.T) {
	a := Agent{Name: "x", Short: "a-b", Long: "one\n\n.two \\fB\n'three", Parameters: []Parameter{{
		Name: "p", Type: Integer, Default: "1", Required: true, Short: "P", Long: "first\n\nsecond",
	}}, Actions: []Action{{Name: "monitor", Timeout: time.Minute, Interval: time.Second, Role: RolePromoted}}}
	var b strings.Builder
	if err := a.WriteManual(&b, "pgrex"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		".TH OCF_PGREX_X 7 \"\" pgrex", "ocf_pgrex_x \\- a\\-b\n", "ocf:pgrex:x p=... ",
		"one\n.PP\n\\&.two \\efB\n\\&'three\n", ".TP\n.B \"p\"\nP.\n.IP\nfirst\n.IP\nsecond\n.IP\nType: integer; default: 1; required",
		".B \"monitor\"\nTimeout 60s, interval 1s, role Promoted.\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}
