package pg

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"pgrex/lib/proc"
)

// ErrNotRewound: pg_rewind ended with an error. What it left is no data directory
// any more, unless it only looked.
var ErrNotRewound = errors.New("pg_rewind failed")

// Source is where a copy of data comes from.
type Source struct {
	// Conninfo is a connection string in keyword/value form. A password in it is
	// handed over in the environment, one that is not there comes from .pgpass of
	// the server's owner.
	Conninfo string
	// User replaces the user of Conninfo, if not empty.
	User string
}

// rejoinName is the application_name of what copies: never that of a standby, for
// whom a primary may be waiting.
const rejoinName = "pgrex-rejoin"

// arguments splits the connection string into what everybody may see and the
// password.
func (c Source) arguments(extra ...string) (conninfo, password string, err error) {
	in, err := ParseConninfo(c.Conninfo)
	if err != nil {
		return "", "", err
	}
	password = in["password"]
	delete(in, "password")
	in["application_name"] = rejoinName
	if c.User != "" && c.User != in["user"] {
		in["user"], password = c.User, ""
	}
	for i := 0; i+1 < len(extra); i += 2 {
		in[extra[i]] = extra[i+1]
	}
	return formatConninfo(in), password, nil
}

// RewindOptions say how Rewind goes.
type RewindOptions struct {
	Source   Source
	Database string // of the source to connect to
	// DryRun stops before anything is changed.
	DryRun bool
	// ConfigFile, if not empty, names a configuration with the restore_command that
	// brings what pg_wal lacks. Before PostgreSQL 15 pg_rewind takes no such file and
	// reads the server's own, which has to lie in the data directory.
	ConfigFile string
	// Progress is told what pg_rewind says, line by line.
	Progress func(string)
}

// Rewind runs pg_rewind over the data directory of this stopped server, which was
// shut down in order (Settle). An error wraps ErrNotRewound if the program itself
// failed: unless DryRun was set, the data is of no use then, as after its being
// killed.
func (s *Server) Rewind(ctx context.Context, o RewindOptions) error {
	bin, err := s.BinDir()
	if err != nil {
		return err
	}
	conninfo, password, err := o.Source.arguments("dbname", o.Database)
	if err != nil {
		return err
	}
	args := []string{"--target-pgdata=" + s.Data, "--source-server=" + conninfo, "--no-ensure-shutdown", "--progress"}
	if o.DryRun {
		args = append(args, "--dry-run")
	}
	if o.ConfigFile != "" {
		v, err := s.Version()
		switch {
		case err != nil:
			return err
		case v >= 15:
			args = append(args, "--restore-target-wal", "--config-file="+o.ConfigFile)
		case s.ConfigFile() == filepath.Join(s.Data, "postgresql.conf"):
			args = append(args, "--restore-target-wal")
		}
	}
	res, err := s.runner().Run(ctx, proc.Cmd{
		Path: filepath.Join(bin, "pg_rewind"), Args: args, Dir: s.Data, User: s.user(), Umask: 0o077,
		Env: s.secretEnv(password), Secrets: []string{password}, Follow: byLine(o.Progress),
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotRewound, err)
	}
	if res.ExitCode != 0 {
		return fmt.Errorf("%w: %s", ErrNotRewound, programMessage(res))
	}
	return nil
}

