package pg

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pgrex/lib/proc"
)

// The tests against a real server need root, the user postgres and PostgreSQL's
// programs; without them they fail and say so.
// The newest version installed as Debian's packages do is taken.
func testVersion() string {
	dirs, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	newest := 0
	for _, d := range dirs {
		if v, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(d)))); err == nil {
			newest = max(newest, v)
		}
	}
	return strconv.Itoa(newest)
}

func testBin() string { return "/usr/lib/postgresql/" + testVersion() + "/bin" }

// template is one fresh cluster per test binary, which every test copies.
type template struct {
	once sync.Once
	dir  string
	err  error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if sharedTemplate.dir != "" {
		_ = os.RemoveAll(filepath.Dir(sharedTemplate.dir))
	}
	os.Exit(code)
}

var sharedTemplate template

func (tp *template) get(ctx context.Context, pgUser proc.User) (string, error) {
	tp.once.Do(func() {
		base, err := os.MkdirTemp(memoryDir(), "pgtemplate")
		if err != nil {
			tp.err = err
			return
		}
		tp.dir = filepath.Join(base, "data")
		if tp.err = os.Chown(base, int(pgUser.UID), int(pgUser.GID)); tp.err != nil {
			return
		}
		res, err := proc.OS{}.Run(ctx, proc.Cmd{Path: testBin() + "/initdb", User: &pgUser,
			Args: []string{"-D", tp.dir, "-A", "trust", "--no-sync", "-k", "--wal-segsize=1", "--locale=C", "-E", "UTF8"}})
		if err == nil && res.ExitCode != 0 {
			err = fmt.Errorf("initdb: %s", res.Message())
		}
		tp.err = err
	})
	return tp.dir, tp.err
}

// memoryDir is where clusters are made: in memory if that is possible, since
// copying one is most of a test's time.
func memoryDir() string {
	if st, err := os.Stat("/dev/shm"); err == nil && st.IsDir() {
		return "/dev/shm"
	}
	return ""
}

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func postgresUser(t testing.TB) proc.User {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test starts PostgreSQL as another user: run it as root")
	}
	u, err := proc.LookupUser(testContext(t), "postgres")
	if err != nil {
		t.Fatalf("this test needs PostgreSQL %s and its user (apt-get install postgresql): %v", testVersion(), err)
	}
	return u
}

func freePort(t testing.TB) int {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// newServer is a copy of the template that is not running. Whatever runs in it
// at the end of the test is stopped.
func newServer(t testing.TB, conf ...string) *Server {
	t.Helper()
	u := postgresUser(t)
	tmpl, err := sharedTemplate.get(testContext(t), u)
	if err != nil {
		t.Fatalf("cannot make a cluster (apt-get install postgresql): %v", err)
	}
	s := emptyServer(t, u)
	copyTree(t, tmpl, s.Data)
	configure(t, s, conf...)
	return s
}

func emptyServer(t testing.TB, u proc.User) *Server {
	t.Helper()
	dir, err := os.MkdirTemp(memoryDir(), "pg") // short: a socket's path has 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chown(dir, int(u.UID), int(u.GID)); err != nil {
		t.Fatal(err)
	}
	s := &Server{Data: filepath.Join(dir, "data"), User: u, Port: freePort(t), LogFile: filepath.Join(dir, "log")}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if _, err := s.Stop(ctx, StopOptions{Mode: Immediate}); err != nil {
			t.Errorf("clean up: %v", err)
		}
		removeMemory(s.Data)
		if t.Failed() {
			b, _ := os.ReadFile(s.LogFile)
			t.Logf("server log of %s:\n%s", s.Data, tail(b, 40))
		}
	})
	return s
}

