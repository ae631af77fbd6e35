package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pgrex/lib/ocf"
	"pgrex/lib/pg"
	"pgrex/lib/proc"
)

// scheduler answers the watcher's questions beside a fake cluster.
type scheduler struct {
	proc.Runner
	mu       sync.Mutex
	instance string // attributes of the resource element of crm_mon
	ops      string
	history  string
	exit     map[string]int // of a tool, instead of an answer
	lines    []string
}

const healthyInstance = `resource_agent="ocf:pgrex:pgsql" role="Promoted" active="true" managed="true" failed="false" blocked="false"`

func newScheduler(run proc.Runner) *scheduler {
	return &scheduler{Runner: run, instance: healthyInstance, exit: map[string]int{}}
}

func (s *scheduler) Run(ctx context.Context, cmd proc.Cmd) (proc.Result, error) {
	line := cmd.String()
	s.mu.Lock()
	defer s.mu.Unlock()
	if code := s.exit[cmd.Path]; cmd.Path != "crm_mon" && cmd.Path != "crm_resource" && code == 0 {
		operations := "<resources><primitive id=\"pgsql\"><operations>" + s.ops + "</operations></primitive></resources>"
		s.mu.Unlock()
		defer s.mu.Lock()
		res, err := s.Runner.Run(ctx, cmd)
		res.Stdout = bytes.Replace(res.Stdout, []byte("<resources/>"), []byte(operations), 1)
		return res, err
	}
	s.lines = append(s.lines, line)
	if code := s.exit[cmd.Path]; code != 0 {
		return proc.Result{ExitCode: code, Stderr: []byte(cmd.Path + ": no answer")}, nil
	}
	if cmd.Path == "crm_mon" {
		return proc.Result{Stdout: fmt.Appendf(nil, `<pacemaker-result><resources><clone><resource id="pgsql" %s><node name="n1"/></resource></clone></resources>%s</pacemaker-result>`,
			s.instance, s.history)}, nil
	}
	s.instance = strings.Replace(s.instance, `failed="false"`, `failed="true"`, 1)
	return proc.Result{}, nil
}

func (s *scheduler) set(f func(s *scheduler)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

func (s *scheduler) reports() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, l := range s.lines {
		if strings.HasPrefix(l, "crm_resource --fail --resource=pgsql --node=n1") {
			n++
		}
	}
	return n
}

// watching is a watcher at work in this process.
type watching struct {
	*site
	agent *agent
	sched *scheduler
	log   *journal
	ended chan error
	stop  context.CancelFunc
}

func watch1(t *testing.T, s *site) *watching {
	t.Helper()
	c, log := callOf(watchCommand, s.env)
	w := &watching{site: s, sched: newScheduler(s.tools()), log: log, ended: make(chan error, 1)}
	a := agentOf(t, c, w.sched)
	ctx, cancel := context.WithCancel(t.Context())
	w.agent, w.stop = a, cancel
	go func() { w.ended <- a.watch(ctx) }()
	t.Cleanup(cancel)
	s.eventually("the watcher tells what it watches", func() bool { _, ok := a.readWatch(); return ok })
	return w
}

// over waits until the watcher has ended.
func (w *watching) over() {
	w.t.Helper()
	select {
	case err := <-w.ended:
		if err != nil {
			w.t.Error(err)
		}
	case <-time.After(15 * time.Second):
		w.t.Fatalf("the watcher does not end\n%s", w.log)
	}
}

func (s *site) postmaster() int {
	s.t.Helper()
	pf, err := s.server().PidFile()
	if err != nil {
		s.t.Fatal(err)
	}
	return pf.PID
}

func provider(s *site) {
	s.env["OCF_RESOURCE_PROVIDER"], s.env["OCF_RESOURCE_TYPE"] = "pgrex", "pgsql"
}

