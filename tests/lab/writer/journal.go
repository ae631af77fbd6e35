package writer

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Outcome is what a client knows about one of its rows.
type Outcome byte

// The outcomes. A row without one is Unknown: the client ended first.
const (
	Acknowledged Outcome = 'A' // the server said it is committed
	Failed       Outcome = 'F' // the server refused it
	Unknown      Outcome = 'U' // anything else: it may be there or not
)

// Row is one row a client tried to write.
type Row struct {
	ID int64
	// Begin and End frame the client's question and the server's answer.
	// Times of one process are compared by its monotonic clock.
	Begin, End time.Time
	Outcome    Outcome
}

// journal is a file with a line for every attempt and outcome, written with
// write(2) before the client goes on, so it survives the writer's own crash,
// and synced five times a second.
type journal struct {
	start time.Time

	mu       sync.Mutex
	file     *os.File
	attempts []int64
	rows     []Row
	newest   time.Time
}

func newJournal(path string) (*journal, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cannot make the journal: %w", err)
	}
	return &journal{file: f, start: time.Now()}, nil
}

func (j *journal) attempt(id int64) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.attempts = append(j.attempts, id)
	_, err := fmt.Fprintf(j.file, "T %d\n", id)
	return err
}

// outcome writes: kind, id, wall clock and monotonic milliseconds of the
// answer, how long it took, and the error.
func (j *journal) outcome(id int64, o Outcome, begin, end time.Time, err error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.rows = append(j.rows, Row{ID: id, Begin: begin, End: end, Outcome: o})
	if o == Acknowledged && begin.After(j.newest) {
		j.newest = begin
	}
	text := ""
	if err != nil {
		text = " " + strings.ReplaceAll(err.Error(), "\n", " ")
	}
	_, werr := fmt.Fprintf(j.file, "%c %d %d %.3f %.3f%s\n", o, id, end.UnixMilli(),
		float64(end.Sub(j.start).Microseconds())/1000, float64(end.Sub(begin).Microseconds())/1000, text)
	return werr
}

func (j *journal) lastBegin() time.Time {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.newest
}

func (j *journal) history() *History {
	j.mu.Lock()
	defer j.mu.Unlock()
	return &History{
		Start:    j.start,
		Attempts: append([]int64(nil), j.attempts...),
		Rows:     append([]Row(nil), j.rows...),
	}
}

func (j *journal) syncUntil(ctx context.Context) {
	t := time.NewTicker(200 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			_ = j.file.Sync()
		}
	}
}

func (j *journal) close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := j.file.Sync(); err != nil {
		return err
	}
	return j.file.Close()
}

// ReadJournal reads a journal of a writer that ended, or crashed. Times are by
// the writer's monotonic clock, on an arbitrary origin.
func ReadJournal(path string) (*History, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := &History{Start: time.Unix(0, 0)}
	s := bufio.NewScanner(f)
	for n := 1; s.Scan(); n++ {
		if err := h.line(s.Text()); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}
	}
	return h, s.Err()
}

func (h *History) line(text string) error {
	f := strings.SplitN(text, " ", 6)
	if len(f) < 2 || len(f[0]) != 1 {
		return fmt.Errorf("not a journal line: %q", text)
	}
	id, err := strconv.ParseInt(f[1], 10, 64)
	if err != nil {
		return fmt.Errorf("bad number: %w", err)
	}
	if f[0] == "T" {
		h.Attempts = append(h.Attempts, id)
		return nil
	}
	o := Outcome(f[0][0])
	if len(f) < 5 || (o != Acknowledged && o != Failed && o != Unknown) {
		return fmt.Errorf("not a journal line: %q", text)
	}
	end, err := strconv.ParseFloat(f[3], 64)
	if err != nil {
		return fmt.Errorf("bad time: %w", err)
	}
	took, err := strconv.ParseFloat(f[4], 64)
	if err != nil {
		return fmt.Errorf("bad duration: %w", err)
	}
	at := func(ms float64) time.Time { return h.Start.Add(time.Duration(ms * float64(time.Millisecond))) }
	h.Rows = append(h.Rows, Row{ID: id, Outcome: o, Begin: at(end - took), End: at(end)})
	return nil
}
