package pg

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"pgrex/lib/proc"
)

// ErrNotCopied: pg_basebackup ended with an error.
var ErrNotCopied = errors.New("pg_basebackup failed")

// CopyOptions say how Copy goes.
type CopyOptions struct {
	Source Source
	// To is the new data directory, WAL the directory of its log if that is to lie
	// elsewhere. Neither exists.
	To, WAL string
	// Slot is a replication slot of the source that keeps the WAL from now on; ""
	// for a temporary one.
	Slot string
	// Rate bounds the transfer in kB/s; 0 means not at all.
	Rate int
	// Progress is told how much is there, in kB, and how much there will be; an
	// error of it ends the copy.
	Progress func(done, total int64) error
}

// Copy runs pg_basebackup. The copy is durable when it returns nil. What an
// interrupted one left has to be removed before the next.
func (s *Server) Copy(ctx context.Context, o CopyOptions) error {
	bin, err := s.BinDir()
	if err != nil {
		return err
	}
	conninfo, password, err := o.Source.arguments()
	if err != nil {
		return err
	}
	args := []string{"--pgdata=" + o.To, "--dbname=" + conninfo, "--wal-method=stream", "--checkpoint=fast", "--progress", "--no-password", "--label=" + rejoinName}
	if o.WAL != "" {
		args = append(args, "--waldir="+o.WAL)
	}
	if o.Slot != "" {
		args = append(args, "--slot="+o.Slot)
	}
	if o.Rate > 0 {
		args = append(args, "--max-rate="+strconv.Itoa(min(max(o.Rate, 32), 1<<20)))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	follow := byLine(func(line string) {
		if done, total, ok := parseProgress(line); ok && o.Progress != nil {
			if err := o.Progress(done, total); err != nil {
				cancel(err)
			}
		}
	})
	res, err := s.runner().Run(ctx, proc.Cmd{
		Path: filepath.Join(bin, "pg_basebackup"), Args: args, Dir: "/", User: s.user(), Umask: 0o077,
		Env: s.secretEnv(password), Secrets: []string{password}, Follow: follow,
	})
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotCopied, errors.Join(context.Cause(ctx), err))
	}
	if res.ExitCode != 0 {
		return fmt.Errorf("%w: %s", ErrNotCopied, programMessage(res))
	}
	return nil
}

// parseProgress reads "  1234/56789 kB (2%), 0/1 tablespace".
func parseProgress(line string) (done, total int64, ok bool) {
	word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	a, b, ok := strings.Cut(word, "/")
	if !ok || !strings.HasPrefix(rest, "kB ") {
		return 0, 0, false
	}
	done, err1 := strconv.ParseInt(a, 10, 64)
	total, err2 := strconv.ParseInt(b, 10, 64)
	return done, total, err1 == nil && err2 == nil
}

// formatConninfo is the inverse of ParseConninfo.
func formatConninfo(in map[string]string) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(in)) {
		parts = append(parts, QuoteConninfo(k, in[k]))
	}
	return strings.Join(parts, " ")
}
