package main

import (
	"strings"
	"testing"

	"pgrex/lib/ocf"
	"pgrex/lib/pg/pgtest"
	"pgrex/lib/proc"
)

// pgctl is what a person does behind the cluster's back.
func (s *site) pgctl(args ...string) {
	s.t.Helper()
	res, err := proc.OS{}.Run(s.t.Context(), proc.Cmd{Path: s.env["OCF_RESKEY_pgctl"], User: &s.user, Discard: true, Args: append(args, "-D", s.data(), "-w")})
	if err != nil || res.ExitCode != 0 {
		s.t.Fatalf("pg_ctl %v: %v, %v", args, res, err)
	}
}

// A person stops the primary. It is found stopped, the other one takes over all that was
// acknowledged, and the one that was stopped follows it. So does a standby that was stopped.
func TestStoppedByHand(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"fast", "immediate"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			n1, n2 := newPair(t)
			lead := func(s *site) {
				s.must(ocf.RunningPromoted, "monitor", interval, "9000", "OCF_RESKEY_CRM_meta_timeout", "6000")
			}
			n1.eventually("n2 has the right", func() bool { lead(n1); return n2.attribute("master-pgsql") == "100" })

			n2.pgctl("stop", "-m", mode)
			n2.must(ocf.NotRunning, "monitor", interval, "9000")
			lead(n1)
			if n2.attribute("master-pgsql") == "100" || n1.sql("SHOW synchronous_standby_names") != "" {
				t.Errorf("n2 is stopped, its score is %q, commits wait for %q", n2.attribute("master-pgsql"), n1.sql("SHOW synchronous_standby_names"))
			}
			n2.done("stop")
			n2.done("start")
			n1.eventually("n2 has its right again", func() bool { lead(n1); return n2.attribute("master-pgsql") == "100" })

			n1.sql("CREATE TABLE public.kept AS SELECT 42 AS answer")
			n1.pgctl("stop", "-m", mode)
			if code, text := n1.do("monitor", interval, "9000"); code == ocf.RunningPromoted || code == ocf.OK {
				t.Errorf("a primary that was stopped: %d %s", code, text)
			}
			n1.done("demote")
			n1.done("stop")
			n1.follow(n2)
			n2.done("promote")
			if n2.sql("SELECT answer FROM public.kept") != "42" {
				t.Error("the new primary lacks what was acknowledged")
			}
			n1.must(ocf.OK, "start")
			n2.eventually("n1 follows", func() bool { return n2.senders() == "1" })
		})
	}
}

// A person promotes the standby beside its primary and writes to it. It must not go on as a
// primary, nobody is taken for its standby, and what was written to it does not get back in
// unseen.
func TestPromotedByHand(t *testing.T) {
	t.Parallel()
	n1, n2 := newPair(t)
	lead := func() {
		n1.must(ocf.RunningPromoted, "monitor", interval, "9000", "OCF_RESKEY_CRM_meta_timeout", "6000")
	}
	n1.eventually("n2 has the right", func() bool { lead(); return n2.attribute("master-pgsql") == "100" })
	n2.pgctl("promote")
	n2.sql("CREATE TABLE public.forked AS SELECT generate_series(1, 1000)")

	code, text, _ := n2.perform("monitor", interval, "9000")
	if code != ocf.FailedPromoted {
		t.Fatal(code, text)
	}
	says(t, text, "n1 is the promoted node")
	lead()
	if n2.attribute("master-pgsql") == "100" || n2.attribute("master-pgsql") == "1000" || n1.sql("SHOW synchronous_standby_names") != "" {
		t.Errorf("n2 went its own way, its score is %q, commits wait for %q", n2.attribute("master-pgsql"), n1.sql("SHOW synchronous_standby_names"))
	}
	n2.done("demote")
	n2.done("stop")
	says(t, n2.must(ocf.ErrGeneric, "start"), "not started", "rebuild it with pg_basebackup")
	if n2.processes().Running() {
		t.Error("the fork runs")
	}
}

