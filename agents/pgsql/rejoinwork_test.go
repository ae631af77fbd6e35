package main

import (
	"context"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pgrex/lib/ocf"
	"pgrex/lib/pg"
	"pgrex/lib/proc"
)

// gate stops the worker at programs, each once, in this order, until it is let pass. It is also the
// scheduler that the worker asks for the resource's target role.
type gate struct {
	proc.Runner
	mu      sync.Mutex
	stops   []string
	target  string // "" for a cluster that does not answer
	asked   bool   // since target was set
	reached chan string
	pass    chan struct{}
	over    chan struct{}
}

func newGate(s *site, stops ...string) *gate {
	return &gate{Runner: s.tools(), stops: stops, target: "Started", reached: make(chan string), pass: make(chan struct{}), over: make(chan struct{})}
}

// begin is the site's start, which does not wait for the worker.
func (g *gate) begin(s *site) (ocf.Code, string) {
	s.t.Helper()
	code, text, _ := s.beginOn(g, "OCF_RESKEY_rejoin_wait", "0")
	s.t.Cleanup(func() { close(g.over) }) // before the worker is waited for
	return code, text
}

func (g *gate) set(target string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.target, g.asked = target, false
}

// told says whether the worker has heard of the target.
func (g *gate) told() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.asked
}

func (g *gate) Run(ctx context.Context, cmd proc.Cmd) (proc.Result, error) {
	g.mu.Lock()
	target, at := g.target, ""
	g.asked = g.asked || cmd.Path == "crm_mon"
	if len(g.stops) > 0 && isProgram(cmd, g.stops[0]) {
		at, g.stops = g.stops[0], g.stops[1:]
	}
	g.mu.Unlock()
	if cmd.Path == "crm_mon" {
		if target == "" {
			return proc.Result{ExitCode: 102}, nil
		}
		return proc.Result{Stdout: []byte(`<pacemaker-result><resources><clone id="pgsql-clone"><resource id="pgsql" target_role="` + target + `" orphaned="false"/></clone></resources></pacemaker-result>`)}, nil
	}
	if at != "" {
		for _, wait := range []func() bool{
			func() bool {
				select {
				case g.reached <- at:
					return true
				case <-g.over:
					return false
				}
			},
			func() bool {
				select {
				case <-g.pass:
					return true
				case <-g.over:
					return false
				}
			},
		} {
			if !wait() {
				return proc.Result{ExitCode: 1}, nil
			}
		}
	}
	return g.Runner.Run(ctx, cmd)
}

// await waits until the worker stands at the next program.
func (g *gate) await(t *testing.T, program string) {
	t.Helper()
	select {
	case at := <-g.reached:
		if at != program {
			t.Fatalf("the worker is at %s, not %s", at, program)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("waited in vain for %s", program)
	}
}

// Whatever the worker is at, no action of the cluster waits for it, on either node.
func TestNothingWaitsForRejoin(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		rejoin, user string
		stages       map[string]string // what start says there
		order        []string
		done         string
	}{
		{"rewind", "", map[string]string{
			"pg_waldump": "keeping the diverged WAL", "pg_rewind --dry-run": "rewind: looking at what differs", "pg_rewind": "rewind: copying",
		}, []string{"pg_waldump", "pg_rewind --dry-run", "pg_rewind"}, "rewind complete: "},
		{"clone", "nobody_by_that_name", map[string]string{"pg_basebackup": "clone: waiting for a checkpoint of the primary"}, []string{"pg_basebackup"}, "clone complete: "},
	} {
		t.Run(tt.rejoin, func(t *testing.T) {
			t.Parallel()
			n1, n2 := diverged(t)
			n1.env["OCF_RESKEY_rejoin"], n1.env["OCF_RESKEY_rejoin_user"] = tt.rejoin, tt.user
			g := newGate(n1, tt.order...)
			code, text := g.begin(n1)
			if code != ocf.ErrGeneric {
				t.Fatal(code, text)
			}
			for _, stage := range tt.order {
				g.await(t, stage)
				for _, do := range []struct {
					s      *site
					action string
					want   ocf.Code
					env    []string
				}{
					{n1, "monitor", ocf.NotRunning, []string{interval, "9000"}},
					{n1, "monitor", ocf.NotRunning, []string{interval, "0"}},
					{n1, "start", ocf.ErrGeneric, []string{"OCF_RESKEY_rejoin_wait", "0"}},
					{n1, "stop", ocf.OK, nil},
					{n1, "notify", ocf.OK, []string{"OCF_RESKEY_CRM_meta_notify_type", "post", "OCF_RESKEY_CRM_meta_notify_operation", "start", "OCF_RESKEY_CRM_meta_notify_start_uname", "n1"}},
					{n1, "reload-agent", ocf.OK, nil},
					{n2, "monitor", ocf.RunningPromoted, []string{interval, "9000"}},
				} {
					begin := time.Now()
					text := do.s.must(do.want, do.action, do.env...)
					if took := time.Since(begin); took > 5*time.Second {
						t.Errorf("at %s the %s on %s took %v", stage, do.action, do.s.node, took)
					}
					if do.action == "start" {
						says(t, text, "not started yet: "+tt.stages[stage]+"; it goes on")
					}
				}
				if stage == "pg_rewind" {
					// It is shown, and not ended any more: what it would leave is of no use.
					g.set("Stopped")
					n1.eventually("the worker knows that it is unwanted", func() bool { return g.told() })
					n1.eventually("it is shown how far it is", func() bool { return n1.attribute("pgsql-rejoin") == tt.stages[stage] })
					g.set("Started")
				}
				g.pass <- struct{}{}
			}
			// Without failure-timeout somebody has to be told that it is time.
			n1.eventually("it says that it waits", func() bool { return strings.HasPrefix(n1.attribute("pgsql-rejoin"), tt.done) })
			says(t, n1.attribute("pgsql-rejoin"), "waits for the next start, after failure-timeout or pcs resource cleanup pgsql")
			comesBack(t, n1, n2)
		})
	}
}

