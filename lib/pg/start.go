package pg

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"

	"pgrex/lib/proc"
)

// Errors of starting.
var (
	// ErrAlreadyRunning: a postmaster of this data directory is alive.
	ErrAlreadyRunning = errors.New("server already running")
	// ErrStartFailed: the postmaster could not be started or ended again.
	ErrStartFailed = errors.New("server did not start")
)

// Start starts a postmaster and returns once it is there and has read its
// configuration; WaitReady waits until it takes connections. What it will be,
// primary or standby, the files in the data directory decide.
//
// It kills nothing that has a postmaster. Children that outlived theirs are
// ended first, since PostgreSQL refuses to start beside them, and a stale
// postmaster.pid is removed.
func (s *Server) Start(ctx context.Context) error {
	ps, err := s.Processes()
	if err != nil {
		return err
	}
	if ps.Postmaster != 0 || len(ps.Launching) > 0 {
		return fmt.Errorf("%w: %v", ErrAlreadyRunning, ps)
	}
	if ps.Running() {
		s.log().Warn("ending what a dead postmaster left behind", "processes", ps.String())
		if _, err := s.Stop(ctx, StopOptions{Mode: Immediate}); err != nil {
			return err
		}
	} else {
		s.removeStale(ps)
	}
	cmd, err := s.startCmd()
	if err != nil {
		return err
	}
	res, err := s.runner().Run(ctx, cmd)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrStartFailed, err)
	}
	if res.ExitCode != 0 {
		return fmt.Errorf("%w: pg_ctl ended with %d: %s", ErrStartFailed, res.ExitCode, res.Message())
	}
	return s.waitStarted(ctx)
}

// startCmd is pg_ctl start without its own waiting, which goes by whole tenths
// of a second and cannot be told when to give up.
func (s *Server) startCmd() (proc.Cmd, error) {
	bin, err := s.BinDir()
	if err != nil {
		return proc.Cmd{}, err
	}
	extra, err := SplitWords(s.CtlOptions)
	if err != nil {
		return proc.Cmd{}, fmt.Errorf("pg_ctl options: %w", err)
	}
	logFile := s.LogFile
	if logFile == "" {
		logFile = "/dev/null"
	}
	// Data must be absolute: Processes recognises a launching server by it.
	data, err := filepath.Abs(s.Data)
	if err != nil {
		return proc.Cmd{}, err
	}
	args := append([]string{"start", "-W"}, extra...)
	args = append(args, "-D", data, "-l", logFile, "-o", s.postgresOptions())
	env := s.User.Env()
	if s.User.Name == "" {
		env = proc.InheritedEnv()
	}
	// PGPORT is the server's default port, which its configuration overrides.
	env = append(env, "PGDATA="+data, "PGPORT="+strconv.Itoa(s.port()))
	if s.Libs != "" {
		env = append(env, "LD_LIBRARY_PATH="+s.Libs)
	}
	return proc.Cmd{
		Path: filepath.Join(bin, "pg_ctl"), Args: args, Env: env, Dir: data,
		User: s.user(), Limits: s.Limits, NewSession: true, Umask: 0o077,
	}, nil
}

// postgresOptions are what pg_ctl's shell puts behind the postgres command.
func (s *Server) postgresOptions() string {
	opts := []string{"-c", "config_file=" + shellQuote(s.ConfigFile())}
	if s.Host != "" && !isSocketDir(s.Host) {
		opts = append(opts, "-h", shellQuote(s.Host))
	}
	if s.StartOptions != "" {
		opts = append(opts, s.StartOptions)
	}
	return strings.Join(opts, " ")
}

func (s *Server) port() int {
	if s.Port == 0 {
		return 5432
	}
	return s.Port
}

// user is the account of the server's processes, nil for our own.
func (s *Server) user() *proc.User {
	if s.User.Name == "" {
		return nil
	}
	return &s.User
}

// waitStarted waits until the new postmaster owns postmaster.pid and says what
// it does, or is gone again.
func (s *Server) waitStarted(ctx context.Context) error {
	missed := 0
	return every(ctx, poll, "wait for the postmaster to start", func() (bool, error) {
		ps, err := s.Processes()
		if err != nil {
			return false, err
		}
		// Between two looks at one process it may have become another program, so
		// one look that finds nothing is not enough.
		if ps.Postmaster != 0 || len(ps.Launching) > 0 || ps.changing {
			missed = 0
		} else if missed++; missed > 5 {
			return false, fmt.Errorf("%w: the postmaster ended at once; its reason is in the server's log (%s)", ErrStartFailed, s.logPlace())
		}
		pf := ps.PidFile
		return ps.Postmaster != 0 && pf != nil && pf.PID == ps.Postmaster && pf.Status != "", nil
	})
}

func (s *Server) logPlace() string {
	if s.LogFile == "" || s.LogFile == "/dev/null" {
		return "its output goes to /dev/null; set logfile to see it"
	}
	return s.LogFile
}

// WaitReady waits until the running postmaster takes connections, as primary or
// hot standby, and fails with ErrStartFailed when it ends instead. A standby
// with hot_standby=off counts as ready: it never takes any.
func (s *Server) WaitReady(ctx context.Context) error {
	return every(ctx, poll, "wait for the server to take connections", func() (bool, error) {
		ps, err := s.Processes()
		if err != nil {
			return false, err
		}
		if ps.Postmaster == 0 {
			return false, fmt.Errorf("%w: the postmaster ended during recovery; its reason is in the server's log (%s)", ErrStartFailed, s.logPlace())
		}
		pf := ps.PidFile
		return pf != nil && pf.PID == ps.Postmaster && (pf.Status == PidReady || pf.Status == PidStandby), nil
	})
}

// shellQuote makes one word of s for a POSIX shell.
func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// ErrBadWords is returned for options with an open quote.
var ErrBadWords = errors.New("unterminated quote")

// SplitWords splits options into words as a POSIX shell does, with its quotes
// and backslashes and without its expansions.
func SplitWords(text string) ([]string, error) {
	var words []string
	var word strings.Builder
	started := false
	quote := byte(0)
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case quote == '\'' && c != '\'', quote == '"' && c != '"' && c != '\\':
			word.WriteByte(c)
		case c == quote:
			quote = 0
		case c == '\\' && quote != '\'':
			if i++; i == len(text) {
				return nil, fmt.Errorf("%w: %q ends in a backslash", ErrBadWords, text)
			}
			if quote == '"' && !strings.ContainsRune("\\\"$`", rune(text[i])) {
				word.WriteByte('\\')
			}
			started = true
			word.WriteByte(text[i])
		case c == '\'' || c == '"':
			quote, started = c, true
		case c == ' ' || c == '\t' || c == '\n':
			if started {
				words = append(words, word.String())
			}
			word.Reset()
			started = false
		default:
			started = true
			word.WriteByte(c)
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("%w in %q", ErrBadWords, text)
	}
	if started {
		words = append(words, word.String())
	}
	return words, nil
}
