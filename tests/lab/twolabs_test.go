package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pgrex/lib/life"
	"pgrex/tests/lab/host"
	"pgrex/tests/lab/site"
)

// TestMain lets the test's own binary be the lab: as its daemon, as a node's
// first process, and as the command "lab" of the tests below.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "lab" {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
		code := run(ctx, os.Args)
		stop()
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// lab starts "lab ARGS" as a process of its own and gives what it said.
func lab(t *testing.T, args ...string) (*host.Process, *os.File) {
	t.Helper()
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = out.Close() })
	p, err := host.Start(host.Program{Path: "/proc/self/exe", Args: append([]string{"lab"}, args...), Files: []*os.File{nil, out, out}})
	if err != nil {
		t.Fatal(err)
	}
	return p, out
}

func said(f *os.File) string {
	b, _ := os.ReadFile(f.Name())
	return strings.TrimSpace(string(b))
}

// wait waits for a process to end.
func wait(t *testing.T, p *host.Process, out *os.File, limit time.Duration) {
	t.Helper()
	select {
	case <-p.Done:
	case <-time.After(limit):
		t.Fatalf("process %d does not end; it said: %s", p.Pid, said(out))
	}
}

func takeDown(t *testing.T, names ...string) {
	t.Helper()
	if err := host.NeedRoot(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		for _, n := range names {
			if err := site.Demolish(ctx, n); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestSideBySide builds labs at the same instant: neither takes the other for a
// dead one's remains, and each has its own nodes, switch and client.
func TestSideBySide(t *testing.T) {
	names := []string{fmt.Sprintf("twin-a%d", os.Getpid()), fmt.Sprintf("twin-b%d", os.Getpid())}
	takeDown(t, names...)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	for range 3 {
		var wg sync.WaitGroup
		sites, errs := make([]*site.Site, len(names)), make([]error, len(names))
		for i, n := range names {
			wg.Add(1)
			go func() {
				defer wg.Done()
				sites[i], errs[i] = site.Build(ctx, site.Plan{Name: n, Nodes: 1, Lower: "/"})
			}()
		}
		wg.Wait()
		for i, n := range names {
			if errs[i] != nil {
				t.Fatalf("%s: %v", n, errs[i])
			}
			if _, err := os.Stat(filepath.Join(sites[i].Dir(), "builder")); err != nil {
				t.Fatalf("%s lives and its directory was taken away: %v", n, err)
			}
		}
		for i, s := range sites {
			st, err := s.Status(ctx)
			if err != nil || len(st.Nodes) != 1 {
				t.Fatalf("%s does not obey: %v %+v", names[i], err, st)
			}
			if err := site.Demolish(ctx, s.Name); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(s.Dir()); err == nil {
				t.Fatalf("%s is left after its demolition", s.Dir())
			}
		}
	}
}

// TestSameName: one of two labs of one name is built, the other one is refused.
func TestSameName(t *testing.T) {
	name := fmt.Sprintf("same-%d", os.Getpid())
	takeDown(t, name)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	errs := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := site.Build(ctx, site.Plan{Name: name, Nodes: 1, Lower: "/"})
			errs <- err
		}()
	}
	a, b := <-errs, <-errs
	if (a == nil) == (b == nil) {
		t.Fatalf("want one success: %v, %v", a, b)
	}
	if a == nil {
		a = b
	}
	if !strings.Contains(a.Error(), "exists") {
		t.Errorf("got %v", a)
	}
	if s, err := site.Open(name); err != nil {
		t.Errorf("the other one is not there: %v", err)
	} else if _, err := s.Status(ctx); err != nil {
		t.Error(err)
	}
}

// TestBuilderKilled kills builders with SIGKILL, sooner and later after they
// have claimed their directory: the unfinished lab ends by itself, and the next
// "up" cleans up after it.
func TestBuilderKilled(t *testing.T) {
	for i, after := range []time.Duration{0, 100 * time.Millisecond, time.Second} {
		t.Run(after.String(), func(t *testing.T) {
			orphan, next := fmt.Sprintf("orphan%d-%d", i, os.Getpid()), fmt.Sprintf("next%d-%d", i, os.Getpid())
			takeDown(t, orphan, next)
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()
			builder, out := lab(t, "up", "--bare", "--nodes=2", "--name="+orphan)
			dir := site.Plan{Name: orphan}.Dir()
			err := host.Poll(ctx, "the lab's directory", time.Millisecond, func() (bool, error) {
				_, err := os.Stat(dir)
				return err == nil, nil
			})
			if err != nil {
				t.Fatalf("%v: %s", err, said(out))
			}
			if err := life.Pause(ctx, after); err != nil {
				t.Fatal(err)
			}
			if err := unix.Kill(builder.Pid, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			wait(t, builder, out, 10*time.Second)
			err = host.Poll(ctx, "the end of all processes of the orphan", 20*time.Millisecond, func() (bool, error) { return len(processesOf(t, orphan)) == 0, nil })
			if err != nil {
				t.Fatalf("%v: %v", err, processesOf(t, orphan))
			}
			// A dying process loses its command line before it lets go of its files:
			// the lock that makes the orphan a living lab is held some 100 ms longer
			// on a busy machine.
			err = host.Poll(ctx, "the orphan's lock", 5*time.Millisecond, func() (bool, error) {
				held, err := site.Held(ctx, orphan)
				return !held, err
			})
			if err != nil {
				t.Fatal(err)
			}
			up, out := lab(t, "up", "--bare", "--nodes=1", "--name="+next)
			defer func() { wait(t, up, out, time.Minute) }()
			err = host.Poll(ctx, "the next lab", 10*time.Millisecond, func() (bool, error) {
				_, err := site.Open(next)
				return err == nil, nil
			})
			if err != nil {
				t.Fatalf("%v: %s", err, said(out))
			}
			if _, err := os.Stat(dir); err == nil {
				t.Errorf("%s is left", dir)
			}
			if i > 0 {
				_ = unix.Kill(up.Pid, unix.SIGTERM) // the rest is shown once
				return
			}
			wait(t, up, out, time.Minute)
			// The process that made it has ended, and it lives.
			if s, err := site.Open(next); err != nil {
				t.Errorf("%v; up said: %s", err, said(out))
			} else if err := life.Pause(ctx, 300*time.Millisecond); err != nil {
				t.Error(err)
			} else if _, err := s.Status(ctx); err != nil {
				t.Error(err)
			}
		})
	}
}

// processesOf lists the processes that carry a lab's name.
func processesOf(t *testing.T, name string) []string {
	t.Helper()
	found, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, f := range found {
		b, err := os.ReadFile(f)
		if err == nil && bytes.Contains(b, []byte(name)) {
			out = append(out, fmt.Sprintf("%s %s", filepath.Base(filepath.Dir(f)), bytes.ReplaceAll(b, []byte{0}, []byte{' '})))
		}
	}
	return out
}
