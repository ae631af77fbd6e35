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
			return params{"logfile": tempDir(t) + "/server.log"}
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
			return params{"socketdir": tempDir(t)}
		}, notConfigured, "socketdir", nil},
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
			link := tempDir(t) + "/pgdata"
			if err := os.Symlink(s.data, link); err != nil {
				t.Fatal(err)
			}
			return params{"pgdata": link}
		}, ok, "", nil},
		{"configuration elsewhere", func(t *testing.T, s *server) params {
			file := tempDir(t) + "/server.conf"
			writeFile(t, file, readFile(t, s.config)+fmt.Sprintf("data_directory = '%s'\nhba_file = '%s/pg_hba.conf'\nident_file = '%[1]s/pg_ident.conf'\n", s.data, s.data), 0o644)
			if err := giveToDBA(file); err != nil {
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
				p := base(s).with(tt.params(t, s))
				monitor(p).want(t, notRunning)
				o := action("start", p).want(t, tt.start)
				if !strings.Contains(o.reason(), tt.says) {
					t.Errorf("the reason %q does not tell of %q", o.reason(), tt.says)
				}
				if tt.start == ok {
					monitor(p).want(t, ok)
					probe(p).want(t, ok)
				}
				action("stop", p).want(t, ok)
				s.mustBeGone(t)
				monitor(p).want(t, notRunning)
			})
		}
	}
}

// A query of the user's own, in the roles for which it is run.
func TestMonitorSQL(t *testing.T) {
	inEachRole(t, func(t *testing.T, s *server, p params, well, broken int) {
		monitor(p.with(params{"monitor_sql": "select 1"})).want(t, well)
		wrong := monitor(p.with(params{"monitor_sql": "select * from no_such_table"}))
		slow := monitor(p.with(params{"monitor_sql": "select pg_sleep(60)"})).within(6 * time.Second)
		if s.inRecovery(t) {
			wrong.want(t, ok)
			slow.want(t, ok)
			return
		}
		if o := wrong.want(t, broken, generic); !strings.Contains(o.reason(), "no_such_table") {
			t.Errorf("the reason %q does not tell what is missing", o.reason())
		}
		slow.want(t, broken, generic)
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
			p = p.with(params{"monitor_user": dba}) // a standby on its own has no other user
		}
		hba := s.data + "/pg_hba.conf"
		rules := "local all " + dba + " trust\nlocal all all scram-sha-256\n"
		writeFile(t, hba, rules, 0o600)
		if err := syscall.Kill(s.postmaster(t), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		if p["monitor_user"] == "" {
			p = p.with(params{"monitor_user": "watcher"})
		}
		right, wrong := p.with(params{"monitor_password": password}), p.with(params{"monitor_password": "another-word"})
		eventually(t, "the rules are in force", 5*time.Second, func() bool { return monitor(right).run(t).code == well })
		if p["monitor_user"] == "watcher" {
			// It runs, and does not let us in: neither stopped nor well.
			monitor(wrong).want(t, broken, generic)
		}
		action("stop", wrong).want(t, ok)
		s.mustBeGone(t)
	})
}

// Peer authentication, as Debian has it: the agent is root, the server wants to
// see its own user.
func TestPeerAuthentication(t *testing.T) {
	inEachRole(t, func(t *testing.T, s *server, p params, well, _ int) {
		writeFile(t, s.data+"/pg_hba.conf", "local all all peer\n", 0o600)
		if err := syscall.Kill(s.postmaster(t), syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the rules are in force", 5*time.Second, func() bool {
			return strings.Contains(readFile(t, s.log), "SIGHUP")
		})
		monitor(p).want(t, well)
		probe(p).want(t, well)
	})
}

// What a login would give the server's processes and what an agent might leak to
// them.
func TestServerProcess(t *testing.T) {
	inEachRole(t, func(t *testing.T, s *server, p params, _, _ int) {
		pid := s.postmaster(t)
		a, err := lookupUser(dba)
		if err != nil {
			t.Fatal(err)
		}
		status := readFile(t, fmt.Sprintf("/proc/%d/status", pid))
		for _, want := range []string{
			fmt.Sprintf("Uid:\t%[1]d\t%[1]d\t%[1]d\t%[1]d\n", a.uid), fmt.Sprintf("Gid:\t%[1]d\t%[1]d\t%[1]d\t%[1]d\n", a.gid), "Umask:\t0077\n",
		} {
			if !strings.Contains(status, want) {
				t.Errorf("the postmaster's status lacks %q:\n%s", want, status)
			}
		}
		// All groups of the user: Debian's key for SSL is readable by one of them.
		groups := strings.Fields(command(t, "id", "-G", dba))
		for _, line := range strings.Split(status, "\n") {
			if list, found := strings.CutPrefix(line, "Groups:"); found && len(strings.Fields(list)) != len(groups) {
				t.Errorf("the postmaster has the groups %s, the user %v", list, groups)
			}
		}
		environment := readFile(t, fmt.Sprintf("/proc/%d/environ", pid))
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
		stat := readFile(t, fmt.Sprintf("/proc/%d/stat", pid))
		fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
		if session := fields[3]; session != strconv.Itoa(pid) {
			t.Errorf("the postmaster is in the session %s and not in its own", session)
		}
	})
}

// A socket directory that exists is used as it is: it may be everybody's.
func TestSocketDirectoryKept(t *testing.T) {
	t.Parallel()
	for mode, base := range modes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			dir := tempDir(t)
			command(t, "chmod", "1777", dir)
			s.configure(t, fmt.Sprintf("unix_socket_directories = '%s'\n", dir))
			p := base(s).with(params{"socketdir": dir})
			before := command(t, "stat", "-c", "%a %U %G", dir)
			action("start", p).want(t, ok)
			monitor(p).want(t, ok)
			if after := command(t, "stat", "-c", "%a %U %G", dir); after != before {
				t.Errorf("the directory was %q and is %q", before, after)
			}
			action("stop", p).want(t, ok)
		})
	}
}
