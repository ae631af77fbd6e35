package main

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgrex/lib/ocf"
	"pgrex/lib/pg"
	"pgrex/lib/proc"
)

// diverged is a pair whose primary n1 died with a row that n2, which is promoted, does not have.
func diverged(t *testing.T, env ...string) (n1, n2 *site) {
	t.Helper()
	n1, n2 = newPair(t)
	for _, s := range []*site{n1, n2} {
		s.env["OCF_RESKEY_rejoin_wait"] = "60"
		for i := 0; i+1 < len(env); i += 2 {
			s.env[env[i]] = env[i+1]
		}
	}
	n1.must(ocf.RunningPromoted, "monitor", interval, "9000")
	n1.sql("CREATE DATABASE postgres") // where pg_rewind connects to
	n1.sql("CREATE TABLE public.kept (n int)")
	n1.sql("INSERT INTO public.kept VALUES (1)")
	n2.must(ocf.OK, "monitor", interval, "9000")
	receiver := n2.sql("SELECT pid FROM pg_stat_wal_receiver")
	signal(t, receiver, syscall.SIGSTOP)
	n1.sql("SET synchronous_commit = local; INSERT INTO public.kept VALUES (2)")
	n1.crash()
	signal(t, receiver, syscall.SIGTERM)
	signal(t, receiver, syscall.SIGCONT)
	n1.f.happened("n1", "demote 0", "stop 0")
	n1.follow(n2)
	n2.done("promote")
	n2.sql("INSERT INTO public.kept VALUES (3)")
	return n1, n2
}

// begin is start with a worker, which runs in this process.
func (s *site) begin(more ...string) (ocf.Code, string, *journal) {
	s.t.Helper()
	return s.beginOn(s.tools(), more...)
}

// killing says at which program the worker is killed: before it began, or when it had ended.
type killing struct {
	program string // "" for never; an argument may follow
	after   bool
}

// deadlyRunner ends the worker's thread where a SIGKILL would.
type deadlyRunner struct {
	proc.Runner
	kill killing
}

func (r deadlyRunner) Run(ctx context.Context, cmd proc.Cmd) (proc.Result, error) {
	if !isProgram(cmd, r.kill.program) {
		return r.Runner.Run(ctx, cmd)
	}
	if r.kill.after {
		_, _ = r.Runner.Run(ctx, cmd)
	}
	runtime.Goexit()
	return proc.Result{}, nil
}

// isProgram knows "NAME" and "NAME --dry-run".
func isProgram(cmd proc.Cmd, program string) bool {
	name, arg, _ := strings.Cut(program, " ")
	return name != "" && filepath.Base(cmd.Path) == name && slices.Contains(cmd.Args, "--dry-run") == (arg == "--dry-run")
}

func (s *site) beginAndKill(kill killing, more ...string) (ocf.Code, string, *journal) {
	s.t.Helper()
	return s.beginOn(deadlyRunner{s.tools(), kill}, more...)
}

// beginOn is begin with a worker whose programs are run by somebody else.
func (s *site) beginOn(run proc.Runner, more ...string) (ocf.Code, string, *journal) {
	s.t.Helper()
	env := map[string]string{}
	for k, v := range s.env {
		env[k] = v
	}
	// It waits for a worker: on a busy machine 20 s are soon over.
	env["OCF_RESKEY_CRM_meta_timeout"] = "60000"
	for i := 0; i+1 < len(more); i += 2 {
		env[more[i]] = more[i+1]
	}
	c, log := callOf("start", env)
	a := agentOf(s.t, c, s.tools())
	var workers []chan struct{}
	a.spawn = func(proc.Cmd) (int, error) {
		call, _ := callOf("rejoin", env)
		call.Log = c.Log
		w := agentOf(s.t, call, run)
		ctx, cancel := context.WithTimeout(context.Background(), 90*time.Second)
		done := make(chan struct{})
		workers = append(workers, done)
		go func() {
			defer close(done)
			killed := true
			defer func() {
				if killed { // nobody has this number
					put(s.t, w.runFile(runRejoin), "4194300@1 dead\n")
				}
			}()
			_ = w.rejoin(ctx)
			killed = false
		}()
		s.t.Cleanup(func() { cancel(); <-done })
		return os.Getpid(), nil
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), 80*time.Second)
	defer cancel()
	c.Timeout = 80 * time.Second
	err := a.start(ctx)
	if _, deadly := run.(deadlyRunner); deadly {
		for _, done := range workers {
			<-done // what is dead is not taken for alive by a stop, which would end this process
		}
	}
	text := ""
	if err != nil {
		text = err.Error()
	}
	return ocf.CodeOf(err), text, log
}

