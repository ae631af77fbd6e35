package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"pgrex/lib/life"
	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/network"
	"pgrex/tests/lab/scenario"
	"pgrex/tests/lab/writer"
)

const (
	// peace is how long clients work before the first fault of a round, so that a
	// fault meets something.
	peace = 1500 * time.Millisecond
	// settle is how long a healthy cluster is watched before the second check: some
	// systems lose rows only when a cut heals.
	settle = 3 * time.Second
	// orderLimit bounds a fault and its healing; an order to a broken cluster may
	// hang.
	orderLimit = 70 * time.Second
	// registerPatience bounds the check of one key.
	registerPatience = 10 * time.Second
	// spare is how many promotions a round may have beyond one for each fault.
	spare = 2
)

// Run is a cluster under chaos.
type Run struct {
	// C is the cluster, healthy.
	C *cluster.Cluster
	// Plan says what happens. Script, if not empty, are the rounds instead.
	Plan   Plan
	Script []Round
	// Duration is when no more rounds begin, Rounds how many there are at most, 0
	// for any number.
	Duration time.Duration
	Rounds   int
	// Params are parameters of the resource that are set before the first round, NAME=VALUE.
	Params []string
	// Out gets a line for each round and, with Verbose, what happens meanwhile.
	Out     io.Writer
	Verbose bool

	begin   time.Time
	dir     string // of journals
	w       *writer.Writer
	clients *clients
	arp     []*answers
	total   Tally
	begun   int // rounds

	mu    sync.Mutex
	notes strings.Builder
}

// Log tells what happens.
func (r *Run) Log(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	line := fmt.Sprintf("    %s %7.2f %s\n", time.Now().Format("15:04:05.000"), time.Since(r.begin).Seconds(), fmt.Sprintf(format, args...))
	r.notes.WriteString(line)
	if r.Verbose {
		_, _ = io.WriteString(r.Out, line)
	}
}

func (r *Run) say(format string, args ...any) {
	r.Log(format, args...)
	_, _ = fmt.Fprintf(r.Out, format+"\n", args...)
}

// Go plays rounds until the time is over or a check fails. A violation is an error
// that says where the evidence is.
func (r *Run) Go(ctx context.Context) (Tally, error) {
	r.begin = time.Now()
	var err error
	if r.dir, err = os.MkdirTemp("", "pgrex-chaos-"); err != nil {
		return r.total, err
	}
	defer func() { _ = os.RemoveAll(r.dir) }()
	r.total.Acts = map[string]int{}
	if r.Plan.Shape.Clocks {
		// Who reads the logs has to count with it.
		r.say("clocks: %v", r.Plan.Clocks(r.C.NodeNames()))
	}
	if err = r.configure(ctx); err == nil {
		err = r.open(ctx)
	}
	if err == nil {
		err = r.rounds(ctx)
	}
	r.close()
	r.total.Took = time.Since(r.begin)
	r.say("%s", r.total.line(r.Plan))
	if err != nil && ctx.Err() == nil {
		logs := r.keep(err)
		err = fmt.Errorf("%w\nseed %d, %s; logs: %s", err, r.Plan.Seed, r.Plan.Shape, logs)
	}
	return r.total, err
}

// Begun is how many rounds have begun.
func (r *Run) Begun() int { return r.begun }

// configure sets the parameters that the cluster is to have.
func (r *Run) configure(ctx context.Context) error {
	if len(r.Params) == 0 {
		return nil
	}
	v, err := r.C.View(ctx)
	if err != nil {
		return err
	}
	page := &scenario.Run{Cluster: r.C, Log: r.Log}
	return page.SetParams(ctx, v.Primary(), r.Params...)
}

// open starts the clients.
func (r *Run) open(ctx context.Context) error {
	vip := appTarget(r.C, network.VIPPrimary)
	short, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	for {
		err := errors.Join(writer.Prepare(short, vip), prepareRegister(short, vip))
		if err == nil {
			break
		}
		if short.Err() != nil {
			return err
		}
		_ = life.Pause(short, 100*time.Millisecond)
	}
	var err error
	r.w, err = writer.Start(ctx, writer.Config{Target: vip, First: writer.Numbers(time.Now()), Connections: 3,
		Log: filepath.Join(r.dir, "writer")})
	if err != nil {
		return err
	}
	r.clients = startClients(ctx, r.C)
	if !r.C.Azure {
		for _, address := range []string{network.VIPPrimary, network.VIPStandby} {
			a, err := listen(ctx, r.C, address)
			if err != nil {
				return err
			}
			r.arp = append(r.arp, a)
		}
	}
	return nil
}

