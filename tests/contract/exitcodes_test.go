package contract

import (
	"os"
	"slices"
	"strings"
	"testing"

	"pgrex/tests/contract/sandbox"
)

// fault is something that is missing or wrong, by itself harmless to a server
// that runs.
type fault struct {
	name string
	// params replace those of the resource.
	params params
	// spoil does to the node what parameters cannot; after the server was started where it is.
	spoil func(t *testing.T, s *server)
	// start is the code that start must give.
	start int
	// modes are those in which the fault is one, all if empty.
	modes []string
	// stopped marks faults that have no meaning for a server that runs: the
	// parameters name another one.
	stopped bool
	// says has words that the reason must have: what is wrong.
	says string
}

// modes are the ways a resource can be configured.
var modes = map[string]func(*server) params{
	"none": (*server).params,
	"sync": (*server).replicated,
	"slave": func(s *server) params {
		return s.replicated().With(params{"rep_mode": "slave"})
	},
}

// inEachMode runs a test against a server that does not run yet, with the parameters of each mode.
func inEachMode(t *testing.T, test func(t *testing.T, mode string, s *server, p params)) {
	t.Parallel()
	for mode, base := range modes {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			test(t, mode, s, base(s))
		})
	}
}

// faults is the table: each row is tested against a server that is stopped and
// against one that runs, in every mode that it concerns.
var faults = []fault{
	// What is not installed.
	{name: "user missing", params: params{"pgdba": "no_such_user"}, start: notInstalled, says: "no_such_user"},
	{name: "pg_ctl missing", params: params{"pgctl": "/nonexistent/bin/pg_ctl"}, start: notInstalled, says: "/nonexistent/bin/pg_ctl"},
	{name: "pg_ctl is a directory", params: params{"pgctl": "/usr"}, start: notInstalled, says: "/usr"},
	{name: "pg_ctl without the server", params: params{"pgctl": "/bin/true"}, start: notInstalled, says: "/bin"},
	{name: "data directory missing", params: params{"pgdata": "/nonexistent/data"}, start: notInstalled, says: "/nonexistent/data", stopped: true},
	{name: "data directory is a file", params: params{"pgdata": "/etc/passwd"}, start: notInstalled, says: "/etc/passwd", stopped: true},
	{name: "data directory is another one", params: params{"pgdata": "/etc"}, start: notInstalled, says: "/etc", stopped: true},
	{name: "configuration file elsewhere", params: params{"config": "/nonexistent/postgresql.conf"}, start: notInstalled, says: "/nonexistent/postgresql.conf"},
	{name: "configuration file removed", spoil: removeConfig, start: notInstalled, says: "postgresql.conf"},
	{name: "PG_VERSION removed", spoil: func(t *testing.T, s *server) { remove(t, s.data+"/PG_VERSION") }, start: notInstalled, says: "PG_VERSION"},

	// What may not be used.
	{name: "data directory of another user", spoil: func(t *testing.T, s *server) { sandbox.Command(t, "chown", "-R", "root:root", s.data) }, start: noPermission, says: "chown"},
	{name: "another user than the owner", params: params{"pgdba": "nobody"}, start: noPermission, says: "nobody"},
	{name: "data directory not writable", spoil: func(t *testing.T, s *server) { sandbox.Command(t, "chmod", "0500", s.data) }, start: noPermission, says: "writable"},

	// Parameters that make no sense.
	{name: "rep_mode unknown", params: params{"rep_mode": "semisync"}, start: notConfigured, says: "semisync"},
	{name: "pgport no number", params: params{"pgport": "five"}, start: notConfigured, says: "pgport"},
	{name: "pgport out of range", params: params{"pgport": "70000"}, start: notConfigured, says: "pgport"},
	{name: "stop_escalate negative", params: params{"stop_escalate": "-1"}, start: notConfigured, says: "stop_escalate"},
	{name: "stop_escalate no number", params: params{"stop_escalate": "soon"}, start: notConfigured, says: "stop_escalate"},
	{name: "a boolean that is none", params: params{"check_wal_receiver": "maybe"}, start: notConfigured, says: "check_wal_receiver"},
	{name: "rejoin unknown", params: params{"rejoin": "somehow"}, start: notConfigured, says: "somehow"},

	// Parameters that contradict each other.
	{name: "password without user", params: params{"monitor_password": "s3cr3t-word"}, start: notConfigured, says: "monitor_user"},
	{name: "external standbys without sync", params: params{"external_standby_node_list": "far"}, start: notConfigured, says: "external_standby_node_list", modes: []string{"none", "slave"}},
	{name: "slot name with capitals", params: params{"replication_slot_name": "Slot-1"}, start: notConfigured, says: "replication_slot_name", modes: []string{"sync"}},
	{name: "node_list empty", params: params{"node_list": ""}, start: notConfigured, says: "node_list", modes: []string{"sync"}},
	{name: "master_ip empty", params: params{"master_ip": ""}, start: notConfigured, says: "master_ip", modes: []string{"sync", "slave"}},
}

