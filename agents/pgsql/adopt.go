package main

import (
	"context"

	"pgrex/lib/pg"
)

// adoptFiles makes a running primary's files ours after the record was saved:
// include lines first, and only then the reference agent's empty lock goes.
func (a *agent) adoptFiles(ctx context.Context, conn *pg.Conn) error {
	if err := a.makeDirectories(); err != nil {
		return err
	}
	// A primary may never have had a recovery.conf; an include line must not
	// point to nothing.
	if !exists(a.conf.recoveryFile()) {
		if err := a.writeFile(a.conf.recoveryFile(), a.conf.recoveryConf(false)); err != nil {
			return err
		}
	}
	if err := a.includeFiles(); err != nil {
		return err
	}
	if err := a.server.Reload(); err != nil {
		return err
	}
	a.removeLock()
	a.log.Info("adopted the running primary", "record", a.memory.newest.String())
	return nil
}