func (r *Run) close() {
	if r.w != nil {
		_ = r.w.Stop()
	}
	if r.clients != nil {
		r.clients.stop()
	}
	for _, a := range r.arp {
		a.stop()
	}
}

// next is the round of a number, if there is one.
func (r *Run) next(n int, since time.Duration) (Round, bool) {
	if len(r.Script) > 0 {
		if n > len(r.Script) {
			return Round{}, false
		}
		return r.Script[n-1], true
	}
	if since > r.Duration || r.Rounds > 0 && n > r.Rounds {
		return Round{}, false
	}
	return r.Plan.Round(n), true
}

func (r *Run) rounds(ctx context.Context) error {
	for n := 1; ; n++ {
		round, ok := r.next(n, time.Since(r.begin))
		if !ok {
			return nil
		}
		r.begun = n
		if err := r.round(ctx, round); err != nil {
			return fmt.Errorf("%s: %w", round, err)
		}
	}
}

// round breaks, heals, waits, and checks twice.
func (r *Run) round(ctx context.Context, round Round) error {
	r.say("%s", round)
	key, err := r.newKeys(ctx)
	if err != nil {
		return fmt.Errorf("the clients have nothing to work on: %w", err)
	}
	if err := r.w.WaitAcknowledgedBy(ctx, time.Now().Add(peace), 20*time.Second); err != nil {
		return fmt.Errorf("no commit is acknowledged before the fault: %w", err)
	}
	v, err := r.C.View(ctx)
	if err != nil {
		return err
	}
	roles, err := r.roles(v)
	if err != nil {
		return err
	}
	tl, _, err := checkTimelines(ctx, r.C, v.Primary())
	if err != nil {
		return err
	}
	begin := time.Now()
	if err := r.inject(ctx, round, roles); err != nil {
		return err
	}
	if err := r.repair(ctx); err != nil {
		return fmt.Errorf("the lab cannot be mended: %w", err)
	}
	healed := time.Now()
	// What is broken for good need not be waited for.
	if err := r.safety(begin, v.Primary()); err != nil {
		return errors.Join(err, ofViolation(r.data(ctx)))
	}
	acts, at, err := r.converge(ctx, begin)
	if err != nil {
		return errors.Join(fmt.Errorf("does not converge (after %s): %w", strings.Join(acts, ", "), err),
			r.safety(begin, v.Primary()), ofViolation(r.data(ctx)))
	}
	took := max(at.Sub(healed), 0)
	if err := r.w.WaitAcknowledgedBy(ctx, time.Now(), 20*time.Second); err != nil {
		return fmt.Errorf("healthy, and no commit is acknowledged: %w", err)
	}
	if err := r.clients.rest(ctx); err != nil {
		return err
	}
	if err := r.check(ctx, round, begin, v.Primary(), tl, key); err != nil {
		return fmt.Errorf("after convergence: %w", err)
	}
	if err := life.Pause(ctx, settle); err != nil {
		return err
	}
	if err := r.data(ctx); err != nil {
		return fmt.Errorf("after settling: %w", err)
	}
	if err := r.standbys(ctx); err != nil {
		return fmt.Errorf("after settling: %w", err)
	}
	gap := r.w.History().LongestGap(begin, healed.Add(took))
	r.total.add(took, gap.Length(), acts)
	r.say("         healthy %.1fs after healing%s, longest gap %.1fs, timeline %s", took.Seconds(), with(acts), gap.Length().Seconds(), tl)
	return nil
}

func with(acts []string) string {
	if len(acts) == 0 {
		return " by itself"
	}
	return " with " + strings.Join(acts, ", ")
}