// half says whether a part of a copy lies beside the data directory.
func (s *site) half() bool {
	entries, _ := os.ReadDir(s.data() + ".pgrex-clone.partial")
	return len(entries) > 1
}

// halfCloned begins a clone at that rate (rejoin_rate) and returns when a part is copied.
func halfCloned(t *testing.T, s *site, rate string) *gate {
	t.Helper()
	s.env["OCF_RESKEY_rejoin"], s.env["OCF_RESKEY_rejoin_user"], s.env["OCF_RESKEY_rejoin_rate"] = "clone", "nobody_by_that_name", rate
	g := newGate(s, "pg_basebackup")
	if code, text := g.begin(s); code != ocf.ErrGeneric {
		t.Fatal(code, text)
	}
	g.await(t, "pg_basebackup")
	g.pass <- struct{}{}
	s.eventually("a part is copied", s.half)
	return g
}

// A worker whose resource is to be stopped ends, and so does one that is left alone by the cluster;
// the copy that it had begun goes with it.
func TestRejoinUnwanted(t *testing.T) {
	t.Parallel()
	for target, why := range map[string]string{"Stopped": "the resource is to be stopped", "": "the cluster does not answer"} {
		t.Run(why, func(t *testing.T) {
			t.Parallel()
			n1, n2 := diverged(t)
			g := halfCloned(t, n1, "100")
			g.set(target)
			deadline := time.Now().Add(40 * time.Second) // three questions without an answer take 15
			for !strings.Contains(get(t, n1.data()+".pgrex-rejoin"), "phase: failed") {
				if time.Now().After(deadline) {
					t.Fatal("it goes on")
				}
				time.Sleep(20 * time.Millisecond)
			}
			says(t, get(t, n1.data()+".pgrex-rejoin"), why)
			if exists(n1.data() + ".pgrex-clone.partial") {
				t.Error("half a copy is left")
			}
			n1.env["OCF_RESKEY_rejoin_rate"] = "0"
			comesBack(t, n1, n2)
		})
	}
}

// The primary dies while it is copied. Nothing is lost by that: the old data is as it was, and the
// next start copies the primary that is there then.
func TestRejoinPrimaryDies(t *testing.T) {
	t.Parallel()
	n1, n2 := diverged(t)
	halfCloned(t, n1, "1000")
	n2.crash()
	n1.eventually("it is given up", func() bool { return strings.Contains(get(t, n1.data()+".pgrex-rejoin"), "phase: failed") })
	n1.f.mu.Lock()
	n1.f.happened("n2", "demote 0", "stop 0")
	n1.f.mu.Unlock()
	// It is not started meanwhile, though its log ends in order since its crash recovery.
	says(t, n1.must(ocf.ErrGeneric, "start"), "not started: start n2 first: it was promoted (epoch ", "after this node crashed as primary")
	n1.env["OCF_RESKEY_rejoin_rate"] = "0"
	n2.done("start")
	n2.done("promote")
	comesBack(t, n1, n2)
}

