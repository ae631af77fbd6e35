package main

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// plainConfig is a configuration as an operator would write it, without a call behind.
func plainConfig() config {
	return config{
		resource: "pgsql", self: "n2", nodes: []string{"n1", "n2"}, mode: modeSync,
		primaryIP: "192.168.2.3", port: 5432, replicationUser: "repuser", tmpdir: "/var/lib/pgsql/tmp", data: "/data",
	}
}

func TestRecoveryConf(t *testing.T) {
	t.Parallel()
	const head = "# Written by ocf:pgrex:pgsql at each start; edit the resource's parameters instead.\n"
	for _, tt := range []struct {
		name     string
		change   func(*config)
		upstream bool
		want     string
	}{
		{"plain", func(*config) {}, true, head +
			`primary_conninfo = 'host=''192.168.2.3'' port=''5432'' user=''repuser'' application_name=''n2'''` + "\n" +
			"restore_command = ''\nrecovery_target_timeline = 'latest'\n"},
		{"primary's address is ours", func(*config) {}, false, head +
			"primary_conninfo = ''\nrestore_command = ''\nrecovery_target_timeline = 'latest'\n"},
		{"everything", func(c *config) {
			c.port, c.conninfoOpt = 5433, "  keepalives_idle=60 keepalives_count=5 "
			c.restoreCommand, c.archiveCleanup, c.recoveryEnd = "cp /arc/%f %p", "pg_archivecleanup /arc %r", "/bin/true"
			c.slotPrefix, c.self = "slot", "db-2.example"
		}, true, head +
			`primary_conninfo = 'host=''192.168.2.3'' port=''5433'' user=''repuser'' application_name=''db-2.example'' keepalives_idle=60 keepalives_count=5'` + "\n" +
			"restore_command = 'cp /arc/%f %p'\nrecovery_target_timeline = 'latest'\narchive_cleanup_command = 'pg_archivecleanup /arc %r'\n" +
			"recovery_end_command = '/bin/true'\nprimary_slot_name = 'slot_db_2_example'\n"},
		{"quotes, backslashes and line breaks", func(c *config) {
			c.restoreCommand = `sh -c 'cp "/a b/%f" %p' \ ` + "\nrm -rf /"
			c.replicationUser = `o'neil\x`
		}, true, head +
			`primary_conninfo = 'host=''192.168.2.3'' port=''5432'' user=''o\\''neil\\\\x'' application_name=''n2'''` + "\n" +
			`restore_command = 'sh -c ''cp "/a b/%f" %p'' \\ \nrm -rf /'` + "\nrecovery_target_timeline = 'latest'\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := plainConfig()
			tt.change(&c)
			if got := c.recoveryConf(tt.upstream); got != tt.want {
				t.Errorf("got\n%swant\n%s", got, tt.want)
			}
		})
	}
}

// Whatever a parameter holds, it stays inside its own setting: each line of the file is one
// setting, and its value ends where the line ends.
func TestRecoveryConfCannotBeEscaped(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	alphabet := []rune("ab'\\\"\n\r= #%\t\x01é;$`")
	word := func() string {
		w := make([]rune, r.IntN(12))
		for i := range w {
			w[i] = alphabet[r.IntN(len(alphabet))]
		}
		return string(w)
	}
	for range 2000 {
		c := plainConfig()
		c.restoreCommand, c.archiveCleanup, c.recoveryEnd = word(), word(), word()
		c.primaryIP, c.replicationUser, c.conninfoOpt = word(), word(), word()
		values := map[string]string{}
		for line := range strings.Lines(c.recoveryConf(true)) {
			if strings.HasPrefix(line, "#") {
				continue
			}
			name, quoted, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " = ")
			value, rest, closed := readQuotedSetting(quoted)
			if !ok || !closed || rest != "" {
				t.Fatalf("line %q of\n%s", line, c.recoveryConf(true))
			}
			values[name] = value
		}
		if values["restore_command"] != c.restoreCommand || values["archive_cleanup_command"] != c.archiveCleanup || values["recovery_end_command"] != c.recoveryEnd {
			t.Fatalf("%q came back as %q", c.restoreCommand, values["restore_command"])
		}
		if got := values["primary_conninfo"]; got != c.conninfo() {
			t.Fatalf("%q came back as %q", c.conninfo(), got)
		}
	}
}

// readQuotedSetting reads a quoted value as PostgreSQL's configuration scanner does (guc-file.l:
// a doubled quote, and backslash escapes).
func readQuotedSetting(s string) (value, rest string, closed bool) {
	if !strings.HasPrefix(s, "'") {
		return "", s, false
	}
	escapes := map[byte]byte{'n': '\n', 'r': '\r', 't': '\t', 'b': '\b', 'f': '\f'}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s):
			i++
			if e, ok := escapes[s[i]]; ok {
				b.WriteByte(e)
			} else {
				b.WriteByte(s[i])
			}
		case s[i] == '\'' && i+1 < len(s) && s[i+1] == '\'':
			b.WriteByte('\'')
			i++
		case s[i] == '\'':
			return b.String(), s[i+1:], true
		default:
			b.WriteByte(s[i])
		}
	}
	return "", "", false
}

