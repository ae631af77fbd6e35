package stonith

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgrex/lib/meta"
	"pgrex/lib/proc/proctest"
)

// parse returns what was understood, and the warnings.
func parseIn(t *testing.T, in string) *given {
	t.Helper()
	g, err := parseStdin(strings.NewReader(in), testAgent(nil).parameters())
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestStdin(t *testing.T) {
	tests := map[string]struct {
		in   string
		want map[string]string
		node string
		warn string
	}{
		"old names":            {in: "ipaddr=a\nlogin=b\npasswd=c\npasswd_script=d\nport=e\ndebug=f", want: map[string]string{"ip": "a", "username": "b", "password": "c", "password_script": "d", "plug": "e", "debug_file": "f"}},
		"new names":            {in: "ip=a\nusername=b\npassword=c\npassword_script=d\nplug=e\ndebug_file=f", want: map[string]string{"ip": "a", "username": "b", "password": "c", "password_script": "d", "plug": "e", "debug_file": "f"}},
		"dashes":               {in: "password-script=x\npower-timeout=3", want: map[string]string{"password_script": "x", "power_timeout": "3"}},
		"the last wins":        {in: "ip=a\nipaddr=b", want: map[string]string{"ip": "b"}},
		"equals and blanks":    {in: "  password = a=b c \n", want: map[string]string{}, warn: "(not a name)"},
		"value verbatim":       {in: "password=a=b c", want: map[string]string{"password": "a=b c"}},
		"quotes":               {in: "password=\"a b\"\nusername=\"a\nip=\"", want: map[string]string{"password": "a b", "username": `"a`, "ip": `"`}},
		"comments and nothing": {in: "# ip=a\n\n  \nip=b\r\n", want: map[string]string{"ip": "b"}},
		"no equals sign":       {in: "ip\nsome secret words", want: map[string]string{"ip": ""}, warn: "(not a name)"},
		"booleans":             {in: "lanplus=Yes\nquiet=0\nverbose=on\nport_as_ip=off", want: map[string]string{"lanplus": "true", "quiet": "false", "verbose": "true", "port_as_ip": "false"}},
		"bad boolean":          {in: "lanplus=perhaps", want: map[string]string{}, warn: "neither true nor false"},
		"unknown":              {in: "secret_key=" + secret, want: map[string]string{}, warn: "'secret_key'"},
		"nodename":             {in: "nodename=node1", want: map[string]string{}, node: "node1"},
		"option is no action":  {in: "option=off", want: map[string]string{}, warn: "'option'"},
		// Captured: what Pacemaker 2.1 and 3.0 send.
		"pacemaker 2.1": {in: "nodename=node1\nip=1.2.3.4\naction=off\nport=7\n", want: map[string]string{"ip": "1.2.3.4", "action": "off", "plug": "7"}, node: "node1"},
		"pacemaker 3.0": {in: "plug=node1\nnodename=node1\nip=1.2.3.4\naction=off\n", want: map[string]string{"ip": "1.2.3.4", "action": "off", "plug": "node1"}, node: "node1"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g := parseIn(t, tt.in)
			if len(g.values) != len(tt.want) || g.node != tt.node {
				t.Errorf("got %v, node %q, want %v, %q", g.values, g.node, tt.want, tt.node)
			}
			for k, v := range tt.want {
				if g.values[k] != v {
					t.Errorf("%s is %q, want %q", k, g.values[k], v)
				}
			}
			warned := strings.Join(g.warnings, "; ")
			if !strings.Contains(warned, tt.warn) || tt.warn == "" && warned != "" || strings.Contains(warned, secret) {
				t.Errorf("warned %q, want %q", warned, tt.warn)
			}
		})
	}
}

