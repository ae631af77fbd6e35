package site

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pgrex/tests/lab/host"
)

// A lab's directory belongs to whoever holds the lock on its file "builder": the
// process that builds it and, from its first moment on, the daemon, which
// inherits the lock. The kernel gives it back when the last of them is gone,
// however it went, so a dead lab is one whose lock can be had. Directories come
// and go only under the lock on Base: what is looked at is not made or removed
// meanwhile.

// claimLimit bounds the wait for the lock on Base, which nobody holds for longer
// than the removal of a few small files takes.
const claimLimit = 10 * time.Second

// lockBase keeps other labs from being made and removed until the file is closed.
func lockBase(ctx context.Context) (*os.File, error) {
	if err := os.MkdirAll(Base, 0o755); err != nil {
		return nil, err
	}
	f, err := os.Open(Base)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, claimLimit)
	defer cancel()
	err = host.Poll(ctx, "another lab to be made or removed", 5*time.Millisecond, func() (bool, error) { return tryLock(f) })
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

func tryLock(f *os.File) (bool, error) {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, err
}

func (p Plan) builderFile() string { return filepath.Join(p.Dir(), "builder") }

// claim removes what dead labs left, makes the lab's directory and returns its
// lock, for the daemon to inherit.
func claim(ctx context.Context, p Plan) (*os.File, error) {
	base, err := lockBase(ctx)
	if err != nil {
		return nil, err
	}
	defer base.Close()
	if err := cleanStale(); err != nil {
		return nil, fmt.Errorf("cannot clean up a dead lab: %w", err)
	}
	me, err := thisProcess()
	if err != nil {
		return nil, err
	}
	// In one step, so that no directory is ever seen without its builder.
	tmp, err := os.MkdirTemp(Base, halfMade)
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(tmp) }()
	if err := os.Chmod(tmp, 0o755); err != nil {
		return nil, err
	}
	lock, err := os.Create(filepath.Join(tmp, "builder"))
	if err != nil {
		return nil, err
	}
	_, err = lock.WriteString(me.String())
	if err == nil {
		_, err = tryLock(lock)
	}
	if err == nil {
		err = os.Rename(tmp, p.Dir())
	}
	if err == nil {
		return lock, nil
	}
	_ = lock.Close()
	if errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.EEXIST) {
		err = fmt.Errorf("lab %q exists: take it down with \"lab down --name=%s\" or use another name", p.Name, p.Name)
	}
	return nil, err
}

// halfMade begins the name of a directory that was never finished.
const halfMade = ".new-"

// cleanStale removes what labs left that nobody holds. The caller has locked
// Base.
func cleanStale() error {
	half, err := filepath.Glob(filepath.Join(Base, halfMade+"*"))
	if err != nil {
		return err
	}
	for _, d := range half {
		if err := os.RemoveAll(d); err != nil {
			return err
		}
	}
	for _, name := range Names() {
		held, err := held(name)
		if err != nil {
			return err
		}
		if held {
			continue
		}
		if err := remove(Plan{Name: name}); err != nil {
			return err
		}
	}
	return nil
}

// Held says whether a lab's builder or daemon lives, as the next lab will see it.
func Held(ctx context.Context, name string) (bool, error) {
	base, err := lockBase(ctx)
	if err != nil {
		return false, err
	}
	defer base.Close()
	return held(name)
}

// held says whether a lab's builder or daemon lives. The caller has locked Base.
func held(name string) (bool, error) {
	f, err := os.Open(Plan{Name: name}.builderFile())
	if errors.Is(err, os.ErrNotExist) {
		return false, nil // its removal was cut short
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	free, err := tryLock(f)
	if err != nil || !free {
		return true, err
	}
	// One that holds no lock may still say that it lives: a lab of an older
	// binary.
	s, err := Load(name)
	if errors.Is(err, ErrNoLab) {
		b, err := os.ReadFile(f.Name())
		return err == nil && parseProcess(string(b)).alive(), err
	}
	return err == nil && s.Alive(), err
}

// remove takes away what a dead lab left. The caller has locked Base.
func remove(p Plan) error {
	if err := host.RemoveFreezers(p.group()); err != nil {
		return err
	}
	return os.RemoveAll(p.Dir())
}

// removeOwn is remove for a lab whose lock the caller holds.
func removeOwn(ctx context.Context, p Plan) error {
	base, err := lockBase(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	defer base.Close()
	return remove(p)
}

// removeDead is remove for a lab that may live. It waits for the last of its
// daemon's threads, which let go of the lock a moment after the process is dead.
func removeDead(ctx context.Context, p Plan) error {
	ctx, cancel := context.WithTimeout(ctx, claimLimit)
	defer cancel()
	return host.Poll(ctx, fmt.Sprintf("the end of lab %q, which is being built or still dying", p.Name), 10*time.Millisecond, func() (bool, error) {
		base, err := lockBase(ctx)
		if err != nil {
			return false, err
		}
		defer base.Close()
		if held, err := held(p.Name); held || err != nil {
			return false, err
		}
		return true, remove(p)
	})
}

// process is a process of this machine. Numbers are used again, but not with the
// same start time, which is in the kernel's ticks.
type process struct {
	Pid   int
	Start string
}

func thisProcess() (process, error) {
	start, err := startTime(os.Getpid())
	return process{os.Getpid(), start}, err
}

func (p process) String() string { return fmt.Sprintf("%d %s", p.Pid, p.Start) }

// parseProcess reads what String writes; of anything else it makes a process
// that is dead.
func parseProcess(s string) process {
	var p process
	if n, err := fmt.Sscan(s, &p.Pid, &p.Start); err != nil || n != 2 {
		return process{}
	}
	return p
}

// alive says whether it runs.
func (p process) alive() bool {
	start, err := startTime(p.Pid)
	return err == nil && start == p.Start
}

// startTime is the kernel's start time of a living process.
func startTime(pid int) (string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	// The name in parentheses may hold blanks.
	f := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(f) < 20 || f[0] == "Z" {
		return "", fmt.Errorf("process %d is dead", pid)
	}
	return f[19], nil
}
