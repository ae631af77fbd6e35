package pg

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgrex/lib/pg/pgtest"
	"pgrex/lib/proc"
)

// The tests against a real server need root, the user postgres and PostgreSQL's
// programs; without them they fail and say so.

// fresh is what servers are copied from.
var fresh = pgtest.Template{Initdb: []string{"-k"}}

func TestMain(m *testing.M) {
	code := m.Run()
	fresh.Remove()
	os.Exit(code)
}

func testVersion(t testing.TB) int {
	t.Helper()
	_, v := pgtest.Newest(t)
	return v
}

func testContext(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// postgresUser is another user than we are: these tests are about that too.
func postgresUser(t testing.TB) proc.User {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test starts PostgreSQL as another user: run it as root")
	}
	return pgtest.User(t)
}

// newServer is a copy of the template that is not running. Whatever runs in it
// at the end of the test is stopped.
func newServer(t testing.TB, conf ...string) *Server {
	t.Helper()
	s := emptyServer(t, postgresUser(t))
	fresh.Copy(t, s.Data)
	configure(t, s, conf...)
	return s
}

func emptyServer(t testing.TB, u proc.User) *Server {
	t.Helper()
	dir := pgtest.Dir(t)
	if err := pgtest.GiveTo(u, dir); err != nil {
		t.Fatal(err)
	}
	s := &Server{Data: filepath.Join(dir, "data"), User: u, Port: pgtest.FreePort(t), LogFile: filepath.Join(dir, "log")}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if _, err := s.Stop(ctx, StopOptions{Mode: Immediate}); err != nil {
			t.Errorf("clean up: %v", err)
		}
		pgtest.RemoveMemory(s.Data)
		if t.Failed() {
			t.Logf("server log of %s:\n%s", s.Data, pgtest.Tail(s.LogFile))
		}
	})
	return s
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
	run(t, primary, pgtest.Bin(t)+"/pg_basebackup", "-D", s.Data, "-h", "127.0.0.1", "-p", strconv.Itoa(primary.Port), "-U", "postgres", "-c", "fast", "-X", "stream", "--no-sync")
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
