package contract

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgrex/tests/contract/sandbox"
)

// One file, directory or address each that a start needs beside the data
// directory: made where it is missing, complained about where it cannot be.
func TestPlaces(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		params func(t *testing.T, s *server) params
		start  int
		says   string
		modes  []string
	}{
		{"log file in a directory of root", func(t *testing.T, s *server) params {
			return params{"logfile": sandbox.TempDir(t) + "/server.log"}
		}, ok, "", nil},
		{"log file in a missing directory", func(t *testing.T, s *server) params {
			return params{"logfile": "/nonexistent/server.log"}
		}, noPermission, "/nonexistent/server.log", nil},
		{"log file is a directory", func(t *testing.T, s *server) params {
			return params{"logfile": "/usr"}
		}, noPermission, "/usr", nil},
		{"no log file", func(t *testing.T, s *server) params {
			return params{"logfile": "/dev/null"}
		}, ok, "", nil},
		{"socket directory is a file", func(t *testing.T, s *server) params {
			return params{"socketdir": "/etc/passwd"}
		}, noPermission, "/etc/passwd", nil},
		{"tmpdir is a file", func(t *testing.T, s *server) params {
			return params{"tmpdir": "/etc/passwd"}
		}, noPermission, "/etc/passwd", []string{"sync", "slave"}},
		{"tmpdir with a slash at its end", func(t *testing.T, s *server) params {
			return params{"tmpdir": s.tmp + "/"}
		}, ok, "", nil},
		{"socket directory known to the server alone", func(t *testing.T, s *server) params {
			return params{"socketdir": ""}
		}, ok, "", nil},
		{"socket directory that the server does not use", func(t *testing.T, s *server) params {
			return params{"socketdir": sandbox.TempDir(t)}
		}, notInstalled, "socketdir", nil},
		{"TCP", func(t *testing.T, s *server) params {
			return params{"pghost": "127.0.0.1"}
		}, ok, "", nil},
		{"default parameters for programs", func(t *testing.T, s *server) params {
			return params{"pgctl": "/usr/bin/pg_ctl", "psql": "/usr/bin/psql"}
		}, ok, "", nil},
		{"no psql at all", func(t *testing.T, s *server) params {
			return params{"psql": "/nonexistent/psql"}
		}, ok, "", nil},
		{"data directory behind a link", func(t *testing.T, s *server) params {
			link := sandbox.TempDir(t) + "/pgdata"
			if err := os.Symlink(s.data, link); err != nil {
				t.Fatal(err)
			}
			return params{"pgdata": link}
		}, ok, "", nil},
		{"configuration elsewhere", func(t *testing.T, s *server) params {
			file := sandbox.TempDir(t) + "/server.conf"
			sandbox.WriteFile(t, file, sandbox.ReadFile(t, s.config)+fmt.Sprintf("data_directory = '%s'\nhba_file = '%s/pg_hba.conf'\nident_file = '%[1]s/pg_ident.conf'\n", s.data, s.data), 0o644)
			if err := sandbox.GiveTo(dba, file); err != nil {
				t.Fatal(err)
			}
			remove(t, s.config)
			return params{"config": file}
		}, ok, "", nil},
	} {
		for mode, base := range modes {
			if f := (fault{modes: tt.modes}); !f.concerns(mode) {
				continue
			}
			t.Run(mode+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				s := newServer(t)
				p := base(s).With(tt.params(t, s))
				monitor(p).Want(t, notRunning)
				o := action("start", p).Want(t, tt.start)
				if !strings.Contains(o.Reason(), tt.says) {
					t.Errorf("the reason %q does not tell of %q", o.Reason(), tt.says)
				}
				if tt.start == ok {
					monitor(p).Want(t, ok)
					probe(p).Want(t, ok)
				}
				action("stop", p).Want(t, ok)
				s.mustBeGone(t)
				monitor(p).Want(t, notRunning)
			})
		}
	}
}

// A query of the user's own, in the roles for which it is run.
func TestMonitorSQL(t *testing.T) {
	inEachRole(t, func(t *testing.T, s *server, p params, well, broken int) {
		monitor(p.With(params{"monitor_sql": "select 1"})).Want(t, well)
		wrong := monitor(p.With(params{"monitor_sql": "select * from no_such_table"}))
		slow := monitor(p.With(params{"monitor_sql": "select pg_sleep(60)"})).Within(6 * time.Second)
		if s.inRecovery(t) {
			wrong.Want(t, ok)
			slow.Want(t, ok)
			return
		}
		if o := wrong.Want(t, broken, generic); !strings.Contains(o.Reason(), "no_such_table") {
			t.Errorf("the reason %q does not tell what is missing", o.Reason())
		}
		slow.Want(t, broken, generic)
	})
}

func (s *server) inRecovery(t *testing.T) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn := s.connect(t)
	defer func() { _ = conn.Close(ctx) }()
	var yes bool
	if err := conn.QueryRow(ctx, "select pg_is_in_recovery()").Scan(&yes); err != nil {
		t.Fatal(err)
	}
	return yes
}

