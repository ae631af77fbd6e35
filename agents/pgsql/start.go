package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"pgrex/lib/ocf"
	"pgrex/lib/pg"
	"pgrex/lib/replication"
)

// upstreamPatience is how long start waits for the address of a primary that the
// cluster says is there: after a failover it moves a moment later.
const upstreamPatience = 10 * time.Second

// start starts the server: as it is with rep_mode=none, as a standby otherwise,
// because only promote makes a primary.
func (a *agent) start(ctx context.Context) error {
	if err := a.conf.check(a.call); err != nil {
		return err
	}
	if err := a.finishSwap(ctx); err != nil {
		return err
	}
	if err := a.installed(); err != nil {
		return err
	}
	// Its crash recovery is no server that runs already.
	if err := a.awaitWorker(ctx, time.Now().Add(a.conf.rejoinWait)); err != nil {
		return err
	}
	ps, err := a.server.Processes()
	if err != nil {
		return ocf.Errorf(ocf.ErrGeneric, "cannot look for the server's processes: %w", err)
	}
	if ps.Postmaster != 0 {
		return a.startRunning(ctx)
	}
	if a.conf.mode == modeNone {
		if err := a.makeDirectories(); err != nil {
			return err
		}
		return a.startAndWait(ctx)
	}
	if a.conf.standbyOnly() {
		if err := a.prepareStandby(ctx); err != nil {
			return startError(err)
		}
		return a.startAndWait(ctx)
	}
	return a.startReplicating(ctx, ps)
}

// startRunning is a start of what already runs: fine, unless it is a primary
// where a standby was asked for.
func (a *agent) startRunning(ctx context.Context) error {
	if err := a.ready(ctx); err != nil {
		return err
	}
	if a.conf.mode == modeNone {
		return nil
	}
	conn, err := a.connectPatiently(ctx, nil)
	if pg.IsTooMany(err) && a.startingAsStandby() {
		a.log.Warn("the standby runs and has no connection to spare; the next monitor does the rest", "error", err)
		return nil
	}
	if err != nil {
		return ocf.Errorf(ocf.ErrGeneric, "the server runs but does not answer: %w", err)
	}
	defer conn.Close()
	st, err := a.status(ctx, conn)
	if err != nil {
		return ocf.Errorf(ocf.ErrGeneric, "%w", err)
	}
	if !st.InRecovery {
		return ocf.Errorf(ocf.ErrGeneric, "the server already runs as a primary: demote it first, or clean the resource up so that it is probed")
	}
	return a.started(ctx, conn, st)
}

func (a *agent) startReplicating(ctx context.Context, ps pg.Processes) error {
	if ps.Running() {
		if _, err := a.server.Stop(ctx, pg.StopOptions{Mode: pg.Immediate}); err != nil {
			return ocf.Errorf(ocf.ErrGeneric, "what a dead postmaster left behind does not end: %w", err)
		}
	}
	if a.cluster != nil {
		a.cache.Drop()
		if err := a.remember(ctx); err != nil {
			return ocf.Errorf(ocf.ErrGeneric, "not started: %w", err)
		}
		a.warnFencing(ctx)
		if err := a.forgetSelf(ctx); err != nil {
			return ocf.Errorf(ocf.ErrGeneric, "not started: %w", err)
		}
		if err := a.comeBack(ctx); err != nil {
			return err
		}
	}
	if err := a.prepareStandby(ctx); err != nil {
		return startError(err)
	}
	if err := a.startAndWait(ctx); err != nil {
		return err
	}
	conn, err := a.connectPatiently(ctx, nil)
	if err != nil {
		return ocf.Errorf(ocf.ErrGeneric, "started, but the server does not answer: %w", err)
	}
	defer conn.Close()
	st, err := a.status(ctx, conn)
	if err != nil {
		return ocf.Errorf(ocf.ErrGeneric, "started, but: %w", err)
	}
	if !st.InRecovery {
		return ocf.Errorf(ocf.ErrGeneric, "the server came up as a primary though standby.signal was written: look at the server's log")
	}
	if set := st.Setting("synchronous_standby_names"); set.Value != "" {
		// Found in this node's files: ErrConfigured would stop the primary elsewhere as well.
		return ocf.Errorf(ocf.ErrInstalled, "synchronous_standby_names = %q is set by %s: remove it there, the agent sets it in %s", set.Value, set.From(), a.conf.repModeFile())
	}
	return a.started(ctx, conn, st)
}