// A death is told once, whoever tells it, and the monitor that comes meanwhile does not tell it
// again.
func TestWatcherTells(t *testing.T) {
	t.Parallel()
	_, s := newPrimary(t)
	provider(s)
	w := watch1(t, s)
	began := time.Now()
	if err := syscall.Kill(s.postmaster(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	w.over()
	t.Logf("told after %v", time.Since(began))
	if w.sched.reports() != 1 {
		t.Fatalf("%d reports\n%s", w.sched.reports(), w.log)
	}
	monitor := func(more ...string) ocf.Code {
		c, _ := callOf("monitor", withEnv(s.env, more...))
		return ocf.CodeOf(agentOf(t, c, w.sched).monitor(t.Context()))
	}
	if code := monitor(interval, "1000"); code != ocf.RunningPromoted {
		t.Errorf("the monitor tells the cluster again: %d", code)
	}
	if code := monitor(interval, "0"); code == ocf.RunningPromoted || code == ocf.OK {
		t.Errorf("a probe does not say what is: %d", code)
	}
	// What the cluster does not know any more is told.
	w.sched.set(func(x *scheduler) { x.instance = healthyInstance })
	d, err := parseDeath(get(t, w.agent.runFile(runTold)))
	if err != nil {
		t.Fatal(err)
	}
	d.at -= toldPatience
	put(t, w.agent.runFile(runTold), d.String())
	if code := monitor(interval, "1000"); code == ocf.RunningPromoted || code == ocf.OK {
		t.Errorf("a report that was lost is not made up for: %d", code)
	}

	// The action that follows makes it one failure if it was counted twice.
	const failures = "fail-count-pgsql#asyncmon_0"
	told := get(t, w.agent.runFile(runWatcher))
	for counted, want := range map[string]string{"": "", "1": "1", "2": "1"} {
		put(t, w.agent.runFile(runWatcher), told)
		s.f.set("n1", failures, counted, false)
		c, _ := callOf("demote", s.env)
		if err := quietly((*agent).demote)(agentOf(t, c, w.sched), t.Context()); err != nil {
			t.Error(err)
		}
		if n := s.attribute(failures); n != want {
			t.Errorf("%q failures are made %q", counted, n)
		}
	}
	if _, ok := w.agent.readWatch(); ok {
		t.Error("what the watcher told of itself is still there")
	}
}

func withEnv(env map[string]string, more ...string) map[string]string {
	out := map[string]string{}
	for k, v := range env {
		out[k] = v
	}
	for i := 0; i+1 < len(more); i += 2 {
		out[more[i]] = more[i+1]
	}
	return out
}

// What is not the watcher's to tell, it does not tell.
func TestWatcherKeepsQuiet(t *testing.T) {
	t.Parallel()
	replace := func(old, with string) func(*scheduler) {
		return func(s *scheduler) { s.instance = strings.Replace(s.instance, old, with, 1) }
	}
	for name, set := range map[string]func(*scheduler){
		"not managed, or in maintenance": replace(`managed="true"`, `managed="false"`),
		"not started here":               replace(`active="true"`, `active="false"`),
		"another agent's":                replace("ocf:pgrex:", "ocf:heartbeat:"),
		"known already":                  replace(`failed="false"`, `failed="true"`),
		"given up":                       replace(`blocked="false"`, `blocked="true"`),
		"being demoted":                  replace(`role="Promoted"`, `role="Demoting"`),
		"being promoted":                 replace(`role="Promoted"`, `role="Unpromoted" pending="Promoting"`),
		"to be stopped":                  replace(`role="Promoted"`, `role="Promoted" target_role="Stopped"`),
		"Pacemaker is down":              func(s *scheduler) { s.exit["crm_mon"] = 102 },
		"the configuration is not read":  func(s *scheduler) { s.exit["cibadmin"] = 102 },
		"a monitor asks for fencing":     func(s *scheduler) { s.ops = `<op name="monitor" on-fail="fence"/>` },
		"two failures would count": func(s *scheduler) {
			s.history = `<node_history><node name="n1"><resource_history id="pgsql" migration-threshold="3"/></node></node_history>`
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, log := newCall(t, watchCommand, map[string]string{"OCF_RESOURCE_PROVIDER": "pgrex", "OCF_RESOURCE_TYPE": "pgsql"})
			f := newFakeCluster("n1", "n1", "n2")
			f.set("n1", "master-pgsql", "1000", false)
			sched := newScheduler(f)
			a := agentOf(t, c, sched)
			if _, why := a.keepsQuiet(t.Context()); why != "" {
				t.Fatalf("it is quiet without a reason: %s", why)
			}
			sched.set(set)
			pm := pg.ProcessID{PID: 1 << 30, Start: 1}
			if a.ended(t.Context(), pm) || sched.reports() != 0 {
				t.Errorf("reported %d times\n%s", sched.reports(), log)
			}
			if w := f.writes(); len(w) != 0 {
				t.Errorf("wrote %q", w)
			}
			says(t, log.String(), "nothing is reported")
		})
	}
}

// A report that is not taken is the monitor's to make.
func TestWatcherIsNotHeard(t *testing.T) {
	t.Parallel()
	c, log := newCall(t, watchCommand, map[string]string{"OCF_RESOURCE_PROVIDER": "pgrex", "OCF_RESOURCE_TYPE": "pgsql"})
	sched := newScheduler(newFakeCluster("n1", "n1", "n2"))
	sched.exit["crm_resource"] = 102
	a := agentOf(t, c, sched)
	pm := pg.ProcessID{PID: 1 << 30, Start: 1}
	if a.ended(t.Context(), pm) || sched.reports() != 1 {
		t.Errorf("%d reports\n%s", sched.reports(), log)
	}
	if d, err := a.tell(t.Context(), death{postmaster: pm, by: byMonitor}); err != nil || d.by != byMonitor {
		t.Errorf("the monitor may not tell: %+v, %v", d, err)
	}
	// And who comes second is silent.
	sched.exit["crm_resource"] = 0
	if a.ended(t.Context(), pm) || sched.reports() != 1 {
		t.Errorf("told twice\n%s", log)
	}
}

// A person restarts the server: nothing is told, and the new one is watched.
func TestWatcherAndRestartByHand(t *testing.T) {
	t.Parallel()
	_, s := newPrimary(t)
	provider(s)
	w := watch1(t, s)
	before := s.postmaster()
	for _, mode := range []string{"fast", "immediate"} {
		res, err := proc.OS{}.Run(t.Context(), proc.Cmd{Path: s.env["OCF_RESKEY_pgctl"], User: &s.user, Discard: true,
			Args: []string{"restart", "-D", s.data(), "-m", mode, "-w", "-l", s.dir + "/log"}})
		if err != nil || res.ExitCode != 0 {
			t.Fatal(err, res)
		}
		after := s.postmaster()
		s.eventually("the new server is watched", func() bool {
			return strings.Contains(w.log.String(), fmt.Sprintf("watching\" postmaster=%d", after)) || strings.Contains(w.log.String(), fmt.Sprintf("msg=watching postmaster=%d", after))
		})
		if after == before || w.sched.reports() != 0 {
			t.Errorf("%s: postmaster %d, then %d; %d reports\n%s", mode, before, after, w.sched.reports(), w.log)
		}
	}
	w.stop()
	w.over()
}

// A primary takes a right away as soon as its standby goes, and gives it back as soon as the
// standby returns, without a monitor.
func TestWatcherLeads(t *testing.T) {
	t.Parallel()
	n1, n2 := newPair(t)
	provider(n1)
	n1.sql("CREATE DATABASE postgres")
	n1.sql("ALTER SYSTEM SET log_statement = 'all'")
	n1.sql("ALTER SYSTEM SET log_min_duration_statement = 0")
	n1.sql("SELECT pg_reload_conf()")
	w := watch1(t, n1)
	names := func(want string) func() bool {
		return func() bool { return n1.sql("SHOW synchronous_standby_names") == want }
	}
	n1.eventually("n2 has the right", func() bool { return n2.attribute("master-pgsql") == "100" && names(`"n2"`)() })
	n2.crash()
	n1.eventually("commits do not wait for n2", names(""))
	if r := parseRecord(t, n1.attribute("pgsql-record")); r.Entitles("n2") {
		t.Errorf("released with the right standing: %v", r)
	}
	n2.done("start")
	n1.eventually("n2 has the right again", func() bool { return n2.attribute("master-pgsql") == "100" && names(`"n2"`)() })
	// Nothing is done in maintenance mode.
	w.sched.set(func(s *scheduler) { s.instance = strings.Replace(s.instance, `managed="true"`, `managed="false"`, 1) })
	n2.crash()
	n1.eventually("n2 is gone", func() bool { return n1.senders() == "0" })
	<-time.After(3 * followPoll)
	if !names(`"n2"`)() || w.sched.reports() != 0 {
		t.Error("the watcher acts on what the cluster does not manage")
	}
	if text := get(t, n1.dir+"/log"); strings.Contains(text, "string_agg(w.pid") || !strings.Contains(text, "SHOW synchronous_standby_names") {
		t.Error("what the watcher asks all the time fills the server's log, or nothing is logged")
	}
	w.stop()
	w.over()
}

// Who is about to end the server ends the watcher first, and no other comes up meanwhile.
func TestSilence(t *testing.T) {
	t.Parallel()
	a, log := newTestAgent(t, newFakeCluster("n1", "n1", "n2"), "stop", nil)
	path := a.runFile(runWatcher)
	for _, trap := range []string{"", "trap '' TERM; "} {
		// The lock is inherited by the shell, which then plays the watcher.
		id := holdLock(t, path, "-F", path, "sh", "-c", trap+"while :; do read x </dev/zero; done")
		<-time.After(50 * time.Millisecond) // the trap
		// The last one's name is still there at first.
		put(t, path, watch{pg.ProcessID{PID: 1 << 30, Start: 1}, id, "p"}.String())
		named := time.AfterFunc(100*time.Millisecond, func() { put(t, path, watch{id, id, "p"}.String()) })
		defer named.Stop()
		began := time.Now()
		allow := a.silence(t.Context())
		if took := time.Since(began); trap == "" && took >= termPatience {
			t.Errorf("it was not told to end but killed, after %v", took)
		}
		if id.Alive() {
			t.Errorf("the watcher lives on\n%s", log)
			_ = id.Signal(syscall.SIGKILL)
		}
		if _, err := tryLock(path); err == nil {
			t.Error("another watcher may come up")
		}
		allow()
		f, err := tryLock(path)
		if err != nil {
			t.Errorf("no watcher may come up: %v", err)
		} else {
			_ = f.Close()
		}
	}
}

// The monitor keeps one watcher, with the present parameters, beside a server that runs.
func TestKeepWatcher(t *testing.T) {
	t.Parallel()
	var started []proc.Cmd
	keeper := func(env map[string]string) *agent {
		a, _ := newTestAgent(t, newFakeCluster("n1", "n1", "n2"), "monitor", env)
		a.spawn = func(c proc.Cmd) (int, error) { started = append(started, c); return 1, nil }
		return a
	}
	a := keeper(nil)
	a.keepWatcher(t.Context())
	if len(started) != 0 {
		t.Fatal("a watcher for a server that does not run")
	}
	put(t, a.conf.data+"/postmaster.pid", fmt.Sprintf("%d\n", os.Getpid()))
	a.keepWatcher(t.Context())
	if len(started) != 1 || !slices.Equal(started[0].Args, []string{watchCommand}) {
		t.Fatalf("%+v", started)
	}
	// One that runs is left alone.
	f, err := tryLock(a.runFile(runWatcher))
	if err != nil {
		t.Fatal(err)
	}
	a.keepWatcher(t.Context())
	put(t, a.runFile(runWatcher), watch{pg.ProcessID{PID: 1 << 30, Start: 1}, pg.ProcessID{PID: 1, Start: 1}, a.watchParams()}.String())
	a.keepWatcher(t.Context())
	if len(started) != 1 {
		t.Error("a second watcher")
	}
	_ = f.Close()
	a.conf.watcher = false
	a.keepWatcher(t.Context())
	if len(started) != 1 {
		t.Error("a watcher that is not wanted")
	}
	if b := keeper(map[string]string{"OCF_RESKEY_monitor_user": "mon"}); b.watchParams() == a.watchParams() {
		t.Error("other parameters, the same watcher")
	}
	got := watchEnv([]string{"PATH=/bin", "OCF_RESKEY_pgdata=/d", "OCF_RESKEY_CRM_meta_notify_stop_uname=n1", "OCF_RESKEY_CRM_meta_interval=1000", "OCF_RESKEY_CRM_meta_on_node=n1"})
	if !slices.Equal(got, []string{"PATH=/bin", "OCF_RESKEY_pgdata=/d", "OCF_RESKEY_CRM_meta_on_node=n1"}) {
		t.Errorf("environment %q", got)
	}
}

// Somebody calls the watcher by hand.
func TestWatcherWithoutCluster(t *testing.T) {
	t.Parallel()
	c, _ := newCall(t, watchCommand, nil)
	c.InCluster = false
	a := newAgent(t.Context(), c, proc.OS{})
	if err := a.watch(t.Context()); ocf.CodeOf(err) != ocf.ErrGeneric {
		t.Errorf("it watches for nobody: %v", err)
	}
}
