package pg

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"pgrex/lib/proc"
)

// DefaultPgCtl is the default of the pgctl parameter. Where it is missing (as
// on Debian) the programs are looked for by the data directory's version.
const DefaultPgCtl = "/usr/bin/pg_ctl"

// poll is the interval of local waits: a process to end, a file to change.
const poll = 10 * time.Millisecond

// Errors about the installation.
var (
	// ErrNoPrograms: pg_ctl is not where it should be.
	ErrNoPrograms = errors.New("no PostgreSQL programs")
	// ErrNoData: the data directory is missing or not one.
	ErrNoData = errors.New("not a PostgreSQL data directory")
)

// Server is one PostgreSQL server on this node, running or not. The zero value
// of every field but Data is usable; nothing is kept between calls.
type Server struct {
	Data   string // data directory
	PgCtl  string // pg_ctl; empty or DefaultPgCtl may be replaced, see BinDir
	Config string // configuration file; empty means Data/postgresql.conf. It may lie outside Data

	Host      string // address to listen and connect to; a path is a socket directory; empty means the socket
	Port      int    // used while no postmaster.pid says better; 0 means 5432
	SocketDir string // likewise

	User     proc.User // who owns the server's processes
	DBUser   string    // role to connect as; empty means User.Name
	Password string    // of DBUser; empty means User's .pgpass
	Database string    // empty means template1
	// Barred, if not nil, lets Connect go on as User where DBUser is not let in, and is
	// told why.
	Barred func(error)

	StartOptions string // more options for postgres, read by a shell
	CtlOptions   string // more options for pg_ctl, split as a shell would
	LogFile      string // where the server's output goes; empty means /dev/null
	Libs         string // directory added to LD_LIBRARY_PATH
	Limits       []proc.Limit

	Run proc.Runner // runs pg_ctl and restore_command; nil means proc.OS
	Log *slog.Logger
}

func (s *Server) log() *slog.Logger {
	if s.Log == nil {
		return slog.New(slog.DiscardHandler)
	}
	return s.Log
}

func (s *Server) runner() proc.Runner {
	if s.Run == nil {
		return proc.OS{}
	}
	return s.Run
}

// ConfigFile is the configuration file in use.
func (s *Server) ConfigFile() string {
	if s.Config == "" {
		return filepath.Join(s.Data, "postgresql.conf")
	}
	return s.Config
}

// Control reads the control data.
func (s *Server) Control() (ControlData, error) { return ReadControl(s.Data) }

// WALDir is the directory of the write-ahead log, usually pg_wal in Data or what
// that links to.
func (s *Server) WALDir() string { return filepath.Join(s.Data, "pg_wal") }

// Version is the major version of the data directory, from PG_VERSION.
func (s *Server) Version() (int, error) {
	b, err := os.ReadFile(filepath.Join(s.Data, "PG_VERSION"))
	if err != nil {
		return 0, fmt.Errorf("%s: %w: %w", s.Data, ErrNoData, err)
	}
	v, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || v < 1 {
		return 0, fmt.Errorf("%s: %w: PG_VERSION says %q", s.Data, ErrNoData, strings.TrimSpace(string(b)))
	}
	return v, nil
}

// BinDir is the directory of the server's programs. An existing PgCtl decides.
// Only when PgCtl is the default and missing the usual places of packages for
// the data directory's version are tried.
func (s *Server) BinDir() (string, error) {
	ctl := s.PgCtl
	if ctl == "" {
		ctl = DefaultPgCtl
	}
	if isProgram(ctl) {
		// The link's target has its siblings beside it, the link need not.
		if target, err := filepath.EvalSymlinks(ctl); err == nil && isProgram(filepath.Join(filepath.Dir(target), "postgres")) {
			return filepath.Dir(target), nil
		}
		if isProgram(filepath.Join(filepath.Dir(ctl), "postgres")) {
			return filepath.Dir(ctl), nil
		}
		return "", fmt.Errorf("%w: there is no postgres beside %s", ErrNoPrograms, ctl)
	}
	if ctl != DefaultPgCtl {
		return "", fmt.Errorf("%w: %s does not exist or cannot be executed", ErrNoPrograms, ctl)
	}
	v, err := s.Version()
	if err != nil {
		return "", fmt.Errorf("%w: %s does not exist and the version is unknown: %w", ErrNoPrograms, ctl, err)
	}
	dirs := []string{fmt.Sprintf("/usr/lib/postgresql/%d/bin", v), fmt.Sprintf("/usr/pgsql-%d/bin", v)}
	for _, d := range dirs {
		if isProgram(filepath.Join(d, "pg_ctl")) {
			return d, nil
		}
	}
	return "", fmt.Errorf("%w: %s does not exist, nor is there one for version %d in %s", ErrNoPrograms, ctl, v, strings.Join(dirs, " or "))
}

func isProgram(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0
}

// every calls f at once and then every interval until it says done, fails, or
// ctx ends; then the error is ctx's, with what f was waiting for.
func every(ctx context.Context, interval time.Duration, what string, f func() (done bool, err error)) error {
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		done, err := f()
		if done || err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, context.Cause(ctx))
		case <-t.C:
		}
	}
}
