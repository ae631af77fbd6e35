package pg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"pgrex/lib/pg/pgtest"
)

func TestStartStatusStop(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	began := time.Now()
	startServer(t, s)
	t.Logf("start took %v", time.Since(began))
	if err := s.Start(testContext(t)); !errors.Is(err, ErrAlreadyRunning) {
		t.Errorf("second start: %v, want ErrAlreadyRunning", err)
	}
	ps := processes(t, s)
	if ps.Postmaster == 0 || len(ps.Children) < 4 || ps.PidFile == nil || ps.PidFile.PID != ps.Postmaster {
		t.Fatalf("processes: %+v", ps)
	}
	if ps.PidFile.Status != PidReady || ps.PidFile.Port != s.Port || ps.PidFile.SocketDir != filepath.Dir(s.Data) {
		t.Errorf("postmaster.pid: %+v", ps.PidFile)
	}
	for range 3 {
		began = time.Now()
		st := status(t, s)
		t.Logf("connect and status took %v", time.Since(began))
		ctl, err := s.Control()
		if err != nil {
			t.Fatal(err)
		}
		if st.InRecovery || st.SystemID != ctl.SystemID || st.Timeline != 1 || st.InsertLSN == 0 || st.InsertLSN < st.FlushLSN || st.Version/10000 != testVersion(t) {
			t.Errorf("status: %+v", st)
		}
		contains(t, ps.Children, st.CheckpointerID)
		if got := st.Setting("wal_level"); got.Value != "replica" || got.Source != "default" {
			t.Errorf("wal_level: %+v", got)
		}
		if st.Restricted || len(st.Files) != 0 {
			t.Errorf("restricted %v, file errors %v", st.Restricted, st.Files)
		}
	}
	before := status(t, s).Loaded
	if again := status(t, s).Loaded; before == "" || again != before {
		t.Errorf("configuration loaded %q, then %q without a reload", before, again)
	}
	if err := s.Reload(); err != nil {
		t.Fatal(err)
	}
	if err := every(testContext(t), poll, "the reload", func() (bool, error) { return status(t, s).Loaded != before, nil }); err != nil {
		t.Error(err)
	}
	began = time.Now()
	res, err := s.Stop(testContext(t), StopOptions{Mode: Fast, Escalate: 10 * time.Second})
	t.Logf("stop took %v", time.Since(began))
	if err != nil || !res.WasRunning || !res.Clean || res.Escalated || res.Killed != 0 {
		t.Errorf("stop: %+v, %v", res, err)
	}
	res, err = s.Stop(testContext(t), StopOptions{})
	if err != nil || res.WasRunning {
		t.Errorf("stop of a stopped server: %+v, %v", res, err)
	}
	if _, err := s.Connect(testContext(t)); !IsRefused(err) {
		t.Errorf("connect to a stopped server: %v, want refused", err)
	}
}

// A CPU-bound backend looks at nothing and outlives its postmaster.
func TestStopOrphans(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	startServer(t, s)
	busy := busyBackend(t, s)
	pm := processes(t, s).Postmaster
	if err := syscall.Kill(pm, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the idle children end, the busy one stays", func() bool {
		ps := processes(t, s)
		return ps.Postmaster == 0 && len(ps.Children) == 1 && ps.Children[0] == busy
	})
	res, err := s.Stop(testContext(t), StopOptions{Mode: Fast, Escalate: 30 * time.Second})
	if err != nil || !res.WasRunning || res.Clean {
		t.Errorf("stop: %+v, %v", res, err)
	}
	ended(t, busy)
	if _, err := os.Stat(filepath.Join(s.Data, "postmaster.pid")); err == nil {
		t.Error("stale postmaster.pid is still there")
	}
}

// ended waits for the kernel to be through with a process that was killed: it has let go
// of the server's memory, which is what Stop waits for, a moment before it is gone.
func ended(t *testing.T, pid int) {
	t.Helper()
	eventually(t, fmt.Sprintf("the end of process %d", pid), func() bool { return !alive(pid) })
}

// busyBackend is the pid of a backend that computes in a transaction.
func busyBackend(t *testing.T, s *Server) int {
	t.Helper()
	c := connect(t, s)
	pid := int(c.pg.PID())
	go func() {
		_, _ = c.Exec(context.Background(), "BEGIN; SET statement_timeout = 0; SELECT txid_current(); "+
			"DO $$ BEGIN LOOP END LOOP; END $$")
	}()
	eventually(t, "the backend computes", func() bool {
		return sql(t, s, "SELECT count(*) FROM pg_stat_activity WHERE pid = "+strconv.Itoa(pid)+" AND state = 'active' AND query LIKE '%LOOP%'") == "1"
	})
	return pid
}

