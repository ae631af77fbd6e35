package main

import (
	"context"

	"pgrex/lib/ocf"
	"pgrex/lib/pg"
	"pgrex/lib/replication"
)

// adopt makes a running primary that nobody announced ours: the record first,
// then its own score. It is refused where another node has the better claim.
func (a *agent) adopt(ctx context.Context, conn *pg.Conn, r *round) error {
	d := replication.Adopt(a.observe(r))
	if d.Verdict == replication.No {
		return ocf.Errorf(ocf.FailedPromoted, "%s", d.Reason)
	}
	if err := a.carryOut(ctx, conn, r, d.Steps); err != nil {
		return ocf.Errorf(ocf.ErrGeneric, "%w", err)
	}
	a.try(ctx, a.scoreWrite(a.conf.self, replication.Primary))
	a.log.Info("adopted the running primary", "record", a.memory.newest.String())
	return nil
}

// adoptFiles makes a running primary's files ours: the include lines of
// postgresql.conf. It changes nothing where they are right, and is asked each
// time, because whoever was adopted half-way must not stay so.
func (a *agent) adoptFiles() error {
	// A primary may never have had a recovery.conf.
	if !exists(a.conf.recoveryFile()) {
		if err := a.makeDirectories(); err != nil {
			return err
		}
		if err := a.writeFile(a.conf.recoveryFile(), a.conf.recoveryConf(false)); err != nil {
			return err
		}
	}
	changed, err := a.includeFiles()
	if err != nil || !changed {
		return err
	}
	return a.server.Reload()
}
