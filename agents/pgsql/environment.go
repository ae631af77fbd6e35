package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"pgrex/lib/ocf"
	"pgrex/lib/pg"
	"pgrex/lib/replication"
)

// validate is validate-all: at level 0 what the parameters alone say and whether
// the user exists, at level 10 whether this node could start the server.
func (a *agent) validate(ctx context.Context) error {
	if err := a.conf.check(a.call); err != nil {
		return err
	}
	if a.userErr != nil {
		return a.noUser()
	}
	a.warnFencing(ctx)
	if a.call.CheckLevel < 10 {
		return nil
	}
	if err := a.installed(); err != nil {
		return err
	}
	if bar := a.cloneBar(); a.conf.rejoin == replication.Clone && bar != "" {
		a.log.Warn("rejoin=clone cannot clone this node", "because", bar)
	}
	return nil
}

func (a *agent) noUser() error {
	return ocf.Errorf(ocf.ErrInstalled, "the user pgdba=%s is not known on this node: %w", a.conf.dba, a.userErr)
}

// installed checks what a start needs of this node: the user, the programs, the
// data directory and its owner, the configuration file.
func (a *agent) installed() error {
	if a.userErr != nil {
		return a.noUser()
	}
	st, err := os.Stat(a.conf.data)
	if err != nil || !st.IsDir() {
		return ocf.Errorf(ocf.ErrInstalled, "the data directory pgdata=%s is not there: create it with initdb or pg_basebackup, or mount its file system", a.conf.data)
	}
	if _, err := a.server.BinDir(); err != nil {
		return ocf.Errorf(ocf.ErrInstalled, "%w: set pgctl to the pg_ctl of the server's version", err)
	}
	v, err := a.server.Version()
	if err != nil {
		return ocf.Errorf(ocf.ErrInstalled, "%w: create it with initdb or pg_basebackup", err)
	}
	if v < 13 {
		return ocf.Errorf(ocf.ErrInstalled, "%s is of PostgreSQL %d: 13 or newer is needed", a.conf.data, v)
	}
	if _, err := os.Stat(a.conf.configFile); err != nil {
		return ocf.Errorf(ocf.ErrInstalled, "the configuration file config=%s cannot be read: %w", a.conf.configFile, err)
	}
	if sys, ok := st.Sys().(*syscall.Stat_t); ok && sys.Uid != a.server.User.UID {
		return ocf.Errorf(ocf.ErrPerm, "the data directory %s belongs to user id %d and not to pgdba=%s: chown -R %s %s, or set pgdba",
			a.conf.data, sys.Uid, a.conf.dba, a.conf.dba, a.conf.data)
	}
	if st.Mode().Perm()&0o300 != 0o300 {
		return ocf.Errorf(ocf.ErrPerm, "the data directory %s is not writable for its owner: chmod 700 %s", a.conf.data, a.conf.data)
	}
	if unix.Access(a.conf.data, unix.W_OK) != nil {
		return ocf.Errorf(ocf.ErrPerm, "the data directory %s is not writable: is its file system mounted read-only?", a.conf.data)
	}
	return nil
}

// makeDirectories creates what a start needs beside the data directory, owned by
// pgdba: tmpdir, the socket directory, the log file.
func (a *agent) makeDirectories() error {
	if a.conf.mode != modeNone {
		if err := a.makeDirectory(a.conf.tmpdir, 0o700); err != nil {
			return err
		}
	}
	if err := a.makeSocketDir(); err != nil {
		return err
	}
	return a.makeLogFile()
}

// makeSocketDir creates the socket directory where it is missing. One that is
// there is somebody's, perhaps everybody's, and is left as it is.
func (a *agent) makeSocketDir() error {
	dir := a.conf.socketDir
	if dir == "" || strings.HasPrefix(dir, "@") {
		return nil
	}
	if st, err := os.Stat(dir); err == nil && !st.IsDir() {
		return ocf.Errorf(ocf.ErrPerm, "socketdir=%s is not a directory", dir)
	} else if err == nil {
		return nil
	}
	return a.makeDirectory(dir, 0o775|os.ModeSetgid)
}

