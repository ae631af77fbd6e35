package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"pgrex/lib/pg"
)

// A node that returns gets the primary's data and keeps its own configuration: the
// files at the top of the data directory that are not the server's.

// serversOwn are files of the server at the top of a data directory. So is what
// begins with pg_, with few exceptions, whatever extension or version made it.
var serversOwn = []string{"base", "global", "PG_VERSION", "backup_label", "backup_label.old", "tablespace_map", "tablespace_map.old",
	"backup_manifest", "postmaster.pid", "postmaster.opts", "standby.signal", "recovery.signal", "current_logfiles"}

// ownFile says whether an entry of the data directory is this node's configuration
// or log.
func ownFile(name string) bool {
	switch {
	case name == "pg_hba.conf", name == "pg_ident.conf", name == "pg_log":
		return true
	case strings.HasPrefix(name, "pg_"), slices.Contains(serversOwn, name):
		return false
	}
	return true
}

// isLog says whether it is where logs go that lie in the data directory: too much
// to be copied, and worth keeping.
func isLog(name string) bool { return name == "log" || name == "pg_log" }

// carryOwn copies this node's own files from one directory to another, links as
// links, and syncs them. What the other has under the same name is replaced.
func carryOwn(ctx context.Context, from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !ownFile(e.Name()) || isLog(e.Name()) {
			continue
		}
		if err := copyTree(ctx, filepath.Join(from, e.Name()), filepath.Join(to, e.Name())); err != nil {
			return fmt.Errorf("keep %s: %w", filepath.Join(from, e.Name()), err)
		}
	}
	return pg.SyncDir(to)
}

// moveLogs moves directories of logs, within one file system.
func moveLogs(from, to string) error {
	for _, name := range []string{"log", "pg_log"} {
		source, target := filepath.Join(from, name), filepath.Join(to, name)
		if st, err := os.Lstat(source); err != nil || !st.IsDir() {
			continue
		}
		// Those of the primary that came along are the primary's.
		if err := os.RemoveAll(target); err != nil {
			return err
		}
		if err := os.Rename(source, target); err != nil {
			return fmt.Errorf("keep the logs: %w", err)
		}
	}
	return errors.Join(pg.SyncDir(from), pg.SyncDir(to))
}

// copyTree replaces a file, link or directory by a copy of another, with owner and
// mode.
func copyTree(ctx context.Context, from, to string) error {
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	var made []string
	err := filepath.WalkDir(from, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		info, err := e.Info()
		if err != nil {
			return err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			return errors.New("no owner")
		}
		switch {
		case e.IsDir():
			made = append(made, target)
			if err := os.Mkdir(target, info.Mode().Perm()); err != nil {
				return err
			}
		case info.Mode()&fs.ModeSymlink != 0:
			link, err := os.Readlink(path)
			if err == nil {
				err = os.Symlink(link, target)
			}
			if err != nil {
				return err
			}
		case info.Mode().IsRegular():
			return pg.CopyDurably(ctx, path, target, pg.FileOptions{Mode: info.Mode(), UID: int(st.Uid), GID: int(st.Gid)})
		default:
			return nil // a socket, a pipe: made anew by whoever listens there
		}
		if os.Geteuid() != 0 {
			return nil
		}
		return os.Lchown(target, int(st.Uid), int(st.Gid))
	})
	for _, dir := range made {
		err = errors.Join(err, pg.SyncDir(dir))
	}
	return err
}

