package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgrex/lib/ocf"
	"pgrex/lib/pg"
	"pgrex/lib/pg/pgtest"
)

// newPrimary is a node that was promoted, its peer a member without a server.
func newPrimary(t *testing.T, env ...string) (*fakeCluster, *site) {
	t.Helper()
	f := newFakeCluster("n1", "n1", "n2")
	s := newSite(t, f, "n1", nil)
	for i := 0; i+1 < len(env); i += 2 {
		s.env[env[i]] = env[i+1]
	}
	f.set("n1", "pgsql-accept-loss", "0", false)
	s.done("start")
	s.done("promote")
	f.set("n1", "pgsql-accept-loss", "", false)
	return f, s
}

// byHand starts the server as a person would, without the agent: as a primary.
func (s *site) byHand() pg.Processes {
	s.t.Helper()
	srv := s.server()
	if err := srv.Start(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	if err := srv.WaitReady(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
	return s.processes()
}

func (s *site) processes() pg.Processes {
	s.t.Helper()
	ps, err := s.server().Processes()
	if err != nil {
		s.t.Fatal(err)
	}
	return ps
}

// A running primary of the reference agent, or of a person, becomes ours without a restart.
func TestAdoption(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name      string
		reference bool
	}{{"of the reference agent", true}, {"started by hand", false}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			f := newFakeCluster("n1", "n1", "n2")
			s := newSite(t, f, "n1", nil)
			tmp := s.env["OCF_RESKEY_tmpdir"]
			if tt.reference {
				if err := os.Mkdir(tmp, 0o700); err != nil {
					t.Fatal(err)
				}
				put(t, tmp+"/rep_mode.conf", "synchronous_standby_names = ''\n")
				put(t, tmp+"/recovery.conf", "recovery_target_timeline = 'latest'\n")
				put(t, tmp+"/PGSQL.lock", "")
				for _, p := range []string{tmp, tmp + "/rep_mode.conf", tmp + "/recovery.conf", tmp + "/PGSQL.lock"} {
					if err := pgtest.GiveTo(s.user, p); err != nil {
						t.Fatal(err)
					}
				}
				// The parameter may end in a slash; the reference agent writes the path as it stands.
				s.env["OCF_RESKEY_tmpdir"] = tmp + "/"
				s.configure("include '"+tmp+"//rep_mode.conf' # added by pgsql RA", "include '"+tmp+"//recovery.conf' # added by pgsql RA")
			}
			before := s.byHand().Postmaster
			f.happened("n1", "monitor 8")
			s.must(ocf.RunningPromoted, "monitor", interval, "0")
			r := parseRecord(t, s.attribute("pgsql-record"))
			if r.Primary != "n1" || s.attribute("pgsql-status") != "PRI" || s.attribute("master-pgsql") != "1000" || exists(tmp+"/PGSQL.lock") {
				t.Errorf("record %v, status %q, score %q, lock %v", r, s.attribute("pgsql-status"), s.attribute("master-pgsql"), exists(tmp+"/PGSQL.lock"))
			}
			conf := get(t, s.data()+"/postgresql.conf")
			if strings.Contains(conf, "pgsql RA") || strings.Count(conf, "include_if_exists") < 2 {
				t.Errorf("postgresql.conf: %s", conf[max(0, len(conf)-400):])
			}
			// What it includes is in force: commits can be made to wait.
			n2 := repModeConf(`"n2"`)
			put(t, tmp+"/rep_mode.conf", n2)
			if err := pgtest.GiveTo(s.user, tmp+"/rep_mode.conf"); err != nil {
				t.Fatal(err)
			}
			s.sql("SELECT pg_reload_conf()")
			s.eventually("the include line is read", func() bool { return s.sql("SHOW synchronous_standby_names") == `"n2"` })
			if now := s.processes().Postmaster; now != before {
				t.Error("the server was restarted")
			}
		})
	}
}

// A primary that nobody announced, while the record names another: it must not go on serving.
func TestAdoptionRefused(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("n1", "n1", "n2")
	s := newSite(t, f, "n1", nil)
	f.set("n2", "pgsql-record", record7, true)
	s.byHand()
	says(t, s.must(ocf.FailedPromoted, "monitor", interval, "0"), "n2", "pgsql-accept-loss", "1006")
	if s.attribute("pgsql-status") == "PRI" || s.attribute("master-pgsql") == "1000" || s.f.record("n1", "n1") != "" {
		t.Errorf("status %q, score %q", s.attribute("pgsql-status"), s.attribute("master-pgsql"))
	}
	// The rival is there: then not even an operator's word helps.
	f.happened("n2", "promote 0")
	says(t, s.must(ocf.FailedPromoted, "monitor", interval, "9000"), "n2 is the promoted node")
	says(t, s.must(ocf.ErrGeneric, "promote"), "n2")
}