func (f fault) concerns(mode string) bool {
	return len(f.modes) == 0 || slices.Contains(f.modes, mode)
}

func removeConfig(t *testing.T, s *server) { remove(t, s.config) }

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
}

// A stopped server is stopped, whatever else is wrong: probes on a node that was
// never prepared must say so, and stop must not get the node fenced.
func TestFaultsStopped(t *testing.T) {
	t.Parallel()
	for mode, base := range modes {
		for _, f := range faults {
			if !f.concerns(mode) {
				continue
			}
			t.Run(mode+"/"+f.name, func(t *testing.T) {
				t.Parallel()
				s := newServer(t)
				p := base(s).With(f.params)
				if f.spoil != nil {
					f.spoil(t, s)
				}
				probe(p).Want(t, notRunning)
				monitor(p).Want(t, notRunning)
				action("status", p).Want(t, notRunning)
				action("stop", p).Want(t, ok)
				if mode == "sync" {
					// A dead primary is demoted already.
					action("demote", p).Want(t, ok)
				}
				o := action("start", p).Want(t, f.start)
				f.explained(t, o)
				s.mustBeGone(t)
				action("stop", p).Want(t, ok)
			})
		}
	}
}

func (f fault) explained(t *testing.T, o outcome) {
	t.Helper()
	if !strings.Contains(o.Reason(), f.says) {
		t.Errorf("the reason %q does not tell of %q", o.Reason(), f.says)
	}
}

// A server that runs is ended by stop, whatever is missing, and 0 means it.
func TestFaultsRunning(t *testing.T) {
	t.Parallel()
	for mode, base := range modes {
		for _, f := range faults {
			if !f.concerns(mode) || f.stopped {
				continue
			}
			t.Run(mode+"/"+f.name, func(t *testing.T) {
				t.Parallel()
				s := newServer(t)
				action("start", base(s)).Must(t, ok)
				p := base(s).With(f.params)
				if f.spoil != nil {
					f.spoil(t, s)
				}
				if f.start == notConfigured {
					f.explained(t, monitor(p).Want(t, notConfigured))
				} else if o := monitor(p).Run(t); o.Code == notRunning {
					// It may have ended by itself, without access to its files.
					s.mustBeGone(t)
				}
				action("stop", p).Want(t, ok)
				s.mustBeGone(t)
				monitor(p).Want(t, notRunning)
			})
		}
	}
}

// validate-all at level 0 looks at the parameters and the user alone, at level 10
// at the node too.
func TestValidateAll(t *testing.T) {
	inEachMode(t, func(t *testing.T, mode string, s *server, p params) {
		good := action("validate-all", p)
		thorough := good
		thorough.Env = []string{"OCF_CHECK_LEVEL=10"}
		good.Want(t, ok)
		thorough.Want(t, ok)
		for _, f := range faults {
			if !f.concerns(mode) || f.spoil != nil {
				continue
			}
			t.Run(f.name, func(t *testing.T) {
				quick, full := good, thorough
				quick.Params, full.Params = p.With(f.params), p.With(f.params)
				f.explained(t, full.Want(t, f.start))
				switch {
				case f.start == notConfigured, f.name == "user missing":
					quick.Want(t, f.start)
				default:
					quick.Want(t, ok)
				}
			})
		}
	})
}