// makeLogFile creates the server's log file where it is missing: pg_ctl opens it
// as pgdba, who may not write in the directory of logs.
func (a *agent) makeLogFile() error {
	if st, err := os.Stat(a.conf.logFile); err == nil && st.IsDir() {
		return ocf.Errorf(ocf.ErrPerm, "logfile=%s is a directory: name a file", a.conf.logFile)
	} else if err == nil || a.conf.logFile == "" {
		return nil
	}
	f, err := os.OpenFile(a.conf.logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err == nil {
		err = errors.Join(f.Chown(int(a.server.User.UID), int(a.server.User.GID)), f.Close())
	}
	if err != nil {
		return ocf.Errorf(ocf.ErrPerm, "logfile=%s cannot be made for %s: %w", a.conf.logFile, a.conf.dba, err)
	}
	return nil
}

func (a *agent) makeDirectory(dir string, mode os.FileMode) error {
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		err = os.Chown(dir, int(a.server.User.UID), int(a.server.User.GID))
	}
	if err == nil {
		err = os.Chmod(dir, mode)
	}
	if err != nil {
		return ocf.Errorf(ocf.ErrPerm, "the directory %s cannot be made ready for %s: %w", dir, a.conf.dba, err)
	}
	return nil
}

// warnFencing says that without fencing nothing can be promised.
func (a *agent) warnFencing(ctx context.Context) {
	if !a.clustered() {
		return
	}
	snap := a.memory.snap
	if snap.Nodes == nil {
		var err error
		if snap, err = a.cluster.Local(ctx); err != nil {
			return
		}
	}
	if !snap.StonithEnabled {
		a.log.Warn("stonith-enabled is false: a node that is lost cannot be proven off, so committed data can be lost; configure fencing")
	}
}

// exists reports whether path is there, as far as can be told.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// writeFile writes one of the server's files for its owner.
func (a *agent) writeFile(path, content string) error {
	u := a.server.User
	err := pg.WriteFile(path, []byte(content), pg.FileOptions{Mode: 0o600, UID: int(u.UID), GID: int(u.GID), Replace: true})
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

func (a *agent) writeRepMode(standbyNames string) error {
	return a.writeFile(a.conf.repModeFile(), repModeConf(standbyNames))
}

// includes are the files that postgresql.conf includes on our behalf.
func (a *agent) includes() []string {
	switch a.conf.mode {
	case modeSync:
		return []string{a.conf.recoveryFile(), a.conf.repModeFile()}
	case modeNone:
		return nil
	}
	return []string{a.conf.recoveryFile()}
}

// prepareStandby writes all that makes the next start of the server one as
// standby, with nobody to wait for.
func (a *agent) prepareStandby(ctx context.Context) error {
	if err := a.makeDirectories(); err != nil {
		return err
	}
	local, err := localAddress(ctx, a.conf.primaryIP)
	if err != nil {
		return err
	}
	if err := a.writeFile(a.conf.recoveryFile(), a.conf.recoveryConf(!local)); err != nil {
		return err
	}
	if a.conf.mode == modeSync {
		if err := a.writeRepMode(""); err != nil {
			return err
		}
	}
	if _, err := a.includeFiles(); err != nil {
		return err
	}
	return a.writeFile(a.conf.signalFile(), "")
}

// includeFiles makes postgresql.conf include our files, in the place of the
// reference agent's include lines.
func (a *agent) includeFiles() (changed bool, err error) {
	changed, err = pg.EnsureIncludes(a.conf.configFile, a.includes())
	if err != nil {
		return false, fmt.Errorf("edit %s: %w", a.conf.configFile, err)
	}
	if changed {
		a.log.Info("include lines written", "file", a.conf.configFile)
	}
	return changed, nil
}

// removeLock removes the reference agent's mark once our record says more.
func (a *agent) removeLock() {
	if !exists(a.conf.lockFile()) {
		return
	}
	if err := pg.RemoveFile(a.conf.lockFile()); err != nil {
		a.log.Warn("the former agent's PGSQL.lock cannot be removed", "error", err)
		return
	}
	a.log.Info("removed the former agent's PGSQL.lock: the record replaces it", "file", a.conf.lockFile())
}
