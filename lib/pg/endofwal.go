package pg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// ErrWALMissing: pg_wal does not hold what the control data says recovery needs,
// so the end of the log cannot be found by reading.
var ErrWALMissing = errors.New("WAL is missing or damaged")

// WALEnd is the end of the log a stopped server holds.
type WALEnd struct {
	// Position is the end of the last valid record, on the branch the server
	// itself was on.
	Position
	// LastRecord is where that record begins.
	LastRecord LSN
	// Records is how many were read.
	Records int
	// Clean: the control data says that a primary shut down in order, so that
	// its last record is the shutdown checkpoint.
	Clean bool
	// Forks are newer timelines known in pg_wal that left the server's own
	// before Position: the server has diverged from them.
	Forks []HistoryEntry
}

// EndOfWAL reads pg_wal forward from where recovery would begin, record by
// record across segments and the timelines of the server's own history, to the
// end of what is valid. It is for a server that is not running. fetch may bring
// segments that pg_wal lacks; nil means pg_wal alone.
//
// The control data alone would not do: a crashed primary's says nothing of the
// commits since its last checkpoint.
func (s *Server) EndOfWAL(ctx context.Context, fetch FetchSegment) (WALEnd, error) {
	ctl, err := s.Control()
	if err != nil {
		return WALEnd{}, err
	}
	start, tli := ctl.RedoLSN, ctl.NewestTimeline()
	if ctl.State == StateShutDown {
		start = ctl.CheckpointLSN
	}
	if lsn, t, ok, err := s.backupLabel(); err != nil {
		return WALEnd{}, err
	} else if ok {
		start, tli = lsn, max(t, tli)
	}
	history, err := ReadHistory(s.WALDir(), tli)
	if errors.Is(err, fs.ErrNotExist) && ctl.Timeline == tli {
		// pg_wal may have lost it; reading from here needs only this timeline.
		history, err = History{Timeline: tli}, nil
	}
	if err != nil {
		return WALEnd{}, err
	}
	r := &walReader{dir: s.WALDir(), control: ctl, history: history, fetch: fetch, fetched: map[string]string{}}
	defer r.close()
	end := WALEnd{Clean: ctl.State == StateShutDown}
	why := r.follow(ctx, start, &end)
	if !errors.Is(why, errWALEnd) {
		return end, fmt.Errorf("read WAL of %s: %w", s.Data, why)
	}
	if end.Records == 0 || end.LSN <= ctl.CheckpointLSN && start <= ctl.CheckpointLSN {
		if end.Clean {
			end.Position, end.LastRecord = shutdownEnd(ctl), ctl.CheckpointLSN
			return end, nil
		}
		return end, fmt.Errorf("%w: reading from %s on timeline %d did not reach the checkpoint at %s: %w", ErrWALMissing, start, tli, ctl.CheckpointLSN, why)
	}
	if err := s.followNewer(ctx, r, &end); err != nil {
		return end, err
	}
	// Data pages may be ahead of a pg_wal that a restore_command bypassed.
	if ctl.MinRecoveryPoint > end.LSN {
		return end, fmt.Errorf("%w: it ends at %s, recovery must reach %s: %w", ErrWALMissing, end.LSN, ctl.MinRecoveryPoint, why)
	}
	return end, nil
}

// follow reads from start to the end along the reader's history. Its error says
// why it ended.
func (r *walReader) follow(ctx context.Context, start LSN, end *WALEnd) error {
	at, prev := start, LSN(0)
	for {
		rec, err := r.next(ctx, at, prev)
		if err != nil {
			return err
		}
		if left, ok := r.history.Left(r.history.TimelineOf(rec.start)); ok && rec.next > left {
			return walEnd("the record at %s crosses the switch of timelines at %s", rec.start, left)
		}
		end.Records++
		end.LastRecord, end.LSN = rec.start, rec.next
		end.Timeline = r.history.TimelineOf(rec.next - 1)
		at, prev = rec.next, rec.start
	}
}

