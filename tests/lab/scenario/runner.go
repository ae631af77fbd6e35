package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pgrex/tests/lab/cluster"
	"pgrex/tests/lab/network"
	"pgrex/tests/lab/site"
	"pgrex/tests/lab/writer"
)

const sigkill = unix.SIGKILL

const (
	// upLimit bounds making a healthy cluster, playLimit a scenario, and
	// healLimit what comes after.
	upLimit   = 3 * time.Minute
	playLimit = 5 * time.Minute
	healLimit = 2 * time.Minute
	// settle is how long a healed cluster is watched before the second
	// check: some systems lose rows only when a cut heals.
	settle = 3 * time.Second
)

// Runner plays scenarios one after the other and tells the outcome in the
// manner of go test.
type Runner struct {
	// Options are for building labs; Nodes, OnDisk, OwnWAL and Variables come
	// from the scenario.
	Options cluster.Options
	// Out gets the result lines, Verbose also what happens meanwhile.
	Out     io.Writer
	Verbose bool
	// Budget is what may be used; the zero value is not looked at. Began is when
	// the whole began, the zero value if that is not counted.
	Budget Budget
	Began  time.Time
	// Keep leaves the lab of the last scenario, or the first failed one.
	Keep bool
	// Each is told of each result; nil for nobody.
	Each func(Result)
	// Healthy is told of each new lab once it is healthy; nil for nobody.
	Healthy func(ctx context.Context, lab *cluster.Cluster) error

	lab    *cluster.Cluster
	shape  shape
	events bool // wanted in results
	spent  spent
	passed int
	failed []string
}

// shape is what makes a lab fit for a scenario.
type shape struct {
	nodes     int
	onDisk    bool
	ownWAL    bool
	secondBMC bool
	azure     bool
	fresh     bool
	bare      bool // of resources
	example   string
	agents    cluster.Agents
	vars      map[string]string
}

// Result is the outcome of one scenario.
type Result struct {
	Name string
	Err  error
	Took time.Duration
	// Gap is the longest time without an acknowledged commit around the
	// fault, 0 without a writer.
	Gap time.Duration
	// Lost counts acknowledged commits that are gone and must not be, Tail those
	// that asynchronous replication may lose.
	Lost, Tail int
	// Times are what else was measured, for trials that measure it.
	Times map[Measure]time.Duration
	// Vain is how long commits had been missing when the wait for them was given
	// up, 0 if that was not why it failed.
	Vain time.Duration
	// Events are the steps of a trial that went well, since Fault, or since the order
	// that is measured, and FirstCommit the commit that ended its longest gap.
	Events             []cluster.Event
	Fault, FirstCommit time.Time
	// Begun says that there was a healthy lab to play it in.
	Begun bool
	// Logs is where the logs are, after a failure.
	Logs string
}

// Play plays scenarios and returns an error when one failed. It goes on after a
// failure.
func (r *Runner) Play(ctx context.Context, list []Scenario) error {
	begin := time.Now()
	r.PlayFrom(ctx, NewQueue(list))
	r.printf("took %.0fs\n%d passed, %d failed\n", time.Since(begin).Seconds(), r.passed, len(r.failed))
	if err := ctx.Err(); err != nil {
		return err
	}
	if !r.Began.IsZero() {
		r.spent.whole = time.Since(r.Began)
	}
	err := r.Budget.report(r.Out, r.spent)
	if len(r.failed) > 0 {
		err = errors.Join(fmt.Errorf("failed: %s", strings.Join(r.failed, " ")), err)
	}
	return err
}

// PlayFrom plays what it can get from a queue, which other runners may empty with
// it, and tells each result as soon as there is one. A scenario in which ctx ends is
// no result: whether it passes is not known.
func (r *Runner) PlayFrom(ctx context.Context, q *Queue) {
	if !r.Keep {
		defer r.drop()
	}
	for s := range q.all() {
		if ctx.Err() != nil {
			return
		}
		r.printf("=== RUN   %s\n", s.Name)
		res := r.one(ctx, s)
		if res.Err != nil && ctx.Err() != nil {
			r.printf("--- STOP: %s (%.1fs)\n    logs: %s\n", res.Name, res.Took.Seconds(), res.Logs)
			return
		}
		r.report(res)
		if r.Keep && len(r.failed) > 0 {
			return
		}
	}
}