// forgetSelf withdraws what the cluster remembers of this node's former life. It
// must succeed: a right of a server that was down is not a right.
func (a *agent) forgetSelf(ctx context.Context) error {
	return a.apply(ctx, a.changed(append(a.noPosition(),
		transient(a.self(), a.conf.attr(attrStatus), statusStop),
		transient(a.self(), a.conf.attr(attrBaseline), ""), a.noVote(),
		transient(a.self(), a.conf.attr(attrRejoin), ""),
		// Before a right can be granted: a primary without room is not to take us for one with.
		a.roomWrite(),
		a.scoreWrite(a.conf.self, replication.Never)))...)
}

// wal reads how the stopped server's WAL ends.
func (a *agent) wal(ctx context.Context) (replication.Wal, error) {
	c, err := a.server.Control()
	if err != nil {
		return replication.Wal{}, err
	}
	wasPrimary := !a.copied() && c.State != pg.StateInArchiveRecovery && c.State != pg.StateShutDownInRecovery
	fetch, cleanup, err := a.archive(wasPrimary && c.State != pg.StateShutDown)
	if err != nil {
		return replication.Wal{}, err
	}
	defer cleanup()
	end, err := a.server.EndOfWAL(ctx, fetch)
	if errors.Is(err, pg.ErrWALMissing) && !wasPrimary {
		// A standby may get from its primary or the archive what it lacks, and
		// reaches no further than the control file says.
		end.Position, err = pg.Position{Timeline: c.NewestTimeline(), LSN: max(c.CheckpointLSN, c.MinRecoveryPoint)}, nil
	}
	if err != nil {
		return replication.Wal{}, fmt.Errorf("find the end of the WAL: %w", err)
	}
	w := replication.Wal{Position: replication.Position{System: c.SystemID, Timeline: uint32(end.Timeline), LSN: replication.LSN(end.LSN)}}
	if h, err := pg.ReadHistory(a.server.WALDir(), end.Timeline); err == nil {
		w.Position.History = switches(h)
	}
	w.Clean = c.State == pg.StateShutDown || c.State == pg.StateShutDownInRecovery
	w.WasPrimary = wasPrimary
	return w, nil
}

// copied reports whether the data directory is a fresh copy of another server: it
// carries the state of the server it was made from, and a backup_label. Before
// PostgreSQL 15 a primary under an exclusive backup has one as well.
func (a *agent) copied() bool {
	label, err := os.ReadFile(filepath.Join(a.conf.data, "backup_label"))
	if err != nil {
		return false
	}
	v, err := a.server.Version()
	return err == nil && v >= 15 || strings.Contains(string(label), "BACKUP METHOD: streamed") || exists(a.conf.signalFile())
}

// archive is what restore_command would deliver to a server that crashed as
// primary: its WAL may go on there. Others reach no further than their pg_wal.
func (a *agent) archive(crashed bool) (fetch pg.FetchSegment, cleanup func(), err error) {
	cleanup = func() {}
	if !crashed || a.conf.restoreCommand == "" {
		return nil, cleanup, nil
	}
	if err := a.makeDirectories(); err != nil {
		return nil, cleanup, err
	}
	dir := filepath.Join(a.conf.tmpdir, "fetched")
	if err := a.makeDirectory(dir, 0o700); err != nil {
		return nil, cleanup, err
	}
	return a.server.RestoreCommand(a.conf.restoreCommand, dir), func() { _ = os.RemoveAll(dir) }, nil
}

