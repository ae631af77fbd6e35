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
	OnStorage(ctx context.Context, pids []int) (pg.Waits, error)
}

// storageAnswers fails when storage of the server gives no answer. Such a server goes
// on to answer questions, from memory: that monitor's query succeeds says nothing about
// whether one commit ever will. It comes before all that writes, since an agent that
// waits for that storage itself can be ended by nobody, and Pacemaker never hears of it.
func (a *agent) storageAnswers(ctx context.Context, conn onStorage, ps pg.Processes) error {
	began := time.Now()
	w := a.stalled(ctx, conn, ps.Waiting, min(pg.StallLimit, a.call.Timeout*2/3))
	if len(w.PIDs) == 0 {
		return nil
	}
	code := ocf.ErrGeneric
	if a.conf.replicates() && !w.InRecovery {
		code = ocf.FailedPromoted
	}
	return ocf.Errorf(code, "the storage of %s gives no answer: process %s has waited for it for more than %v; look at the kernel's log and the disk",
		a.conf.data, strings.Join(w.Names, ", "), time.Since(began).Round(time.Second))
}

// stalled are those of the waiting that wait for the server's own files and do not move
// for as long as patience lasts. It takes as long as the slowest write that it meets,
// and no time where there is none. A process that does not move in a server whose WAL
// does is slow, whatever holds it.
func (a *agent) stalled(ctx context.Context, conn onStorage, waiting []int, patience time.Duration) pg.Waits {
	if len(waiting) == 0 {
		return pg.Waits{}
	}
	ask := func(pids []int) pg.Waits {
		limited, cancel := context.WithTimeout(ctx, a.call.Timeout/10)
		defer cancel()
		w, err := conn.OnStorage(limited, pids)
		if err != nil {
			// Whether the server answers at all is for the monitor's own question to find out.
			a.log.Warn("processes of the server wait in the kernel, it is not known for what", "pids", pids, "error", err)
		}
		return w
	}
	before := ask(waiting)
	pids := pg.Stalled(ctx, before.PIDs, patience)
	if len(pids) == 0 {
		return pg.Waits{}
	}
	after := ask(pids)
	if len(after.PIDs) > 0 && after.Flushed != before.Flushed {
		a.log.Warn("a process of the server waits long for storage, which takes WAL meanwhile", "processes", strings.Join(after.Names, ", "), "for", patience)
		return pg.Waits{}
	}
	return after
}
