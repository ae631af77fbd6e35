package pg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"pgrex/lib/pg/pgtest"
	"pgrex/lib/proc"
)

func TestParseConninfo(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want map[string]string
		bad  bool
	}{
		{"", map[string]string{}, false},
		{"host=a port=1", map[string]string{"host": "a", "port": "1"}, false},
		{"  host = a\n port= '1' ", map[string]string{"host": "a", "port": "1"}, false},
		{`password='it\'s \\' user=''`, map[string]string{"password": `it's \`, "user": ""}, false},
		{`a=b\ c a=d`, map[string]string{"a": "d"}, false},
		{"host", nil, true}, {"=x", nil, true}, {"host a=b", nil, true}, {"a='b", nil, true},
	} {
		got, err := ParseConninfo(tt.in)
		if tt.bad {
			if !errors.Is(err, ErrConninfo) {
				t.Errorf("%q: %v, %v", tt.in, got, err)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%q: %v, %v", tt.in, got, err)
		}
	}
	if _, err := ParseConninfo("password='secret"); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("the error shows the password: %v", err)
	}
}

func FuzzParseConninfo(f *testing.F) {
	f.Add("host=a port='1' password='it\\'s'")
	f.Add("a")
	f.Fuzz(func(t *testing.T, in string) {
		got, err := ParseConninfo(in)
		if err != nil {
			return
		}
		var parts []string
		for k, v := range got {
			parts = append(parts, QuoteConninfo(k, v))
		}
		again, err := ParseConninfo(strings.Join(parts, " "))
		if err != nil || !reflect.DeepEqual(again, got) {
			t.Fatalf("%q: %v became %v, %v", in, got, again, err)
		}
	})
}

func TestUpstream(t *testing.T) {
	t.Parallel()
	primary, standby := pair(t)
	setHBA(t, primary, "local all all peer", "host replication replicator 127.0.0.1/32 scram-sha-256")
	_ = sql(t, primary, "CREATE ROLE replicator LOGIN REPLICATION PASSWORD 'x y'")
	if err := primary.Reload(); err != nil {
		t.Fatal(err)
	}
	client := &Server{User: proc.User{Name: "postgres", Home: t.TempDir()}}
	conninfo := fmt.Sprintf("host=127.0.0.1 port=%d user=replicator application_name=n2 keepalives_idle=60 keepalives_count=5 tcp_user_timeout=1 connect_timeout=3 dbname=other", primary.Port)
	if _, err := client.DialUpstream(testContext(t), conninfo); !IsAuth(err) && err == nil {
		t.Errorf("without a password: %v", err)
	}
	line := fmt.Sprintf("127.0.0.1:%d:replication:replicator:x y\n", primary.Port)
	if err := os.WriteFile(filepath.Join(client.User.Home, ".pgpass"), []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	identify := func(c *Server, info string) (Identity, History) {
		t.Helper()
		u, err := c.DialUpstream(testContext(t), info)
		if err != nil {
			t.Fatal(err)
		}
		defer u.Close()
		id, err := u.Identify(testContext(t))
		if err != nil {
			t.Fatal(err)
		}
		h, err := u.History(testContext(t), id.Timeline)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := u.History(testContext(t), 9); err == nil {
			t.Error("history of a timeline that is not there")
		}
		return id, h
	}
	st := status(t, primary)
	id, h := identify(client, conninfo)
	if id.SystemID != st.SystemID || id.Timeline != 1 || id.LSN == 0 || len(h.Ancestors) != 0 {
		t.Errorf("%+v, %+v", id, h)
	}
	if w, ok := ptr(status(t, primary)).Sender("n2"); !ok || w.State != "streaming" {
		t.Errorf("our probe hides the standby: %+v", w)
	}
	_, _ = identify(client, strings.Replace(conninfo, "user=replicator", `user=replicator password='x y'`, 1))
	// A new primary tells its history.
	crash(t, primary)
	promote(t, standby)
	id, h = identify(&Server{}, fmt.Sprintf("host=127.0.0.1 port=%d user=postgres", standby.Port))
	if id.Timeline != 2 || len(h.Ancestors) != 1 || h.Begin() == 0 {
		t.Errorf("%+v, %+v", id, h)
	}
	if _, err := client.DialUpstream(testContext(t), conninfo); !IsRefused(err) {
		t.Errorf("dead upstream: %v", err)
	}
	ctx, cancel := context.WithCancel(testContext(t))
	cancel()
	if _, err := client.DialUpstream(ctx, conninfo); err == nil {
		t.Error("cancelled")
	}
	for _, bad := range []string{"", "port=1", "host=h port=x", "host=h port=70000", "host=127.0.0.1 sslmode=nonsense"} {
		if _, err := client.DialUpstream(testContext(t), bad); !errors.Is(err, ErrConninfo) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestRestoreCommand(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	ctl, err := s.Control()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(filepath.Dir(s.Data), "restored here")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, int(s.User.UID), int(s.User.GID)); err != nil {
		t.Fatal(err)
	}
	name := SegmentName(1, ctl.RedoLSN, ctl.WALSegSize)
	for _, tt := range []struct {
		command string
		got     bool
		bad     bool
	}{
		{"", false, false},
		{`cp pg_wal/%f "%p"`, true, false},
		{`test %% = % && test $(id -un) = postgres && test %r = ` + name + ` && cp "pg_wal/%f" '%p'`, true, false},
		{"false", false, false},
		{`echo short > "%p"`, false, false},
		{"/nonexistent %f", false, true},
		{"kill -9 $$", false, true},
	} {
		_ = os.Remove(filepath.Join(dir, name))
		path, err := s.RestoreCommand(tt.command, dir)(testContext(t), name)
		if (path != "") != tt.got || (err != nil) != tt.bad {
			t.Errorf("%q: %q, %v", tt.command, path, err)
		}
	}
}

func TestSplitWords(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want []string
		bad  bool
	}{
		{"", nil, false}, {"  ", nil, false},
		{"-t 30  -s", []string{"-t", "30", "-s"}, false},
		{`-o "-c a='b c'"`, []string{"-o", "-c a='b c'"}, false},
		{`'' "" a'b'"c"\ d`, []string{"", "", "abc d"}, false},
		{`"\$\x\"" '\n'`, []string{`$\x"`, `\n`}, false},
		{`'a`, nil, true}, {`"a`, nil, true}, {`a\`, nil, true},
	} {
		got, err := SplitWords(tt.in)
		if tt.bad {
			if !errors.Is(err, ErrBadWords) {
				t.Errorf("%q: %q, %v", tt.in, got, err)
			}
			continue
		}
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%q: %q, %v", tt.in, got, err)
		}
	}
}

func TestBinDir(t *testing.T) {
	dir := t.TempDir()
	s := &Server{Data: dir}
	if err := os.WriteFile(filepath.Join(dir, "PG_VERSION"), []byte(strconv.Itoa(testVersion(t))+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		ctl, want string
	}{
		{"", pgtest.Bin(t)},
		{DefaultPgCtl, pgtest.Bin(t)},
		{pgtest.Bin(t) + "/pg_ctl", pgtest.Bin(t)},
		{"/nonexistent/pg_ctl", ""},
		{"/etc/passwd", ""},
	} {
		s.PgCtl = tt.ctl
		got, err := s.BinDir()
		if got != tt.want || (err != nil) != (tt.want == "") || err != nil && !errors.Is(err, ErrNoPrograms) {
			t.Errorf("%q: %q, %v", tt.ctl, got, err)
		}
	}
	link := filepath.Join(dir, "pg_ctl")
	if err := os.Symlink(pgtest.Bin(t)+"/pg_ctl", link); err != nil {
		t.Fatal(err)
	}
	s.PgCtl = link
	if got, err := s.BinDir(); got != pgtest.Bin(t) || err != nil {
		t.Errorf("through a link: %q, %v", got, err)
	}
	s.PgCtl = ""
	for _, version := range []string{"", "x", "9999"} {
		if err := os.WriteFile(filepath.Join(dir, "PG_VERSION"), []byte(version), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := s.BinDir(); !errors.Is(err, ErrNoPrograms) {
			t.Errorf("version %q: %q, %v", version, got, err)
		}
	}
}