// comesBack starts n1, waits for what goes on in the background, and shows that it has returned.
func comesBack(t *testing.T, n1, n2 *site, env ...string) *journal {
	t.Helper()
	code, text, log := n1.begin(env...)
	if code != ocf.OK {
		t.Fatalf("%d %s\n%s", code, text, log)
	}
	returned(t, n1, n2, log)
	return log
}

// returned checks that n1 is a standby of n2 again, and that what it held was kept.
func returned(t *testing.T, n1, n2 *site, log *journal) {
	t.Helper()
	n1.eventually("n1 has the rows of n2 and no others", func() bool {
		return n1.sql("SELECT string_agg(n::text, ' ' ORDER BY n) FROM public.kept") == "1 3"
	})
	if n1.sql("SELECT pg_is_in_recovery()") != "t" || exists(n1.data()+".pgrex-rejoin") || exists(n1.data()+".pgrex-aside") {
		t.Error("not clean")
	}
	if !strings.Contains(get(t, n1.data()+"/postgresql.conf"), n1.dir+"'") || strings.Contains(get(t, n1.data()+"/postgresql.conf"), n2.dir) {
		t.Error("the configuration is not its own")
	}
	reports, err := filepath.Glob(n1.data() + ".pgrex-diverged/*/report.txt")
	if err != nil || len(reports) != 1 {
		t.Fatalf("reports %v, %v\n%s", reports, err, log)
	}
	report := get(t, reports[0])
	says(t, report, "Commits:         1, from ", "\nAcknowledged to clients: none\n", "Because: commits waited for the standby", "COMMIT ", "pg_waldump --path="+filepath.Dir(reports[0])+" ")
	says(t, n1.attribute("pgsql-rejoin"), " done; 1 commits from ", filepath.Dir(reports[0]))
	n1.eventually("what is left over is removed", func() bool {
		left, _ := filepath.Glob(n1.data() + ".pgrex-*")
		return len(left) == 2 // the record and what was kept
	})
}

func TestRejoinByRewind(t *testing.T) {
	t.Parallel()
	n1, n2 := diverged(t)
	n1.env["OCF_RESKEY_rejoin"] = "rewind"
	log := comesBack(t, n1, n2)
	says(t, log.String(), "method=rewind")
}

func TestRejoinByClone(t *testing.T) {
	t.Parallel()
	n1, n2 := diverged(t)
	n1.env["OCF_RESKEY_rejoin"] = "clone"
	// pg_rewind cannot find out what differs: nobody may log in to ask.
	n1.env["OCF_RESKEY_rejoin_user"] = "nobody_by_that_name"
	log := comesBack(t, n1, n2)
	says(t, log.String(), "method=rewind", "method=clone", "nobody_by_that_name")
}

// A start that would wait too long fails, and a later one finds what the worker has made.
func TestRejoinGoesOnWithoutStart(t *testing.T) {
	t.Parallel()
	n1, n2 := diverged(t)
	n1.env["OCF_RESKEY_rejoin"] = "clone"
	n1.env["OCF_RESKEY_rejoin_user"] = "nobody_by_that_name"
	n1.env["OCF_RESKEY_rejoin_rate"] = "4000"
	code, text, _ := n1.begin("OCF_RESKEY_rejoin_wait", "1")
	if code != ocf.ErrGeneric {
		t.Fatalf("%d %s", code, text)
	}
	says(t, text, "not started yet: ", "it goes on", "pcs resource cleanup pgsql")
	n1.must(ocf.NotRunning, "monitor", interval, "9000")
	n1.eventually("its crash recovery is over, which a stop would end", n1.half)
	n1.must(ocf.OK, "stop")
	n1.eventually("the copy is complete", func() bool { return strings.Contains(get(t, n1.data()+".pgrex-rejoin"), "phase: copied") })
	comesBack(t, n1, n2, "OCF_RESKEY_rejoin_wait", "1")
}

