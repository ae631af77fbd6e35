package host

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Freezer is a control group all processes of one node are in, so that they
// can be stopped and killed as one. It uses control groups v2 where they are
// mounted, at their own place or beside v1, and else the freezer of v1.
type Freezer struct {
	dir string
	v2  bool
}

// NewFreezer makes the control group name, for example "pgrex-lab/a/n1".
func NewFreezer(name string) (*Freezer, error) {
	f, err := findFreezer(name)
	if err != nil {
		return nil, err
	}
	return f, f.create()
}

func (f *Freezer) create() error {
	if err := os.MkdirAll(f.dir, 0o755); err != nil {
		return fmt.Errorf("cannot make control group: %w", err)
	}
	return nil
}

func findFreezer(name string) (*Freezer, error) {
	all := freezers(name)
	if len(all) == 0 {
		return nil, errors.New("no control group freezer: mount cgroup2 on /sys/fs/cgroup, or the v1 freezer on /sys/fs/cgroup/freezer")
	}
	return all[0], nil
}

// freezers are the ways this machine has to freeze the group name, the best one
// first. The freezer of v2 came with Linux 5.2.
func freezers(name string) []*Freezer {
	var all []*Freezer
	for _, v2 := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		if _, err := os.Stat(filepath.Join(v2, "cgroup.controllers")); err == nil {
			all = append(all, &Freezer{dir: filepath.Join(v2, name), v2: true})
		}
	}
	const v1 = "/sys/fs/cgroup/freezer"
	if _, err := os.Stat(filepath.Join(v1, "tasks")); err == nil {
		all = append(all, &Freezer{dir: filepath.Join(v1, name)})
	}
	return all
}

// RemoveFreezers removes all empty control groups below name.
func RemoveFreezers(name string) error {
	f, err := findFreezer(name)
	if err != nil {
		return err
	}
	return f.remove()
}

func (f *Freezer) remove() error {
	var dirs []string
	err := filepath.WalkDir(f.dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for i := len(dirs) - 1; i >= 0; i-- {
		_ = os.Remove(dirs[i]) // busy ones stay
	}
	return nil
}

// Add puts a process in; its children will be born there.
func (f *Freezer) Add(pid int) error {
	return os.WriteFile(f.Procs(), []byte(strconv.Itoa(pid)), 0)
}

// Procs is the file a process writes 0 to in order to join the group.
func (f *Freezer) Procs() string { return filepath.Join(f.dir, "cgroup.procs") }

// Pids lists the processes in the group.
func (f *Freezer) Pids() ([]int, error) {
	b, err := os.ReadFile(f.Procs())
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, w := range strings.Fields(string(b)) {
		if n, err := strconv.Atoi(w); err == nil && n > 0 {
			pids = append(pids, n)
		}
	}
	return pids, nil
}

// Freeze stops all processes of the group and returns once none runs.
func (f *Freezer) Freeze(ctx context.Context) error {
	if err := f.write("FROZEN", "1"); err != nil {
		return err
	}
	return Poll(ctx, "frozen processes", time.Millisecond, func() (bool, error) {
		if f.v2 {
			b, err := os.ReadFile(filepath.Join(f.dir, "cgroup.events"))
			return strings.Contains(string(b), "frozen 1"), err
		}
		b, err := os.ReadFile(filepath.Join(f.dir, "freezer.state"))
		return strings.TrimSpace(string(b)) == "FROZEN", err
	})
}

// Thaw lets the processes run on.
func (f *Freezer) Thaw() error { return f.write("THAWED", "0") }

func (f *Freezer) write(v1, v2 string) error {
	if f.v2 {
		return os.WriteFile(filepath.Join(f.dir, "cgroup.freeze"), []byte(v2), 0)
	}
	return os.WriteFile(filepath.Join(f.dir, "freezer.state"), []byte(v1), 0)
}

// Kill sends SIGKILL to every process of the group while they are frozen, so
// that none sees another die, and then lets them die.
func (f *Freezer) Kill(ctx context.Context) error {
	if err := f.Freeze(ctx); err != nil {
		return err
	}
	pids, err := f.Pids()
	if err != nil {
		return err
	}
	for _, pid := range pids {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
	return f.Thaw()
}
