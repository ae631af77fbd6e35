package main

import (
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"pgrex/lib/ocf"
)

// demotion is a demotion of a primary at work, with a session that commits all the time.
type demotion struct {
	*site
	journal *journal
	before  int // of the server's log
	rows    atomic.Int64
	code    ocf.Code
	session chan struct{} // ended
	over    chan struct{}
	took    time.Duration
}

func demoting(t *testing.T, s *site, env ...string) *demotion {
	t.Helper()
	s.sql("ALTER SYSTEM SET log_checkpoints = on") // the default from PostgreSQL 15 on
	s.sql("SELECT pg_reload_conf()")
	s.sql("CREATE TABLE public.rows (n int)")
	s.eventually("checkpoints are logged", func() bool { return s.sql("SHOW log_checkpoints") == "on" })
	d := &demotion{site: s, before: len(get(t, s.dir+"/log")), session: make(chan struct{}), over: make(chan struct{})}
	go func() {
		defer close(d.session)
		c, err := s.server().Connect(t.Context())
		if err != nil {
			return
		}
		defer c.Close()
		for i := 0; err == nil; i++ {
			if _, err = c.Exec(t.Context(), "INSERT INTO public.rows VALUES ("+strconv.Itoa(i)+")"); err == nil {
				d.rows.Add(1)
			}
		}
	}()
	s.eventually("the session commits", func() bool { return d.rows.Load() > 10 })
	go func() {
		defer close(d.over)
		began := time.Now()
		d.code, _, d.journal = s.perform("demote", env...)
		d.took = time.Since(began)
	}()
	return d
}

// events are what the server's log says since, in its order: checkpoints that were
// asked for, and the order to stop.
func (d *demotion) events() (list []string) {
	for line := range strings.Lines(get(d.t, d.dir+"/log")[d.before:]) {
		switch {
		case strings.Contains(line, "checkpoint starting:") && strings.Contains(line, "force wait"):
			list = append(list, "checkpoint")
		case strings.Contains(line, "received fast shutdown request"):
			list = append(list, "stop")
		case strings.Contains(line, "received immediate shutdown request"):
			list = append(list, "crash")
		}
	}
	return list
}

func (d *demotion) wait() {
	d.t.Helper()
	select {
	case <-d.over:
	case <-time.After(40 * time.Second):
		d.t.Fatal("the demotion does not end")
	}
	if d.code != ocf.OK {
		d.t.Fatalf("demote: %d\n%s", d.code, d.journal)
	}
}

// The demotion of a healthy primary writes out what it can before the stop, while sessions go on;
// once more if that took long, and not longer than a quarter of the action's time.
func TestDemoteCheckpoint(t *testing.T) {
	t.Parallel()
	const timeout = 12 * time.Second
	for _, tt := range []struct {
		name   string
		stands time.Duration // the checkpointer, from the demotion's begin
		want   []string
	}{
		{"short", 0, []string{"checkpoint", "stop"}},
		{"long", 3 * shortCheckpoint, []string{"checkpoint", "checkpoint", "stop"}},
		{"too long", timeout/4 + time.Second, []string{"stop"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, s := newPrimary(t)
			checkpointer := s.sql("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'")
			if tt.stands > 0 {
				signal(t, checkpointer, syscall.SIGSTOP)
			}
			d := demoting(t, s, "OCF_RESKEY_CRM_meta_timeout", strconv.FormatInt(timeout.Milliseconds(), 10))
			began := time.Now()
			if tt.stands > 0 {
				s.eventually("the checkpoint is waited for", func() bool {
					return s.sql("SELECT count(*) FROM pg_stat_activity WHERE query = 'CHECKPOINT' AND wait_event = 'CheckpointStart'") == "1"
				})
				rows := d.rows.Load()
				<-time.After(tt.stands)
				if d.rows.Load() == rows {
					t.Error("sessions do not go on during the checkpoint")
				}
				signal(t, checkpointer, syscall.SIGCONT)
			}
			<-d.session
			ended := time.Since(began)
			d.wait()
			got := d.events()
			switch {
			case tt.stands == 0:
				got = slices.Compact(got) // a busy machine makes it a long one
			case tt.stands > timeout/4:
				// The request that was given up is carried out when it is heard of, before the
				// shutdown's own.
				got = slices.DeleteFunc(got, func(e string) bool { return e == "checkpoint" })
				says(t, d.journal.String(), "no checkpoint before the stop")
				if ended > timeout/2 {
					t.Errorf("sessions ended after %v, a quarter of the time is %v", ended, timeout/4)
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%q, want %q\n%s", got, tt.want, d.journal)
			}
			if n := s.processes().Postmaster; n == 0 {
				t.Error("it did not come back as standby")
			}
		})
	}
}

// A primary that does not answer is not asked for a checkpoint.
func TestDemoteOfSickPrimary(t *testing.T) {
	t.Parallel()
	for name, ail := range map[string]func(*testing.T, *site){
		"its postmaster stands still": func(t *testing.T, s *site) {
			signal(t, strconv.Itoa(s.processes().Postmaster), syscall.SIGSTOP)
		},
		"all of it stands still": func(_ *testing.T, s *site) { s.freeze() },
		"its postmaster is dead": func(t *testing.T, s *site) {
			signal(t, strconv.Itoa(s.processes().Postmaster), syscall.SIGKILL)
			s.eventually("the postmaster is gone", func() bool { return s.processes().Postmaster == 0 })
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, s := newPrimary(t)
			s.sql("ALTER SYSTEM SET log_checkpoints = on")
			s.sql("SELECT pg_reload_conf()")
			d := &demotion{site: s, before: len(get(t, s.dir+"/log"))}
			ail(t, s)
			began := time.Now()
			code, _, log := s.perform("demote", "OCF_RESKEY_stop_escalate", "0")
			if took := time.Since(began); code != ocf.OK || took > 8*time.Second {
				t.Errorf("demote: %d after %v\n%s", code, took, log)
			}
			if slices.Contains(d.events(), "checkpoint") || strings.Contains(log.String(), "checkpoint") {
				t.Errorf("a checkpoint was asked for: %q\n%s", d.events(), log)
			}
		})
	}
}
