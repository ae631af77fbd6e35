package main

import (
	"context"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pgrex/lib/ocf"
	"pgrex/lib/pg"
	"pgrex/lib/proc"
)

// The tests in this file run real servers, as the current user or, for root, as the user postgres.
// Without PostgreSQL they fail and say so.

// site is one node: its data directory, its parameters, and the cluster as it sees it.
type site struct {
	t    *testing.T
	node string
	port int
	dir  string
	env  map[string]string
	f    *fakeCluster
	user proc.User
	// left are the shared memory segments of servers that were killed.
	left []int
}

// postgresBin is the directory of the newest PostgreSQL that is installed.
func postgresBin(t *testing.T) string {
	t.Helper()
	var found string
	newest := 0
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin/initdb", "/usr/pgsql-*/bin/initdb", "/usr/bin/initdb"} {
		paths, _ := filepath.Glob(pattern)
		for _, p := range paths {
			digits := strings.Map(func(r rune) rune {
				if r < '0' || r > '9' {
					return -1
				}
				return r
			}, p)
			if v, _ := strconv.Atoi(digits); found == "" || v > newest {
				newest, found = v, filepath.Dir(p)
			}
		}
	}
	if found == "" {
		t.Fatal("this test runs PostgreSQL, and no initdb is installed: run `make deps`")
	}
	return found
}

func serverUser(t *testing.T) proc.User {
	t.Helper()
	name := currentUser(t)
	if os.Geteuid() == 0 {
		name = "postgres" // PostgreSQL does not run as root
	}
	u, err := proc.LookupUser(t.Context(), name)
	if err != nil {
		t.Fatalf("this test runs PostgreSQL as %s: %v; run `make deps`", name, err)
	}
	return u
}

// template is one fresh data directory, which every test copies.
type template struct {
	once sync.Once
	dir  string
	err  error
}

