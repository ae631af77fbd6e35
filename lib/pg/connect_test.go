package pg

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgrex/lib/proc"
)

func setHBA(t *testing.T, s *Server, lines ...string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.Data, "pg_hba.conf"), []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
}

// Peer authentication sees the server's owner, and nothing of our process has
// changed: no thread is left with other credentials.
func TestConnectPeer(t *testing.T) {
	s := newServer(t)
	setHBA(t, s, "local all all peer")
	startServer(t, s)
	for range 20 {
		if got := sql(t, s, "SELECT current_user"); got != "postgres" {
			t.Fatalf("connected as %s", got)
		}
	}
	eventually(t, "all threads are root's", func() bool { return len(foreignThreads(t)) == 0 })
	if uid := os.Geteuid(); uid != 0 {
		t.Errorf("we are %d", uid)
	}
	// Without the change the server refuses root.
	asRoot := *s
	asRoot.User = proc.User{}
	asRoot.DBUser = "postgres"
	if _, err := asRoot.Connect(testContext(t)); !IsAuth(err) {
		t.Errorf("root as peer: %v, want an authentication failure", err)
	}
}

// foreignThreads are our threads with another uid than 0.
func foreignThreads(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil || len(files) == 0 {
		t.Fatal("no threads to be seen")
	}
	var out []string
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // it has ended
		}
		for line := range strings.Lines(string(b)) {
			if strings.HasPrefix(line, "Uid:") && strings.Join(strings.Fields(line)[1:], " ") != "0 0 0 0" {
				out = append(out, f+": "+line)
			}
		}
	}
	return out
}

func TestConnectLeaksNothing(t *testing.T) {
	s := newServer(t)
	startServer(t, s)
	count := func() (goroutines, threads, files int) {
		tasks, _ := os.ReadDir("/proc/self/task")
		fds, _ := os.ReadDir("/proc/self/fd")
		return runtime.NumGoroutine(), len(tasks), len(fds)
	}
	_ = status(t, s)
	g0, t0, f0 := count()
	for range 100 {
		_ = status(t, s)
	}
	stop := *s
	stop.Port = 1
	stop.SocketDir = "/nonexistent"
	for range 50 {
		if _, err := stop.Connect(testContext(t)); !IsRefused(err) {
			t.Fatal(err)
		}
	}
	eventually(t, "everything is given back", func() bool {
		g, th, f := count()
		return g <= g0+2 && th <= t0+4 && f <= f0+1
	})
	if t.Failed() {
		g, th, f := count()
		t.Logf("goroutines %d -> %d, threads %d -> %d, files %d -> %d", g0, g, t0, th, f0, f)
	}
}

func TestConnectPassword(t *testing.T) {
	s := newServer(t)
	startServer(t, s)
	_ = sql(t, s, "CREATE ROLE watcher LOGIN PASSWORD 'se''cret' IN ROLE pg_monitor")
	setHBA(t, s, "local all postgres peer", "local all all scram-sha-256", "host all all 127.0.0.1/32 scram-sha-256")
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	w := *s
	w.DBUser = "watcher"
	if _, err := w.Connect(testContext(t)); !IsAuth(err) && err == nil {
		t.Errorf("without a password: %v", err)
	}
	w.Password = "wrong"
	if _, err := w.Connect(testContext(t)); !IsAuth(err) || strings.Contains(err.Error(), "wrong") {
		t.Errorf("wrong password: %v", err)
	}
	// Its owner is asked to do it only where that is wanted.
	var barred error
	w.Barred = func(err error) { barred = err }
	if st := status(t, &w); st.Restricted || !IsBarred(barred) || strings.Contains(barred.Error(), "wrong") {
		t.Errorf("wrong password: restricted %v, %v", st.Restricted, barred)
	}
	w.Password, barred = "se'cret", nil
	if st := status(t, &w); !st.Restricted || barred != nil {
		t.Errorf("right password: restricted %v, %v", st.Restricted, barred)
	}
	w.Password, w.Database = "wrong", "nonexistent"
	if _, err := w.Connect(testContext(t)); !IsAuth(err) || barred != nil || !strings.Contains(err.Error(), "watcher") || !strings.Contains(err.Error(), "postgres is refused too") {
		t.Errorf("both refused: %v, %v", err, barred)
	}
	w.Password, w.Database, w.Barred = "se'cret", "", nil
	for _, host := range []string{"", "127.0.0.1", filepath.Dir(s.Data)} {
		w.Host = host
		st := status(t, &w)
		if !st.Restricted || st.Timeline != 1 || st.SystemID == 0 {
			t.Errorf("host %q: %+v", host, st)
		}
	}
	if log, err := os.ReadFile(s.LogFile); err != nil || strings.Contains(string(log), "permission denied") {
		t.Errorf("what the role may not read was asked for: %v\n%s", err, log)
	}
	w.Host, w.Password = "", ""
	// .pgpass of the server's owner.
	w.User.Home = t.TempDir()
	line := fmt.Sprintf("localhost:%d:*:watcher:se'cret\n", s.Port)
	if err := os.WriteFile(filepath.Join(w.User.Home, ".pgpass"), []byte(line), 0o600); err != nil {
		t.Fatal(err)
	}
	_ = status(t, &w)
	// Ours counts for nothing.
	t.Setenv("PGPASSWORD", "wrong")
	t.Setenv("PGHOST", "192.0.2.1")
	t.Setenv("PGOPTIONS", "-c nonsense=1")
	t.Setenv("PGSSLMODE", "verify-full")
	_ = status(t, &w)
}