func TestOptions(t *testing.T) {
	tests := map[string]struct {
		args  []string
		want  map[string]string
		count int
		err   string
		warn  bool
	}{
		"short":            {args: []string{"-o", "off", "-a", "h", "-P"}, want: map[string]string{"action": "off", "ip": "h", "lanplus": "true"}},
		"joined":           {args: []string{"-ooff", "-ah"}, want: map[string]string{"action": "off", "ip": "h"}},
		"clusters":         {args: []string{"-Pvvvooff"}, want: map[string]string{"lanplus": "true", "verbose": "true", "action": "off"}, count: 3},
		"long":             {args: []string{"--action=off", "--ip", "h", "--lanplus", "--password-script=x y"}, want: map[string]string{"action": "off", "ip": "h", "lanplus": "true", "password_script": "x y"}},
		"underscores":      {args: []string{"--power_timeout=3"}, want: map[string]string{"power_timeout": "3"}},
		"old long names":   {args: []string{"--ipaddr=h", "--login", "u"}, want: map[string]string{"ip": "h", "username": "u"}},
		"beginnings":       {args: []string{"--act=off", "--user=u"}, want: map[string]string{"action": "off", "username": "u"}},
		"whole over part":  {args: []string{"--ip=h"}, want: map[string]string{"ip": "h"}},
		"ambiguous":        {args: []string{"--pass=h"}, err: "ambiguous"},
		"intermixed":       {args: []string{"word", "-o", "off", "other", "-P"}, want: map[string]string{"action": "off", "lanplus": "true"}, warn: true},
		"end of options":   {args: []string{"-P", "--", "-o", "off"}, want: map[string]string{"lanplus": "true"}, warn: true},
		"false boolean":    {args: []string{"--lanplus=0"}, want: map[string]string{"lanplus": "false"}},
		"value like dash":  {args: []string{"-p", "-secret"}, want: map[string]string{"password": "-secret"}},
		"lone dash":        {args: []string{"-"}, want: map[string]string{}, warn: true},
		"empty value":      {args: []string{"--ip="}, want: map[string]string{"ip": ""}},
		"unknown long":     {args: []string{"--nonsense"}, err: "there is no option --nonsense"},
		"unknown short":    {args: []string{"-Z"}, err: "there is no option -Z"},
		"missing value":    {args: []string{"-o"}, err: "needs a value"},
		"missing value 2":  {args: []string{"--action"}, err: "needs a value"},
		"no secret spoken": {args: []string{"--" + strings.Repeat("x", 50)}, err: "(not a name)"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			g, err := parseOptions(tt.args, testAgent(nil).parameters())
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(g.values) != len(tt.want) || g.count != tt.count || len(g.warnings) > 0 != tt.warn {
				t.Errorf("got %v, -v %d times, warnings %q", g.values, g.count, g.warnings)
			}
			for k, v := range tt.want {
				if g.values[k] != v {
					t.Errorf("%s is %q, want %q", k, g.values[k], v)
				}
			}
		})
	}
}

// What only describes the agent needs no other parameter and is not disturbed by wrong ones.
func TestDescriptions(t *testing.T) {
	a := testAgent(nil)
	for _, tt := range []struct {
		stdin string
		args  []string
		want  string
	}{
		{stdin: "action=metadata", want: `<resource-agent name="fence_test"`},
		{stdin: "action=meta-data\npower_timeout=x\nquiet=1", want: "<resource-agent"},
		{stdin: "action=METADATA", want: "<resource-agent"},
		{args: []string{"-o", "metadata"}, want: "<resource-agent"},
		{stdin: "action=manpage", want: ".TH FENCE_TEST 8"},
		{args: []string{"-h"}, want: "Usage:\n\tfence_test [options]"},
		{args: []string{"-V"}, want: meta.Version()},
		{args: []string{"--help", "-o", "off"}, want: "Usage:"},
	} {
		r := run(t, a, nil, tt.stdin, tt.args...)
		if r.code != 0 || !strings.Contains(r.stdout, tt.want) || r.stderr != "" {
			t.Errorf("%q %q: code %d: %.200s %s", tt.stdin, tt.args, r.code, r.stdout, r.stderr)
		}
	}
}

