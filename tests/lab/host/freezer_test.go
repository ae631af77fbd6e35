package host

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pgrex/lib/life"
)

// TestFreezer freezes, thaws and kills a busy family of processes with every
// kind of control group this machine has.
func TestFreezer(t *testing.T) {
	if err := NeedRoot(); err != nil {
		t.Fatal(err)
	}
	all := freezers(fmt.Sprintf("pgrex-lab/freezer-test-%d", os.Getpid()))
	if len(all) == 0 {
		t.Fatal("this machine has no control group freezer")
	}
	for _, f := range all {
		t.Run(f.dir, func(t *testing.T) { freezeAndKill(t, f) })
	}
}

func freezeAndKill(t *testing.T, f *Freezer) {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := f.create(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.remove(); err != nil {
			t.Error(err)
		}
		if _, err := os.Stat(f.dir); err == nil {
			t.Errorf("%s is left", f.dir)
		}
	}()
	signs := filepath.Join(t.TempDir(), "life")
	// Two generations, so that a child's end could be seen.
	const family = `echo 0 >"$0"; { while :; do echo alive >>"$1"; sleep 0.005; done; } & wait; echo "saw it die" >>"$1"`
	p, err := Start(Program{Path: "/bin/sh", Args: []string{"sh", "-c", family, f.Procs(), signs}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Kill(p.Pid, unix.SIGKILL) }()
	size := func() int64 {
		st, err := os.Stat(signs)
		if err != nil {
			return 0
		}
		return st.Size()
	}
	grows := func() {
		t.Helper()
		was := size()
		if err := Poll(ctx, "signs of life", time.Millisecond, func() (bool, error) { return size() > was, nil }); err != nil {
			t.Fatal(err)
		}
	}
	grows()
	if err := f.Freeze(ctx); err != nil {
		t.Fatal(err)
	}
	was := size()
	if err := life.Pause(ctx, 100*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if now := size(); now != was {
		t.Errorf("it lives while frozen: %d, then %d", was, now)
	}
	if err := f.Thaw(); err != nil {
		t.Fatal(err)
	}
	grows()
	if err := f.Kill(ctx); err != nil {
		t.Fatal(err)
	}
	err = Poll(ctx, "the end of all", time.Millisecond, func() (bool, error) {
		pids, err := f.Pids()
		return len(pids) == 0, err
	})
	if err != nil {
		t.Fatal(err)
	}
	<-p.Done
	b, err := os.ReadFile(signs)
	if err != nil {
		t.Fatal(err)
	}
	if len(b) >= 4 && string(b[len(b)-4:]) == "die\n" {
		t.Error("one process saw the other die")
	}
}
