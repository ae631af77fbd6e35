// Package writer is the lab's client: it writes rows through an address of the
// cluster all the time, remembers which were acknowledged, and later checks
// that none of them is missing and none was made up.
//
// It does not know clusters; it is told where to connect to.
package writer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgrex/lib/life"
	"pgrex/tests/lab/host"
)

// Target is a database server as clients see it.
type Target struct {
	// Netns is the network namespace to connect from, empty for ours.
	Netns string
	// Host is a numeric address.
	Host string
	// Port is the TCP port, 0 for 5432.
	Port uint16
	// User, Password and Database are the client's.
	User, Password, Database string
	// Uncancelled lets the server go on with a statement whose answer the client
	// does not wait for. A cancelled commit is seen by others before it is safe.
	Uncancelled bool
}

const (
	// dialTimeout is short since an address that is moving answers nothing,
	// and a lost SYN is only sent again after a second.
	dialTimeout = 200 * time.Millisecond
	// loginTimeout bounds connecting with authentication.
	loginTimeout = time.Second
	// retryPause keeps a refused client from spinning.
	retryPause = 20 * time.Millisecond
)

// Connect opens a connection. notice is called for each warning of the server;
// it may be nil.
func (t Target) Connect(ctx context.Context, notice func(*pgconn.Notice)) (*pgx.Conn, error) {
	port := t.Port
	if port == 0 {
		port = 5432
	}
	cfg, err := pgx.ParseConfig(fmt.Sprintf("host=%s port=%d user=%s password=%s dbname=%s sslmode=disable application_name=writer",
		t.Host, port, t.User, t.Password, t.Database))
	if err != nil {
		return nil, err
	}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	cfg.DialFunc = t.dial
	if t.Uncancelled {
		// The request to cancel goes over a connection of its own.
		cfg.DialFunc = once(t.dial)
	}
	cfg.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	if notice != nil {
		cfg.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) { notice(n) }
	}
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	return pgx.ConnectConfig(ctx, cfg)
}

// once lets one connection through.
func once(dial pgconn.DialFunc) pgconn.DialFunc {
	var used atomic.Bool
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		if used.Swap(true) {
			return nil, errors.New("no second connection: nothing is cancelled")
		}
		return dial(ctx, network, addr)
	}
}

func (t Target) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: dialTimeout}
	if t.Netns == "" {
		return d.DialContext(ctx, network, addr)
	}
	var c net.Conn
	err := host.InNetns(t.Netns, func() error {
		var err error
		c, err = d.DialContext(ctx, network, addr)
		return err
	})
	return c, err
}

// Config says how to write.
type Config struct {
	Target
	// Connections is how many clients write side by side, 0 for 4.
	Connections int
	// Pause is what a client waits between two rows, 0 for 20 ms.
	Pause time.Duration
	// Patience is how long a client waits for an answer before it gives the
	// row up as unknown and connects anew, 0 for 1 s.
	Patience time.Duration
	// EachAnew opens a session for each row: a server whose postmaster hangs goes
	// on serving the sessions that are open.
	EachAnew bool
	// Log is the path of the journal. It must not exist.
	Log string
	// First numbers the rows from here, so that several writers on one table
	// do not collide. Each connection owns 2^32 numbers from First on.
	First int64
}

// Writer is a running client.
type Writer struct {
	cfg     Config
	journal *journal
	cancel  context.CancelFunc
	wg      sync.WaitGroup

	mu   sync.Mutex
	errs map[string]int
}

