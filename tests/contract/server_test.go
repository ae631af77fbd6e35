package contract

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"pgrex/tests/contract/sandbox"
)

// dba is the user that runs the servers, as the packages make it.
const dba = "postgres"

// server is one data directory and the parameters a resource for it would have.
type server struct {
	data, config, socket, tmp, log string
	port                           int
	// bin is the directory of PostgreSQL's programs.
	bin string
}

// nextPort hands out ports; the network is the sandbox's own.
var nextPort atomic.Int32

// template is a data directory that is made once and copied.
var template = sync.OnceValues(func() (string, error) {
	bin, err := findPostgres()
	if err != nil {
		return "", err
	}
	dir := sandbox.Work + "/template"
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	if err := sandbox.GiveTo(dba, dir); err != nil {
		return "", err
	}
	data := dir + "/data"
	out, err := exec.Command("runuser", "-u", dba, "--", bin+"/initdb", "--pgdata="+data, "--no-sync", "--wal-segsize=1",
		"--encoding=UTF8", "--locale=C", "--auth-local=trust", "--auth-host=trust", "--data-checksums").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("initdb: %w\n%s", err, out)
	}
	// A standby wants its settings no smaller than the primary's were, which the data directory
	// remembers: run it once.
	if err := appendFile(data+"/postgresql.conf", settings); err != nil {
		return "", err
	}
	for _, action := range [][]string{{"start", "-l", dir + "/log", "-o", "-k '" + dir + "'"}, {"stop", "-m", "fast"}} {
		args := append([]string{"-u", dba, "--", bin + "/pg_ctl", "-w", "-s", "-D", data}, action...)
		// pg_ctl's server keeps the output open: no pipe for it.
		if err := exec.Command("runuser", args...).Run(); err != nil {
			return "", fmt.Errorf("pg_ctl %s: %w", action[0], err)
		}
	}
	return data, nil
})

// settings keep a server small and quick: what the disk would guarantee is not
// tested here.
const settings = `
listen_addresses = ''
fsync = off
shared_buffers = 2MB
max_connections = 10
superuser_reserved_connections = 2
wal_level = replica
min_wal_size = 2MB
max_wal_size = 16MB
autovacuum = off
`

// newServer copies the template. Nothing runs yet.
func newServer(t *testing.T) *server {
	t.Helper()
	from, err := template()
	if err != nil {
		t.Fatal(err)
	}
	bin, err := findPostgres()
	if err != nil {
		t.Fatal(err)
	}
	dir := sandbox.TempDir(t)
	s := &server{
		data: dir + "/data", config: dir + "/data/postgresql.conf", socket: dir + "/socket", tmp: dir + "/tmp", log: dir + "/log",
		port: 15000 + int(nextPort.Add(1)), bin: bin,
	}
	sandbox.Command(t, "cp", "-a", from, s.data)
	s.configure(t, fmt.Sprintf("port = %d\nunix_socket_directories = '%s'\n", s.port, s.socket))
	for _, d := range []string{dir, s.socket, s.tmp} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := sandbox.GiveTo(dba, d); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if t.Failed() {
			if b, err := os.ReadFile(s.log); err == nil {
				t.Logf("the server's log:\n%s", b)
			}
		}
		s.destroy()
	})
	return s
}

// configure appends to postgresql.conf.
func (s *server) configure(t *testing.T, text string) {
	t.Helper()
	if err := appendFile(s.config, text); err != nil {
		t.Fatal(err)
	}
}

func appendFile(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(text); err != nil {
		return err
	}
	return f.Close()
}

// params are the parameters of a resource without roles.
func (s *server) params() params {
	return params{
		"pgctl": s.bin + "/pg_ctl", "psql": s.bin + "/psql", "pgdata": s.data, "pgdba": dba, "pgport": strconv.Itoa(s.port),
		"socketdir": s.socket, "tmpdir": s.tmp, "logfile": s.log,
	}
}

// replicated are the parameters of a resource with roles, of a cluster of this
// one node. Nothing answers at the address of the primary.
func (s *server) replicated() params {
	return s.params().With(params{
		"rep_mode": "sync", "node_list": node, "master_ip": "192.0.2.1", "repuser": dba,
	})
}

// connect opens a connection as superuser.
func (s *server) connect(t *testing.T) *pgx.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, fmt.Sprintf("host=%s port=%d user=%s dbname=postgres", s.socket, s.port, dba))
	if err != nil {
		t.Fatalf("cannot connect to the server under test: %v", err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// exec runs one statement on a connection of its own.
func (s *server) exec(t *testing.T, sql string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn := s.connect(t)
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// process is one process of a server.
type process struct {
	pid, parent int
	state       string // as in /proc: R, S, T, Z
	title       string
}

func (p process) String() string { return fmt.Sprintf("%d (%s) %s", p.pid, p.state, p.title) }

// processes are those of this server that live: postgres is their program and
// the data directory, which may have been removed or moved, is where they are.
func (s *server) processes(t *testing.T) []process {
	t.Helper()
	return processesIn(t, s.data)
}

func processesIn(t *testing.T, data string) []process {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	var found []process
	for _, dir := range dirs {
		cwd, err := os.Readlink(dir + "/cwd")
		if err != nil || strings.TrimSuffix(cwd, " (deleted)") != data {
			continue
		}
		exe, err := os.Readlink(dir + "/exe")
		if err != nil || filepath.Base(strings.TrimSuffix(exe, " (deleted)")) != "postgres" {
			continue
		}
		stat, err := os.ReadFile(dir + "/stat")
		if err != nil {
			continue // it ended meanwhile
		}
		var p process
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(fields) < 2 || fields[0] == "Z" || fields[0] == "X" {
			continue
		}
		p.state = fields[0]
		p.pid, _ = strconv.Atoi(filepath.Base(dir))
		p.parent, _ = strconv.Atoi(fields[1])
		title, _ := os.ReadFile(dir + "/cmdline")
		p.title = strings.TrimSpace(strings.ReplaceAll(string(title), "\x00", " "))
		found = append(found, p)
	}
	return found
}

// postmaster is the pid in postmaster.pid.
func (s *server) postmaster(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile(s.data + "/postmaster.pid")
	if err != nil {
		t.Fatalf("no server runs: %v", err)
	}
	first, _, _ := strings.Cut(string(b), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		t.Fatalf("postmaster.pid: %v", err)
	}
	return pid
}

// mustBeGone fails the test if a process of the server is left.
func (s *server) mustBeGone(t *testing.T) {
	t.Helper()
	if left := s.processes(t); len(left) > 0 {
		t.Errorf("the server should be gone, but still there are: %v", left)
	}
}

// destroy ends what a test left.
func (s *server) destroy() {
	var t testing.T // for processes, which fails only where /proc is unreadable
	for range 100 {
		left := processesIn(&t, s.data)
		if len(left) == 0 {
			return
		}
		for _, p := range left {
			_ = syscall.Kill(p.pid, syscall.SIGKILL)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
