package pg

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pgrex/lib/proc"
)

func TestProcessID(t *testing.T) {
	for _, bad := range []string{"", "12", "12@", "@3", "-1@3", "0@3", "12@3 ", "12@x", "12@-3"} {
		if p, err := ParseProcessID(bad); err == nil {
			t.Errorf("%q is taken for %v", bad, p)
		}
	}
	self, err := IdentifyProcess(syscall.Getpid())
	if err != nil || !self.Alive() {
		t.Fatal(self, err)
	}
	if p, err := ParseProcessID(self.String()); err != nil || p != self {
		t.Errorf("%v, %v", p, err)
	}
	// The pid is somebody else's now.
	other := ProcessID{PID: self.PID, Start: self.Start + 1}
	if other.Alive() || !errors.Is(other.Signal(syscall.SIGKILL), syscall.ESRCH) {
		t.Error("a process with another start is taken for the same")
	}
	if err := other.AwaitEnd(testContext(t)); err != nil {
		t.Error(err)
	}
}

// The end is seen at once, and soon where the kernel has no descriptors for processes, or may not
// give us one.
func TestAwaitEnd(t *testing.T) {
	for name, open := range map[string]func(int, int) (int, error){
		"pidfd":        unix.PidfdOpen,
		"ENOSYS":       func(int, int) (int, error) { return -1, unix.ENOSYS },
		"EPERM":        func(int, int) (int, error) { return -1, unix.EPERM },
		"out of files": func(int, int) (int, error) { return -1, unix.EMFILE },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			awaitsEnd(t, open, name == "pidfd")
		})
	}
}

func awaitsEnd(t *testing.T, open func(int, int) (int, error), atOnce bool) {
	pid, err := proc.OS{}.Detach(proc.Cmd{Path: "sleep", Args: []string{"100"}})
	if err != nil {
		t.Fatal(err)
	}
	p, err := IdentifyProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := p.awaitEnd(short, open); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it has not ended: %v", err)
	}
	// Who is told to stop waiting does so at once, wherever in its wait it is.
	told, tell := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.awaitEnd(told, open) }()
	<-time.After(50 * time.Millisecond)
	began := time.Now()
	tell()
	if err := <-ended; !errors.Is(err, context.Canceled) || time.Since(began) > 300*time.Millisecond {
		t.Errorf("%v after %v", err, time.Since(began))
	}
	go func() { ended <- p.awaitEnd(testContext(t), open) }()
	began = time.Now()
	if err := p.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	took := time.Since(began)
	t.Logf("seen after %v", took)
	if limit := endPoll + 200*time.Millisecond; !atOnce && took > limit {
		t.Errorf("seen after %v, want %v at most", took, limit)
	}
	if p.Alive() {
		t.Error("a zombie is alive")
	}
}

// Without descriptors for processes a signal still goes to nobody else.
func TestSignalWithoutDescriptors(t *testing.T) {
	t.Parallel()
	none := func(int, int) (int, error) { return -1, unix.ENOSYS }
	id := sleeper(t)
	other := ProcessID{PID: id.PID, Start: id.Start + 1}
	if err := other.signal(unix.SIGKILL, none); !errors.Is(err, syscall.ESRCH) || !id.Alive() {
		t.Fatalf("signalled another process: %v", err)
	}
	if err := id.signal(unix.SIGKILL, none); err != nil {
		t.Fatal(err)
	}
	if err := id.AwaitEnd(testContext(t)); err != nil {
		t.Error(err)
	}
}