// setAside copies this node's own files where pg_rewind, which makes everything as
// it is on the primary, does not come. The directory is there only when it is
// complete.
func (a *agent) setAside(ctx context.Context, p places) error {
	part := p.aside + ".partial"
	if exists(p.aside) { // of one who was killed; it may be old by now
		if err := errors.Join(moveLogs(p.aside, p.data), dropAside(p)); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(part); err != nil {
		return err
	}
	if err := a.makeDirectory(part, 0o700); err != nil {
		return err
	}
	if err := carryOwn(ctx, p.data, part); err != nil {
		return err
	}
	if err := os.Rename(part, p.aside); err != nil {
		return err
	}
	if err := pg.SyncDir(filepath.Dir(p.aside)); err != nil {
		return err
	}
	return moveLogs(p.data, p.aside)
}

// dropAside removes what was set aside, so that no half of it is ever taken for the
// whole.
func dropAside(p places) error {
	if !exists(p.aside) {
		return nil
	}
	part := p.aside + ".partial"
	if err := errors.Join(os.RemoveAll(part), os.Rename(p.aside, part), pg.SyncDir(filepath.Dir(part))); err != nil {
		return err
	}
	return os.RemoveAll(part)
}

// putBack is the reverse, into the data directory or the copy that will be it. It
// may be done again.
func (a *agent) putBack(ctx context.Context, p places, to string) error {
	if !exists(p.aside) {
		return nil
	}
	if err := carryOwn(ctx, p.aside, to); err != nil {
		return err
	}
	return moveLogs(p.aside, to)
}

// finishRewind makes a data directory that pg_rewind has left this node's.
func (a *agent) finishRewind(ctx context.Context, m mark) error {
	p, err := a.places()
	if err == nil {
		err = a.putBack(ctx, p, p.data)
	}
	if err != nil {
		return err
	}
	m.phase, m.broken = phaseDone, ""
	if err := a.writeMark(m); err != nil {
		return err
	}
	return dropAside(p)
}

// swap puts the copy in the place of the data directory. Each step is done only if
// it is still to be done, so that one who was interrupted is followed by another.
func (a *agent) swap(ctx context.Context, m mark) error {
	p, err := a.places()
	if err != nil {
		return err
	}
	if m.phase != phaseSwapping {
		if err := errors.Join(os.RemoveAll(p.old), pg.SyncDir(filepath.Dir(p.old))); err != nil {
			return err
		}
		if p.wal != "" {
			if err := errors.Join(os.RemoveAll(p.oldWAL), pg.SyncDir(filepath.Dir(p.oldWAL))); err != nil {
				return err
			}
		}
		m.phase = phaseSwapping
		if err := a.writeMark(m); err != nil {
			return err
		}
	}
	if exists(p.clone) && exists(p.data) && !exists(p.old) {
		from := p.data
		if m.broken != "" && exists(p.aside) { // what a rewind has left of them is the primary's
			from = p.aside
		}
		if err := carryOwn(ctx, from, p.clone); err != nil {
			return err
		}
		// A group may be allowed to read it.
		if st, err := os.Stat(p.data); err == nil {
			if err := os.Chmod(p.clone, st.Mode().Perm()); err != nil {
				return err
			}
		}
		if err := a.renameDurably(p.data, p.old); err != nil {
			return err
		}
	}
	if exists(p.clone) {
		if err := a.swapWAL(p); err != nil {
			return err
		}
		if err := a.renameDurably(p.clone, p.data); err != nil {
			return err
		}
	}
	if !exists(p.data) {
		return fmt.Errorf("%s has no data directory in its place: rebuild it with pg_basebackup and remove %s", p.data, a.conf.markFile())
	}
	if exists(p.old) {
		if err := moveLogs(p.old, p.data); err != nil {
			return err
		}
	}
	if exists(p.aside) {
		if err := errors.Join(moveLogs(p.aside, p.data), dropAside(p)); err != nil {
			return err
		}
	}
	m.phase, m.broken = phaseDone, ""
	return a.writeMark(m)
}

// swapWAL does the same with the log's directory where it lies elsewhere.
func (a *agent) swapWAL(p places) error {
	if p.wal == "" {
		return nil
	}
	if exists(p.cloneWAL) {
		if exists(p.wal) && !exists(p.oldWAL) {
			if err := a.renameDurably(p.wal, p.oldWAL); err != nil {
				return err
			}
		}
		if err := a.renameDurably(p.cloneWAL, p.wal); err != nil {
			return err
		}
	}
	link := filepath.Join(p.clone, "pg_wal")
	if to, err := os.Readlink(link); err == nil && to == p.link {
		return nil
	}
	if err := os.Remove(link); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	u := a.server.User
	if err := os.Symlink(p.link, link); err != nil {
		return err
	}
	if os.Geteuid() == 0 {
		if err := os.Lchown(link, int(u.UID), int(u.GID)); err != nil {
			return err
		}
	}
	return pg.SyncDir(p.clone)
}

func (a *agent) renameDurably(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return pg.SyncDir(filepath.Dir(to))
}

// removeIf removes a directory whose name may be empty.
func removeIf(dir string) error {
	if dir == "" {
		return nil
	}
	return os.RemoveAll(dir)
}
