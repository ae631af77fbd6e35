package contract

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"pgrex/tests/contract/sandbox"
)

// setting asks the server for the value in force.
func (s *server) setting(t *testing.T, name string) string {
	t.Helper()
	var value string
	if err := s.connect(t).QueryRow(t.Context(), "select current_setting($1)", name).Scan(&value); err != nil {
		t.Fatal(err)
	}
	return value
}

// What start writes for the server is in force, also with characters that need
// quoting, and the file for it is found where the reference agent has it.
func TestRecoverySettings(t *testing.T) {
	t.Parallel()
	const restore = `test -f '/archive dir/%f' && cp "/archive dir/%f" '%p' # it's here`
	for _, mode := range []string{"sync", "async", "slave"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			p := s.replicated().With(params{
				"rep_mode": mode, "restore_command": restore, "archive_cleanup_command": "true 'a'", "recovery_end_command": "true \\b",
				"primary_conninfo_opt": "keepalives_idle=60 connect_timeout=3",
			})
			action("start", p).Must(t, ok)
			for name, want := range map[string]string{
				"restore_command": restore, "archive_cleanup_command": "true 'a'", "recovery_end_command": "true \\b",
				"recovery_target_timeline": "latest", "synchronous_standby_names": "",
			} {
				if got := s.setting(t, name); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			// Quotes are allowed there and mean nothing around these values.
			conninfo := strings.ReplaceAll(s.setting(t, "primary_conninfo"), "'", "")
			for _, want := range []string{"host=192.0.2.1", fmt.Sprint("port=", s.port), "user=" + dba, "keepalives_idle=60", "connect_timeout=3"} {
				if !strings.Contains(conninfo, want) {
					t.Errorf("primary_conninfo is %q, without %q", conninfo, want)
				}
			}
			if _, err := os.Stat(s.tmp + "/recovery.conf"); err != nil {
				t.Error(err)
			}
			action("stop", p).Want(t, ok)
		})
	}
}

// postgresql.conf belongs to the user: nothing of it is lost, its owner, mode and
// place stay, the lines of the reference agent make way, and it does not grow.
func TestConfigurationFileKept(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	p := s.replicated()
	real := s.data + "/real.conf"
	sandbox.Command(t, "mv", s.config, real)
	if err := os.Symlink("real.conf", s.config); err != nil {
		t.Fatal(err)
	}
	reference := fmt.Sprintf("include '%s/rep_mode.conf' # added by pgsql RA\ninclude '%[1]s/recovery.conf' # added by pgsql RA\n", s.tmp)
	s.configure(t, "# the last words of the user: work_mem = '1GB'\nwork_mem = '5MB'\n"+reference)
	sandbox.Command(t, "chmod", "0640", real)
	before := sandbox.ReadFile(t, real)
	owner := sandbox.Command(t, "stat", "-c", "%a %U %G", real)

	var first string
	for round := range 3 {
		action("start", p).Must(t, ok)
		action("stop", p).Must(t, ok)
		text := sandbox.ReadFile(t, real)
		switch {
		case round == 0:
			first = text
		case text != first:
			t.Errorf("start number %d changed the file again:\n%s", round+1, text)
		}
	}
	if target, err := os.Readlink(s.config); err != nil || target != "real.conf" {
		t.Errorf("the link is gone: %q, %v", target, err)
	}
	if now := sandbox.Command(t, "stat", "-c", "%a %U %G", real); now != owner {
		t.Errorf("the file was %q and is %q", owner, now)
	}
	if strings.Contains(first, "added by pgsql RA") {
		t.Errorf("lines of the reference agent are left:\n%s", first)
	}
	for line := range strings.Lines(strings.TrimSuffix(before, reference)) {
		if !strings.Contains(first, line) {
			t.Errorf("the line %q is gone", line)
		}
	}
	if n := strings.Count(first, "include_if_exists"); n < 2 {
		t.Errorf("%d include lines:\n%s", n, first)
	}
}

// With rep_mode=none the agent has nothing to write into it.
func TestConfigurationFileUntouched(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	before := sandbox.ReadFile(t, s.config)
	action("start", s.params()).Must(t, ok)
	action("stop", s.params()).Must(t, ok)
	if sandbox.ReadFile(t, s.config) != before {
		t.Error("the configuration file was changed")
	}
}

// A reload takes parameters over without a restart; on a stopped server there is
// nothing to do.
func TestReloadAgent(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	p := s.replicated()
	action("reload-agent", p).Want(t, ok)
	action("start", p).Must(t, ok)
	first := s.postmaster(t)
	changed := p.With(params{"restore_command": "false %f %p", "master_ip": "192.0.2.77"})
	action("reload-agent", changed).Want(t, ok)
	sandbox.Eventually(t, "the new restore_command", 5*time.Second, func() bool { return s.setting(t, "restore_command") == "false %f %p" })
	sandbox.Eventually(t, "the new address", 5*time.Second, func() bool { return strings.Contains(s.setting(t, "primary_conninfo"), "192.0.2.77") })
	if now := s.postmaster(t); now != first {
		t.Errorf("the postmaster was %d and is %d", first, now)
	}
	action("reload-agent", p.With(params{"pgport": "none"})).Want(t, notConfigured)
	monitor(changed).Want(t, ok)
}