func TestStartOverOrphans(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	startServer(t, s)
	busy := busyBackend(t, s)
	if err := syscall.Kill(processes(t, s).Postmaster, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the postmaster is gone", func() bool { return processes(t, s).Postmaster == 0 })
	if !alive(busy) {
		t.Fatal("nothing to show: the busy backend is gone already")
	}
	startServer(t, s)
	ended(t, busy)
	if st := status(t, s); st.InRecovery {
		t.Error("the new server is not a primary")
	}
}

// Everything but the kernel is missing.
func TestStopNeedsNothing(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	startServer(t, s)
	stop := &Server{Data: s.Data, PgCtl: "/nonexistent/pg_ctl", Config: "/nonexistent/postgresql.conf"}
	if err := os.Remove(filepath.Join(s.Data, "postmaster.pid")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(s.ConfigFile()); err != nil {
		t.Fatal(err)
	}
	res, err := stop.Stop(testContext(t), StopOptions{Mode: Fast, Escalate: 10 * time.Second})
	if err != nil || !res.WasRunning || !res.Clean {
		t.Errorf("stop: %+v, %v", res, err)
	}
	res, err = (&Server{Data: "/nonexistent/data"}).Stop(testContext(t), StopOptions{})
	if err != nil || res.WasRunning {
		t.Errorf("stop without a data directory: %+v, %v", res, err)
	}
}

func TestStopDataRemoved(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	startServer(t, s)
	// The server may still write something in there.
	eventually(t, "the directory is gone", func() bool { return os.RemoveAll(s.Data) == nil })
	if ps := processes(t, s); !ps.Running() {
		t.Fatalf("a server whose directory was removed is not seen: %v", ps)
	}
	res, err := s.Stop(testContext(t), StopOptions{Mode: Fast, Escalate: 2 * time.Second})
	if err != nil || !res.WasRunning {
		t.Errorf("stop: %+v, %v", res, err)
	}
}

func TestStopEscalates(t *testing.T) {
	t.Parallel()
	for _, who := range []string{"postmaster", "checkpointer"} {
		t.Run(who, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			startServer(t, s)
			pid := processes(t, s).Postmaster
			if who == "checkpointer" {
				pid = status(t, s).CheckpointerID
			}
			if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			res, err := s.Stop(ctx, StopOptions{Mode: Fast, Escalate: 300 * time.Millisecond})
			if err != nil || !res.Escalated || processes(t, s).Running() {
				t.Errorf("stop: %+v, %v", res, err)
			}
		})
	}
}

// A deadline nearer than the escalation still ends in a stopped server, and processes that somebody
// has stopped are not waited for until they are killed.
func TestStopFitsDeadline(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	startServer(t, s)
	for _, pid := range processes(t, s).All() {
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	res, err := s.Stop(ctx, StopOptions{Mode: Fast, Escalate: 90 * time.Second})
	if err != nil || !res.Escalated || processes(t, s).Running() {
		t.Errorf("stop: %+v, %v", res, err)
	}
}

// Another server, a stale file and a process with our directory in its
// arguments are not us.
func TestProcessesOfOthers(t *testing.T) {
	t.Parallel()
	other := newServer(t)
	startServer(t, other)
	s := newServer(t)
	pid := processes(t, other).Postmaster
	stale := strconv.Itoa(pid) + "\n" + s.Data + "\n1\n5432\n/tmp\n\n 1 1\nready\n"
	if err := os.WriteFile(filepath.Join(s.Data, "postmaster.pid"), []byte(stale), 0o600); err != nil {
		t.Fatal(err)
	}
	if ps := processes(t, s); ps.Running() || ps.PidFile == nil {
		t.Errorf("%+v", ps)
	}
	res, err := s.Stop(testContext(t), StopOptions{Mode: Immediate})
	if err != nil || res.WasRunning {
		t.Errorf("stop: %+v, %v", res, err)
	}
	if !alive(pid) || processes(t, other).Postmaster != pid {
		t.Error("the other server is gone")
	}
}

func TestProcessesBySymlink(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	startServer(t, s)
	link := filepath.Join(filepath.Dir(s.Data), "link")
	if err := os.Symlink(s.Data, link); err != nil {
		t.Fatal(err)
	}
	if ps := processes(t, &Server{Data: link}); ps.Postmaster != processes(t, s).Postmaster {
		t.Errorf("through a link: %v", ps)
	}
}

func TestStartFails(t *testing.T) {
	t.Parallel()
	t.Run("bad setting", func(t *testing.T) {
		s := newServer(t, "no_such_setting = 1")
		err := s.Start(testContext(t))
		if !errors.Is(err, ErrStartFailed) {
			t.Errorf("start: %v", err)
		}
	})
	t.Run("no programs", func(t *testing.T) {
		s := newServer(t)
		s.PgCtl = "/nonexistent/pg_ctl"
		if err := s.Start(testContext(t)); !errors.Is(err, ErrNoPrograms) {
			t.Errorf("start: %v", err)
		}
	})
	t.Run("no data", func(t *testing.T) {
		s := &Server{Data: "/nonexistent/data"}
		if err := s.Start(testContext(t)); !errors.Is(err, ErrNoData) {
			t.Errorf("start: %v", err)
		}
	})
}

func TestConfigOutsideData(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	etc := filepath.Join(filepath.Dir(s.Data), "etc dir's")
	if err := os.Mkdir(etc, 0o755); err != nil {
		t.Fatal(err)
	}
	conf, err := os.ReadFile(s.ConfigFile())
	if err != nil {
		t.Fatal(err)
	}
	conf = append(conf, "\ndata_directory = '"+s.Data+"'\nhba_file='"+s.Data+"/pg_hba.conf'\nident_file='"+s.Data+"/pg_ident.conf'\n"...)
	s.Config = filepath.Join(etc, "postgresql.conf")
	if err := os.WriteFile(s.Config, conf, 0o644); err != nil {
		t.Fatal(err)
	}
	s.StartOptions = "-c cluster_name='our cluster'"
	s.PgCtl = pgtest.Bin(t) + "/pg_ctl"
	s.CtlOptions = `-s -t "30"`
	startServer(t, s)
	if got := sql(t, s, "SHOW config_file"); got != s.Config {
		t.Errorf("config_file is %s", got)
	}
	if got := sql(t, s, "SHOW cluster_name"); got != "our cluster" {
		t.Errorf("cluster_name is %s", got)
	}
	// The title prefix must not hide the children.
	if ps := processes(t, s); ps.Postmaster != ps.PidFile.PID || len(ps.Children) < 4 {
		t.Errorf("processes: %v", ps)
	}
}
