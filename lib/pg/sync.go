package pg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// WaitSetting waits until this session sees a setting with the wanted value, as
// it does soon after a reload. When ctx ends first it returns what is in force
// with an error that wraps ctx's.
func (c *Conn) WaitSetting(ctx context.Context, name, want string) (Setting, error) {
	var last Setting
	err := every(ctx, poll, "setting "+name, func() (bool, error) {
		s, err := c.Setting(ctx, name)
		if err != nil {
			return false, err
		}
		last = s
		return s.Value == want, nil
	})
	return last, err
}

// Setting reads one setting with its source. File and Line are empty for a role
// that may not read them.
func (c *Conn) Setting(ctx context.Context, name string) (Setting, error) {
	rows, err := c.Exec(ctx, `SELECT setting, source, coalesce(sourcefile, ''), coalesce(sourceline, 0), pending_restart
FROM pg_settings WHERE name = `+QuoteLiteral(name))
	if err != nil {
		return Setting{}, fmt.Errorf("read setting %s: %w", name, err)
	}
	if len(rows) != 1 {
		return Setting{}, fmt.Errorf("no such setting: %s", name)
	}
	line, _ := strconv.Atoi(rows[0][3])
	return Setting{rows[0][0], rows[0][1], rows[0][2], line, rows[0][4] == "t"}, nil
}

// SettingProblem says in one line what keeps a setting in the files from being
// in force, empty for nothing that can be seen: an error in a configuration
// file, which stops every reload, or where the value in force comes from.
func (c *Conn) SettingProblem(ctx context.Context, name string) string {
	errs, err := c.FileErrors(ctx)
	if err == nil {
		for _, e := range errs {
			if !e.NeedsRestart() {
				return fmt.Sprintf("%s line %d: %s (%s): no reload takes effect until this is mended", e.File, e.Line, e.Error, e.Name)
			}
		}
	}
	s, err := c.Setting(ctx, name)
	if err != nil {
		return err.Error()
	}
	rows, err := c.Exec(ctx, `SELECT sourcefile || ' line ' || sourceline FROM pg_file_settings
WHERE name = `+QuoteLiteral(name)+` AND applied`)
	if err == nil && len(rows) == 1 && rows[0][0] != s.From() {
		return fmt.Sprintf("%s is set by %s, which wins over %s", name, s.From(), rows[0][0])
	}
	return ""
}

// NeedsRestart says that the entry is right but takes effect at the next start
// only. It does not stop a reload.
func (e FileError) NeedsRestart() bool {
	return strings.HasPrefix(e.Error, "setting could not be applied")
}

// FileErrors lists what the configuration files have wrong now, whether or not
// they have been loaded.
func (c *Conn) FileErrors(ctx context.Context) ([]FileError, error) {
	rows, err := c.Exec(ctx, `SELECT coalesce(sourcefile, ''), coalesce(sourceline, 0), coalesce(name, ''), error
FROM pg_file_settings WHERE error IS NOT NULL`)
	if err != nil {
		return nil, fmt.Errorf("errors in configuration files: %w", err)
	}
	var out []FileError
	for _, r := range rows {
		line, _ := strconv.Atoi(r[1])
		out = append(out, FileError{r[0], line, r[2], r[3]})
	}
	return out, nil
}

// Proof names how it was shown that commits wait.
type Proof string

// The proofs of ConfirmCommitsWait.
const (
	// ProofAsleep: the checkpointer has taken the reload's signal and gone to
	// sleep again.
	ProofAsleep Proof = "the checkpointer has read the configuration"
	// ProofCheckpoint: checkpoints asked for after the reload are complete.
	ProofCheckpoint Proof = "a checkpoint begun after the reload is complete"
)

// checkpointAfter is how long ConfirmCommitsWait looks before it asks for a
// checkpoint, whose writes a busy server feels.
const checkpointAfter = 250 * time.Millisecond

