package contract

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"pgrex/tests/contract/sandbox"
)

// roles are the three things a server can be, with what a monitor says of each
// when all is well and when it is there but broken.
var roles = []struct {
	name         string
	params       func(*server) params
	promote      bool
	well, broken int
}{
	{"alone", (*server).params, false, ok, generic},
	{"standby", (*server).replicated, false, ok, generic},
	{"primary", (*server).replicated, true, promoted, failedPromoted},
}

// inEachRole runs a test against a server in each role.
func inEachRole(t *testing.T, test func(t *testing.T, s *server, p params, well, broken int)) {
	t.Parallel()
	for _, role := range roles {
		t.Run(role.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			p := role.params(s)
			action("start", p).Must(t, ok)
			if role.promote {
				action("promote", p).Must(t, ok)
			}
			monitor(p).Must(t, role.well)
			test(t, s, p, role.well, role.broken)
			if t.Failed() {
				return
			}
			action("stop", p).Want(t, ok)
			s.mustBeGone(t)
			monitor(p).Want(t, notRunning)
			probe(p).Want(t, notRunning)
		})
	}
}

// busy makes a backend use the processor in a transaction until it is killed: it
// asks for no signal, no lock and no WAL.
func (s *server) busy(t *testing.T) (backend int) {
	t.Helper()
	conn := s.connect(t)
	if err := conn.QueryRow(t.Context(), "select pg_backend_pid()").Scan(&backend); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = conn.Exec(t.Context(), "begin; select count(*) from generate_series(1, 10000000) a, generate_series(1, 10000000) b; commit")
	}()
	sandbox.Eventually(t, "the backend is busy", 5*time.Second, func() bool {
		for _, p := range s.processes(t) {
			if p.pid == backend && strings.Contains(p.title, "SELECT") {
				return true
			}
		}
		return false
	})
	return backend
}

// The postmaster is gone, a backend that never looks up lives on: with its
// shared memory it can still answer its client.
func TestPostmasterKilled(t *testing.T) {
	inEachRole(t, func(t *testing.T, s *server, p params, _, broken int) {
		backend := s.busy(t)
		if err := syscall.Kill(s.postmaster(t), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		sandbox.Eventually(t, "only the busy backend is left", 10*time.Second, func() bool {
			left := s.processes(t)
			return len(left) == 1 && left[0].pid == backend
		})
		monitor(p).Want(t, broken, generic)
		probe(p).Want(t, broken, generic)
		action("status", p).Want(t, broken, generic)
		if left := s.processes(t); len(left) != 1 {
			t.Errorf("monitor changed something: %v", left)
		}
		if o := action("stop", p).Want(t, ok); o.Took > 5*time.Second {
			t.Errorf("stop took %v", o.Took)
		}
		s.mustBeGone(t)
		monitor(p).Want(t, notRunning)
		// And the server can be started again over what the dead one left.
		action("start", p).Want(t, ok)
	})
}

// The same without a survivor is a stopped server.
func TestWholeServerKilled(t *testing.T) {
	inEachRole(t, func(t *testing.T, s *server, p params, _, _ int) {
		s.destroy()
		monitor(p).Want(t, notRunning)
		probe(p).Want(t, notRunning)
		action("stop", p).Want(t, ok)
		action("start", p).Want(t, ok)
	})
}

// A crashed primary is demoted already: a failed demote would fence the node.
func TestDemoteOfDeadPrimary(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	p := s.replicated()
	action("start", p).Must(t, ok)
	action("promote", p).Must(t, ok)
	s.destroy()
	action("demote", p).Want(t, ok)
	s.mustBeGone(t)
	monitor(p).Want(t, notRunning)
}

// Every connection is taken, those for superusers too: the server serves.
func TestTooManyClients(t *testing.T) {
	inEachRole(t, func(t *testing.T, s *server, p params, well, _ int) {
		var full []*pgconn.PgConn
		for {
			conn, err := pgconn.Connect(t.Context(), fmt.Sprintf("host=%s port=%d user=%s dbname=postgres", s.socket, s.port, dba))
			if err != nil {
				if !strings.Contains(err.Error(), "53300") {
					t.Fatalf("the server has room for %d clients, then: %v", len(full), err)
				}
				break
			}
			t.Cleanup(func() { _ = conn.Close(t.Context()) })
			full = append(full, conn)
		}
		if len(full) < 8 {
			t.Fatalf("only %d clients fit", len(full))
		}
		monitor(p).Want(t, well)
		probe(p).Want(t, well)
		action("start", p).Want(t, pick(well == promoted, generic, ok))
		if len(s.processes(t)) < 8 {
			t.Error("the server is gone")
		}
	})
}

func pick(cond bool, yes, no int) int {
	if cond {
		return yes
	}
	return no
}

// A postmaster that does not run: connections hang. It is there, so it is not
// stopped, and stop ends it.
func TestPostmasterFrozen(t *testing.T) {
	inEachRole(t, func(t *testing.T, s *server, p params, _, broken int) {
		pid := s.postmaster(t)
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }()
		monitor(p).Within(6*time.Second).Want(t, broken, generic)
		probe(p).Within(6*time.Second).Want(t, broken, generic)
		p = p.With(params{"stop_escalate": "2", "stop_escalate_in_slave": "2"})
		action("stop", p).Within(15*time.Second).Want(t, ok)
		s.mustBeGone(t)
	})
}