// Prepare makes the table the writers use.
func Prepare(ctx context.Context, t Target) error {
	c, err := t.Connect(ctx, nil)
	if err != nil {
		return fmt.Errorf("cannot connect to make the table: %w", err)
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	_, err = c.Exec(ctx, `create table if not exists ledger (
		id bigint primary key,
		at timestamptz not null default clock_timestamp())`)
	if err != nil {
		return fmt.Errorf("cannot make the table: %w", err)
	}
	return nil
}

// Start starts writing. It goes on until Stop, whatever happens to the server.
func Start(ctx context.Context, cfg Config) (*Writer, error) {
	if cfg.Connections == 0 {
		cfg.Connections = 4
	}
	if cfg.Pause == 0 {
		cfg.Pause = 20 * time.Millisecond
	}
	if cfg.Patience == 0 {
		cfg.Patience = time.Second
	}
	j, err := newJournal(cfg.Log)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	w := &Writer{cfg: cfg, journal: j, cancel: cancel, errs: map[string]int{}}
	for i := range cfg.Connections {
		w.wg.Add(1)
		go func() {
			defer w.wg.Done()
			w.client(ctx, cfg.First+int64(i)<<32)
		}()
	}
	w.wg.Add(1)
	go func() {
		defer w.wg.Done()
		j.syncUntil(ctx)
	}()
	return w, nil
}

// Stop ends writing and closes the journal. Rows in flight become unknown.
func (w *Writer) Stop() error {
	w.cancel()
	w.wg.Wait()
	return w.journal.close()
}

// client is one connection after the other.
func (w *Writer) client(ctx context.Context, next int64) {
	for ctx.Err() == nil {
		var warned bool
		c, err := w.cfg.Connect(ctx, func(n *pgconn.Notice) {
			if n.SeverityUnlocalized == "WARNING" {
				warned = true
			}
		})
		if err == nil {
			next, err = w.session(ctx, c, next, &warned)
			short, cancel := context.WithTimeout(context.WithoutCancel(ctx), 100*time.Millisecond)
			_ = c.Close(short)
			cancel()
		}
		if ctx.Err() == nil {
			w.count(err)
		}
		_ = life.Pause(ctx, retryPause)
	}
}

// session writes over one connection until it breaks and returns the next
// number to use.
func (w *Writer) session(ctx context.Context, c *pgx.Conn, next int64, warned *bool) (int64, error) {
	for {
		id := next
		next++
		if err := w.journal.attempt(id); err != nil {
			return next, err
		}
		*warned = false
		begin := time.Now()
		// Cancelling ctx must not cut a row off in the middle without need:
		// its fate would be unknown.
		op, cancel := context.WithTimeout(context.WithoutCancel(ctx), w.cfg.Patience)
		_, err := c.Exec(op, "insert into ledger (id) values ($1)", id)
		cancel()
		end := time.Now()
		outcome := OutcomeOf(err, *warned)
		if e := w.journal.outcome(id, outcome, begin, end, err); e != nil {
			return next, e
		}
		if err != nil {
			return next, err
		}
		if outcome != Acknowledged {
			w.count(errors.New("commit acknowledged with a warning"))
		}
		if err := life.Pause(ctx, w.cfg.Pause); err != nil || w.cfg.EachAnew {
			return next, err
		}
	}
}

// OutcomeOf says what a client may believe about a statement that wrote: it ended
// with err, and warned says that the server had something to say about it.
func OutcomeOf(err error, warned bool) Outcome {
	if err == nil {
		if warned {
			// The server gave up waiting for the standby and said so.
			return Unknown
		}
		return Acknowledged
	}
	var pe *pgconn.PgError
	if errors.As(err, &pe) && pe.SeverityUnlocalized == "ERROR" && len(pe.Code) == 5 && pe.Code[:2] != "57" {
		// The statement was refused: the row does not exist. A session that
		// is ended (class 57) may have committed before.
		return Failed
	}
	return Unknown
}

func (w *Writer) count(err error) {
	if err == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.errs[err.Error()]++
}

// Errors counts the errors clients saw, by text.
func (w *Writer) Errors() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	m := make(map[string]int, len(w.errs))
	for k, v := range w.errs {
		m[k] = v
	}
	return m
}

// History is what was written so far.
func (w *Writer) History() *History { return w.journal.history() }

// WaitAcknowledged waits until a row is acknowledged whose commit was asked for
// after t.
func (w *Writer) WaitAcknowledged(ctx context.Context, t time.Time) error {
	return host.Poll(ctx, "an acknowledged commit", 10*time.Millisecond, func() (bool, error) {
		return w.journal.lastBegin().After(t), nil
	})
}

// WaitAcknowledgedBy is WaitAcknowledged with a limit of time.
func (w *Writer) WaitAcknowledgedBy(ctx context.Context, t time.Time, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return w.WaitAcknowledged(ctx, t)
}