func (tp *template) get(t *testing.T, u proc.User) string {
	t.Helper()
	bin := postgresBin(t)
	tp.once.Do(func() {
		if tp.dir, tp.err = os.MkdirTemp(sharedMemory(), "pgsqltemplate"); tp.err != nil {
			return
		}
		if tp.err = chown(tp.dir, u); tp.err != nil {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		data := tp.dir + "/data"
		// One database of three is enough, and a copy of it takes a third of the time.
		const drop = "UPDATE pg_database SET datistemplate = false\nDROP DATABASE template0\nDROP DATABASE postgres\n"
		for _, cmd := range []proc.Cmd{
			{Path: bin + "/initdb", Args: []string{"-D", data, "-A", "trust", "-U", "postgres", "--no-sync", "--wal-segsize=1", "--locale=C", "-E", "UTF8"}},
			{Path: bin + "/postgres", Args: []string{"--single", "-D", data, "-F", "template1"}, Stdin: strings.NewReader(drop)},
		} {
			if os.Geteuid() == 0 {
				cmd.User = &u
			}
			res, err := proc.OS{}.Run(ctx, cmd)
			if err == nil && res.ExitCode != 0 {
				err = fmt.Errorf("%s: %s", cmd.Path, res.Message())
			}
			if tp.err = err; err != nil {
				return
			}
		}
	})
	if tp.err != nil {
		t.Fatal(tp.err)
	}
	return tp.dir + "/data"
}

var freshData template

func TestMain(m *testing.M) {
	flag.Parse()
	// The tests with servers wait most of their time, more than cores can be busy.
	if flag.Lookup("test.parallel").Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		if err := flag.Set("test.parallel", "8"); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	for _, dir := range []string{freshData.dir, sharedDaemons.dir} {
		if dir != "" {
			_ = os.RemoveAll(dir)
		}
	}
	os.Exit(code)
}

func sharedMemory() string {
	if st, err := os.Stat("/dev/shm"); err == nil && st.IsDir() {
		return "/dev/shm"
	}
	return ""
}

func chown(path string, u proc.User) error {
	if os.Geteuid() != 0 {
		return nil
	}
	return os.Chown(path, int(u.UID), int(u.GID))
}

// freePort is a port that no other test gets, below those that the kernel gives to clients: one of
// them would be taken by a connection before the server listens.
func freePort(t *testing.T) int {
	t.Helper()
	for range 200 {
		port := 20000 + (os.Getpid()*50+int(portsGiven.Add(1)))%12000
		free := true
		for _, host := range []string{"127.0.0.1", "127.0.0.3"} {
			l, err := net.Listen("tcp4", net.JoinHostPort(host, strconv.Itoa(port)))
			if err != nil {
				free = false
				continue
			}
			l.Close()
		}
		if free {
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

var portsGiven atomic.Int64

// newSite is a node with the data directory of another, or a fresh one, that does not run. The
// other's server must be stopped.
func newSite(t *testing.T, f *fakeCluster, node string, from *site) *site {
	t.Helper()
	u := serverUser(t)
	source := ""
	if from == nil {
		source = freshData.get(t, u)
	} else {
		source = from.data()
	}
	dir := memoryDir(t)
	if err := chown(dir, u); err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, node: node, dir: dir, f: f, user: u, port: freePort(t)}
	copyTree(t, source, s.data())
	if from == nil {
		s.configure("unix_socket_directories = '"+dir+"'", "listen_addresses = '127.0.0.1,127.0.0.3'", "fsync = off", "shared_buffers = 8MB", "dynamic_shared_memory_type = mmap",
			"max_wal_size = 32MB", "min_wal_size = 2MB", "wal_keep_size = 32MB", "wal_retrieve_retry_interval = 100ms", "wal_sender_timeout = 3s")
	} else {
		text := get(t, s.data()+"/postgresql.conf")
		put(t, s.data()+"/postgresql.conf", strings.ReplaceAll(text, from.dir, dir))
	}
	s.env = map[string]string{
		"OCF_RESOURCE_INSTANCE": "pgsql:0", "OCF_RESKEY_crm_feature_set": "3.16.2", "OCF_RESKEY_CRM_meta_on_node": node,
		"OCF_RESKEY_CRM_meta_promotable": "true", "OCF_RESKEY_CRM_meta_promoted_max": "1", "OCF_RESKEY_CRM_meta_timeout": "20000", "OCF_RESKEY_CRM_meta_notify": "true",
		"OCF_RESKEY_pgdba": u.Name, "OCF_RESKEY_pgdata": s.data(), "OCF_RESKEY_pgctl": postgresBin(t) + "/pg_ctl", "OCF_RESKEY_tmpdir": dir + "/tmp",
		"OCF_RESKEY_pgport": strconv.Itoa(s.port), "OCF_RESKEY_logfile": dir + "/log", "OCF_RESKEY_rep_mode": "sync", "OCF_RESKEY_node_list": "n1 n2",
		// Nobody listens there.
		"OCF_RESKEY_master_ip": "127.0.0.2", "OCF_RESKEY_repuser": "postgres", "OCF_RESKEY_monitor_user": "postgres", "HA_RSCTMP": dir,
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if _, err := s.server().Stop(ctx, pg.StopOptions{Mode: pg.Immediate}); err != nil {
			t.Errorf("clean up: %v", err)
		}
		for _, id := range s.left {
			_, _ = unix.SysvShmCtl(id, unix.IPC_RMID, nil)
		}
		if t.Failed() {
			lines := strings.Split(strings.TrimSpace(get(t, dir+"/log")), "\n")
			t.Logf("server log of %s:\n%s", node, strings.Join(lines[max(0, len(lines)-30):], "\n"))
		}
	})
	return s
}

func (s *site) data() string { return s.dir + "/data" }

func (s *site) configure(lines ...string) {
	s.t.Helper()
	put(s.t, s.data()+"/postgresql.conf", get(s.t, s.data()+"/postgresql.conf")+"\n"+strings.Join(lines, "\n")+"\n")
}

// follow makes the site's standby look for the primary at another site's port. The address is one
// that the servers listen on and no interface lists: an address of this node is not followed.
func (s *site) follow(primary *site) {
	s.env["OCF_RESKEY_master_ip"] = "127.0.0.3"
	s.env["OCF_RESKEY_primary_conninfo_opt"] = "port=" + strconv.Itoa(primary.port)
}

func (s *site) server() *pg.Server {
	return &pg.Server{Data: s.data(), PgCtl: s.env["OCF_RESKEY_pgctl"], Port: s.port, SocketDir: s.dir, User: s.user, DBUser: "postgres", LogFile: s.dir + "/log"}
}

// do performs one action, as one process would.
func (s *site) do(action string, more ...string) (ocf.Code, string) {
	code, text, _ := s.perform(action, more...)
	return code, text
}

func (s *site) perform(action string, more ...string) (ocf.Code, string, *journal) {
	s.t.Helper()
	env := maps.Clone(s.env)
	for i := 0; i+1 < len(more); i += 2 {
		env[more[i]] = more[i+1]
	}
	c, log := callOf(action, env)
	a := agentOf(s.t, c, s.tools())
	ctx, cancel := context.WithTimeout(s.t.Context(), c.Timeout)
	defer cancel()
	err := perform(ctx, a)
	text := ""
	if err != nil {
		text = err.Error()
	}
	return ocf.CodeOf(err), text, log
}

// tools runs PostgreSQL's programs for real, and Pacemaker's by the fake, on this site's node.
func (s *site) tools() proc.Runner { return siteRunner{s} }

type siteRunner struct{ s *site }

func (r siteRunner) Run(ctx context.Context, cmd proc.Cmd) (proc.Result, error) {
	if strings.HasPrefix(cmd.Path, "/") {
		return proc.OS{}.Run(ctx, cmd)
	}
	r.s.f.mu.Lock()
	r.s.f.self = r.s.node
	r.s.f.mu.Unlock()
	return r.s.f.Run(ctx, cmd)
}

// must performs an action and complains unless it ends with the code.
func (s *site) must(want ocf.Code, action string, more ...string) string {
	s.t.Helper()
	code, text, log := s.perform(action, more...)
	if code != want {
		s.t.Fatalf("%s on %s: %d (%s), want %d\n%s", action, s.node, code, text, want, log)
	}
	return text
}

const interval = "OCF_RESKEY_CRM_meta_interval"

// done performs an action that must succeed and lets the cluster know it, as Pacemaker does.
func (s *site) done(action string) {
	s.t.Helper()
	s.must(ocf.OK, action)
	s.f.mu.Lock()
	defer s.f.mu.Unlock()
	s.f.happened(s.node, action+" 0")
}

func (s *site) sql(text string) string {
	s.t.Helper()
	c, err := s.server().Connect(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	rows, err := c.Exec(s.t.Context(), text)
	if err != nil {
		s.t.Fatalf("%s: %v", text, err)
	}
	if len(rows) == 0 || len(rows[0]) == 0 {
		return ""
	}
	return rows[0][0]
}

// crash kills every process of the server, as a loss of power would.
func (s *site) crash() {
	s.t.Helper()
	ps, err := s.server().Processes()
	if err != nil || ps.Postmaster == 0 {
		s.t.Fatalf("nothing to kill: %v, %v", ps, err)
	}
	if ps.PidFile != nil {
		s.left = append(s.left, ps.PidFile.ShmID)
	}
	for _, pid := range ps.All() {
		_ = syscall.Kill(pid, syscall.SIGKILL)
	}
	s.eventually("the server of "+s.node+" is dead", func() bool {
		ps, err := s.server().Processes()
		return err == nil && !ps.Running()
	})
}

func (s *site) eventually(what string, f func() bool) {
	s.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !f() {
		if time.Now().After(deadline) {
			s.t.Fatalf("waited in vain: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (s *site) attribute(name string) string {
	return s.f.attribute(s.node, s.node, name, strings.HasSuffix(name, "-record") || strings.HasSuffix(name, "-data-status"))
}

func copyTree(t *testing.T, from, to string) {
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
		if st, ok := info.Sys().(*syscall.Stat_t); ok && os.Geteuid() == 0 {
			return os.Chown(dst, int(st.Uid), int(st.Gid))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// signal sends a signal to a process of a test's server.
func signal(t *testing.T, pid string, sig syscall.Signal) {
	t.Helper()
	n, err := strconv.Atoi(pid)
	if err != nil {
		t.Fatalf("pid %q: %v", pid, err)
	}
	if err := syscall.Kill(n, sig); err != nil {
		t.Fatal(err)
	}
}
