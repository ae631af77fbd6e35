package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"pgrex/lib/ocf"
	"pgrex/lib/pg"
	"pgrex/lib/pg/pgtest"
)

// told is a server that says what processes wait for.
type told func(pids []int) (pg.Waits, error)

func (f told) OnStorage(_ context.Context, pids []int) (pg.Waits, error) { return f(pids) }

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
	busy := func(pids []int) (pg.Waits, error) {
		return pg.Waits{Names: []string{fmt.Sprintf("%d (walwriter)", pids[0])}, PIDs: pids[:1], Flushed: 7}, nil
	}
	standby := func(pids []int) (pg.Waits, error) {
		w, err := busy(pids)
		w.InRecovery = true
		return w, err
	}
	// then answers as first before the watch and as second after it.
	then := func(first, second told) told {
		var asked atomic.Int32
		return func(pids []int) (pg.Waits, error) {
			if asked.Add(1) == 1 {
				return first(pids)
			}
			return second(pids)
		}
	}
	nobody := func([]int) (pg.Waits, error) { return pg.Waits{Flushed: 7}, nil }
	denied := func([]int) (pg.Waits, error) { return pg.Waits{}, errors.New("denied") }
	moved := func(pids []int) (pg.Waits, error) {
		w, err := busy(pids)
		w.Flushed++
		return w, err
	}
	for name, tt := range map[string]struct {
		mode    string
		server  told
		waiting []int
		code    ocf.Code
		watched bool
	}{
		"primary":                   {"sync", busy, ps.Waiting, ocf.FailedPromoted, true},
		"standby":                   {"sync", standby, ps.Waiting, ocf.ErrGeneric, true},
		"without roles":             {"none", busy, ps.Waiting, ocf.ErrGeneric, true},
		"nobody waits":              {"sync", busy, nil, ocf.OK, false},
		"it moves":                  {"sync", busy, []int{1}, ocf.OK, false},
		"a COPY from elsewhere":     {"sync", nobody, ps.Waiting, ocf.OK, false},
		"the server does not tell":  {"sync", denied, ps.Waiting, ocf.OK, false},
		"WAL moves":                 {"sync", then(busy, moved), ps.Waiting, ocf.OK, true},
		"it is at something else":   {"sync", then(busy, nobody), ps.Waiting, ocf.OK, true},
		"the server dies meanwhile": {"sync", then(busy, denied), ps.Waiting, ocf.OK, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a, _ := newTestAgent(t, nil, "monitor", map[string]string{"OCF_RESKEY_rep_mode": tt.mode, "OCF_RESKEY_CRM_meta_timeout": "1500"})
			began := time.Now()
			err := a.storageAnswers(t.Context(), tt.server, pg.Processes{Waiting: tt.waiting})
			if took := time.Since(began); tt.watched != (took >= time.Second) {
				t.Errorf("it took %v; watched is %v", took, tt.watched)
			}
			if ocf.CodeOf(err) != tt.code {
				t.Fatalf("%v, want %d", err, tt.code)
			}
			if err != nil && (!strings.Contains(err.Error(), fmt.Sprintf("%d (walwriter)", pid)) || !strings.Contains(err.Error(), "gives no answer")) {
				t.Errorf("it does not say what is wrong: %v", err)
			}
		})
	}
}
