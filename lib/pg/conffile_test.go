package pg

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestWriteFile(t *testing.T) {
	u := postgresUser(t)
	dir := t.TempDir()
	path := filepath.Join(dir, "real", "f.conf")
	link := filepath.Join(dir, "link.conf")
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("real/f.conf", link); err != nil {
		t.Fatal(err)
	}
	check := func(what, content string, mode os.FileMode, uid uint32) {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil || string(b) != content {
			t.Errorf("%s: content %q, %v", what, b, err)
		}
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := st.Sys().(*syscall.Stat_t); !ok || st.Mode().Perm() != mode || got.Uid != uid {
			t.Errorf("%s: mode %v, owner %+v", what, st.Mode(), got)
		}
		if l, err := os.Readlink(link); err != nil || l != "real/f.conf" {
			t.Errorf("%s: the link is gone: %v", what, err)
		}
		if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
			t.Errorf("%s: left behind: %v", what, entries)
		}
	}
	// Through a link to a file that is yet to be made.
	if err := WriteFile(link, []byte("one"), FileOptions{Mode: 0o640, UID: int(u.UID), GID: int(u.GID)}); err != nil {
		t.Fatal(err)
	}
	check("new", "one", 0o640, u.UID)
	if err := WriteFile(link, []byte("two"), FileOptions{Mode: 0o600}); err != nil {
		t.Fatal(err)
	}
	check("kept", "two", 0o640, u.UID)
	if err := WriteFile(link, []byte("three"), FileOptions{Mode: 0o604, Replace: true}); err != nil {
		t.Fatal(err)
	}
	check("replaced", "three", 0o604, 0)
	if err := WriteFile(filepath.Join(dir, "no", "f"), nil, FileOptions{}); err == nil {
		t.Error("wrote into a directory that is not there")
	}
	if err := WriteFile(dir, nil, FileOptions{}); err == nil {
		t.Error("wrote over a directory")
	}
	loop := filepath.Join(dir, "loop")
	if err := os.Symlink("loop", loop); err != nil {
		t.Fatal(err)
	}
	if err := WriteFile(loop, nil, FileOptions{}); err == nil {
		t.Error("wrote through a loop of links")
	}
	if err := RemoveFile(path); err != nil {
		t.Error(err)
	}
	if err := RemoveFile(path); err != nil {
		t.Errorf("remove what is not there: %v", err)
	}
}

func TestIncludeLines(t *testing.T) {
	ours := func(f string) string { return "include_if_exists '" + f + "' # added by pgrex\n" }
	for _, tt := range []struct{ name, in, want string }{
		{"new", "port = 1\n", "port = 1\n" + ours("/t/a") + ours("/t/b")},
		{"no newline at the end", "port = 1", "port = 1\n" + ours("/t/a") + ours("/t/b")},
		{"empty", "", ours("/t/a") + ours("/t/b")},
		{"there already", ours("/t/a") + "x = 1\n" + ours("/t/b") + "y = 2", ours("/t/a") + "x = 1\n" + ours("/t/b") + "y = 2"},
		{"wrong order", ours("/t/b") + ours("/t/a"), ours("/t/a") + ours("/t/b")},
		{"twice", ours("/t/a") + ours("/t/b") + ours("/t/b"), ours("/t/a") + ours("/t/b")},
		{"other tmpdir", ours("/old/a") + "x = 1\n" + ours("/old/b"), "x = 1\n" + ours("/t/a") + ours("/t/b")},
		{"the reference agent's", "a = 1\ninclude '/t/b' # added by pgsql RA\ninclude '/old/b' # added by pgsql RA\nb = 2\n", "a = 1\nb = 2\n" + ours("/t/a") + ours("/t/b")},
		{"both", ours("/t/a") + ours("/t/b") + "include '/t/b' # added by pgsql RA", ours("/t/a") + ours("/t/b")},
		{"an administrator's", "include '/t/a'\n# include '/t/a' # added by pgsql RA\nincluded = 1 # added by pgsql RA\n", "include '/t/a'\n# include '/t/a' # added by pgsql RA\nincluded = 1 # added by pgsql RA\n" + ours("/t/a") + ours("/t/b")},
		{"other line ends", "port = 1\r\ninclude '/t/b' # added by pgsql RA\r\n", "port = 1\r\n" + ours("/t/a") + ours("/t/b")},
	} {
		got := string(includeLines([]byte(tt.in), []string{"/t/a", "/t/b"}))
		if got != tt.want {
			t.Errorf("%s:\n%s\nwant\n%s", tt.name, got, tt.want)
		}
		if again := string(includeLines([]byte(got), []string{"/t/a", "/t/b"})); again != got {
			t.Errorf("%s: not stable:\n%s", tt.name, again)
		}
		if got := string(includeLines([]byte(tt.want), nil)); strings.Contains(got, "added by pgrex") {
			t.Errorf("%s: not taken out:\n%s", tt.name, got)
		}
	}
}

func FuzzIncludeLines(f *testing.F) {
	f.Add([]byte("port = 1\ninclude '/t/b' # added by pgsql RA\n"), "/t/x'y")
	f.Fuzz(func(t *testing.T, b []byte, name string) {
		files := []string{name, "/t/other"}
		once := includeLines(b, files)
		if name == strings.Map(func(r rune) rune {
			if r < ' ' {
				return -1
			}
			return r
		}, name) && !bytes.Equal(includeLines(once, files), once) {
			t.Fatalf("not stable: %q", once)
		}
	})
}

// What QuoteConf writes is what the server reads.
func TestQuoteConf(t *testing.T) {
	t.Parallel()
	value := `a'b\c "d" # \n é` + "\ttab" + `\\'`
	s := newServer(t, "archive_cleanup_command = "+QuoteConf(value)+" # comment")
	startServer(t, s)
	if got := sql(t, s, "SHOW archive_cleanup_command"); got != value {
		t.Errorf("server reads %q, wrote %q", got, value)
	}
	if got := QuoteConf("two\nlines"); got != `'two\nlines'` {
		t.Error(got)
	}
}