// A backend that no fast shutdown ends: stop escalates in time. With the
// operation's time as the limit where stop_escalate is longer than that.
func TestStopEscalates(t *testing.T) {
	inEachRole(t, func(t *testing.T, s *server, p params, _, _ int) {
		backend := s.busy(t)
		if err := syscall.Kill(backend, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		action("stop", p).Within(12*time.Second).Want(t, ok)
		s.mustBeGone(t)
	})
}

// stop_escalate=0 is an immediate shutdown.
func TestStopImmediate(t *testing.T) {
	inEachRole(t, func(t *testing.T, s *server, p params, _, _ int) {
		s.busy(t)
		p = p.With(params{"stop_escalate": "0", "stop_escalate_in_slave": "0"})
		if o := action("stop", p).Want(t, ok); o.Took > 3*time.Second {
			t.Errorf("stop took %v", o.Took)
		}
		s.mustBeGone(t)
	})
}

// The data directory is gone, its server is not: it must not be left running
// where nothing can find it any more.
func TestDataRemovedUnderRunningServer(t *testing.T) {
	inEachRole(t, func(t *testing.T, s *server, p params, _, _ int) {
		s.busy(t)
		remove(t, s.data)
		if len(s.processes(t)) == 0 {
			t.Fatal("the server ended by itself at once")
		}
		action("stop", p).Want(t, ok)
		s.mustBeGone(t)
	})
}

// postmaster.pid may be wrong in every way: it is a hint, and never a licence to
// touch another process.
func TestStalePidFile(t *testing.T) {
	t.Parallel()
	sleeper := exec.Command("sleep", "600")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sleeper.Process.Kill(); _ = sleeper.Wait() }()
	other := newServer(t)
	action("start", other.params()).Must(t, ok)
	zombie := exec.Command("true")
	if err := zombie.Start(); err != nil {
		t.Fatal(err)
	}
	sandbox.Eventually(t, "a zombie", 5*time.Second, func() bool {
		return strings.Contains(sandbox.ReadFile(t, fmt.Sprintf("/proc/%d/stat", zombie.Process.Pid)), ") Z ")
	})
	defer func() { _ = zombie.Wait() }()

	t.Run("pid", func(t *testing.T) { // returns when all its subtests have ended
		for name, pid := range map[string]string{
			"a dead process":          "4194303",
			"another program":         strconv.Itoa(sleeper.Process.Pid),
			"another server":          strconv.Itoa(other.postmaster(t)),
			"a zombie":                strconv.Itoa(zombie.Process.Pid),
			"the first process":       "1",
			"no number":               "none",
			"a process group":         "-1",
			"nothing":                 "",
			"a number without bounds": "99999999999999999999",
		} {
			for mode, base := range modes {
				t.Run(mode+"/"+name, func(t *testing.T) {
					t.Parallel()
					s := newServer(t)
					p := base(s)
					sandbox.WriteFile(t, s.data+"/postmaster.pid", fmt.Sprintf("%s\n%s\n1700000000\n%d\n%s\n*\n  1 2\nready   \n", pid, s.data, s.port, s.socket), 0o600)
					if err := sandbox.GiveTo(dba, s.data+"/postmaster.pid"); err != nil {
						t.Fatal(err)
					}
					probe(p).Want(t, notRunning)
					monitor(p).Want(t, notRunning)
					action("stop", p).Want(t, ok)
					action("start", p).Want(t, ok)
					monitor(p).Want(t, ok)
					action("stop", p).Want(t, ok)
					s.mustBeGone(t)
				})
			}
		}
	})
	if err := sleeper.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("another program was killed: %v", err)
	}
	monitor(other.params()).Want(t, ok)
}

// postmaster.pid was removed by hand: the server runs all the same.
func TestPidFileRemoved(t *testing.T) {
	inEachRole(t, func(t *testing.T, s *server, p params, _, _ int) {
		s.busy(t)
		remove(t, s.data+"/postmaster.pid")
		if o := monitor(p).Run(t); o.Code == notRunning {
			t.Errorf("monitor: a server that runs is not stopped: %v", o)
		}
		action("stop", p).Want(t, ok)
		s.mustBeGone(t)
	})
}

// The agent was killed in the middle; the next call goes on from there.
func TestKilledHalfWay(t *testing.T) {
	t.Parallel()
	for _, half := range []string{"start", "stop", "promote", "demote"} {
		t.Run(half, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			p := s.replicated()
			for _, after := range []time.Duration{10 * time.Millisecond, 50 * time.Millisecond, 150 * time.Millisecond} {
				if half != "start" {
					action("start", p).Must(t, ok)
				}
				if half == "demote" {
					action("promote", p).Must(t, ok)
				}
				killed := action(half, p)
				cmd := exec.Command(pgsql.Path, half)
				cmd.Env = killed.Environment()
				cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				time.Sleep(after)
				_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
				_ = cmd.Wait()
				// As Pacemaker goes on after a failed action: monitor nothing, stop, start.
				action("stop", p).Must(t, ok)
				s.mustBeGone(t)
				action("start", p).Must(t, ok)
				monitor(p).Must(t, ok)
				action("stop", p).Must(t, ok)
			}
		})
	}
}