// A user with a password for the monitor, who may no more than look.
func TestMonitorUser(t *testing.T) {
	const password = "w0nd'er ful\\"
	inEachRole(t, func(t *testing.T, s *server, p params, well, broken int) {
		if !s.inRecovery(t) {
			s.exec(t, "create role watcher login password '"+strings.ReplaceAll(password, "'", "''")+"'; grant pg_monitor to watcher")
		} else {
			p = p.With(params{"monitor_user": dba}) // a standby on its own has no other user
		}
		hba := s.data + "/pg_hba.conf"
		rules := "local all " + dba + " trust\nlocal all all scram-sha-256\n"
		sandbox.WriteFile(t, hba, rules, 0o600)
		if err := syscall.Kill(s.postmaster(t), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		if p["monitor_user"] == "" {
			p = p.With(params{"monitor_user": "watcher"})
		}
		right, wrong := p.With(params{"monitor_password": password}), p.With(params{"monitor_password": "another-word"})
		sandbox.Eventually(t, "the rules are in force", 5*time.Second, func() bool { return monitor(right).Run(t).Code == well })
		if p["monitor_user"] == "watcher" {
			// It serves, and does not let this role in: its owner looks instead, and a person is told.
			if o := monitor(wrong).Want(t, well); !strings.Contains(o.Stderr, "does not let monitor_user in") {
				t.Errorf("nobody is told: %q", o.Stderr)
			}
			// It lets nobody in: neither stopped nor well.
			sandbox.WriteFile(t, hba, "local all all scram-sha-256\n", 0o600)
			if err := syscall.Kill(s.postmaster(t), syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
			sandbox.Eventually(t, "the owner to be refused", 5*time.Second, func() bool { return monitor(wrong).Run(t).Code != well })
			monitor(wrong).Want(t, broken, generic)
		}
		action("stop", wrong).Want(t, ok)
		s.mustBeGone(t)
	})
}

// Peer authentication, as Debian has it: the agent is root, the server wants to
// see its own user.
func TestPeerAuthentication(t *testing.T) {
	inEachRole(t, func(t *testing.T, s *server, p params, well, _ int) {
		sandbox.WriteFile(t, s.data+"/pg_hba.conf", "local all all peer\n", 0o600)
		if err := syscall.Kill(s.postmaster(t), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		sandbox.Eventually(t, "the rules are in force", 5*time.Second, func() bool {
			return strings.Contains(sandbox.ReadFile(t, s.log), "SIGHUP")
		})
		monitor(p).Want(t, well)
		probe(p).Want(t, well)
	})
}

// What a login would give the server's processes and what an agent might leak to
// them.
func TestServerProcess(t *testing.T) {
	inEachRole(t, func(t *testing.T, s *server, p params, _, _ int) {
		pid := s.postmaster(t)
		uid, gid, err := sandbox.LookupUser(dba)
		if err != nil {
			t.Fatal(err)
		}
		status := sandbox.ReadFile(t, fmt.Sprintf("/proc/%d/status", pid))
		for _, want := range []string{
			fmt.Sprintf("Uid:\t%[1]d\t%[1]d\t%[1]d\t%[1]d\n", uid), fmt.Sprintf("Gid:\t%[1]d\t%[1]d\t%[1]d\t%[1]d\n", gid), "Umask:\t0077\n",
		} {
			if !strings.Contains(status, want) {
				t.Errorf("the postmaster's status lacks %q:\n%s", want, status)
			}
		}
		// All groups of the user: Debian's key for SSL is readable by one of them.
		groups := strings.Fields(sandbox.Command(t, "id", "-G", dba))
		for _, line := range strings.Split(status, "\n") {
			if list, found := strings.CutPrefix(line, "Groups:"); found && len(strings.Fields(list)) != len(groups) {
				t.Errorf("the postmaster has the groups %s, the user %v", list, groups)
			}
		}
		environment := sandbox.ReadFile(t, fmt.Sprintf("/proc/%d/environ", pid))
		if strings.Contains(environment, "OCF_") {
			t.Errorf("the agent's environment came to the server: %q", environment)
		}
		files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			target, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, f.Name()))
			n, _ := strconv.Atoi(f.Name())
			if n <= 2 && target != s.log && target != "/dev/null" {
				t.Errorf("descriptor %d of the postmaster is %s", n, target)
			}
		}
		stat := sandbox.ReadFile(t, fmt.Sprintf("/proc/%d/stat", pid))
		fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
		if session := fields[3]; session != strconv.Itoa(pid) {
			t.Errorf("the postmaster is in the session %s and not in its own", session)
		}
	})
}

// A socket directory that exists is used as it is: it may be everybody's.
func TestSocketDirectoryKept(t *testing.T) {
	inEachMode(t, func(t *testing.T, _ string, s *server, p params) {
		dir := sandbox.TempDir(t)
		sandbox.Command(t, "chmod", "1777", dir)
		s.configure(t, fmt.Sprintf("unix_socket_directories = '%s'\n", dir))
		p = p.With(params{"socketdir": dir})
		before := sandbox.Command(t, "stat", "-c", "%a %U %G", dir)
		action("start", p).Want(t, ok)
		monitor(p).Want(t, ok)
		if after := sandbox.Command(t, "stat", "-c", "%a %U %G", dir); after != before {
			t.Errorf("the directory was %q and is %q", before, after)
		}
		action("stop", p).Want(t, ok)
	})
}