// The worker is killed at each stage, one after the other, and start comes again.
func TestRejoinKilledAtEachStage(t *testing.T) {
	t.Parallel()
	n1, n2 := diverged(t)
	for _, stage := range []struct {
		rejoin, says string
		kills        []killing
	}{
		{"rewind", "the rewind ended, but ", []killing{
			{"pg_waldump", false}, {"pg_waldump", true}, {"postgres", false}, {"postgres", true},
			{"pg_rewind --dry-run", false}, {"pg_rewind --dry-run", true},
		}},
		// From here on the data directory is of no use.
		{"rewind", "rebuild it with pg_basebackup, or set rejoin=clone: a rewind that was interrupted", []killing{{"pg_rewind", false}, {"pg_rewind", true}}},
		{"clone", "the clone ended, but ", []killing{{"pg_basebackup", false}, {"pg_basebackup", true}}},
	} {
		n1.env["OCF_RESKEY_rejoin"] = stage.rejoin
		for _, kill := range stage.kills {
			code, text, log := n1.beginAndKill(kill)
			if code != ocf.ErrGeneric {
				t.Fatalf("%v: %d %s\n%s", kill, code, text, log)
			}
			says(t, text, stage.says)
			n1.must(ocf.OK, "stop")
		}
	}
	comesBack(t, n1, n2)
}

// Whatever was interrupted is never started as it is.
func TestRejoinInterrupted(t *testing.T) {
	t.Parallel()
	n1, n2 := diverged(t)
	n1.env["OCF_RESKEY_rejoin"] = "rewind"
	kept := n1.dir + "/kept"
	broken := mark{phase: phaseOverwriting, method: methodRewind, node: "n2", kept: kept, summary: "1 commits", broken: "a rewind that was interrupted",
		fork: pg.Position{Timeline: 2, LSN: 1}, end: pg.Position{Timeline: 2, LSN: 2}}
	put(t, n1.data()+".pgrex-rejoin", broken.String())
	code, text, _ := n1.begin()
	if code != ocf.ErrGeneric {
		t.Fatalf("%d %s", code, text)
	}
	says(t, text, "rebuild it with pg_basebackup, or set rejoin=clone: a rewind that was interrupted", "remove "+n1.data()+".pgrex-rejoin")
	n1.env["OCF_RESKEY_rejoin"] = "follow"
	code, text, _ = n1.begin()
	if code != ocf.ErrGeneric {
		t.Fatalf("%d %s", code, text)
	}
	says(t, text, "rebuild it")
	n1.env["OCF_RESKEY_rejoin"] = "clone"
	code, text, log := n1.begin()
	if code != ocf.OK {
		t.Fatalf("%d %s\n%s", code, text, log)
	}
	n1.eventually("n1 has the rows of n2 and no others", func() bool {
		return n1.sql("SELECT string_agg(n::text, ' ' ORDER BY n) FROM public.kept") == "1 3"
	})
	_ = n2
}

// Crash recovery before a rewind is a process of the server that is no server: it is not monitored
// as one, and a start waits for it, longer than for the rest of the work.
func TestRejoinInRecovery(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("n1", "n1", "n2")
	n1 := newSite(t, f, "n1", nil)
	n1.env["OCF_RESKEY_rejoin"] = "rewind"
	n1.done("start") // stands for it
	c, _ := callOf("start", n1.env)
	file := agentOf(t, c, n1.tools()).runFile(runRejoin)
	held, err := tryLock(file)
	if err != nil {
		t.Fatal(err)
	}
	me, err := pg.IdentifyProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	put(t, file, me.String()+" "+recovering+"\n")
	n1.must(ocf.NotRunning, "monitor", interval, "9000")
	n1.must(ocf.NotRunning, "monitor", interval, "0")
	says(t, n1.must(ocf.ErrGeneric, "start", "OCF_RESKEY_CRM_meta_timeout", "3000", "OCF_RESKEY_rejoin_wait", "0"), "not started yet: crash recovery; it goes on")
	put(t, file, me.String()+" rewind: copying\n")
	begin := time.Now()
	says(t, n1.must(ocf.ErrGeneric, "start", "OCF_RESKEY_rejoin_wait", "0"), "not started yet: rewind: copying; it goes on")
	if waited := time.Since(begin); waited > 5*time.Second {
		t.Errorf("it waited %v", waited)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	n1.must(ocf.OK, "start")
}
