package crm_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgrex/lib/crm"
)

// fakeProc is a /proc with processes.
type fakeProc struct {
	t   *testing.T
	dir string
}

func newProc(t *testing.T) fakeProc {
	t.Helper()
	p := fakeProc{t, t.TempDir()}
	p.link("self", "pid:[1]")
	p.add("1", "systemd", "S", 1)
	p.add("100", "pacemaker-attrd", "S", 5000)
	p.add("101", "pacemaker-contr", "S", 5001)
	p.add("102", "pacemaker-based", "S", 5002)
	return p
}

func (p fakeProc) link(pid, ns string) {
	p.t.Helper()
	dir := filepath.Join(p.dir, pid, "ns")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		p.t.Fatal(err)
	}
	_ = os.Remove(filepath.Join(dir, "pid"))
	if err := os.Symlink(ns, filepath.Join(dir, "pid")); err != nil {
		p.t.Fatal(err)
	}
}

func (p fakeProc) add(pid, comm, state string, start int) {
	p.t.Helper()
	p.link(pid, "pid:[1]")
	stat := fmt.Sprintf("%s (%s) %s 1 2 3 0 -1 4194560 10 0 0 0 1 2 0 0 20 0 1 0 %d 100 200\n", pid, comm, state, start)
	if err := os.WriteFile(filepath.Join(p.dir, pid, "stat"), []byte(stat), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func (p fakeProc) remove(pid string) {
	if err := os.RemoveAll(filepath.Join(p.dir, pid)); err != nil {
		p.t.Fatal(err)
	}
}

func TestAttrdID(t *testing.T) {
	p := newProc(t)
	// What must not be taken for it: another's, a strange name, rubbish.
	p.add("50", "pacemaker-attrd", "S", 1)
	p.link("50", "pid:[2]")
	p.add("51", ") R 1 (x", "S", 7)
	if err := os.MkdirAll(filepath.Join(p.dir, "60"), 0o755); err != nil {
		t.Fatal(err)
	}
	c := &crm.Client{Proc: p.dir}
	id, err := c.AttrdID()
	if err != nil || id != "100@5000,101@5001,102@5002" {
		t.Fatalf("id %q, %v", id, err)
	}
	if !c.SameAttrd(id) {
		t.Error("not the same at once")
	}
	for _, bad := range []string{"", "100@5000", "100@5000,101@5001,102@5003", "1@1,101@5001,102@5002", "../100@5000,101@5001,102@5002", "100,101,102", id + ",1@1"} {
		if c.SameAttrd(bad) {
			t.Errorf("%q is the same", bad)
		}
	}
	p.add("100", "pacemaker-attrd", "S", 5003)
	if c.SameAttrd(id) {
		t.Error("same number, other start: the same")
	}
	p.add("100", "pacemaker-attrd", "Z", 5000)
	if c.SameAttrd(id) {
		t.Error("a zombie is the same")
	}
	for _, gone := range []string{"100", "102"} {
		p.remove(gone)
		if _, err := c.AttrdID(); !errors.Is(err, crm.ErrNoAttrd) {
			t.Errorf("without %s: %v", gone, err)
		}
	}
}

// What a daemon has forked to run a program bears its name until the program runs. That is no
// restart: the id stays the same, whichever of the two is found first.
func TestAttrdIDBesideAFork(t *testing.T) {
	for _, fork := range []string{"9", "99", "200", "30000"} {
		for i, d := range []string{"pacemaker-attrd", "pacemaker-contr", "pacemaker-based"} {
			p := newProc(t)
			c := &crm.Client{Proc: p.dir}
			before, err := c.AttrdID()
			if err != nil {
				t.Fatal(err)
			}
			p.add(fork, d, "S", 5010)
			if id, err := c.AttrdID(); err != nil || id != before {
				t.Errorf("%s has forked process %s: %q, %v", d, fork, id, err)
			}
			// The daemon has gone, and what it forked, or another start, is left.
			p.remove(strconv.Itoa(100 + i))
			if id, err := c.AttrdID(); err != nil || id == before || c.SameAttrd(before) {
				t.Errorf("%s is gone: %q, %v", d, id, err)
			}
		}
	}
	// And what was kept meanwhile is believed.
	p, action, _ := newCache(t)
	a := action()
	a.Drop()
	p.add("9", "pacemaker-contr", "S", 5010)
	must(t, a.Store("data"))
	p.remove("9")
	if data, ok := action().Load(); !ok || data != "data" {
		t.Errorf("%q, %v", data, ok)
	}
}

func TestOwnProcIsReadable(t *testing.T) {
	// Whatever runs here, reading must work or say that there is none.
	c := &crm.Client{}
	if id, err := c.AttrdID(); err == nil && !c.SameAttrd(id) || err != nil && !errors.Is(err, crm.ErrNoAttrd) {
		t.Errorf("%q, %v", id, err)
	}
}

// newCache gives caches as two actions would have them: same file, same clock.
func newCache(t *testing.T) (p fakeProc, action func() *crm.Cache, now *time.Duration) {
	t.Helper()
	p = newProc(t)
	dir := t.TempDir()
	now = new(time.Duration)
	*now = time.Hour
	return p, func() *crm.Cache {
		return &crm.Cache{Name: "pgrex-pgsql", Dir: dir, Client: &crm.Client{Proc: p.dir}, Uptime: func() (time.Duration, error) { return *now, nil }}
	}, now
}

func TestCacheKeeps(t *testing.T) {
	_, action, now := newCache(t)
	if _, ok := action().Load(); ok {
		t.Error("something where nothing was kept")
	}
	if err := action().Store("one"); err != nil {
		t.Fatal(err)
	}
	if err := action().Store("two \"quoted\" \x01"); err != nil {
		t.Fatal(err)
	}
	*now += 60 * time.Second
	if data, ok := action().Load(); !ok || data != "two \"quoted\" \x01" {
		t.Errorf("%q, %v", data, ok)
	}
	action().Drop()
	action().Drop()
	if _, ok := action().Load(); ok {
		t.Error("believed although dropped")
	}
}

func TestCacheIsNotBelieved(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, p fakeProc, now *time.Duration, file string){
		"too old":            func(_ *testing.T, _ fakeProc, now *time.Duration, _ string) { *now += 61 * time.Second },
		"from before a boot": func(_ *testing.T, _ fakeProc, now *time.Duration, _ string) { *now -= time.Minute },
		"attrd restarted":    func(_ *testing.T, p fakeProc, _ *time.Duration, _ string) { p.add("100", "pacemaker-attrd", "S", 6000) },
		"controld restarted": func(_ *testing.T, p fakeProc, _ *time.Duration, _ string) {
			p.remove("101")
			p.add("201", "pacemaker-contr", "S", 6000)
		},
		"based gone":  func(_ *testing.T, p fakeProc, _ *time.Duration, _ string) { p.remove("102") },
		"cut short":   func(t *testing.T, _ fakeProc, _ *time.Duration, file string) { must(t, os.Truncate(file, 20)) },
		"empty":       func(t *testing.T, _ fakeProc, _ *time.Duration, file string) { must(t, os.Truncate(file, 0)) },
		"open to all": func(t *testing.T, _ fakeProc, _ *time.Duration, file string) { must(t, os.Chmod(file, 0o666)) },
		"a link": func(t *testing.T, _ fakeProc, _ *time.Duration, file string) {
			must(t, os.Rename(file, file+".x"))
			must(t, os.Symlink(file+".x", file))
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, action, now := newCache(t)
			must(t, action().Store("data"))
			if _, ok := action().Load(); !ok {
				t.Fatal("not believed to begin with")
			}
			spoil(t, p, now, filepath.Join(action().Dir, "pgrex-pgsql.cache"))
			if data, ok := action().Load(); ok {
				t.Errorf("believed: %q", data)
			}
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestCacheStoreFailures(t *testing.T) {
	t.Run("restart between look and store", func(t *testing.T) {
		p, action, _ := newCache(t)
		for name, first := range map[string]func(*crm.Cache){
			"load": func(c *crm.Cache) { c.Load() },
			"drop": func(c *crm.Cache) { c.Drop() },
			"hit":  func(c *crm.Cache) { must(t, action().Store("old")); c.Load() },
		} {
			c := action()
			p.add("100", "pacemaker-attrd", "S", 5000)
			first(c)
			p.add("100", "pacemaker-attrd", "S", 7000)
			if err := c.Store("data"); err == nil || !strings.Contains(err.Error(), "restarted") {
				t.Errorf("%s: %v", name, err)
			}
			if _, ok := action().Load(); ok {
				t.Errorf("%s: something was kept", name)
			}
		}
	})
	t.Run("no daemons", func(t *testing.T) {
		p, action, _ := newCache(t)
		must(t, action().Store("old"))
		p.remove("100")
		if err := action().Store("data"); !errors.Is(err, crm.ErrNoAttrd) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("no directory", func(t *testing.T) {
		_, action, _ := newCache(t)
		c := action()
		c.Dir = filepath.Join(c.Dir, "none")
		if err := c.Store("data"); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("no cache", func(t *testing.T) {
		var c *crm.Cache
		c.Drop()
		if _, ok := c.Load(); ok || c.Store("x") == nil {
			t.Error("a cache that is not there keeps something")
		}
	})
	t.Run("nothing left behind", func(t *testing.T) {
		_, action, _ := newCache(t)
		must(t, action().Store("data"))
		entries, err := os.ReadDir(action().Dir)
		if err != nil || len(entries) != 1 {
			t.Errorf("%v, %v", entries, err)
		}
	})
	t.Run("name cannot lead out", func(t *testing.T) {
		_, action, _ := newCache(t)
		c := action()
		c.Name = "../../x"
		must(t, c.Store("data"))
		if _, err := os.Stat(filepath.Join(c.Dir, "x.cache")); err != nil {
			t.Error(err)
		}
	})
}
