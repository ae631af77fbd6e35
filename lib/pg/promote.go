package pg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrNotRunning: there is no postmaster to talk to.
var ErrNotRunning = errors.New("server not running")

// postmaster is the pid of the running postmaster.
func (s *Server) postmaster() (int, error) {
	ps, err := s.Processes()
	if err != nil {
		return 0, err
	}
	if ps.Postmaster == 0 {
		return 0, fmt.Errorf("%w: %v in %s", ErrNotRunning, ps, s.Data)
	}
	return ps.Postmaster, nil
}

// Reload makes the server read its configuration again. It returns when the
// postmaster has been told; a connection opened afterwards sees the new values,
// the other processes follow in their own time. See ConfirmCommitsWait.
func (s *Server) Reload() error {
	pid, err := s.postmaster()
	if err != nil {
		return err
	}
	if err := s.signal(pid, unix.SIGHUP); err != nil {
		return fmt.Errorf("reload: signal postmaster %d: %w", pid, err)
	}
	return nil
}

// Promote asks a standby to become primary, as pg_ctl does: a file named promote
// and SIGUSR1. It does not wait; see WaitPromoted.
func (s *Server) Promote() error {
	pid, err := s.postmaster()
	if err != nil {
		return err
	}
	path := filepath.Join(s.Data, "promote")
	if err := s.touch(path); err != nil {
		return fmt.Errorf("promote: %w", err)
	}
	if err := s.signal(pid, unix.SIGUSR1); err != nil {
		return errors.Join(fmt.Errorf("promote: signal postmaster %d: %w", pid, err), os.Remove(path))
	}
	return nil
}

// touch makes an empty file of the server's owner.
func (s *Server) touch(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // nothing was written
	if os.Geteuid() == 0 && s.User.Name != "" {
		return f.Chown(int(s.User.UID), int(s.User.GID))
	}
	return nil
}

// WaitPromoted waits until the server is a primary that takes writes. The
// control file tells when to ask; the server's own answer counts, except when
// it has no connection to spare.
func (s *Server) WaitPromoted(ctx context.Context) error {
	var conn *Conn
	defer func() {
		if conn != nil {
			conn.Close()
		}
	}()
	return every(ctx, poll, "wait for the promotion", func() (bool, error) {
		ctl, err := s.Control()
		if err != nil {
			return false, err
		}
		if ctl.State != StateInProduction {
			_, err := s.postmaster()
			return false, err
		}
		if conn == nil {
			if conn, err = s.Connect(ctx); err != nil {
				return IsTooMany(err), ignoreTransient(err)
			}
		}
		rec, err := conn.InRecovery(ctx)
		if err != nil {
			conn.Close()
			conn = nil
			return false, ignoreTransient(err)
		}
		return !rec, nil
	})
}

// ignoreTransient drops the errors a server shows while it changes state.
func ignoreTransient(err error) error {
	if IsStarting(err) || IsTooMany(err) || IsRefused(err) || IsTimeout(err) {
		return nil
	}
	return err
}
