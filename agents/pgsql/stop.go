package main

import (
	"context"
	"time"

	"pgrex/lib/ocf"
	"pgrex/lib/pg"
)

// stop ends every process of the server. It answers 0 if and only if nothing is
// left, whatever is missing: parameters, files, users, the cluster's daemons.
func (a *agent) stop(ctx context.Context) error {
	replicates := a.conf.replicates()
	if replicates {
		ps, err := a.server.Processes()
		if err != nil {
			ps.Postmaster = 1 // unknown: as if it ran
		}
		a.withdrawSelf(ctx, ps)
	}
	a.endRecovery()
	res, err := a.server.Stop(ctx, a.stopOptions())
	if err != nil {
		if replicates {
			a.publishStopped(ctx, statusUnknown)
		}
		return ocf.Errorf(ocf.ErrGeneric, "%w", err)
	}
	if res.WasRunning {
		a.log.Info("stopped", "clean", res.Clean, "escalated", res.Escalated, "killed", res.Killed)
	}
	if replicates {
		// The next start must not wait for standbys that may not be there.
		if a.conf.mode == modeSync && exists(a.conf.tmpdir) && a.userErr == nil {
			if err := a.writeRepMode(""); err != nil {
				a.log.Warn("rep_mode.conf not emptied; start does it", "error", err)
			}
		}
		a.publishStopped(ctx, statusStop)
	}
	return nil
}

// stopOptions follows stop_escalate, the "in_slave" one where roles are managed:
// an instance is demoted before it is stopped. The reference leaves ten seconds
// of the action's time for an immediate stop, and so do we where there is room.
func (a *agent) stopOptions() pg.StopOptions {
	escalate := a.conf.stopEscalate
	if a.conf.replicates() {
		escalate = a.conf.stopEscalateUnpromoted
	}
	if escalate <= 0 {
		return pg.StopOptions{Mode: pg.Immediate}
	}
	if room := a.call.Timeout - 10*time.Second; room > 0 {
		escalate = min(escalate, room)
	}
	return pg.StopOptions{Mode: pg.Fast, Escalate: escalate}
}