// removeMemory removes the shared memory that a crashed server has left and the
// next start would remove; its key is the data directory's inode.
func removeMemory(data string) {
	var st unix.Stat_t
	if unix.Stat(data, &st) != nil {
		return
	}
	b, _ := os.ReadFile("/proc/sysvipc/shm")
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if len(f) > 6 && f[0] == strconv.FormatInt(int64(int32(st.Ino)), 10) && f[6] == "0" {
			if id, err := strconv.Atoi(f[1]); err == nil {
				_, _ = unix.SysvShmCtl(id, unix.IPC_RMID, nil)
			}
		}
	}
}

func tail(b []byte, n int) string {
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func configure(t testing.TB, s *Server, conf ...string) {
	t.Helper()
	text := fmt.Sprintf("\nport = %d\nunix_socket_directories = '%s'\nlisten_addresses = '127.0.0.1'\nfsync = off\ndynamic_shared_memory_type = mmap\npassword_encryption = scram-sha-256\nshared_buffers = 8MB\n"+
		"max_connections = 20\nmax_wal_size = 32MB\nmin_wal_size = 2MB\nwal_keep_size = 64MB\n%s\n",
		s.Port, filepath.Dir(s.Data), strings.Join(conf, "\n"))
	f, err := os.OpenFile(filepath.Join(s.Data, "postgresql.conf"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func copyTree(t testing.TB, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(from, path)
		dst := filepath.Join(to, rel)
		info, err := d.Info()
		if err != nil {
			return err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return fmt.Errorf("%s: no owner to be seen", path)
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
		return os.Chown(dst, int(st.Uid), int(st.Gid))
	})
	if err != nil {
		t.Fatal(err)
	}
}

func startServer(t testing.TB, s *Server) {
	t.Helper()
	ctx := testContext(t)
	if err := s.Start(ctx); err != nil {
		t.Fatal(err)
	}
	if err := s.WaitReady(ctx); err != nil {
		t.Fatal(err)
	}
}

func connect(t testing.TB, s *Server) *Conn {
	t.Helper()
	c, err := s.Connect(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func sql(t testing.TB, s *Server, text string) string {
	t.Helper()
	c, err := s.Connect(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	rows, err := c.Exec(testContext(t), text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if len(rows) == 0 || len(rows[0]) == 0 {
		return ""
	}
	return rows[0][0]
}

// newStandby clones a running primary; the copy is not started.
func newStandby(t testing.TB, primary *Server, name string, conf ...string) *Server {
	t.Helper()
	s := emptyServer(t, primary.User)
	run(t, primary, testBin()+"/pg_basebackup", "-D", s.Data, "-h", "127.0.0.1", "-p", strconv.Itoa(primary.Port), "-U", "postgres", "-c", "fast", "-X", "stream", "--no-sync")
	conf = append(conf, fmt.Sprintf("primary_conninfo = 'host=127.0.0.1 port=%d user=postgres application_name=%s'", primary.Port, name),
		"wal_retrieve_retry_interval = 100ms")
	configure(t, s, conf...)
	if err := s.touch(filepath.Join(s.Data, "standby.signal")); err != nil {
		t.Fatal(err)
	}
	return s
}

// run runs a program as the server's owner and gives its output.
func run(t testing.TB, s *Server, path string, args ...string) string {
	t.Helper()
	res, err := proc.OS{}.Run(testContext(t), proc.Cmd{Path: path, Args: args, User: &s.User})
	if err != nil {
		t.Fatal(err)
	}
	if res.ExitCode != 0 {
		t.Fatalf("%s: %s%s", path, res.Stdout, res.Stderr)
	}
	return string(res.Stdout)
}

// eventually polls until f is true or the test's patience ends.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func processes(t testing.TB, s *Server) Processes {
	t.Helper()
	ps, err := s.Processes()
	if err != nil {
		t.Fatal(err)
	}
	return ps
}

func status(t testing.TB, s *Server) Status {
	t.Helper()
	c, err := s.Connect(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	st, err := c.Status(testContext(t))
	if err != nil {
		t.Fatal(err)
	}
	return st
}

func contains[T comparable](t testing.TB, list []T, v T) {
	t.Helper()
	if !slices.Contains(list, v) {
		t.Errorf("%v lacks %v", list, v)
	}
}
