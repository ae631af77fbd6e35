package main

import (
	"context"
	"strings"
	"time"

	"pgrex/lib/ocf"
	"pgrex/lib/pg"
)

// onStorage tells what processes wait for, see pg.Conn.
type onStorage interface {
	OnStorage(ctx context.Context, pids []int) ([]string, error)
}

// storageAnswers fails when storage of the server gives no answer. Such a server goes
// on to answer questions, from memory: that monitor's query succeeds says nothing about
// whether one commit ever will. It comes before all that writes, since an agent that
// waits for that storage itself can be ended by nobody, and Pacemaker never hears of it.
//
// Who is seen to wait is watched until it moves, so a monitor takes as long as the
// slowest write that it meets, and not longer where there is none.
func (a *agent) storageAnswers(ctx context.Context, conn onStorage, ps pg.Processes, st pg.Status) error {
	began := time.Now()
	stalled := pg.Stalled(ctx, ps.Waiting, min(pg.StallLimit, a.call.Timeout/3))
	if len(stalled) == 0 {
		return nil
	}
	waited := time.Since(began).Round(time.Second)
	limited, cancel := context.WithTimeout(ctx, a.call.Timeout/10)
	defer cancel()
	names, err := conn.OnStorage(limited, stalled)
	if err != nil || len(names) == 0 {
		a.log.Warn("processes of the server do not come back from the kernel", "pids", stalled, "for", waited, "error", err)
		return nil
	}
	code := ocf.ErrGeneric
	if a.conf.replicates() && !st.InRecovery {
		code = ocf.FailedPromoted
	}
	return ocf.Errorf(code, "the storage of %s gives no answer: process %s has waited for it for more than %v; look at the kernel's log and the disk", a.conf.data, strings.Join(names, ", "), waited)
}