// The slots that it had as primary are gone, where they would keep WAL for ever; its own on the new
// primary keeps what it needs, also while it is copied.
func TestRejoinSlots(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"rewind", "clone"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			n1, n2 := diverged(t, "OCF_RESKEY_replication_slot_name", "pgrex")
			n1.env["OCF_RESKEY_rejoin"] = how
			if !exists(n1.data() + "/pg_replslot/pgrex_n2") {
				t.Fatal("the primary had no slot for its standby")
			}
			active := func() bool {
				return n2.sql("SELECT active FROM pg_replication_slots WHERE slot_name = 'pgrex_n1'") == "t"
			}
			if how == "clone" {
				n1.env["OCF_RESKEY_rejoin_user"], n1.env["OCF_RESKEY_rejoin_rate"] = "nobody_by_that_name", "4000"
				code, text, _ := n1.begin("OCF_RESKEY_rejoin_wait", "0")
				if code != ocf.ErrGeneric {
					t.Fatal(code, text)
				}
				n1.eventually("the slot keeps WAL for the copy", active)
			}
			comesBack(t, n1, n2)
			n1.eventually("it streams by its slot", active)
			if got := n1.sql("SELECT count(*) FROM pg_replication_slots"); got != "0" || exists(n1.data()+"/pg_replslot/pgrex_n2") {
				t.Errorf("%s slots are left", got)
			}
		})
	}
}

// Where commits did not wait, the report says that clients may have been told; and whoever was killed
// when it was written, and before anybody knew that, does not write it again.
func TestRejoinPossiblyAcknowledged(t *testing.T) {
	t.Parallel()
	n1, _ := diverged(t)
	n1.env["OCF_RESKEY_rejoin"], n1.env["OCF_RESKEY_rep_mode"] = "rewind", "async"
	if code, text, _ := n1.beginAndKill(killing{"postgres", false}); code != ocf.ErrGeneric {
		t.Fatal(code, text)
	}
	n1.must(ocf.OK, "stop")
	remove(t, n1.data()+".pgrex-rejoin")
	code, text, log := n1.begin()
	if code != ocf.OK {
		t.Fatalf("%d %s\n%s", code, text, log)
	}
	reports, err := filepath.Glob(n1.data() + ".pgrex-diverged/*")
	if err != nil || len(reports) != 1 {
		t.Fatalf("kept %v, %v", reports, err)
	}
	says(t, get(t, reports[0]+"/report.txt"), "Commits:         1, from ", "\nAcknowledged to clients: possibly\nBecause: rep_mode is not sync: ")
	says(t, n1.attribute("pgsql-rejoin"), "rewind done; 1 commits", "acknowledged to clients: possibly: "+reports[0])
}

// A copy for which there is no room ends before it has filled the disk.
func TestCloneWithoutRoom(t *testing.T) {
	t.Parallel()
	a, p := beside(t)
	f, err := os.Create(filepath.Join(filepath.Dir(p.data), "says"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := &work{agent: a, file: f}
	err = w.cloneProgress(p)(1<<20, 1<<50)
	if err == nil {
		t.Fatal("there is room for everything")
	}
	says(t, err.Error(), "no room beside "+p.data+" for a copy of the primary", "make room, or rebuild the node by hand")
	if err := w.cloneProgress(p)(512, 1024); err != nil {
		t.Error(err)
	}
	says(t, get(t, f.Name()), " clone: 50% of 1024 kB\n")
}

// A stop ends the process of the server that does crash recovery, which is the worker's, and nothing
// else that the worker does.
func TestStopEndsRecovery(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("n1", "n1", "n2")
	n1 := newSite(t, f, "n1", nil)
	c, _ := callOf("stop", n1.env)
	file := agentOf(t, c, n1.tools()).runFile(runRejoin)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = proc.OS{}.Run(ctx, proc.Cmd{Path: "/bin/sh", Args: []string{"-c", "echo $$ >" + n1.dir + "/pid.new && mv " + n1.dir + "/pid.new " + n1.dir + "/pid && exec sleep 60"}})
	}()
	n1.eventually("it runs", func() bool { return exists(n1.dir + "/pid") })
	pid, err := strconv.Atoi(strings.TrimSpace(get(t, n1.dir+"/pid")))
	if err != nil {
		t.Fatal(err)
	}
	id, err := pg.IdentifyProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	put(t, file, id.String()+" rewind: copying\n")
	n1.must(ocf.OK, "stop")
	if !id.Alive() {
		t.Fatal("a rewind that writes was ended")
	}
	put(t, file, id.String()+" "+recovering+"\n")
	n1.must(ocf.OK, "stop")
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("its crash recovery goes on")
	}
}
