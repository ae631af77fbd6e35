package pg

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"pgrex/lib/proc"
)

// Transaction is the end of one, as the log has it.
type Transaction struct {
	// Kind is COMMIT, ABORT, PREPARE, COMMIT_PREPARED or ABORT_PREPARED.
	Kind string
	// XID is the transaction's number.
	XID string
	// LSN is where the record begins.
	LSN LSN
	// Time is when it ended, by the server's clock, in UTC.
	Time string
}

// Committed says that the record makes changes count.
func (t Transaction) Committed() bool { return t.Kind == "COMMIT" || t.Kind == "COMMIT_PREPARED" }

// Span is a piece of one timeline.
type Span struct {
	Timeline   Timeline
	Start, End LSN
}

// dumpLines is how many records are read by one run of pg_waldump, so that its
// output stays within bounds.
const dumpLines = 20000

// Transactions calls each for every transaction that ends in a span of the log in
// dir, in order. It runs pg_waldump.
func (s *Server) Transactions(ctx context.Context, dir string, span Span, each func(Transaction) error) error {
	bin, err := s.BinDir()
	if err != nil {
		return err
	}
	last := LSN(0)
	for at := span.Start; at < span.End; {
		res, err := s.runner().Run(ctx, proc.Cmd{
			Path: filepath.Join(bin, "pg_waldump"), Dir: dir, User: s.user(), MaxOutput: 16 << 20,
			Env: append(s.programEnv(), "TZ=UTC"),
			Args: []string{"--rmgr=Transaction", "--path=" + dir, fmt.Sprintf("--timeline=%d", span.Timeline), fmt.Sprintf("--limit=%d", dumpLines),
				"--start=" + at.String(), "--end=" + span.End.String()},
		})
		if err != nil {
			return err
		}
		// A span without any transaction is one that pg_waldump knows how to read too.
		if res.ExitCode != 0 {
			return fmt.Errorf("pg_waldump of timeline %d from %s to %s ended with %d: %s", span.Timeline, span.Start, span.End, res.ExitCode, res.Message())
		}
		if res.Truncated {
			return errors.New("pg_waldump wrote more than could be read")
		}
		lines := 0
		for line := range strings.Lines(string(res.Stdout)) {
			// It says so where the span begins with a page, whose header it passes over.
			if strings.HasPrefix(line, "first record is after ") {
				continue
			}
			lsn, t, err := parseTransaction(line)
			if err != nil {
				return err
			}
			lines++
			if lsn <= last {
				continue // the last one of the run before
			}
			last = lsn
			if t.Kind != "" {
				if err := each(t); err != nil {
					return err
				}
			}
		}
		if lines < dumpLines {
			return nil
		}
		at = last
	}
	return nil
}

// parseTransaction reads one line of pg_waldump. Records that end no transaction
// have an empty Kind.
func parseTransaction(line string) (LSN, Transaction, error) {
	var t Transaction
	_, rest, ok := strings.Cut(line, ", lsn: ")
	place, rest, ok2 := strings.Cut(rest, ",")
	_, desc, ok3 := strings.Cut(rest, ", desc: ")
	_, tx, ok4 := strings.Cut(line, ", tx:")
	if !ok || !ok2 || !ok3 || !ok4 {
		return 0, t, fmt.Errorf("pg_waldump: %.100q is not a record", line)
	}
	lsn, err := ParseLSN(strings.TrimSpace(place))
	if err != nil {
		return 0, t, fmt.Errorf("pg_waldump: %w", err)
	}
	xid, _, _ := strings.Cut(tx, ",")
	kind, what, _ := strings.Cut(strings.TrimSpace(desc), " ")
	switch kind {
	case "COMMIT", "ABORT":
	case "PREPARE", "COMMIT_PREPARED", "ABORT_PREPARED":
		// These say in words whom they are about, and the record's own may be 0.
		if id, more, ok := strings.Cut(what, ": "); ok {
			xid, what = id[strings.LastIndexByte(id, ' ')+1:], more
		}
	default:
		return lsn, t, nil
	}
	when, _, _ := strings.Cut(what, ";")
	return lsn, Transaction{Kind: kind, XID: strings.TrimSpace(xid), LSN: lsn, Time: strings.TrimSpace(when)}, nil
}

// programEnv is the environment of the server's programs that are not the server.
func (s *Server) programEnv() []string {
	env := s.User.Env()
	if s.User.Name == "" {
		env = proc.InheritedEnv()
	}
	if s.Libs != "" {
		env = append(env, "LD_LIBRARY_PATH="+s.Libs)
	}
	return env
}