func TestRepModeConf(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		names []string
		want  string
	}{
		{nil, "synchronous_standby_names = ''\n"},
		{[]string{"n2"}, `synchronous_standby_names = '"n2"'` + "\n"},
		{[]string{"n2", "dr"}, `synchronous_standby_names = 'FIRST 2 ("n2", "dr")'` + "\n"},
		{[]string{"N2.Example"}, `synchronous_standby_names = '"N2.Example"'` + "\n"},
		{[]string{`o'neil`, `a"b`, `c\d`}, `synchronous_standby_names = 'FIRST 3 ("o''neil", "a""b", "c\\d")'` + "\n"},
	} {
		got := repModeConf(standbyNames(tt.names, len(tt.names)))
		if got != tt.want {
			t.Errorf("%q: %q, want %q", tt.names, got, tt.want)
		}
		value, rest, closed := readQuotedSetting(strings.TrimPrefix(got, "synchronous_standby_names = "))
		if value != standbyNames(tt.names, len(tt.names)) || rest != "\n" || !closed {
			t.Errorf("%q is read by the server as %q", got, value)
		}
	}
}

func TestParseStandbyNames(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		value string
		want  []string
		ok    bool
	}{
		{"", nil, true},
		{"  ", nil, true},
		{`"n2"`, []string{"n2"}, true},
		{` "n2" `, []string{"n2"}, true},
		{`"N2"`, []string{"N2"}, true},
		{`"a""b"`, []string{`a"b`}, true},
		{`"a b, c(d)"`, []string{"a b, c(d)"}, true},
		{`FIRST 2 ("n2", "dr")`, []string{"n2", "dr"}, true},
		{`FIRST 2 ( "n2" ,"dr" )`, []string{"n2", "dr"}, true},
		{`FIRST 1 ("n2")`, []string{"n2"}, true},
		// Not ours: commits would wait for fewer than all names, or for others.
		{`FIRST 1 ("n2", "dr")`, nil, false},
		{`FIRST 3 ("n2", "dr")`, nil, false},
		{`FIRST ("n2")`, nil, false},
		{`FIRST 1 "n2"`, nil, false},
		{`FIRST 1 ("n2"`, nil, false},
		{`ANY 1 ("n2", "dr")`, []string{"n2", "dr"}, true},
		{`ANY 2 ("n2", "dr")`, nil, false},
		{`ANY 0 ("n2", "dr")`, nil, false},
		{`FIRST ANY 1 ("n2", "dr")`, nil, false},
		{`2 ("n2", "dr")`, nil, false},
		{`*`, nil, false},
		{`n2`, nil, false},
		{`n2, n3`, nil, false},
		{`"n2" "n3"`, nil, false},
		{`"n2",`, nil, false},
		// PostgreSQL reads a bare list as FIRST 1.
		{`"n2", "n3"`, nil, false},
		{`FIRST 2 ("n2", "dr",)`, nil, false},
		{`"n2`, nil, false},
		{`""`, nil, false},
		{`"n2"x`, nil, false},
	} {
		names, _, ok := parseStandbyNames(tt.value)
		if ok != tt.ok || !slices.Equal(names, tt.want) {
			t.Errorf("%s: %q, %v; want %q, %v", tt.value, names, ok, tt.want, tt.ok)
		}
	}
}

func TestStandbyNamesRoundTrip(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(3, 4))
	alphabet := []rune(`aB.-_"'\ ,()1*é`)
	for range 5000 {
		names := make([]string, r.IntN(5))
		for i := range names {
			w := []rune{alphabet[r.IntN(len(alphabet))]}
			for range r.IntN(6) {
				w = append(w, alphabet[r.IntN(len(alphabet))])
			}
			names[i] = string(w)
		}
		count := len(names)
		if count > 1 {
			count -= r.IntN(count)
		}
		written := standbyNames(names, count)
		got, n, ok := parseStandbyNames(written)
		if !ok || !slices.Equal(got, names) || n != count {
			t.Fatalf("%d of %q wrote %s, which is read as %d of %q, %v", count, names, written, n, got, ok)
		}
	}
}

// What is accepted means the same when it is written again.
func FuzzParseStandbyNames(f *testing.F) {
	for _, s := range []string{"", `"a"`, `FIRST 2 ("a", "b")`, `"a""b"`, `FIRST 1 ("a"`, `ANY 1 ("a")`, `FIRST 2 ("a",)`, "*", `"`, `FIRST 00 ()`, `ANY 1 ("a", "b")`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		names, count, ok := parseStandbyNames(value)
		if !ok {
			if names != nil {
				t.Fatalf("%q: names %q though not understood", value, names)
			}
			return
		}
		if slices.Contains(names, "") {
			t.Fatalf("%q: an empty name in %q", value, names)
		}
		again, n, ok := parseStandbyNames(standbyNames(names, count))
		if !ok || !slices.Equal(again, names) || n != count {
			t.Fatalf("%q: %d of %q, written again %d of %q", value, count, names, n, again)
		}
	})
}

func TestConninfo(t *testing.T) {
	t.Parallel()
	c := plainConfig()
	if got := c.conninfo(); got != "host='192.168.2.3' port='5432' user='repuser' application_name='n2'" {
		t.Error(got)
	}
	c.conninfoOpt = "sslmode=verify-full"
	if got := c.conninfo(); !strings.HasSuffix(got, "application_name='n2' sslmode=verify-full") {
		t.Error(got)
	}
}