// The life of a server in each mode, as the cluster sees it.
func TestRoles(t *testing.T) {
	inEachMode(t, func(t *testing.T, mode string, s *server, p params) {
		roles := mode == "sync"
		pick := func(yes, no int) int {
			if roles {
				return yes
			}
			return no
		}
		all := func(code int) {
			t.Helper()
			monitor(p).Want(t, code)
			probe(p).Want(t, code)
			action("status", p).Want(t, code)
		}

		all(notRunning)
		action("stop", p).Want(t, ok)
		action("notify", p).Want(t, ok)
		action("demote", p).Want(t, pick(ok, unimplemented))
		action("promote", p).Want(t, pick(generic, unimplemented))
		all(notRunning)

		action("start", p).Must(t, ok)
		first := s.postmaster(t)
		all(ok)
		action("start", p).Want(t, ok)
		action("notify", p).Want(t, ok)
		action("demote", p).Want(t, pick(ok, unimplemented))
		if now := s.postmaster(t); now != first {
			t.Errorf("the postmaster was %d and is %d: nothing here should restart it", first, now)
		}

		action("promote", p).Want(t, pick(ok, unimplemented))
		all(pick(promoted, ok))
		action("promote", p).Want(t, pick(ok, unimplemented))
		if now := s.postmaster(t); now != first {
			t.Errorf("the postmaster was %d and is %d: a promotion does not restart it", first, now)
		}
		if roles {
			s.exec(t, "create table proof (i int)")
			// Starting what is promoted would have to demote it; the cluster never asks for that.
			action("start", p).Want(t, generic)
			action("demote", p).Want(t, ok)
			all(ok)
			action("demote", p).Want(t, ok)
			action("promote", p).Want(t, ok)
			all(promoted)
			s.exec(t, "insert into proof values (1)")
		}

		action("stop", p).Want(t, ok)
		s.mustBeGone(t)
		all(notRunning)
		action("stop", p).Want(t, ok)
	})
}

// Without the mode's directory, which the reference agent misses (mode slave).
func TestDirectoriesMade(t *testing.T) {
	inEachMode(t, func(t *testing.T, _ string, s *server, p params) {
		remove(t, s.tmp)
		remove(t, s.socket)
		action("start", p).Must(t, ok)
		monitor(p).Want(t, ok)
		action("stop", p).Want(t, ok)
	})
}

// What the agent sets it must find unset: a value from elsewhere would keep it
// from releasing or holding commits.
func TestForeignSynchronousStandbyNames(t *testing.T) {
	t.Parallel()
	const line = "synchronous_standby_names = 'somebody'\n"
	for name, set := range map[string]func(t *testing.T, s *server) params{
		"postgresql.conf": func(t *testing.T, s *server) params {
			s.configure(t, line)
			return nil
		},
		"an included file": func(t *testing.T, s *server) params {
			sandbox.WriteFile(t, s.data+"/more.conf", line, 0o644)
			s.configure(t, "include 'more.conf'\n")
			return nil
		},
		"ALTER SYSTEM": func(t *testing.T, s *server) params {
			sandbox.WriteFile(t, s.data+"/postgresql.auto.conf", line, 0o644)
			return nil
		},
		"start_opt": func(t *testing.T, s *server) params {
			return params{"start_opt": "-c synchronous_standby_names=somebody"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			p := s.replicated().With(set(t, s))
			o := action("start", p).Run(t)
			// What postgresql.conf says is overridden by the agent's file, which it includes at the end.
			if o.Code == ok {
				var value string
				if err := s.connect(t).QueryRow(t.Context(), "show synchronous_standby_names").Scan(&value); err != nil || value != "" {
					t.Errorf("start succeeded with synchronous_standby_names = %q (%v)", value, err)
				}
			} else if o.Code != notInstalled || !strings.Contains(o.Reason(), "synchronous_standby_names") {
				t.Errorf("start: want code %d and a reason: %v", notInstalled, o)
			}
			action("stop", p).Want(t, ok)
			s.mustBeGone(t)
		})
	}
}

// The program as such.
func TestUsage(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	p := s.params()
	action("no_cmd", p).Want(t, unimplemented)
	action("migrate_to", p).Want(t, unimplemented)
	action("", p).Want(t, generic)
	for _, name := range []string{"meta-data", "usage", "methods"} {
		if o := action(name, p).Want(t, ok); len(o.Stdout) < 50 {
			t.Errorf("%s says little: %v", name, o)
		}
	}
	for _, name := range []string{"start", "stop", "monitor", "promote", "demote", "notify", "validate-all", "meta-data", "reload-agent", "status", "methods", "usage"} {
		if o := action("methods", p).Run(t); !sandbox.HasWord(o.Stdout, name) {
			t.Errorf("methods does not name %s: %s", name, o.Stdout)
		}
	}
	// OCF: "further arguments are ignored".
	more := monitor(p)
	more.Args = []string{"something", "--else"}
	more.Want(t, notRunning)
	if out := sandbox.Command(t, pgsql.Path, "--version"); !strings.Contains(out, "pgsql") && !strings.ContainsAny(out, "0123456789") {
		t.Errorf("--version: %q", out)
	}
}