// What a primary cannot look after is no reason to take it down; nothing is released meanwhile.
func TestPrimaryWithSickCluster(t *testing.T) {
	t.Parallel()
	f, s := newPrimary(t)
	put(t, s.dir+"/tmp/rep_mode.conf", repModeConf(`"n2"`))
	s.sql("SELECT pg_reload_conf()")
	s.eventually("commits wait", func() bool { return s.sql("SHOW synchronous_standby_names") == `"n2"` })
	entitled := strings.Replace(strings.Replace(s.attribute("pgsql-record"), "entitled=n1", "entitled=n1,n2", 1), "epoch=", "epoch=1", 1)
	for name, odd := range map[string]func(string) *trouble{
		"cannot read":             func(string) *trouble { return &trouble{exit: 102} },
		"hangs":                   func(string) *trouble { return &trouble{hang: true} },
		"cannot write":            func(line string) *trouble { return onlyFor(line, "crm_attribute", 102) },
		"cannot write the record": func(line string) *trouble { return onlyFor(line, "pgsql-record", 124) },
		"cannot write the score":  func(line string) *trouble { return onlyFor(line, "--node=n2 --name=master-pgsql", 106) },
	} {
		remove(t, s.data()+".pgrex-record")
		f.set("n1", "pgsql-record", entitled, true)
		f.set("n2", "master-pgsql", "100", false)
		f.trouble = odd
		began := time.Now()
		code, text, log := s.perform("monitor", interval, "9000", "OCF_RESKEY_CRM_meta_timeout", "3000")
		if code != ocf.RunningPromoted {
			t.Errorf("%s: %d %s", name, code, text)
		}
		if took := time.Since(began); took > 3*time.Second {
			t.Errorf("%s: it took %v", name, took)
		}
		says(t, log.String(), "rights were not brought up to date")
		if names := s.sql("SHOW synchronous_standby_names"); names != `"n2"` {
			t.Fatalf("%s: commits were released: %q", name, names)
		}
	}
	// The peer is there and can be asked: its copy is the proof.
	f.trouble = nil
	s.must(ocf.RunningPromoted, "monitor", interval, "9000")
	if names := s.sql("SHOW synchronous_standby_names"); names != "" {
		t.Errorf("commits still wait: %q", names)
	}
	if r := parseRecord(t, f.record("n2", "n1")); r.Entitles("n2") || len(r.Leaving) != 0 {
		t.Errorf("record %v", r)
	}
}

func onlyFor(line, words string, exit int) *trouble {
	if strings.Contains(line, words) {
		return &trouble{exit: exit}
	}
	return nil
}

// A right is gone where it would be used before commits are released: at the moment of the release
// the peer's own copy has the record that says so.
func TestReleaseAfterWithdrawal(t *testing.T) {
	t.Parallel()
	f, s := newPrimary(t)
	put(t, s.dir+"/tmp/rep_mode.conf", repModeConf(`"n2"`))
	s.sql("SELECT pg_reload_conf()")
	f.set("n1", "pgsql-record", strings.Replace(strings.Replace(s.attribute("pgsql-record"), "entitled=n1", "entitled=n1,n2", 1), "epoch=", "epoch=1", 1), true)
	s.eventually("commits wait", func() bool { return s.sql("SHOW synchronous_standby_names") == `"n2"` })
	// The peer answers and has not got our writes: that is no proof.
	f.behind["n2"] = true
	s.must(ocf.RunningPromoted, "monitor", interval, "9000", "OCF_RESKEY_CRM_meta_timeout", "2000")
	if names := s.sql("SHOW synchronous_standby_names"); names != `"n2"` {
		t.Fatalf("released though the peer's copy entitles it: %q", f.record("n2", "n1"))
	}
	f.catchUp("n2")
	s.must(ocf.RunningPromoted, "monitor", interval, "9000")
	if names := s.sql("SHOW synchronous_standby_names"); names != "" {
		t.Errorf("still %q", names)
	}
}