// AwaitCheckpoint waits until the control data of a primary that was promoted says
// what timeline it is on: pg_rewind compares timelines by it, and takes the two
// servers for one before. A checkpoint does it; it is asked for, where the user may
// do that (a superuser, or pg_checkpoint since PostgreSQL 15), and else awaited.
//
// It then looks whether the source still has the segment in which it left this
// server's line, on the timeline that begins there. Without it recovery would take
// the one of the old timeline from an archive, with what diverged at its end.
func (s *Server) AwaitCheckpoint(ctx context.Context, source Source, database string, tli Timeline, fork Position) error {
	pc, err := s.dialRemote(ctx, source, database, map[string]string{"search_path": "pg_catalog"})
	if err != nil {
		return err
	}
	c := &Conn{pg: pc}
	defer c.Close()
	asked := false
	err = every(ctx, checkpointPoll, "wait for the first checkpoint of the new primary", func() (bool, error) {
		text, err := c.value(ctx, "SELECT timeline_id FROM pg_catalog.pg_control_checkpoint()")
		if err != nil {
			return false, err
		}
		if now, err := strconv.ParseUint(text, 10, 32); err != nil || Timeline(now) >= tli {
			return err == nil, err
		}
		if !asked {
			asked = true
			if _, err := c.Exec(ctx, "CHECKPOINT"); err != nil && !IsDenied(err) {
				return false, err
			}
		}
		return false, nil
	})
	if err != nil {
		return err
	}
	ctl, err := s.Control()
	if err != nil {
		return err
	}
	name := SegmentName(fork.Timeline, fork.LSN, ctl.WALSegSize)
	there, err := c.value(ctx, "SELECT size IS NOT NULL FROM pg_catalog.pg_stat_file("+QuoteLiteral("pg_wal/"+name)+", true)")
	if err != nil {
		return fmt.Errorf("look for WAL of the new primary: %w", err)
	}
	if there != "t" {
		return fmt.Errorf("%w: the new primary has removed %s, where it left this server's line", ErrWALMissing, name)
	}
	return nil
}

// checkpointPoll is how often another server is asked for its checkpoint.
const checkpointPoll = time.Second

// Settle finishes the recovery of a server that crashed as primary, without any
// connection and without removing WAL: pg_rewind needs the log since the fork and
// a server that was shut down in order.
func (s *Server) Settle(ctx context.Context) error {
	bin, err := s.BinDir()
	if err != nil {
		return err
	}
	ps, err := s.Processes()
	if err != nil {
		return err
	}
	if ps.Running() {
		return fmt.Errorf("%w: %v", ErrAlreadyRunning, ps)
	}
	s.removeStale(ps)
	for _, name := range []string{"standby.signal", "recovery.signal"} {
		if err := RemoveFile(filepath.Join(s.Data, name)); err != nil {
			return err
		}
	}
	args := []string{"--single", "-D", s.Data, "-c", "config_file=" + s.ConfigFile(),
		// All of the log stays, and nobody is waited for.
		"-c", "wal_keep_size=2000000000MB", "-c", "max_slot_wal_keep_size=-1", "-c", "synchronous_standby_names=",
		"-c", "logging_collector=off", "-c", "log_min_messages=warning", "template1"}
	res, err := s.runner().Run(ctx, proc.Cmd{
		Path: filepath.Join(bin, "postgres"), Args: args, Dir: s.Data, User: s.user(), Umask: 0o077,
		Env: s.programEnv(), Limits: s.Limits, Stdin: strings.NewReader(""),
	})
	if err != nil {
		return fmt.Errorf("crash recovery: %w", err)
	}
	if c, cerr := s.Control(); res.ExitCode != 0 || cerr != nil || c.State != StateShutDown {
		return errors.Join(fmt.Errorf("crash recovery ended with %d: %s", res.ExitCode, res.Message()), cerr)
	}
	return nil
}

// secretEnv is programEnv with a password, which only the owner and root can see
// there.
func (s *Server) secretEnv(password string) []string {
	env := s.programEnv()
	if password != "" {
		env = append(env, "PGPASSWORD="+password)
	}
	return env
}

// byLine cuts what a program writes into lines; one that it writes over and over
// ends in a carriage return.
func byLine(f func(string)) func([]byte) {
	if f == nil {
		return nil
	}
	var rest []byte
	return func(p []byte) {
		rest = append(rest, p...)
		for {
			i := strings.IndexAny(string(rest), "\r\n")
			if i < 0 {
				if len(rest) > 10000 {
					rest = nil
				}
				return
			}
			if line := strings.TrimSpace(string(rest[:i])); line != "" {
				f(line)
			}
			rest = rest[i+1:]
		}
	}
}

// programMessage is the error among what one of PostgreSQL's programs said: the
// last line may only be a remark.
func programMessage(res proc.Result) string {
	message := res.Message()
	for line := range strings.Lines(string(res.Stderr)) {
		if _, what, ok := strings.Cut(line, "error: "); ok {
			message = strings.TrimSpace(what)
		} else if _, what, ok := strings.Cut(line, "fatal: "); ok {
			message = strings.TrimSpace(what)
		}
	}
	return fmt.Sprintf("%s (exit %d)", message, res.ExitCode)
}