// The mistakes in the parameters, and the words for them.
func TestMistakes(t *testing.T) {
	for _, tt := range []struct {
		stdin string
		args  []string
		want  string
	}{
		{stdin: "action=off", want: "Failed: You have to enter fence address"},
		{stdin: "action=off\nip=x\nipport=ssh", want: "ipport"},
		{stdin: "action=off\nip=x\nipport=99999", want: "more than 65535"},
		{stdin: "action=off\nip=x\ndisable_timeout=never", want: "neither true nor false"},
		{stdin: "action=off\nip=x\ndebug_file=/nonexistent/file", want: "Failed: Unable to create file /nonexistent/file"},
		{stdin: "action=off\nip=x\npassword_file=relative", want: "is not an absolute path"},
		{args: []string{"-o", "off", "-a", "x", "-n", "node1"}, want: "port_as_ip"},
		{args: []string{"--wrong"}, want: "Parse error: there is no option --wrong"},
	} {
		r := run(t, testAgent(newBMC(On)), nil, tt.stdin, tt.args...)
		if r.code != 1 || !strings.Contains(r.stderr, tt.want) || !strings.Contains(r.stderr, "Please use '-h' for usage") || r.stdout != "" {
			t.Errorf("%q %q: code %d: %s%s", tt.stdin, tt.args, r.code, r.stdout, r.stderr)
		}
	}
}

// plug is an address with port_as_ip, and otherwise Pacemaker's affair.
func TestPortAsIP(t *testing.T) {
	a := testAgent(nil)
	call := func(in string) *Call {
		c, errs := a.newCall(parseIn(t, in), "fence_test", true, func(string) (string, bool) { return "", false })
		if len(errs) > 0 {
			t.Fatal(errors.Join(errs...))
		}
		return c
	}
	if c := call("port_as_ip=1\nplug=bmc7"); c.Values.String("ip") != "bmc7" || c.Plugs[0] != "bmc7" {
		t.Errorf("ip %q, plugs %q", c.Values.String("ip"), c.Plugs)
	}
	if c := call("port_as_ip=1\nport=b1,b2\nip=other"); len(c.Plugs) != 2 || c.Plugs[1] != "b2" {
		t.Errorf("plugs %q", c.Plugs)
	}
	if c := call("port=node1\nip=bmc1"); c.Values.String("ip") != "bmc1" || len(c.Plugs) != 1 || c.Plugs[0] != "" {
		t.Errorf("ip %q, plugs %q", c.Values.String("ip"), c.Plugs)
	}
	if c := call("port_as_ip=0\nport=node1\nip=bmc1"); c.Values.String("ip") != "bmc1" {
		t.Errorf("ip %q", c.Values.String("ip"))
	}
}

func TestVerbosity(t *testing.T) {
	for in, want := range map[string]int{"": 0, "verbose=1": 1, "verbose=0": 0, "verbose_level=3": 3, "verbose=1\nverbose_level=0": 0, "verbose_level=-1": 0, "verbose_level=much": 0} {
		a := testAgent(nil)
		c, errs := a.newCall(parseIn(t, in), "", true, func(string) (string, bool) { return "", false })
		if c.Verbose != want || len(errs) > 0 {
			t.Errorf("%q: %d, %v", in, c.Verbose, errs)
		}
	}
}

func TestPassword(t *testing.T) {
	dir := t.TempDir()
	file, empty := filepath.Join(dir, "password"), filepath.Join(dir, "empty")
	for name, text := range map[string]string{file: secret + "\r\nsecond line\n", empty: "\n"} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	runner := &proctest.Runner{}
	runner.On("/bin/sh -c good", proctest.Reply{Stdout: secret + " \n\n"})
	runner.On("/bin/sh -c bad", proctest.Reply{Stdout: secret, Stderr: secret, Exit: 3})
	runner.On("/bin/sh -c none", proctest.Reply{Err: errors.New("no shell: gone")})
	for _, tt := range []struct {
		in, want string
		has      bool
		err      string
	}{
		{in: "", want: "", has: false},
		{in: "password=x", want: "x", has: true},
		{in: "password=", want: "", has: true},
		{in: "passwd=x\npassword_file=" + file, want: secret, has: true},
		{in: "password_file=" + file + "\npassword_script=good", want: secret, has: true},
		{in: "password_file=" + empty, err: "empty first line"},
		{in: "password_file=" + dir + "/none", err: "no such file"},
		{in: "password_script=bad", err: "exit status 3"},
		{in: "password_script=none", err: "could not be run"},
	} {
		c, _ := testAgent(nil).newCall(parseIn(t, tt.in), "", true, func(string) (string, bool) { return "", false })
		c.Run = runner
		err := c.findPassword(t.Context())
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), secret) || ClassOf(err) != NoPassword {
				t.Errorf("%q: %v, want %q", tt.in, err, tt.err)
			}
			continue
		}
		if err != nil || c.Password != tt.want || c.HasPassword != tt.has {
			t.Errorf("%q: %q %v, %v", tt.in, c.Password, c.HasPassword, err)
		}
	}
}

