package chaos

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"pgrex/lib/life"
	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/host"
	"pgrex/tests/lab/network"
	"pgrex/tests/lab/writer"
)

const (
	// clientsOfVIP is how many clients work on the register through the virtual
	// address; each node has one more, which asks its own server from the node
	// itself: what a cut-off primary still answers is heard there.
	clientsOfVIP = 3
	keysAtATime  = 3
	vipPause     = 40 * time.Millisecond
	ownPause     = 120 * time.Millisecond
	// answerPatience is longer than the writer's: an abandoned statement keeps its
	// backend until commits go on.
	answerPatience = 4 * time.Second
)

// clients work on the register and remember every operation.
type clients struct {
	c     *cluster.Cluster
	start time.Time
	first int64 // numbers their rows
	last  int64 // key that was given out
	key   atomic.Int64
	busy  atomic.Int64 // operations in flight

	mu       sync.Mutex
	ops      []Op
	attempts []int64      // rows that were tried
	refused  []writer.Row // rows that the server refused

	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// prepareRegister makes the table of the register.
func prepareRegister(ctx context.Context, t writer.Target) error {
	c, err := t.Connect(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	_, err = c.Exec(ctx, "create table if not exists register (key bigint primary key, value bigint not null)")
	return err
}

// startClients begins; keys must be called before anything is done.
func startClients(ctx context.Context, c *cluster.Cluster) *clients {
	begin := time.Now()
	cs := &clients{c: c, start: begin, first: writer.Numbers(begin.Add(time.Hour))}
	ctx, cs.cancel = context.WithCancel(ctx)
	for i := range clientsOfVIP {
		to := appTarget(c, network.VIPPrimary)
		cs.run(ctx, i, vipPause, "the virtual address", func(context.Context) (writer.Target, error) { return to, nil })
	}
	for i, n := range c.NodeNames() {
		cs.run(ctx, clientsOfVIP+i, ownPause, n, func(ctx context.Context) (writer.Target, error) {
			to := appTarget(c, network.Address(network.Service, i+1))
			var err error
			// It has another namespace after each boot.
			to.Netns, err = c.Netns(ctx, n)
			return to, err
		})
	}
	return cs
}

// stop ends all clients.
func (cs *clients) stop() {
	cs.cancel()
	cs.wg.Wait()
}

// keys turns the clients to new keys and returns their first number.
func (cs *clients) keys(ctx context.Context) (int, error) {
	from := cs.last + keysAtATime
	to := appTarget(cs.c, network.VIPPrimary)
	c, err := to.Connect(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer func() { _ = c.Close(context.WithoutCancel(ctx)) }()
	_, err = c.Exec(ctx, "insert into register select k, 0 from generate_series($1::bigint, $2::bigint) k on conflict do nothing", from, from+keysAtATime-1)
	if err != nil {
		return 0, err
	}
	cs.last = from
	cs.key.Store(from)
	return int(from), nil
}

// rest lets the clients end what they are at and begin nothing: a history is complete
// only then.
func (cs *clients) rest(ctx context.Context) error {
	cs.key.Store(0)
	ctx, cancel := context.WithTimeout(ctx, 3*answerPatience)
	defer cancel()
	return host.Poll(ctx, "the clients to rest", 20*time.Millisecond, func() (bool, error) { return cs.busy.Load() == 0, nil })
}

// history is every operation so far.
func (cs *clients) history() []Op {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	return slices.Clone(cs.ops)
}

// rows are the rows that were written with the operations so far.
func (cs *clients) rows() *writer.History {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	h := &writer.History{Start: cs.start, Attempts: slices.Clone(cs.attempts), Rows: slices.Clone(cs.refused)}
	for _, o := range cs.ops {
		if o.ID == 0 {
			continue
		}
		r := writer.Row{ID: o.ID, Begin: cs.start.Add(o.Begin), End: cs.start.Add(o.End), Outcome: writer.Unknown}
		switch {
		case o.acknowledged():
			r.Outcome = writer.Acknowledged
		case o.Known:
			r.Outcome = writer.Failed
		}
		h.Rows = append(h.Rows, r)
	}
	return h
}

// run is one client, over one connection after the other.
func (cs *clients) run(ctx context.Context, number int, pause time.Duration, via string, target func(context.Context) (writer.Target, error)) {
	cl := &client{clients: cs, number: number, via: via, rng: rand.New(rand.NewPCG(uint64(number), 7)), seen: map[int]int64{}}
	cs.wg.Add(1)
	go func() {
		defer cs.wg.Done()
		for ctx.Err() == nil {
			if t, err := target(ctx); err == nil {
				t.Uncancelled = true
				cl.session(ctx, t, pause)
			}
			_ = life.Pause(ctx, pause)
		}
	}()
}

// client is one of them.
type client struct {
	*clients
	number int
	via    string
	rng    *rand.Rand
	seen   map[int]int64 // the last value known of a key
	next   int64
	warned bool
}

// session works over one connection until an answer does not come.
func (cl *client) session(ctx context.Context, t writer.Target, pause time.Duration) {
	c, err := t.Connect(ctx, func(n *pgconn.Notice) {
		if n.SeverityUnlocalized == "WARNING" {
			cl.warned = true
		}
	})
	if err != nil {
		return
	}
	defer func() {
		short, cancel := context.WithTimeout(context.WithoutCancel(ctx), 100*time.Millisecond)
		_ = c.Close(short)
		cancel()
	}()
	for ctx.Err() == nil {
		if !cl.operate(ctx, c) {
			return
		}
		_ = life.Pause(ctx, pause)
	}
}

// The questions. Each answers only on a primary, whose timeline it tells, and
// writes to the table of rows in the same transaction as to the register.
const (
	servedBy = `extract(epoch from pg_postmaster_start_time())::text, substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8)`
	readSQL  = `select value, ` + servedBy + ` from register where key = $1`
	writeSQL = `with u as (update register set value = $2 where key = $1 returning 1), i as (insert into ledger (id) select $3 from u returning 1)
select (select count(*) from i), ` + servedBy
	swapSQL = `with u as (update register set value = $2 where key = $1 and value = $4 returning 1), i as (insert into ledger (id) select $3 from u returning 1)
select (select count(*) from i), ` + servedBy
)

// operate asks one question. It says whether the connection is of further use.
func (cl *client) operate(ctx context.Context, c *pgx.Conn) bool {
	cl.busy.Add(1)
	defer cl.busy.Add(-1)
	key := int(cl.key.Load())
	if key == 0 {
		return true
	}
	o := Op{Client: cl.number, Key: key + cl.rng.IntN(keysAtATime), Via: cl.via}
	switch x := cl.rng.Float64(); {
	case x < 0.5:
		o.Kind = opRead
	case x < 0.8:
		o.Kind = opWrite
	default:
		o.Kind, o.Old = opSwap, cl.seen[o.Key]
	}
	cl.next++
	if o.Kind != opRead {
		// Numbers of rows are above those of clients, and each is used once.
		o.Value = int64(cl.number+1)<<32 | cl.next
		o.ID = cl.first + o.Value
		cl.mu.Lock()
		cl.attempts = append(cl.attempts, o.ID)
		cl.mu.Unlock()
	}
	cl.warned = false
	short, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerPatience)
	defer cancel()
	var answer int64
	o.Begin = time.Since(cl.start)
	err := cl.ask(short, c, o).Scan(&answer, &o.Server, &o.Timeline)
	o.End = time.Since(cl.start)
	switch {
	case writer.OutcomeOf(err, cl.warned) == writer.Failed || errors.Is(err, pgx.ErrNoRows):
		if o.ID != 0 {
			cl.mu.Lock()
			cl.refused = append(cl.refused, writer.Row{ID: o.ID, Begin: cl.start.Add(o.Begin), End: cl.start.Add(o.End), Outcome: writer.Failed})
			cl.mu.Unlock()
		}
		return true
	case err != nil || cl.warned:
		o.Server, o.Timeline = "", ""
	case o.Kind == opRead:
		o.Known, o.Value = true, answer
	default:
		o.Known, o.Swapped = true, answer == 1
	}
	if o.Known && (o.Kind == opRead || o.Swapped) {
		cl.seen[o.Key] = o.Value
	}
	cl.mu.Lock()
	cl.ops = append(cl.ops, o)
	cl.mu.Unlock()
	return err == nil
}

func (cl *client) ask(ctx context.Context, c *pgx.Conn, o Op) pgx.Row {
	switch o.Kind {
	case opRead:
		return c.QueryRow(ctx, readSQL, o.Key)
	case opWrite:
		return c.QueryRow(ctx, writeSQL, o.Key, o.Value, o.ID)
	default:
		return c.QueryRow(ctx, swapSQL, o.Key, o.Value, o.ID, o.Old)
	}
}
