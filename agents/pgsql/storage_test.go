package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgrex/lib/ocf"
	"pgrex/lib/pg"
	"pgrex/lib/pg/pgtest"
)

// told is a server that says what processes wait for.
type told func(pids []int) ([]string, error)

func (f told) OnStorage(_ context.Context, pids []int) ([]string, error) { return f(pids) }

// A process that does not come back from the kernel fails a monitor only if it is at work on
// the server's own files; and one that has come back fails none.
func TestStorageGivesNoAnswer(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	pid := pgtest.Waiter(t, data)
	var ps pg.Processes
	for end := time.Now().Add(20 * time.Second); len(ps.Waiting) == 0; {
		now, err := (&pg.Server{Data: data}).Processes()
		if err != nil || time.Now().After(end) {
			t.Fatalf("no process waits: %v", err)
		}
		ps = now
	}
	busy := func(pids []int) ([]string, error) { return []string{fmt.Sprintf("%d (walwriter)", pids[0])}, nil }
	for name, tt := range map[string]struct {
		mode    string
		server  told
		waiting []int
		st      pg.Status
		code    ocf.Code
	}{
		"primary":                  {"sync", busy, ps.Waiting, pg.Status{}, ocf.FailedPromoted},
		"standby":                  {"sync", busy, ps.Waiting, pg.Status{InRecovery: true}, ocf.ErrGeneric},
		"without roles":            {"none", busy, ps.Waiting, pg.Status{}, ocf.ErrGeneric},
		"nobody waits":             {"sync", busy, nil, pg.Status{}, ocf.OK},
		"it moves":                 {"sync", busy, []int{1}, pg.Status{}, ocf.OK},
		"a COPY from elsewhere":    {"sync", func([]int) ([]string, error) { return nil, nil }, ps.Waiting, pg.Status{}, ocf.OK},
		"the server does not tell": {"sync", func([]int) ([]string, error) { return nil, errors.New("denied") }, ps.Waiting, pg.Status{}, ocf.OK},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, _ := newTestAgent(t, nil, "monitor", map[string]string{"OCF_RESKEY_rep_mode": tt.mode, "OCF_RESKEY_CRM_meta_timeout": "1500"})
			err := a.storageAnswers(t.Context(), tt.server, pg.Processes{Waiting: tt.waiting}, tt.st)
			if ocf.CodeOf(err) != tt.code {
				t.Fatalf("%v, want %d", err, tt.code)
			}
			if err != nil && (!strings.Contains(err.Error(), fmt.Sprintf("%d (walwriter)", pid)) || !strings.Contains(err.Error(), "gives no answer")) {
				t.Errorf("it does not say what is wrong: %v", err)
			}
		})
	}
}
