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
// can be stopped and killed as one. It uses the freezer of control groups v1
// where that is mounted and v2 otherwise.
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
	if err := os.MkdirAll(f.dir, 0o755); err != nil {
		return nil, fmt.Errorf("cannot make control group: %w", err)
	}
	return f, nil
}

func findFreezer(name string) (*Freezer, error) {
	const v1, v2 = "/sys/fs/cgroup/freezer", "/sys/fs/cgroup"
	if _, err := os.Stat(v1); err == nil {
		return &Freezer{dir: filepath.Join(v1, name)}, nil
	}
	if _, err := os.Stat(filepath.Join(v2, "cgroup.controllers")); err == nil {
		return &Freezer{dir: filepath.Join(v2, name), v2: true}, nil
	}
	return nil, errors.New("no control group freezer: mount cgroup2 or the v1 freezer on /sys/fs/cgroup")
}

// RemoveFreezers removes all empty control groups below name.
func RemoveFreezers(name string) error {
	f, err := findFreezer(name)
	if err != nil {
		return err
	}
	var dirs []string
	err = filepath.WalkDir(f.dir, func(path string, d fs.DirEntry, err error) error {
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
