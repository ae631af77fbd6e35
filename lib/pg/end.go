package pg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// ProcessID names one process for good: a pid is used again, a pid with its start
// time is not.
type ProcessID struct {
	PID   int
	Start uint64 // clock ticks since boot
}

// String is the form that ParseProcessID reads.
func (p ProcessID) String() string { return fmt.Sprintf("%d@%d", p.PID, p.Start) }

// ParseProcessID reads what ProcessID.String wrote.
func ParseProcessID(s string) (ProcessID, error) {
	var p ProcessID
	if _, err := fmt.Sscanf(s, "%d@%d", &p.PID, &p.Start); err != nil || p.String() != s || p.PID <= 0 {
		return ProcessID{}, fmt.Errorf("%q is not a pid and a start time", s)
	}
	return p, nil
}

// IdentifyProcess names the process that has this pid now. The error wraps
// syscall.ESRCH if there is none; a zombie is none.
func IdentifyProcess(pid int) (ProcessID, error) {
	st, err := readStat(strconv.Itoa(pid))
	if err != nil || st.dead() {
		return ProcessID{}, fmt.Errorf("process %d: %w", pid, errGone)
	}
	return ProcessID{PID: pid, Start: st.start}, nil
}

// Alive reports whether the process still runs.
func (p ProcessID) Alive() bool {
	now, err := IdentifyProcess(p.PID)
	return err == nil && now == p
}

// endPoll is how often a process is looked at where the kernel has no descriptor
// for it (before Linux 5.3).
const endPoll = 50 * time.Millisecond

// AwaitEnd returns nil when the process has ended, at once where the kernel has
// descriptors for processes, and ctx's error when ctx ends first. It is of no
// account whose child the process is.
func (p ProcessID) AwaitEnd(ctx context.Context) error { return p.awaitEnd(ctx, unix.PidfdOpen) }

func (p ProcessID) awaitEnd(ctx context.Context, open func(pid, flags int) (int, error)) error {
	fd, err := open(p.PID, 0)
	switch {
	case errors.Is(err, unix.ESRCH):
		return nil
	case err != nil:
		return every(ctx, endPoll, "end of process "+p.String(), func() (bool, error) { return !p.Alive(), nil })
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written
	// Only now is it sure whose descriptor it is.
	if !p.Alive() {
		return nil
	}
	// The end of ctx wakes the poll by a pipe: whoever ends us waits for it.
	wake, waker, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("wait for the end of process %s: %w", p, err)
	}
	defer wake.Close() //nolint:errcheck // nothing was written
	stop := context.AfterFunc(ctx, func() { _ = waker.Close() })
	defer waker.Close() //nolint:errcheck // nothing was written, and it may be closed
	defer stop()
	for ctx.Err() == nil {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}, {Fd: int32(wake.Fd()), Events: unix.POLLIN}}
		_, err := unix.Poll(fds, -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("wait for the end of process %s: %w", p, err)
		}
		if err == nil && fds[0].Revents != 0 {
			return nil
		}
	}
	return fmt.Errorf("end of process %s: %w", p, context.Cause(ctx))
}

// Signal sends a signal to the process and to no other that may have its pid by
// now. The error wraps syscall.ESRCH when it has ended.
func (p ProcessID) Signal(sig unix.Signal) error { return p.signal(sig, unix.PidfdOpen) }

func (p ProcessID) signal(sig unix.Signal, open func(pid, flags int) (int, error)) error {
	fd, err := open(p.PID, 0)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		if !p.Alive() {
			return errGone
		}
		return unix.Kill(p.PID, sig)
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written
	if !p.Alive() {
		return errGone
	}
	return unix.PidfdSendSignal(fd, sig, nil, 0)
}