// A healthy primary gets a clean stop whatever stop_escalate says, and stays down only when the
// transition stops it anyway, or when it did not end cleanly.
func TestDemotion(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		env    []string
		before func(*testing.T, *site)
		runs   bool
	}{
		{"healthy, stop_escalate=0", []string{"OCF_RESKEY_stop_escalate", "0"}, nil, true},
		{"this node is stopped next", []string{"OCF_RESKEY_CRM_meta_notify_stop_uname", "n2 N1"}, nil, false},
		{"its postmaster is dead", nil, func(t *testing.T, s *site) {
			pm := s.processes().Postmaster
			signal(t, strconv.Itoa(pm), syscall.SIGKILL)
			s.eventually("the postmaster is gone", func() bool { return s.processes().Postmaster == 0 })
		}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, s := newPrimary(t)
			s.sql("CREATE TABLE public.kept AS SELECT 42 AS answer")
			if tt.before != nil {
				tt.before(t, s)
			}
			s.must(ocf.OK, "demote", tt.env...)
			c, err := s.server().Control()
			if err != nil {
				t.Fatal(err)
			}
			if runs := s.processes().Postmaster != 0; runs != tt.runs {
				t.Errorf("runs %v, control %v", runs, c.State)
			}
			if slices.Contains(tt.env, "n2 N1") {
				// A living server's right ends before its sessions; all else is the stop's to write.
				if s.attribute("pgsql-status") != "PRI" {
					t.Errorf("status %q", s.attribute("pgsql-status"))
				}
				s.must(ocf.OK, "stop")
			}
			if s.attribute("master-pgsql") != "-INFINITY" {
				t.Errorf("score %q", s.attribute("master-pgsql"))
			}
			if !tt.runs {
				if len(s.processes().All()) != 0 || s.attribute("pgsql-status") != "STOP" {
					t.Errorf("left %v, status %q", s.processes(), s.attribute("pgsql-status"))
				}
				return
			}
			s.eventually("it is a standby", func() bool { code, _ := s.do("monitor", interval, "9000"); return code == ocf.OK })
			if err := s.server().WaitReady(t.Context()); err != nil {
				t.Fatal(err)
			}
			if s.sql("SELECT answer FROM public.kept") != "42" || s.attribute("pgsql-status") != "HS:alone" {
				t.Errorf("status %q", s.attribute("pgsql-status"))
			}
			s.must(ocf.OK, "demote", tt.env...)
		})
	}
}

// Children that outlived their postmaster are not "not running", and stop ends them.
func TestOrphans(t *testing.T) {
	t.Parallel()
	_, s := newPrimary(t)
	go func() {
		c, err := s.server().Connect(t.Context())
		if err != nil {
			return
		}
		defer c.Close()
		_, _ = c.Exec(t.Context(), "SELECT count(*) FROM generate_series(1, 2000000000)")
	}()
	s.eventually("a busy backend", func() bool {
		return s.sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%generate_series%' AND pid <> pg_backend_pid()") == "1"
	})
	signal(t, strconv.Itoa(s.processes().Postmaster), syscall.SIGKILL)
	s.eventually("the postmaster is gone", func() bool { return s.processes().Postmaster == 0 })
	says(t, s.must(ocf.FailedPromoted, "monitor", interval, "9000"), "postmaster is gone")
	s.must(ocf.OK, "stop")
	if ps := s.processes(); ps.Running() {
		t.Errorf("left %v", ps)
	}
	s.must(ocf.NotRunning, "monitor", interval, "9000")
}

// A crashed primary's WAL is not touched before it is known what the others did.
func TestStartOfCrashedPrimary(t *testing.T) {
	t.Parallel()
	f, s := newPrimary(t)
	s.crash()
	own := s.attribute("pgsql-record")
	// Nobody else is entitled: nothing is missing.
	s.must(ocf.OK, "start")
	s.must(ocf.OK, "stop")

	s.done("start")
	s.done("promote")
	s.crash()
	entitled := strings.Replace(strings.Replace(s.attribute("pgsql-record"), "entitled=n1", "entitled=n1,n2", 1), "epoch=", "epoch=1", 1)
	f.set("n1", "pgsql-record", entitled, true)
	remove(t, s.data()+"/standby.signal")
	files := func() string {
		return get(t, s.data()+"/postgresql.conf") + get(t, s.dir+"/tmp/recovery.conf") + fmt.Sprint(exists(s.data()+"/standby.signal"))
	}
	put(t, s.dir+"/tmp/recovery.conf", "# as it was\n")
	before := files()

	// n2 may have been promoted since; it is away.
	f.lose("n2")
	says(t, s.must(ocf.ErrGeneric, "start"), "not started", "n2", "start n2 first", "pgsql-accept-loss")
	// n2 was promoted and does not answer.
	f.cut["n2"] = false
	f.copies["n1"].nodes["n2"].crmd, f.copies["n1"].nodes["n2"].join, f.copies["n1"].nodes["n2"].expected = "", "", ""
	f.happened("n2", "promote 0")
	f.set("n2", "pgsql-record", "epoch=9000000 primary=n2 entitled=n2 leaving= system=7 timeline=9 lsn=0/9000000", true)
	began := time.Now()
	says(t, s.must(ocf.ErrGeneric, "start", "OCF_RESKEY_CRM_meta_timeout", "3000"), "not started")
	if took := time.Since(began); took > 4*time.Second {
		t.Errorf("it took %v", took)
	}
	if files() != before || s.processes().Running() {
		t.Error("something was changed on its disk")
	}
	if own == s.attribute("pgsql-record") {
		t.Error("the second promotion wrote no record")
	}
}

