// Package pgtest gives tests the makings of real servers: PostgreSQL's programs,
// a user who may run them, and fresh data directories, in memory and quickly.
// Starting, stopping and asking a server is for package pg or for whatever is
// under test. Where PostgreSQL is missing the test fails and says so.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pgrex/lib/proc"
)

// Newest finds the newest PostgreSQL that is installed: the directory of its
// programs and its major version.
func Newest(t testing.TB) (bin string, version int) {
	t.Helper()
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin/initdb", "/usr/pgsql-*/bin/initdb"} {
		paths, _ := filepath.Glob(pattern)
		for _, p := range paths {
			dir := filepath.Dir(p)
			name := filepath.Base(filepath.Dir(dir))
			if v, err := strconv.Atoi(strings.TrimPrefix(name, "pgsql-")); err == nil && v > version {
				bin, version = dir, v
			}
		}
	}
	if bin == "" {
		t.Fatal("this test runs PostgreSQL, and no initdb is installed: run `make deps`")
	}
	return bin, version
}

// Bin is the directory of the newest PostgreSQL's programs.
func Bin(t testing.TB) string {
	t.Helper()
	bin, _ := Newest(t)
	return bin
}

// User is who runs servers: whoever runs the tests, but postgres for root, as
// whom PostgreSQL refuses to run.
func User(t testing.TB) proc.User {
	t.Helper()
	name := "postgres"
	if os.Geteuid() != 0 {
		current, err := user.Current()
		if err != nil {
			t.Fatal(err)
		}
		name = current.Username
	}
	u, err := proc.LookupUser(t.Context(), name)
	if err != nil {
		t.Fatalf("this test runs PostgreSQL as %s: %v; run `make deps`", name, err)
	}
	return u
}

// GiveTo makes a path belong to a user of a server; without root it does already.
func GiveTo(u proc.User, path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	return os.Chown(path, int(u.UID), int(u.GID))
}

// Memory is where data directories are best made: in memory if that is possible,
// since copying one, and durable writes, would be most of a test's time. ""
// means that it is not, as in os.MkdirTemp.
func Memory() string {
	if st, err := os.Stat("/dev/shm"); err == nil && st.IsDir() {
		return "/dev/shm"
	}
	return ""
}

// Dir is a directory for one test, in Memory. Its path is short: that of a socket
// has 107 bytes.
func Dir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(Memory(), "pg")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// portsGiven counts, so that no two tests of a program get one port.
var portsGiven atomic.Int64

// FreePort is a port that nothing on this machine uses, below those that the
// kernel gives to clients: one of them would be taken by a connection before the
// server listens.
func FreePort(t testing.TB) int {
	t.Helper()
	for range 200 {
		port := 20000 + (os.Getpid()*50+int(portsGiven.Add(1)))%12000
		if l, err := net.Listen("tcp4", ":"+strconv.Itoa(port)); err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

// Template is one fresh data directory that many tests copy; making it takes
// seconds, a copy milliseconds. The superuser is postgres and everybody is
// trusted.
type Template struct {
	// Initdb are further options of initdb.
	Initdb []string
	// SQL are statements, one a line, that change the database template1
	// before any test sees it.
	SQL string

	once sync.Once
	dir  string
	err  error
}

// Copy makes a copy at a path that does not exist yet. The first one makes the
// template.
func (tp *Template) Copy(t testing.TB, to string) {
	t.Helper()
	bin, u := Bin(t), User(t)
	tp.once.Do(func() { tp.err = tp.make(bin, u) })
	if tp.err != nil {
		t.Fatalf("cannot make a data directory: %v", tp.err)
	}
	CopyTree(t, tp.data(), to)
}

func (tp *Template) data() string { return filepath.Join(tp.dir, "data") }

func (tp *Template) make(bin string, u proc.User) (err error) {
	if tp.dir, err = os.MkdirTemp(Memory(), "pgtemplate"); err != nil {
		return err
	}
	if err := GiveTo(u, tp.dir); err != nil {
		return err
	}
	// The first test's context may end before others need what it made.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	args := []string{"-D", tp.data(), "-A", "trust", "-U", "postgres", "--no-sync", "--wal-segsize=1", "--locale=C", "-E", "UTF8"}
	commands := []proc.Cmd{{Path: bin + "/initdb", Args: append(args, tp.Initdb...)}}
	if tp.SQL != "" {
		commands = append(commands, proc.Cmd{Path: bin + "/postgres", Args: []string{"--single", "-D", tp.data(), "-F", "template1"}, Stdin: strings.NewReader(tp.SQL)})
	}
	for _, cmd := range commands {
		if os.Geteuid() == 0 {
			cmd.User = &u
		}
		res, err := proc.OS{}.Run(ctx, cmd)
		if err == nil && res.ExitCode != 0 {
			err = errors.New(res.Message())
		}
		if err != nil {
			return fmt.Errorf("%s: %w", cmd.Path, err)
		}
	}
	return nil
}

// Remove removes the template, for TestMain when all tests have ended.
func (tp *Template) Remove() {
	if tp.dir != "" {
		_ = os.RemoveAll(tp.dir)
	}
}

// CopyTree copies directories and plain files with their modes and, for root,
// their owners. Sockets and links are left out.
func CopyTree(t testing.TB, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		dst := filepath.Join(to, rel)
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch {
		case d.IsDir():
			if err := os.Mkdir(dst, info.Mode().Perm()); err != nil {
				return err
			}
		case info.Mode().IsRegular():
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			if err := os.WriteFile(dst, b, info.Mode().Perm()); err != nil {
				return err
			}
		default:
			return nil
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return fmt.Errorf("%s: no owner to be seen", path)
		}
		return GiveTo(proc.User{UID: st.Uid, GID: st.Gid}, dst)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// RemoveMemory removes the System V shared memory that a killed server has left
// and that the next start would remove; its key is the data directory's inode.
func RemoveMemory(data string) {
	var st unix.Stat_t
	if unix.Stat(data, &st) != nil {
		return
	}
	b, _ := os.ReadFile("/proc/sysvipc/shm")
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		// key, id, ..., the number of processes attached
		if len(f) > 6 && f[0] == strconv.FormatInt(int64(int32(st.Ino)), 10) && f[6] == "0" {
			if id, err := strconv.Atoi(f[1]); err == nil {
				_, _ = unix.SysvShmCtl(id, unix.IPC_RMID, nil)
			}
		}
	}
}

// Tail is the end of a server's log, for the report of a failed test; nothing
// if there is none.
func Tail(logFile string) string {
	b, err := os.ReadFile(logFile)
	if err != nil {
		return ""
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-40):], "\n")
}
