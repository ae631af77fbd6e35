package main

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgrex/lib/ocf"
)

// A server that stands still answers nothing, and is ended all the same, in the action's time.
func TestFrozenServer(t *testing.T) {
	t.Parallel()
	_, s := newPrimary(t, "OCF_RESKEY_stop_escalate", "0")
	signal(t, strconv.Itoa(s.processes().Postmaster), syscall.SIGSTOP)
	code, text := s.do("monitor", interval, "9000", "OCF_RESKEY_CRM_meta_timeout", "1000")
	if code != ocf.FailedPromoted || !strings.Contains(text, "does not answer") {
		t.Errorf("monitor: %d %s", code, text)
	}
	// With the time of PG-REX it is not waited for either: a pulse that stands still says enough.
	began := time.Now()
	code, text = s.do("monitor", interval, "9000", "OCF_RESKEY_CRM_meta_timeout", "60000")
	if took := time.Since(began); code != ocf.FailedPromoted || !strings.Contains(text, "stands still") || took > hungPatience+2*time.Second {
		t.Errorf("monitor: %d %s after %v", code, text, took)
	}
	began = time.Now()
	s.must(ocf.OK, "demote", "OCF_RESKEY_CRM_meta_timeout", "7000")
	if took := time.Since(began); took > 7*time.Second {
		t.Errorf("it took %v", took)
	}
	if ps := s.processes(); ps.Running() || s.attribute("pgsql-status") != "STOP" {
		t.Errorf("left %v, status %q", ps, s.attribute("pgsql-status"))
	}
}

// A server that comes to a stand while the monitor's question is at work is not waited for
// either, and one whose answer takes long is.
func TestFrozenInAnswer(t *testing.T) {
	t.Parallel()
	for name, freeze := range map[string]bool{"all of it stands still": true, "it is slow": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, s := newPrimary(t, "OCF_RESKEY_stop_escalate", "0")
			done := make(chan struct{})
			var code ocf.Code
			var text string
			go func() {
				defer close(done)
				code, text = s.do("monitor", interval, "9000", "OCF_RESKEY_CRM_meta_timeout", "60000",
					"OCF_RESKEY_monitor_sql", fmt.Sprintf("SELECT pg_sleep(%v)", 2*hungPatience.Seconds()+1))
			}()
			s.eventually("the monitor asks", func() bool {
				return s.sql("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep%' AND pid <> pg_backend_pid()") == "1"
			})
			want := ocf.RunningPromoted
			if freeze {
				want = ocf.FailedPromoted
				s.freeze()
			}
			began := time.Now()
			<-done
			// Of the 60 s it takes these at the most: a look that had begun before, and a whole one.
			limit := 4*hungPatience + 5*time.Second
			if d := time.Since(began); code != want || freeze != strings.Contains(text, "stands still") || d > limit {
				t.Errorf("monitor: %d %s after %v", code, text, d)
			}
			s.must(ocf.OK, "stop")
		})
	}
}