// followNewer goes on along timelines that began at or after the end found so
// far: what a standby received after its primary changed, before its own control
// data knew. Those that began earlier are forks.
func (s *Server) followNewer(ctx context.Context, r *walReader, end *WALEnd) error {
	known, err := HistoryFiles(s.WALDir())
	if err != nil {
		return err
	}
	for _, tli := range known {
		if tli <= r.history.Timeline {
			continue
		}
		h, err := ReadHistory(s.WALDir(), tli)
		if err != nil {
			return err
		}
		left, ok := h.Left(end.Timeline)
		switch {
		case !ok:
			continue
		case left < end.LSN:
			end.Forks = append(end.Forks, HistoryEntry{tli, left})
			continue
		}
		old := r.history
		r.history = h
		// The last record once more, so that the first new one is linked to it.
		from, again := end.LastRecord, 1
		if end.Records == 0 {
			from, again = end.LSN, 0
		}
		longer := WALEnd{}
		if why := r.follow(ctx, from, &longer); !errors.Is(why, errWALEnd) {
			return why
		}
		if longer.LSN > end.LSN {
			end.Position, end.LastRecord = longer.Position, longer.LastRecord
			end.Records += longer.Records - again
		}
		if end.Timeline != tli {
			r.history = old
		}
	}
	return nil
}

// extend reads on from a place a running standby has reached to the end of what
// pg_wal holds, which the standby has still to replay. It gives p itself when
// nothing more is there or can be read.
func (s *Server) extend(ctx context.Context, p Position, ctl ControlData) Position {
	history, err := ReadHistory(s.WALDir(), p.Timeline)
	if err != nil {
		return p
	}
	r := &walReader{dir: s.WALDir(), control: ctl, history: history, fetched: map[string]string{}}
	defer r.close()
	end := WALEnd{Position: p}
	if why := r.follow(ctx, p.LSN, &end); errors.Is(why, errWALEnd) {
		_ = s.followNewer(ctx, r, &end) // what was found before an error counts
	}
	return end.Position
}

// shutdownEnd computes the end of a shutdown checkpoint record from its place,
// for a server whose pg_wal cannot be read: header, one short data header and
// struct CheckPoint, 88 bytes in every supported version.
func shutdownEnd(ctl ControlData) Position {
	const size = recordHeader + 2 + 88
	block := LSN(ctl.WALBlockSize)
	end := ctl.CheckpointLSN + align8(size)
	if room := block - ctl.CheckpointLSN%block; room < size {
		// It goes on behind the next page's header.
		header := LSN(shortPageHeader)
		if (ctl.CheckpointLSN+room)%LSN(ctl.WALSegSize) == 0 {
			header = longPageHeader
		}
		end = ctl.CheckpointLSN + room + header + align8(size-room)
	}
	return Position{ctl.Timeline, end}
}

// backupLabel reads where recovery of a base backup begins. ok is false without
// a backup_label.
func (s *Server) backupLabel() (lsn LSN, tli Timeline, ok bool, err error) {
	b, err := os.ReadFile(filepath.Join(s.Data, "backup_label"))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, 0, false, nil
	}
	if err != nil {
		return 0, 0, false, err
	}
	lsn, tli, err = parseBackupLabel(string(b))
	if err != nil {
		return 0, 0, false, fmt.Errorf("%s: %w", filepath.Join(s.Data, "backup_label"), err)
	}
	return lsn, tli, true, nil
}

func parseBackupLabel(text string) (LSN, Timeline, error) {
	var lsn LSN
	var tli uint64
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		var err error
		switch key {
		case "START WAL LOCATION":
			place, _, _ := strings.Cut(value, " ")
			lsn, err = ParseLSN(place)
		case "START TIMELINE":
			tli, err = strconv.ParseUint(value, 10, 32)
		}
		if err != nil {
			return 0, 0, fmt.Errorf("bad backup label: %w", err)
		}
	}
	// pg_rewind names no timeline: the one that the control data says leads there.
	if lsn == 0 || tli == 0 && !strings.Contains(text, "BACKUP METHOD: pg_rewind\n") {
		return 0, 0, errors.New("bad backup label: no start location or timeline")
	}
	return lsn, Timeline(tli), nil
}
