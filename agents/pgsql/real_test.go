package main

import (
	"context"
	"errors"
	"flag"
	"maps"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgrex/lib/ocf"
	"pgrex/lib/pg"
	"pgrex/lib/pg/pgtest"
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
	// children are the command lines that were run, PostgreSQL's among them.
	children []string
}

// fresh is what sites are copied from. One database of three is enough, and a copy of it takes a
// third of the time.
var fresh = pgtest.Template{Initdb: []string{"-k"}, SQL: "UPDATE pg_database SET datistemplate = false\nDROP DATABASE template0\nDROP DATABASE postgres\n"}

func TestMain(m *testing.M) {
	flag.Parse()
	// The tests with servers wait most of their time, more than cores can be busy.
	if flag.Lookup("test.parallel").Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		if err := flag.Set("test.parallel", "8"); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	fresh.Remove()
	if sharedDaemons.dir != "" {
		_ = os.RemoveAll(sharedDaemons.dir)
	}
	os.Exit(code)
}

// newSite is a node with the data directory of another, or a fresh one, that does not run. The
// other's server must be stopped.
func newSite(t *testing.T, f *fakeCluster, node string, from *site) *site {
	t.Helper()
	u := pgtest.User(t)
	dir := pgtest.Dir(t)
	if err := pgtest.GiveTo(u, dir); err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, node: node, dir: dir, f: f, user: u, port: pgtest.FreePort(t)}
	if from == nil {
		fresh.Copy(t, s.data())
		s.configure("unix_socket_directories = '"+dir+"'", "listen_addresses = '127.0.0.1,127.0.0.3'", "fsync = off", "shared_buffers = 8MB", "dynamic_shared_memory_type = mmap",
			"max_wal_size = 32MB", "min_wal_size = 2MB", "wal_keep_size = 32MB", "wal_retrieve_retry_interval = 100ms", "wal_sender_timeout = 3s")
	} else {
		pgtest.CopyTree(t, from.data(), s.data())
		text := get(t, s.data()+"/postgresql.conf")
		put(t, s.data()+"/postgresql.conf", strings.ReplaceAll(text, from.dir, dir))
	}
	s.env = map[string]string{
		"OCF_RESOURCE_INSTANCE": "pgsql:0", "OCF_RESKEY_crm_feature_set": "3.16.2", "OCF_RESKEY_CRM_meta_on_node": node,
		"OCF_RESKEY_CRM_meta_promotable": "true", "OCF_RESKEY_CRM_meta_promoted_max": "1", "OCF_RESKEY_CRM_meta_timeout": "20000", "OCF_RESKEY_CRM_meta_notify": "true",
		"OCF_RESKEY_pgdba": u.Name, "OCF_RESKEY_pgdata": s.data(), "OCF_RESKEY_pgctl": pgtest.Bin(t) + "/pg_ctl", "OCF_RESKEY_tmpdir": dir + "/tmp",
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
		pgtest.RemoveMemory(s.data())
		if t.Failed() {
			t.Logf("server log of %s:\n%s", node, pgtest.Tail(dir+"/log"))
		}
	})
	return s
}

// newPair is a primary n1 and its standby n2, which streams.
func newPair(t *testing.T) (n1, n2 *site) {
	t.Helper()
	f := newFakeCluster("n1", "n1", "n2")
	n1 = newSite(t, f, "n1", nil)
	n2 = newSite(t, f, "n2", n1)
	n2.follow(n1)
	n1.done("start")
	n2.done("start")
	n1.must(ocf.OK, "monitor", interval, "9000")
	n1.done("promote")
	n1.eventually("n2 streams", func() bool { return n1.senders() == "1" })
	return n1, n2
}

// senders is the number of standbys that stream from here.
func (s *site) senders() string {
	return s.sql("SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'")
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

// freeze stops all processes of the server.
func (s *site) freeze() {
	s.t.Helper()
	for _, pid := range s.processes().All() {
		// A child of the server may have come to its end since the look.
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil && !errors.Is(err, syscall.ESRCH) {
			s.t.Fatal(err)
		}
	}
}

// tools runs PostgreSQL's programs for real, and Pacemaker's by the fake, on this site's node.
func (s *site) tools() proc.Runner { return siteRunner{s} }

type siteRunner struct{ s *site }

func (r siteRunner) Run(ctx context.Context, cmd proc.Cmd) (proc.Result, error) {
	r.s.f.mu.Lock()
	r.s.children = append(r.s.children, cmd.Path+" "+strings.Join(cmd.Args, " "))
	r.s.f.mu.Unlock()
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