func (r *Runner) printf(format string, args ...any) { _, _ = fmt.Fprintf(r.Out, format, args...) }

func (r *Runner) report(res Result) {
	word := "PASS"
	if res.Err != nil {
		word = "FAIL"
		r.failed = append(r.failed, res.Name)
	} else {
		r.passed++
	}
	tail := ""
	if res.Tail > 0 {
		tail = fmt.Sprintf(" async-tail=%d", res.Tail)
	}
	if r.Each != nil {
		r.Each(res)
	}
	text := fmt.Sprintf("--- %s: %s (%.1fs) gap=%.3f lost=%d%s\n", word, res.Name, res.Took.Seconds(), res.Gap.Seconds(), res.Lost, tail)
	if res.Err != nil {
		text += fmt.Sprintf("    %s: %s\n    logs: %s\n", res.Name, strings.ReplaceAll(res.Err.Error(), "\n", "; "), res.Logs)
	}
	r.printf("%s", text) // in one: other runners write there too
}

// one plays a scenario from a healthy cluster to a healed one.
func (r *Runner) one(ctx context.Context, s Scenario) Result {
	res := Result{Name: s.Name}
	begin := time.Now()
	var notes strings.Builder
	log := func(format string, args ...any) {
		line := fmt.Sprintf("    %s %6.2f %s\n", time.Now().Format("15:04:05.000"), time.Since(begin).Seconds(), fmt.Sprintf(format, args...))
		notes.WriteString(line)
		if r.Verbose {
			_, _ = io.WriteString(r.Out, line)
		}
	}
	res.Err = r.fit(ctx, s, log)
	if res.Err == nil {
		res.Begun = true
		res.Err = r.play(ctx, s, log, &res)
	}
	res.Took = time.Since(begin)
	if res.Err == nil && (s.Spoils || s.Sick) && !r.Keep {
		r.drop()
	}
	if res.Err != nil {
		res.Logs = r.keepLogs(s.Name, notes.String())
		if !r.Keep {
			r.drop() // who knows what state it is in
		}
	}
	return res
}

func (r *Runner) keepLogs(name, notes string) string {
	if r.lab == nil {
		return "none: there was no lab"
	}
	dir, err := r.lab.KeepLogs(name)
	if dir != "" {
		err = errors.Join(err, os.WriteFile(filepath.Join(dir, "scenario.txt"), []byte(notes), 0o644))
	}
	if err != nil {
		return fmt.Sprintf("%s (incomplete: %v)", dir, err)
	}
	return dir
}

func (r *Runner) drop() {
	if r.lab == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := site.Demolish(ctx, r.lab.Name); err != nil {
		r.printf("cannot take the lab down: %v\n", err)
	}
	r.lab = nil
}