// An action that was killed in the middle of a promotion: the server may open later than the
// demotion that follows it, which must not leave a primary behind.
func TestDemoteAfterKilledPromote(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("n1", "n1", "n2")
	s := newSite(t, f, "n1", nil)
	s.env["OCF_RESKEY_recovery_end_command"] = "sleep 6.3"
	f.set("n1", "pgsql-accept-loss", "0", false)
	s.done("start")
	says(t, s.must(ocf.ErrGeneric, "promote", "OCF_RESKEY_CRM_meta_timeout", "6000"), "did not open")
	s.must(ocf.OK, "demote")
	for range 8 {
		time.Sleep(100 * time.Millisecond)
		if code, text := s.do("monitor", interval, "9000"); code == ocf.RunningPromoted {
			t.Fatalf("a primary after a demotion that succeeded: %s", text)
		}
	}
}

// restart_on_promote keeps the timeline, unless another node may have gone further on it.
func TestRestartOnPromote(t *testing.T) {
	t.Parallel()
	for nodes, timeline := range map[string]string{"n1": "1", "n1 n2": "2"} {
		_, s := newPrimary(t, "OCF_RESKEY_restart_on_promote", "true", "OCF_RESKEY_node_list", nodes)
		s.must(ocf.RunningPromoted, "monitor", interval, "9000")
		s.sql("CHECKPOINT")
		if tl := s.sql("SELECT timeline_id FROM pg_control_checkpoint()"); tl != timeline || s.attribute("pgsql-status") != "PRI" || s.attribute("master-pgsql") != "1000" {
			t.Errorf("node_list %s: timeline %s, status %q, score %q", nodes, tl, s.attribute("pgsql-status"), s.attribute("master-pgsql"))
		}
	}
}

// A setting from elsewhere is named with its place, and nobody is taken for synchronous by it.
func TestForeignSetting(t *testing.T) {
	t.Parallel()
	_, s := newPrimary(t)
	s.sql("ALTER SYSTEM SET synchronous_standby_names = 'n2'")
	s.sql("SELECT pg_reload_conf()")
	s.eventually("it is in force", func() bool { return s.sql("SHOW synchronous_standby_names") == "n2" })
	code, _, log := s.perform("monitor", interval, "9000")
	if code != ocf.RunningPromoted {
		t.Error(code)
	}
	says(t, log.String(), "postgresql.auto.conf", "remove it there")
	s.must(ocf.OK, "stop")
	// It stands in this node's files: the other nodes run on.
	says(t, s.must(ocf.ErrInstalled, "start"), "synchronous_standby_names", "postgresql.auto.conf", "rep_mode.conf")
}

// Where the server listens is a matter of this node's files as well.
func TestOtherSocketDirectory(t *testing.T) {
	t.Parallel()
	s := newSite(t, newFakeCluster("n1", "n1", "n2"), "n1", nil)
	says(t, s.must(ocf.ErrInstalled, "start", "OCF_RESKEY_socketdir", t.TempDir()), "socketdir", "the server listens in "+s.dir)
	s.must(ocf.OK, "stop")
}