// ConfirmCommitsWait proves, after a Reload that made synchronous_standby_names
// non-empty, that every commit from now on waits for a standby. That the setting
// is in force in every session is no proof: commits wait by a flag in shared
// memory that the checkpointer sets when it reads the configuration
// (SyncRepUpdateSyncStandbysDefined), and a busy one does so late. A backend seen
// waiting is none either: it may wait by the flag of an earlier setting that the
// checkpointer is just about to take back.
//
// Two things are proof. One is to see the checkpointer asleep in its main wait
// after it took the signal: it goes there only past reading the configuration.
// The other is two checkpoints asked for now, one after the other: between them
// it passes that place. ctx ends the attempt; the error then says what the
// checkpointer was doing.
func (s *Server) ConfirmCommitsWait(ctx context.Context) (Proof, error) {
	// The postmaster handles a reload before the next connection, so a session
	// opened now proves that the signal has been passed on.
	c, err := s.Connect(ctx)
	if err != nil {
		return "", fmt.Errorf("prove that commits wait: %w", err)
	}
	defer c.Close()
	pid, err := c.checkpointer(ctx)
	if err != nil {
		return "", fmt.Errorf("prove that commits wait: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	checkpointed := make(chan error, 1)
	asked, running := false, false
	defer func() {
		cancel()
		if running {
			<-checkpointed // it ends with ctx; do not leave its session behind
		}
	}()
	began := time.Now()
	proof, seen := ProofAsleep, ""
	err = every(ctx, poll, "prove that commits wait", func() (bool, error) {
		ok, what, err := c.asleep(ctx, pid)
		if ok {
			return true, nil
		}
		if err != nil && !IsTimeout(err) {
			return false, err
		}
		seen = what
		if !asked && time.Since(began) >= checkpointAfter {
			asked, running = true, true
			go func() { checkpointed <- s.checkpointTwice(ctx) }()
		}
		select {
		case err := <-checkpointed:
			running = false
			if err == nil {
				proof = ProofCheckpoint
				return true, nil
			}
			s.log().Warn("cannot prove by a checkpoint that commits wait", "err", err)
		default:
		}
		return false, nil
	})
	if err != nil {
		return "", fmt.Errorf("%w (checkpointer %d: %s)", err, pid, seen)
	}
	return proof, nil
}

func (s *Server) checkpointTwice(ctx context.Context) error {
	c, err := s.Connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.Checkpoint(ctx); err != nil {
		return err
	}
	return c.Checkpoint(ctx)
}

// checkpointer is the pid of the running checkpointer.
func (c *Conn) checkpointer(ctx context.Context) (int, error) {
	v, err := c.value(ctx, "SELECT coalesce(max(pid), 0) FROM pg_stat_get_activity(NULL) WHERE backend_type = 'checkpointer'")
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(v)
	if err != nil || pid == 0 {
		return 0, errors.New("no checkpointer to be seen")
	}
	return pid, nil
}

// sleep is one look at a process in /proc/PID/status.
type sleep struct {
	asleep   bool
	pending  bool   // SIGHUP has not been taken yet
	switches string // counters of its context switches
	state    string
}

func lookAtSleep(pid int) (sleep, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return sleep{}, err
	}
	return parseSleep(string(b)), nil
}

func parseSleep(text string) sleep {
	l := sleep{pending: true}
	masks := 0
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch name {
		case "State":
			l.state, l.asleep = value, strings.HasPrefix(value, "S")
		case "SigPnd", "ShdPnd":
			mask, err := strconv.ParseUint(value, 16, 64)
			if err == nil && mask&(1<<(unix.SIGHUP-1)) == 0 {
				masks++
			}
		case "voluntary_ctxt_switches", "nonvoluntary_ctxt_switches":
			l.switches += value + " "
		}
	}
	l.pending = masks != 2
	return l
}

// asleep shows that the checkpointer has read the configuration: SIGHUP is no
// longer pending, and it has slept without a break, by the count of its context
// switches, while SQL says that it waits in its main loop or between the writes
// of a spread checkpoint. A process that takes a signal is awake until it sleeps
// anew, the handler sets the latch, and both places go to sleep only with the
// latch clear, which it becomes right before the configuration is read.
func (c *Conn) asleep(ctx context.Context, pid int) (ok bool, what string, err error) {
	before, err := lookAtSleep(pid)
	if err != nil {
		return false, "gone", nil
	}
	if before.pending || !before.asleep {
		return false, before.state, nil
	}
	wait, err := c.value(ctx, "SELECT coalesce(max(wait_event), '') FROM pg_stat_get_activity("+strconv.Itoa(pid)+") WHERE backend_type = 'checkpointer'")
	if err != nil {
		return false, before.state, err
	}
	after, err := lookAtSleep(pid)
	if err != nil {
		return false, "gone", nil
	}
	same := after.asleep && after.switches == before.switches
	// PostgreSQL 17 spells the names the same; 13 has no second one.
	return same && (strings.EqualFold(wait, "CheckpointerMain") || strings.EqualFold(wait, "CheckpointWriteDelay")), after.state + " in " + wait, nil
}

// InsertLSN is a primary's insert position, on its disk when the call returns.
// Every commit acknowledged before the call lies before it. A small message is
// written and flushed, since WAL of an open transaction could otherwise stay in
// memory for as long as nobody commits, and a standby would never get there.
func (c *Conn) InsertLSN(ctx context.Context) (LSN, error) {
	v, err := c.value(ctx, "SELECT pg_logical_emit_message(true, 'pgrex', '')")
	if err == nil {
		v, err = c.value(ctx, "SELECT pg_current_wal_flush_lsn()")
	}
	if err != nil {
		return 0, fmt.Errorf("insert position: %w", err)
	}
	return ParseLSN(v)
}

// WaitFlushed waits until the standby with that application name is streaming,
// counts as synchronous, and has flushed up to lsn. It returns with ctx's error
// and what was missing otherwise.
func (c *Conn) WaitFlushed(ctx context.Context, standby string, lsn LSN) error {
	query := `SELECT w.state, w.sync_state, coalesce(w.flush_lsn::text, '') FROM pg_stat_get_wal_senders() w
JOIN pg_stat_get_activity(NULL) a ON a.pid = w.pid WHERE lower(a.application_name) = lower(` + QuoteLiteral(standby) + `)`
	seen := "no walsender"
	err := every(ctx, poll, "wait for "+standby, func() (bool, error) {
		rows, err := c.Exec(ctx, query)
		if err != nil {
			return false, err
		}
		for _, r := range rows {
			flushed, err := ParseLSN(r[2])
			if err != nil {
				flushed = 0
			}
			sync := r[1] == "sync" || r[1] == "quorum"
			if r[0] == "streaming" && sync && flushed >= lsn {
				return true, nil
			}
			seen = fmt.Sprintf("%s, %s, flushed %s", r[0], r[1], flushed)
		}
		return false, nil
	})
	if err != nil {
		return fmt.Errorf("%w: it must reach %s (%s)", err, lsn, seen)
	}
	return nil
}
