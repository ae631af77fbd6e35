package pg

import (
	"context"
	"fmt"
	"strconv"
	"strings"
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
		// Every one of several: a stranger under the standby's name proves nothing
		// of the standby.
		reached := len(rows) > 0
		for _, r := range rows {
			flushed, err := ParseLSN(r[2])
			if err != nil {
				flushed = 0
			}
			sync := r[1] == "sync" || r[1] == "quorum"
			if r[0] != "streaming" || !sync || flushed < lsn {
				reached = false
				seen = fmt.Sprintf("%s, %s, flushed %s", r[0], r[1], flushed)
			}
		}
		return reached, nil
	})
	if err != nil {
		return fmt.Errorf("%w: it must reach %s (%s)", err, lsn, seen)
	}
	return nil
}

// CommitDefault is synchronous_commit as a session of the server's owner has it
// that sets nothing itself: from the files, the command line, the database or the
// role. With "off" or "local" no commit waits for a standby, whatever
// synchronous_standby_names says.
func (s *Server) CommitDefault(ctx context.Context) (string, error) {
	c, err := s.connect(ctx, nil)
	if err != nil {
		return "", err
	}
	defer c.Close()
	return c.value(ctx, "SHOW synchronous_commit")
}

// InForce is one word for the configuration that the postmaster gives to those who
// connect now: it changes with every start and every reload. It is to be asked on a
// session that has just been opened; one that has seen a reload answers otherwise.
func (c *Conn) InForce(ctx context.Context) (string, error) {
	return c.value(ctx, `SELECT pg_postmaster_start_time()::text || ' ' || pg_conf_load_time()::text || ' '
|| current_setting('synchronous_standby_names')`)
}

// EndOlderSenders ends all but the newest of the walsenders that stream to a standby
// with that application name, and waits until they are gone.
func (c *Conn) EndOlderSenders(ctx context.Context, standby string) error {
	return c.endSenders(ctx, standby, `state = 'streaming' AND backend_start < (SELECT max(backend_start) FROM pg_stat_replication
WHERE state = 'streaming' AND lower(application_name) = lower(`+QuoteLiteral(standby)+`))`)
}

// EndSender ends the walsenders that serve the standby with that application
// name, and waits until they are gone. The standby connects again by itself.
func (c *Conn) EndSender(ctx context.Context, standby string) error {
	return c.endSenders(ctx, standby, "true")
}

func (c *Conn) endSenders(ctx context.Context, standby, which string) error {
	rows, err := c.Exec(ctx, "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_replication WHERE lower(application_name) = lower("+
		QuoteLiteral(standby)+") AND "+which)
	if err != nil {
		return fmt.Errorf("end the walsender of %s: %w", standby, err)
	}
	var pids []string
	for _, r := range rows {
		pids = append(pids, r[0])
	}
	if len(pids) == 0 {
		return nil
	}
	return every(ctx, poll, "end the walsender of "+standby, func() (bool, error) {
		left, err := c.value(ctx, "SELECT count(*) FROM pg_stat_get_activity(NULL) WHERE pid IN ("+strings.Join(pids, ",")+")")
		return left == "0", err
	})
}