// Passwords reach neither logs nor reasons, whatever goes wrong around them.
func TestSecrets(t *testing.T) {
	t.Parallel()
	const secret = "g3he1m-und-lang"
	f := newFakeCluster("n1", "n1", "n2")
	s := newSite(t, f, "n1", nil)
	s.env["OCF_RESKEY_primary_conninfo_opt"] = "password=" + secret + " sslmode=disable"
	s.env["OCF_RESKEY_monitor_password"] = secret
	f.set("n1", "pgsql-accept-loss", "0", false)
	var said strings.Builder
	act := func(action string, more ...string) ocf.Code {
		code, text, log := s.perform(action, more...)
		said.WriteString(text + "\n" + log.String())
		return code
	}
	act("start")
	// Somebody else's primary_conninfo wins over ours, with a password in it.
	s.sql("ALTER SYSTEM SET primary_conninfo = 'host=127.0.0.4 password=" + secret + "'")
	f.happened("n2", "promote 0")
	// Each of these waits in vain for its own setting.
	s.env["OCF_RESKEY_CRM_meta_timeout"] = "1000"
	act("monitor", interval, "9000")
	act("notify", "OCF_RESKEY_CRM_meta_notify_type", "post", "OCF_RESKEY_CRM_meta_notify_operation", "promote", "OCF_RESKEY_CRM_meta_notify_promote_uname", "n2")
	act("reload-agent")
	s.env["OCF_RESKEY_CRM_meta_timeout"] = "20000"
	act("validate-all", "OCF_CHECK_LEVEL", "10")
	act("promote")
	act("demote")
	act("stop")
	s.env["OCF_RESKEY_CRM_meta_timeout"] = "1500"
	act("start", "OCF_RESKEY_monitor_user", "nobody-here")
	act("start", "OCF_RESKEY_primary_conninfo_opt", "password='"+secret)
	if i := strings.Index(said.String(), secret); i >= 0 {
		t.Errorf("shown: %s", said.String()[max(0, i-300):i+20])
	}
	programs := 0
	for _, line := range append(f.commands(), s.children...) {
		if strings.HasPrefix(line, "/") {
			programs++
		}
		if strings.Contains(line, secret) {
			t.Errorf("in a command line: %s", line)
		}
	}
	if programs == 0 {
		t.Error("no program of PostgreSQL was run: nothing is shown of its arguments")
	}
	err := filepath.WalkDir(s.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil //nolint:nilerr // files of a running server come and go
		}
		info, err := d.Info()
		if err == nil && info.Mode().Perm()&0o077 != 0 && strings.Contains(get(t, path), secret) && path != s.dir+"/log" {
			t.Errorf("%s is readable by others (%v) and holds the password", path, info.Mode())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The two modes without roles.
func TestWithoutRoles(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("n1", "n1", "n2")
	s := newSite(t, f, "n1", nil)
	s.env["OCF_RESKEY_rep_mode"] = "none"
	delete(s.env, "OCF_RESKEY_CRM_meta_promotable")
	delete(s.env, "OCF_RESKEY_CRM_meta_promoted_max")
	s.must(ocf.NotRunning, "monitor", interval, "0")
	s.must(ocf.OK, "start")
	s.must(ocf.OK, "start")
	s.must(ocf.OK, "monitor", interval, "9000")
	s.must(ocf.OK, "monitor", "OCF_RESKEY_monitor_sql", "SELECT 1")
	says(t, s.must(ocf.ErrGeneric, "monitor", "OCF_RESKEY_monitor_sql", "SELECT 1/0"), "monitor_sql", "division by zero")
	s.must(ocf.OK, "reload-agent")
	s.must(ocf.OK, "stop")
	s.must(ocf.NotRunning, "monitor", interval, "9000")
	if exists(s.data()+"/standby.signal") || exists(s.env["OCF_RESKEY_tmpdir"]) {
		t.Error("files of a standby were written")
	}

	s.env["OCF_RESKEY_rep_mode"] = "slave"
	s.must(ocf.OK, "start")
	s.must(ocf.OK, "start")
	s.must(ocf.OK, "monitor", interval, "9000")
	if s.sql("SELECT pg_is_in_recovery()") != "t" || !strings.Contains(s.sql("SHOW primary_conninfo"), "127.0.0.2") {
		t.Errorf("primary_conninfo %q", s.sql("SHOW primary_conninfo"))
	}
	s.sql("SELECT pg_promote()")
	says(t, s.must(ocf.ErrGeneric, "monitor", interval, "9000"), "rep_mode=slave", "127.0.0.2")
	s.must(ocf.OK, "stop")
	if w := f.writes(); len(w) != 0 {
		t.Errorf("attributes of a resource without roles: %q", w)
	}
}

// Without a cluster nobody is asked and nothing is written, and a promotion cannot hurt anybody.
func TestWithoutCluster(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("n1", "n1", "n2")
	s := newSite(t, f, "n1", nil)
	delete(s.env, "OCF_RESKEY_crm_feature_set")
	s.must(ocf.OK, "start")
	s.must(ocf.OK, "monitor")
	put(t, s.data()+".pgrex-record", record5)
	says(t, s.must(ocf.ErrGeneric, "promote"), "not promoted", ".pgrex-record")
	remove(t, s.data()+".pgrex-record")
	s.must(ocf.OK, "promote")
	s.must(ocf.OK, "promote")
	s.must(ocf.RunningPromoted, "monitor")
	s.must(ocf.OK, "demote")
	s.eventually("a standby", func() bool { code, _ := s.do("monitor"); return code == ocf.OK })
	s.must(ocf.OK, "stop")
	if c := f.commands(); len(c) != 0 {
		t.Errorf("asked the cluster: %q", c)
	}
}

// A returning primary whose WAL is part of the new primary's history: rejoin says what it may do.
func TestRejoin(t *testing.T) {
	t.Parallel()
	n1, n2 := newPair(t)
	n1.must(ocf.RunningPromoted, "monitor", interval, "9000")
	n1.sql("CREATE TABLE public.kept AS SELECT 42 AS answer")
	n1.eventually("n2 has all", func() bool {
		return n1.sql("SELECT count(*) FROM pg_stat_replication WHERE flush_lsn >= pg_current_wal_insert_lsn()") == "1"
	})
	n1.crash()
	n1.f.happened("n1", "demote 0", "stop 0")
	n1.follow(n2)
	n2.done("promote")
	says(t, n1.must(ocf.ErrGeneric, "start", "OCF_RESKEY_rejoin", "refuse"), "not started", "rejoin=refuse", "n2")
	if exists(n1.data() + "/standby.signal") {
		t.Error("its files were made those of a standby")
	}
	n1.must(ocf.OK, "start", "OCF_RESKEY_rejoin", "follow")
	n2.eventually("n1 follows", func() bool { return n2.senders() == "1" })
	if n1.sql("SELECT answer FROM public.kept") != "42" {
		t.Error("it lost something")
	}
}

// While a standby is starting it is there: monitor says so and does not wait, promote waits.
func TestStartingStandby(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("n1", "n1", "n2")
	s := newSite(t, f, "n1", nil)
	f.set("n1", "pgsql-accept-loss", "0", false)
	s.env["OCF_RESKEY_restore_command"] = "while [ -e " + s.dir + "/hold ]; do sleep 0.1; done; false"
	put(t, s.dir+"/hold", "")
	if err := pgtest.GiveTo(s.user, s.dir+"/hold"); err != nil {
		t.Fatal(err)
	}
	says(t, s.must(ocf.ErrGeneric, "start", "OCF_RESKEY_CRM_meta_timeout", "4000"), "not started")
	began := time.Now()
	s.must(ocf.OK, "monitor", interval, "9000")
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("monitor waited %v", took)
	}
	go func() {
		time.Sleep(500 * time.Millisecond)
		_ = os.Remove(s.dir + "/hold")
	}()
	s.must(ocf.OK, "promote")
	s.must(ocf.RunningPromoted, "monitor", interval, "9000")
}

// With a default by which no commit waits, nobody holds every acknowledged commit: a right ends, and
// comes back when that is mended.
func TestCommitsDoNotWaitByDefault(t *testing.T) {
	t.Parallel()
	n1, n2 := newPair(t)
	granted := func() bool {
		n1.must(ocf.RunningPromoted, "monitor", interval, "9000")
		return n2.attribute("master-pgsql") == "100" && parseRecord(t, n1.attribute("pgsql-record")).Entitles("n2")
	}
	n1.eventually("n2 has the right", granted)
	for _, set := range []string{"ALTER SYSTEM SET synchronous_commit = local", "ALTER ROLE postgres SET synchronous_commit = off"} {
		n1.sql(set)
		n1.sql("SELECT pg_reload_conf()")
		n1.eventually("the right has ended: "+set, func() bool { return !granted() })
		_, _, log := n1.perform("monitor", interval, "9000")
		says(t, log.String(), "synchronous_commit is", "set it to on")
		n1.sql(strings.NewReplacer(" SET ", " RESET ", " = local", "", " = off", "").Replace(set))
		n1.sql("SELECT pg_reload_conf()")
		n1.eventually("n2 has the right again", granted)
	}
}