// A slot that somebody has dropped is there again after the next monitor, and the standby that
// was away streams by it.
func TestSlotDroppedByHand(t *testing.T) {
	t.Parallel()
	n1, n2 := newPair(t)
	n1.env["OCF_RESKEY_replication_slot_name"], n2.env["OCF_RESKEY_replication_slot_name"] = "slot", "slot"
	lead := func() {
		n1.must(ocf.RunningPromoted, "monitor", interval, "9000", "OCF_RESKEY_CRM_meta_timeout", "6000")
	}
	lead()
	n2.done("stop")
	n1.eventually("n2 is gone", func() bool { return n1.senders() == "0" })
	if n := n1.sql("SELECT count(pg_drop_replication_slot(slot_name)) FROM pg_replication_slots"); n != "1" {
		t.Fatalf("%s slots were there", n)
	}
	lead()
	if n := n1.sql("SELECT slot_name FROM pg_replication_slots"); n != "slot_n2" {
		t.Fatalf("slots: %q", n)
	}
	n2.done("start")
	n1.eventually("n2 streams by its slot", func() bool {
		return n1.sql("SELECT count(*) FROM pg_replication_slots WHERE active") == "1" && n1.senders() == "1"
	})
}

// Data that is damaged is not served: a start says why, a stop succeeds, and nobody may be promoted
// over it. A standby that lacks WAL may wait for a primary that has it, and does no more.
func TestDamagedData(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		damage func(t *testing.T, s *site)
		says   string
		waits  bool
	}{
		{"pg_control is zeroes", func(t *testing.T, s *site) {
			file := s.data() + "/global/pg_control"
			put(t, file, strings.Repeat("\x00", len(get(t, file))))
		}, "pg_control", false},
		{"pg_control is cut off", func(t *testing.T, s *site) {
			file := s.data() + "/global/pg_control"
			put(t, file, get(t, file)[:100])
		}, "pg_control", false},
		{"pg_control is gone", func(t *testing.T, s *site) { remove(t, s.data()+"/global/pg_control") }, "pg_control", false},
		{"the WAL is gone", func(t *testing.T, s *site) {
			remove(t, s.data()+"/pg_wal")
			emptyDir(t, s, s.data()+"/pg_wal")
		}, "", true},
		{"the catalogue is gone", func(t *testing.T, s *site) {
			remove(t, s.data()+"/global")
			emptyDir(t, s, s.data()+"/global")
		}, "pg_control", false},
		{"the configuration is garbage", func(t *testing.T, s *site) { s.configure("\x01\x02 = = '") }, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, newFakeCluster("n1", "n1", "n2"), "n1", nil)
			tt.damage(t, s)
			code, text := s.do("start", "OCF_RESKEY_CRM_meta_timeout", "6000")
			if code == ocf.OK || text == "" {
				t.Fatalf("start: %d %q", code, text)
			}
			says(t, text, "not started", tt.says)
			if tt.waits {
				s.eventually("it waits", func() bool { code, _ := s.do("monitor", interval, "9000"); return code == ocf.OK })
			} else {
				s.must(ocf.NotRunning, "monitor", interval, "0")
			}
			if score := s.attribute("master-pgsql"); score != "-INFINITY" && score != "" {
				t.Errorf("score %q", score)
			}
			s.must(ocf.OK, "stop")
			s.must(ocf.NotRunning, "monitor", interval, "0")
		})
	}
}

func emptyDir(t *testing.T, s *site, dir string) {
	t.Helper()
	if _, err := (proc.OS{}).Run(t.Context(), proc.Cmd{Path: "/bin/mkdir", User: &s.user, Args: []string{"-m", "700", dir}}); err != nil {
		t.Fatal(err)
	}
	if err := pgtest.GiveTo(s.user, dir); err != nil {
		t.Fatal(err)
	}
}