// What a server that cannot serve us says is told apart.
func TestConnectErrors(t *testing.T) {
	t.Parallel()
	s := newServer(t, "superuser_reserved_connections = 0", "max_connections = 5", "max_wal_senders = 0", "log_min_messages = fatal")
	startServer(t, s)
	var held []*Conn
	var err error
	for range 6 {
		var c *Conn
		if c, err = s.Connect(testContext(t)); err != nil {
			break
		}
		held = append(held, c)
	}
	if !IsTooMany(err) || IsAuth(err) || IsStarting(err) || IsRefused(err) {
		t.Errorf("all connections taken: %v", err)
	}
	for _, c := range held {
		c.Close()
	}
	none := *s
	none.Database = "nonexistent"
	if _, err := none.Connect(testContext(t)); !IsAuth(err) {
		t.Errorf("no such database: %v", err)
	}
	// A frozen postmaster accepts in the kernel and never answers.
	pm := processes(t, s).Postmaster
	if err := syscall.Kill(pm, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	if _, err := s.Connect(ctx); !IsTimeout(err) || IsRefused(err) {
		t.Errorf("frozen: %v", err)
	}
	if err := syscall.Kill(pm, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	connect(t, s)
	short, cancel2 := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel2()
	limited, err := s.Connect(short)
	if err != nil {
		t.Fatal(err)
	}
	defer limited.Close()
	// The server itself gives up with us.
	if _, err := limited.Exec(testContext(t), "SELECT pg_sleep(5)"); !IsTimeout(err) {
		t.Errorf("statement timeout: %v", err)
	}
}

func TestConnectStarting(t *testing.T) {
	t.Parallel()
	primary := newServer(t)
	startServer(t, primary)
	standby := newStandby(t, primary, "n2", "recovery_min_apply_delay = '1h'")
	crash(t, primary)
	// Never consistent without its WAL: it stays in the starting state.
	if err := os.RemoveAll(filepath.Join(standby.Data, "pg_wal")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(standby.Data, "pg_wal"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(filepath.Join(standby.Data, "pg_wal"), int(primary.User.UID), int(primary.User.GID)); err != nil {
		t.Fatal(err)
	}
	if err := standby.Start(testContext(t)); err != nil {
		t.Fatal(err)
	}
	if _, err := standby.Connect(testContext(t)); !IsStarting(err) {
		t.Errorf("starting: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if err := standby.WaitReady(ctx); err == nil || !IsTimeout(err) {
		t.Errorf("WaitReady: %v", err)
	}
	if age, err := standby.Age(); err != nil || age <= 0 || age > time.Minute {
		t.Errorf("age %v, %v", age, err)
	}
}

// The pinned search_path keeps a role's objects out of our queries, and not out
// of the administrator's.
func TestSearchPath(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	startServer(t, s)
	c := connect(t, s)
	for _, q := range []string{
		"CREATE SCHEMA trap", "CREATE FUNCTION trap.pg_is_in_recovery() RETURNS boolean LANGUAGE sql AS 'SELECT true'",
		"CREATE TABLE public.mine (i int)", "ALTER ROLE postgres SET search_path = trap, public, pg_catalog",
	} {
		if _, err := c.Exec(testContext(t), q); err != nil {
			t.Fatalf("%s: %v", q, err)
		}
	}
	if st := status(t, s); st.InRecovery {
		t.Error("fell into the trap")
	}
	if err := s.Check(testContext(t), "SELECT count(*) FROM mine"); err != nil {
		t.Error(err)
	}
	if err := s.Check(testContext(t), "SELECT 1/0"); sqlState(err) != "22012" {
		t.Errorf("failing check: %v", err)
	}
}

func TestQuoteLiteral(t *testing.T) {
	t.Parallel()
	s := newServer(t, "standard_conforming_strings = off", "escape_string_warning = off")
	startServer(t, s)
	for _, v := range []string{"", "plain", "it's", `back\slash`, `\'; DROP`, "é\n"} {
		if got := sql(t, s, "SELECT "+QuoteLiteral(v)); got != v {
			t.Errorf("%q came back as %q", v, got)
		}
	}
}

func TestSlots(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	startServer(t, s)
	c := connect(t, s)
	name, err := SlotName("pgrex", "Node-1.example")
	if err != nil || name != "pgrex_node_1_example" {
		t.Fatal(name, err)
	}
	for range 2 {
		if err := c.CreateSlot(testContext(t), name); err != nil {
			t.Fatal(err)
		}
	}
	st := status(t, s)
	if len(st.Slots) != 1 || st.Slots[0].Name != name || st.Slots[0].Type != "physical" || st.Slots[0].RestartLSN == 0 || st.Slots[0].WALStatus != "reserved" {
		t.Errorf("%+v", st.Slots)
	}
	for range 2 {
		if err := c.DropSlot(testContext(t), name); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.CreateSlot(testContext(t), "Bad"); err == nil {
		t.Error("a bad name was taken")
	}
	for _, bad := range [][2]string{{"", "n"}, {"x", "n ode"}, {"P", "n"}, {"x", strings.Repeat("n", 63)}, {"é", "n"}} {
		if name, err := SlotName(bad[0], bad[1]); err == nil {
			t.Errorf("%v gave %s", bad, name)
		}
	}
}

func TestStopsOwnPort(t *testing.T) {
	t.Parallel()
	// postmaster.pid knows better than the parameters.
	s := newServer(t)
	startServer(t, s)
	wrong := *s
	wrong.Port = 1
	if got := sql(t, &wrong, "SHOW port"); got != strconv.Itoa(s.Port) {
		t.Errorf("port %s", got)
	}
}