// fit provides a healthy lab of the right shape: the last one if it is.
func (r *Runner) fit(ctx context.Context, s Scenario, log func(string, ...any)) error {
	want := shape{nodes: max(s.Nodes, 2), onDisk: s.OnDisk, ownWAL: s.OwnWAL, secondBMC: s.SecondBMC, azure: s.Azure, fresh: s.Fresh, bare: s.Unconfigured, example: s.Example, agents: r.Options.Agents, vars: s.Variables}
	if s.Nodes == 0 {
		want.nodes = 2
	}
	if s.Reference {
		want.agents = cluster.Reference
	}
	if r.lab != nil && reflect.DeepEqual(r.shape, want) && (!s.Fresh || s.After != "") {
		// One that a scenario left with other agents is of another shape.
		v, err := r.lab.View(ctx)
		if err == nil && provider(v) == want.agents.Provider() && r.lab.WaitHealthy(ctx, 10*time.Second) == nil {
			return nil
		}
	}
	r.drop()
	o := r.Options
	o.Nodes, o.OnDisk, o.SecondBMC, o.Agents = want.nodes, want.onDisk, want.secondBMC, want.agents
	o.OwnWAL, o.Azure, o.Example, o.Fresh, o.Unconfigured = want.ownWAL, want.azure, want.example, want.fresh, want.bare
	if s.Fresh {
		if err := fresh(ctx, &o, log); err != nil {
			return err
		}
	}
	o.Owner = os.Getpid()
	if r.Keep {
		o.Owner = 0
	}
	o.Progress = log
	o.Variables = map[string]string{}
	for _, m := range []map[string]string{r.Options.Variables, s.Variables} {
		for k, v := range m {
			o.Variables[k] = v
		}
	}
	ctx, cancel := context.WithTimeout(ctx, upLimit)
	defer cancel()
	lab, err := cluster.Up(ctx, o)
	if err != nil {
		return fmt.Errorf("no lab: %w", err)
	}
	r.lab, r.shape = lab, want
	if want.nodes == 2 && !s.Fresh {
		r.spent.online = append(r.spent.online, lab.OnlineAfter)
	}
	if s.Sick || s.Fresh {
		return nil
	}
	if err := lab.WaitHealthy(ctx, 90*time.Second); err != nil {
		return fmt.Errorf("not healthy to begin with: %w", err)
	}
	log("healthy")
	if r.Healthy != nil {
		return r.Healthy(ctx, lab)
	}
	return nil
}

func (r *Runner) play(ctx context.Context, s Scenario, log func(string, ...any), res *Result) error {
	run := &Run{Cluster: r.lab, Log: log, scenario: s, bin: r.Options.Bin, times: map[Measure]time.Duration{}}
	var err error
	if run.journals, err = os.MkdirTemp("", "pgrex-journal-"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(run.journals) }()
	vip := run.Target(network.VIPPrimary)
	if !s.Sick && !s.Fresh {
		err = prepare(ctx, vip)
	}
	if err != nil {
		return err
	}
	defer func() {
		if run.W != nil {
			_ = run.W.Stop()
		}
	}()
	if !s.Quiet && !s.Fresh {
		run.W, err = writer.Start(ctx, writer.Config{Target: vip, First: writer.Numbers(time.Now()),
			EachAnew: s.NewSessions, Log: filepath.Join(run.journals, "writer")})
		if err != nil {
			return err
		}
		if err := run.steady(ctx); err != nil {
			return err
		}
	}
	begin := time.Now()
	limit := playLimit
	if s.Fresh {
		limit *= 2 // a cluster is made first, by hand
	}
	playCtx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	if err := s.Play(playCtx, run); err != nil {
		if run.W != nil {
			res.Vain = run.vain()
			_ = run.check(ctx, "after the failure", res)
		}
		return err
	}
	res.Times = run.times
	if s.Sick {
		return nil
	}
	return r.after(ctx, run, begin, res)
}

// vain is how long commits have been missing since the fault, or since the order
// that is measured; 0 if they are not.
func (r *Run) vain() time.Duration {
	from, now := r.faulted, time.Now()
	if !r.started.IsZero() {
		from = r.started
	}
	if from.IsZero() || !r.W.History().LongestGap(from, now).To.Equal(now) {
		return 0
	}
	return now.Sub(from)
}

// prepare makes the table, when the address has just come up.
func prepare(ctx context.Context, t writer.Target) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	for {
		err := writer.Prepare(ctx, t)
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
}

// steady waits until commits are acknowledged and shows that they were in the
// second before the fault: otherwise a gap means nothing.
func (r *Run) steady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := r.W.WaitAcknowledged(ctx, time.Now()); err != nil {
		return err
	}
	return r.W.WaitAcknowledged(ctx, time.Now().Add(time.Second))
}