// No secret shows up, wherever it came from and however loud the agent is.
func TestSecrets(t *testing.T) {
	debug := filepath.Join(t.TempDir(), "debug")
	dev := newBMC(On)
	dev.statusErr = func(int) error {
		return Errorf(Login, "the device quoted %s and %s at us\nand a line", secret, "t0ken")
	}
	r := run(t, testAgent(dev), dev, "ip=x\npassword="+secret+"\ntoken=t0ken\nverbose=1\naction=off\nunknown="+secret+"\ndebug_file="+debug)
	written, err := os.ReadFile(debug)
	if err != nil {
		t.Fatal(err)
	}
	for _, out := range []string{r.stdout, r.stderr, string(written)} {
		if strings.Contains(out, secret) || strings.Contains(out, "t0ken") {
			t.Errorf("a secret was shown: %s", out)
		}
	}
	if !strings.Contains(string(written), "quoted *** and *** at us; and a line") {
		t.Errorf("debug file: %s", written)
	}
}

// A password that is an everyday word does not spoil the words that Pacemaker searches for.
func TestFixedTextsStay(t *testing.T) {
	dev := newBMC(On)
	dev.statusErr = func(int) error { return Errorf(TimedOut, "no answer") }
	if r := run(t, testAgent(dev), dev, "ip=x\npassword=timed\naction=off"); !strings.Contains(r.stderr, "Connection timed out") {
		t.Error(r.stderr)
	}
}

func TestQuiet(t *testing.T) {
	if r := run(t, testAgent(newBMC(On)), nil, "ip=x\nquiet=1\naction=explode"); r.code != 1 || r.stderr != "" {
		t.Errorf("code %d: %s", r.code, r.stderr)
	}
}

func FuzzStdin(f *testing.F) {
	for _, s := range []string{"", "action=off\nip=1.2.3.4\n", "=\n==\n\"=\"\n", "plug=a,b\nplug_separator=", "password=\"\"", "\xff\xfe=\x00", "verbose_level=99999999999999999999", "action=status\nport_as_ip=1\nport=x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		for _, plugs := range []bool{false, true} {
			dev := newBMC(On, "", "a", "b")
			a := testAgent(dev)
			a.Plugs = plugs
			// A device that is on must never be reported as off, whatever the input.
			r := run(t, a, dev, "action=status\n"+in+"\naction=status\ndelay=0\ndebug_file=\npassword_script=\npassword_file=\nhelp=0\nversion=0")
			if r.code != 0 && r.code != 1 || r.code == 0 && r.stdout != "Status: ON\n" {
				t.Errorf("code %d: %s", r.code, r.stdout)
			}
		}
	})
}

func FuzzOptions(f *testing.F) {
	for _, s := range []string{"", "-o off -a x", "--action=off -vvv", "-", "--", "-o", "--=", "---", "-Pvvvoxyz", "--pass x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		if _, err := parseOptions(strings.Split(in, " "), testAgent(nil).parameters()); err != nil && ClassOf(err) != Usage {
			t.Error(err)
		}
	})
}

// What stands in a password file is the administrator's; what is read of it is a line.
func FuzzPasswordFile(f *testing.F) {
	for _, s := range []string{"", "\n", "\r\n", "secret", "secret\nmore", "s\r\n", strings.Repeat("x", 2*maxPassword), "\x00\xff"} {
		f.Add(s)
	}
	path := filepath.Join(f.TempDir(), "password")
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		p, err := fromFile(path)
		switch {
		case err != nil && ClassOf(err) != NoPassword:
			t.Error(err)
		case err == nil && (p == "" || len(p) > maxPassword || strings.Contains(p, "\n") || !strings.HasPrefix(text, p)):
			t.Errorf("%d bytes of %d", len(p), len(text))
		case err != nil && len(text) > 20 && strings.Contains(err.Error(), text):
			t.Errorf("shown: %v", err)
		}
	})
}