// startAndWait starts the server and waits until it takes connections.
func (a *agent) startAndWait(ctx context.Context) error {
	if err := a.server.Start(ctx); err != nil && !errors.Is(err, pg.ErrAlreadyRunning) {
		return startError(err)
	}
	return a.ready(ctx)
}

func (a *agent) ready(ctx context.Context) error {
	if err := a.server.WaitReady(ctx); err != nil {
		return startError(err)
	}
	return a.reachable()
}

// reachable finds a socketdir in which the server does not listen: it would start
// well, and every monitor would fail. Where it listens, this node's files say, so
// that the other nodes go on.
func (a *agent) reachable() error {
	pf, err := a.server.PidFile()
	if err != nil || a.conf.socketDir == "" || a.conf.host != "" {
		return nil
	}
	if !exists(filepath.Join(a.conf.socketDir, ".s.PGSQL."+strconv.Itoa(pf.Port))) && !strings.HasPrefix(a.conf.socketDir, "@") {
		return ocf.Errorf(ocf.ErrInstalled, "socketdir=%s, but the server listens in %s: set socketdir to that, or unix_socket_directories in %s",
			a.conf.socketDir, pf.SocketDir, a.conf.configFile)
	}
	return nil
}

// startError gives a failure of a start its exit code, unless it has one.
func startError(err error) error {
	var coded *ocf.Error
	switch {
	case errors.As(err, &coded):
		return err
	case errors.Is(err, pg.ErrNoPrograms), errors.Is(err, pg.ErrNoData):
		return ocf.Errorf(ocf.ErrInstalled, "%w", err)
	}
	return ocf.Errorf(ocf.ErrGeneric, "not started: %w", err)
}

// started is the end of every start of a standby: what people see, and the
// election if no primary lives.
func (a *agent) started(ctx context.Context, conn *pg.Conn, st pg.Status) error {
	if !a.clustered() {
		return nil
	}
	if a.memory.snap.Nodes == nil {
		if err := a.remember(ctx); err != nil {
			return ocf.Errorf(ocf.ErrGeneric, "started, but: %w", err)
		}
	}
	a.dropSlots(ctx)
	a.clearLeftovers()
	a.try(ctx, a.changed(append(a.receiverWrites(st), transient(a.self(), a.conf.attr(attrStatus), statusAlone)))...)
	if a.promoted() != "" {
		return nil
	}
	if err := a.electAlone(ctx, conn, &round{status: st}); err != nil {
		a.log.Error("not taken part in the election; the next monitor tries again", "error", err)
	}
	return nil
}

// reload is reload-agent: parameters that take effect without a restart.
func (a *agent) reload(ctx context.Context) error {
	if err := a.conf.check(a.call); err != nil {
		return err
	}
	if a.cluster != nil {
		a.cache.Drop()
	}
	if a.conf.mode == modeNone {
		return nil
	}
	if a.userErr != nil {
		return a.noUser()
	}
	err := a.reloadFiles(ctx)
	if err != nil && !errors.Is(err, pg.ErrNotRunning) {
		return ocf.Errorf(ocf.ErrGeneric, "not reloaded: %w", err)
	}
	return nil
}

// reloadFiles writes recovery.conf anew and puts it in force.
func (a *agent) reloadFiles(ctx context.Context) error {
	local, err := localAddress(ctx, a.conf.primaryIP)
	if err != nil {
		return err
	}
	if err := a.writeFile(a.conf.recoveryFile(), a.conf.recoveryConf(!local)); err != nil {
		return err
	}
	if err := a.server.Reload(); err != nil {
		return err
	}
	conn, err := a.connectPatiently(ctx, a.startingAsStandby)
	if err != nil {
		return err
	}
	defer conn.Close()
	if local {
		return nil
	}
	// Not every role for the monitor sees the setting that is waited for.
	if _, err := a.status(ctx, conn); err != nil {
		return err
	}
	return a.awaitConninfo(ctx, conn, a.conf.conninfo())
}