// after checks the data, heals, and checks again.
func (r *Runner) after(ctx context.Context, run *Run, begin time.Time, res *Result) error {
	if run.W != nil {
		if run.faulted.IsZero() {
			return errors.New("the scenario shows no fault")
		}
		if n := run.W.History().Between(run.faulted.Add(-time.Second), run.faulted); n == 0 {
			return errors.New("no commit was acknowledged in the second before the fault: nothing is shown")
		}
		if err := run.WaitCommits(ctx, 30*time.Second); err != nil {
			return err
		}
		if err := run.check(ctx, "after the fault", res); err != nil {
			return err
		}
	}
	healed := time.Now()
	if err := run.Heal(ctx, healLimit); err != nil {
		return fmt.Errorf("does not heal: %w", err)
	}
	run.Log("healed in %.1fs", time.Since(healed).Seconds())
	if err := run.WaitCommits(ctx, 10*time.Second); err != nil {
		return err
	}
	if err := run.Stays(ctx, "healthy after healing", settle, func(v cluster.View) bool { return v.Primary() != "" }); err != nil {
		return err
	}
	if run.W == nil {
		return nil
	}
	if err := run.check(ctx, "after healing", res); err != nil {
		return err
	}
	if err := run.checkStandbys(ctx, res); err != nil {
		return err
	}
	g := run.W.History().LongestGap(run.faulted, healed)
	res.Gap, res.Fault, res.FirstCommit = g.Length(), run.faulted, g.To
	if !run.started.IsZero() {
		res.Fault = run.started
	}
	if r.events {
		var err error
		if res.Events, err = run.Events(res.Fault); err != nil {
			return err
		}
	}
	run.Log("longest gap %.3fs from %s", g.Length().Seconds(), g.From.Format("15:04:05.000"))
	if m := run.scenario.MaxGap; m > 0 && res.Gap > m {
		return fmt.Errorf("no commit for %.3fs, at most %v is allowed", res.Gap.Seconds(), m)
	}
	_ = begin
	return nil
}

func (r *Run) check(ctx context.Context, when string, res *Result) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	rep, err := r.W.Check(ctx, r.Target(network.VIPPrimary))
	if err != nil {
		return fmt.Errorf("%s: cannot check: %w", when, err)
	}
	r.Log("data %s: %v", when, rep)
	if err := r.judge(rep, res); err != nil {
		return fmt.Errorf("%s: %w", when, err)
	}
	return nil
}

// judge says whether a report is as it must be. Lost commits never are, but for
// the tail of a primary that replicated asynchronously.
func (r *Run) judge(rep writer.Report, res *Result) error {
	if r.tail == nil {
		res.Lost = max(res.Lost, len(rep.Lost))
		return rep.Err()
	}
	if err := r.tail.Err(r.W.History(), rep.Lost); err != nil {
		res.Lost = max(res.Lost, len(rep.Lost))
		return errors.Join(err, rep.Err())
	}
	res.Tail = max(res.Tail, len(rep.Lost))
	rep.Lost = nil
	return rep.Err()
}

// checkStandbys looks for the rows at every standby too, once it has replayed
// what the primary has.
func (r *Run) checkStandbys(ctx context.Context, res *Result) error {
	p, standbys, err := r.Roles(ctx)
	if err != nil {
		return err
	}
	before := r.W.History()
	lsn, err := r.SQL(ctx, p, "select pg_current_wal_flush_lsn()")
	if err != nil {
		return err
	}
	for _, n := range standbys {
		wait, cancel := context.WithTimeout(ctx, 15*time.Second)
		err := r.replayed(wait, n, lsn)
		cancel()
		if err != nil {
			return err
		}
		i := 0
		for k, x := range r.NodeNames() {
			if x == n {
				i = k + 1
			}
		}
		first, last := before.Range()
		rows, err := writer.Rows(ctx, r.Target(network.Address(network.Service, i)), first, last)
		if err != nil {
			return fmt.Errorf("standby %s: %w", n, err)
		}
		rep := writer.Compare(before, r.W.History(), rows)
		if err := r.judge(rep, res); err != nil {
			return fmt.Errorf("standby %s: %w", n, err)
		}
	}
	return nil
}