// newKeys gives the clients fresh keys, once an address works.
func (r *Run) newKeys(ctx context.Context) (key int, err error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for {
		if key, err = r.clients.keys(ctx); err == nil || ctx.Err() != nil {
			return key, err
		}
		_ = life.Pause(ctx, 100*time.Millisecond)
	}
}

// roles says which node plays which part.
func (r *Run) roles(v cluster.View) (map[Role]string, error) {
	p, sync := v.Primary(), v.Sync()
	if p == "" || len(sync) == 0 {
		return nil, fmt.Errorf("not healthy to begin with: %s", v.Line())
	}
	roles := map[Role]string{Primary: p, Standby: sync[0], Other: sync[0]}
	for _, n := range r.C.NodeNames() {
		if n != p && n != sync[0] {
			roles[Other] = n
		}
	}
	return roles, nil
}

// target is what a step hits. Its first peer is the one that takes over.
func (r *Run) target(s Step, roles map[Role]string) Target {
	t := Target{Cluster: r.C, Step: s, Node: roles[s.On], Log: r.Log}
	for _, role := range []Role{Standby, Primary, Other} {
		if n := roles[role]; n != t.Node && !slices.Contains(t.Peers, n) {
			t.Peers = append(t.Peers, n)
		}
	}
	return t
}

// inject carries out the steps of a round, each at its time, and heals each when
// its time is over. A fault that finds nothing to break is counted as missed.
func (r *Run) inject(ctx context.Context, round Round, roles map[Role]string) error {
	var wg sync.WaitGroup
	errs := make([]error, len(round.Steps))
	for i, s := range round.Steps {
		kind := slices.IndexFunc(Kinds(), func(k Kind) bool { return k.Name == s.Fault })
		if kind < 0 {
			return fmt.Errorf("no fault %q", s.Fault)
		}
		k, t := Kinds()[kind], r.target(s, roles)
		wg.Add(1)
		go func() {
			defer wg.Done()
			if errs[i] = life.Pause(ctx, s.At); errs[i] == nil {
				errs[i] = r.step(ctx, k, t)
			}
		}()
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (r *Run) step(ctx context.Context, k Kind, t Target) error {
	short, cancel := context.WithTimeout(ctx, orderLimit)
	defer cancel()
	e, err := k.Inject(short, t)
	if errors.Is(err, ErrViolation) {
		return err
	}
	if err != nil {
		r.Log("missed: %s on %s: %v", t.Step, t.Node, err)
		r.count(func(t *Tally) { t.Missed++ })
	} else {
		r.Log("fault: %s", e)
		r.count(func(x *Tally) { x.hit(t.Fault) })
	}
	if err := life.Pause(ctx, t.Hold); err != nil {
		return err
	}
	if k.Heal == nil {
		return nil
	}
	short, cancel = context.WithTimeout(ctx, orderLimit)
	defer cancel()
	if err := k.Heal(short, t); err != nil {
		// What the lab has broken is repaired for all at the end of the round.
		r.Log("not healed: %s on %s: %v", t.Step, t.Node, err)
	} else {
		r.Log("healed: %s on %s", t.Fault, t.Node)
	}
	return ctx.Err()
}

func (r *Run) count(f func(*Tally)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.total)
}

// keep saves everything that says what happened.
func (r *Run) keep(failure error) string {
	dir, err := r.C.KeepLogs(fmt.Sprintf("chaos-%d", r.Plan.Seed))
	if dir == "" {
		return fmt.Sprintf("none: %v", err)
	}
	r.mu.Lock()
	notes := r.notes.String() + "\n" + failure.Error() + "\n"
	r.mu.Unlock()
	err = errors.Join(err, os.WriteFile(filepath.Join(dir, "chaos.txt"), []byte(notes), 0o644))
	if r.clients != nil {
		b, e := json.Marshal(r.clients.history())
		err = errors.Join(err, e, os.WriteFile(filepath.Join(dir, "operations.json"), b, 0o644))
	}
	if b, e := os.ReadFile(filepath.Join(r.dir, "writer")); e == nil {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, "writer.journal"), b, 0o644))
	}
	if err != nil {
		return fmt.Sprintf("%s (incomplete: %v)", dir, err)
	}
	return dir
}
