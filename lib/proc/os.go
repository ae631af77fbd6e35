package proc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// stuckAfter is how long a process may take to end after SIGKILL before Run
// gives up on it: only one in uninterruptible sleep does take time.
const stuckAfter = 2 * time.Second

// sbin are looked into after PATH: cluster tools live there, and the PATH of a
// shell or of a service need not name them.
var sbin = [...]string{"/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin"}

// OS runs programs for real. It is ready to use as it is.
type OS struct{}

// Run runs cmd and waits for its end. See Runner.
func (OS) Run(ctx context.Context, cmd Cmd) (Result, error) {
	if err := ctx.Err(); err != nil {
		return Result{}, fmt.Errorf("%s: not started: %w", cmd, err)
	}
	path, err := lookPath(cmd.Path)
	if err != nil {
		return Result{}, err
	}
	if err := closeOnExec(); err != nil {
		return Result{}, fmt.Errorf("%s: cannot mark descriptors close-on-exec: %w", cmd, err)
	}

	std, err := newStdio(cmd)
	if err != nil {
		return Result{}, fmt.Errorf("%s: cannot make pipes: %w", cmd, err)
	}
	defer std.close()

	c := &exec.Cmd{
		Path:        path,
		Args:        append([]string{cmd.Path}, cmd.Args...),
		Env:         environment(cmd),
		Dir:         cmd.Dir,
		Stdin:       std.childIn,
		Stdout:      std.childOut,
		Stderr:      std.childErr,
		SysProcAttr: attributes(cmd),
	}
	if c.Dir == "" {
		c.Dir = "/"
	}

	begin := time.Now()
	p := start(c, cmd)
	if err := <-p.started; err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: %w", ErrNotFound, err)
		}
		return Result{}, fmt.Errorf("cannot start %s: %w", cmd, err)
	}
	std.begin()

	killErr := p.wait(ctx, c.Process.Pid, cmd.Grace)
	if errors.Is(killErr, ErrStuck) {
		// Reaping it would hang. The goroutine of start stays with it.
		return std.result(cmd), &KilledError{Cmd: cmd.String(), After: time.Since(begin), Err: killErr}
	}
	waitErr := c.Wait()
	res := std.result(cmd)
	res.LimitsErr = p.limitsErr
	if killErr != nil {
		return res, &KilledError{Cmd: cmd.String(), After: time.Since(begin), Err: killErr}
	}
	if ee := (*exec.ExitError)(nil); waitErr != nil && !errors.As(waitErr, &ee) {
		return res, fmt.Errorf("%s: cannot wait for its end: %w", cmd, waitErr)
	}
	res.ExitCode = c.ProcessState.ExitCode()
	if ws, ok := c.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		res.Signal = ws.Signal()
		res.ExitCode = 128 + int(ws.Signal())
	}
	return res, nil
}

// attributes says how the child differs from us.
func attributes(cmd Cmd) *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{}
	if cmd.NewSession {
		attr.Setsid = true
	} else {
		attr.Setpgid = true
		attr.Pdeathsig = syscall.SIGKILL
	}
	if u := cmd.User; u != nil && !u.current() {
		attr.Credential = &syscall.Credential{Uid: u.UID, Gid: u.GID, Groups: u.Groups}
	}
	return attr
}

// environment is what the child sees.
func environment(cmd Cmd) []string {
	switch {
	case cmd.Env != nil:
		return cmd.Env
	case cmd.User != nil:
		return cmd.User.Env()
	default:
		return InheritedEnv()
	}
}

// process is a started child and the thread it belongs to.
type process struct {
	started chan error    // one value
	exited  chan struct{} // closed when the child is a zombie

	limitsErr error // to be read after started
}

// start starts the child on a thread of its own, which stays until the child
// has ended. The thread is needed twice: the file mode creation mask belongs to
// it once it has left the shared file system state, and the kernel sends the
// death signal when the thread that forked goes, not the process. It is never
// unlocked, so it dies with the goroutine.
func start(c *exec.Cmd, cmd Cmd) *process {
	p := &process{started: make(chan error, 1), exited: make(chan struct{})}
	go func() {
		runtime.LockOSThread()
		defer close(p.exited)
		umask := cmd.Umask
		if umask == 0 && cmd.User != nil {
			umask = 0o077
		}
		if umask != 0 {
			if err := unix.Unshare(unix.CLONE_FS); err != nil {
				p.started <- fmt.Errorf("cannot set umask: %w", err)
				return
			}
			unix.Umask(umask)
		}
		var err error
		p.limitsErr, err = startLimited(c, cmd.Limits)
		if p.started <- err; err != nil {
			return
		}
		// WNOWAIT: the zombie keeps its number, so that its process group
		// can be signalled without hitting a stranger's.
		for {
			err := unix.Waitid(unix.P_PID, c.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
			if !errors.Is(err, unix.EINTR) {
				return
			}
		}
	}()
	return p
}

// wait returns nil when the child has ended by itself. When ctx ends first it
// ends the child's process group and returns ctx's error.
func (p *process) wait(ctx context.Context, pid int, grace time.Duration) error {
	select {
	case <-p.exited:
		return nil
	case <-ctx.Done():
	}
	if grace == 0 {
		grace = DefaultGrace
	}
	_ = unix.Kill(-pid, unix.SIGTERM)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.exited:
	case <-timer.C:
	}
	// Also when the leader has gone: others of its group may linger.
	_ = unix.Kill(-pid, unix.SIGKILL)
	timer.Reset(stuckAfter)
	select {
	case <-p.exited:
		return ctx.Err()
	case <-timer.C:
		return errors.Join(ctx.Err(), fmt.Errorf("%w (pid %d)", ErrStuck, pid))
	}
}

// lookPath finds the program.
func lookPath(name string) (string, error) {
	if filepath.Base(name) != name {
		return name, nil
	}
	if path, err := exec.LookPath(name); err == nil && filepath.IsAbs(path) {
		return path, nil
	}
	for _, dir := range sbin {
		path := filepath.Join(dir, name)
		if fi, err := os.Stat(path); err == nil && fi.Mode().IsRegular() && fi.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: %w in PATH and system directories", name, ErrNotFound)
}

// closeOnExec marks every descriptor above 2 close-on-exec. Go opens its own
// that way; this is for what we were handed.
func closeOnExec() error {
	const all = ^uint(0) >> 1 & 0xffffffff
	if err := unix.CloseRange(3, all, unix.CLOSE_RANGE_CLOEXEC); err == nil {
		return nil
	}
	// Linux before 5.11.
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range names {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			unix.CloseOnExec(fd)
		}
	}
	return nil
}
