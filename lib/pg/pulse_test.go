package pg

import (
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"pgrex/lib/proc"
)

// sleeper is a process that wakes up each 20 ms.
func sleeper(t *testing.T) ProcessID {
	t.Helper()
	pid, err := proc.OS{}.Detach(proc.Cmd{Path: "sh", Args: []string{"-c", "while sleep 0.02; do :; done"}})
	if err != nil {
		t.Fatal(err)
	}
	id, err := IdentifyProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = id.Signal(syscall.SIGKILL) })
	return id
}

// A process that looks for work from time to time does not hang; one that was stopped does.
func TestPulse(t *testing.T) {
	t.Parallel()
	id := sleeper(t)
	feel := func() Pulse {
		t.Helper()
		p, err := id.Pulse()
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	before := feel()
	time.Sleep(300 * time.Millisecond)
	if now := feel(); before.Hangs(now) || now.Stopped() {
		t.Errorf("%+v, then %+v: it works", before, now)
	}
	if err := syscall.Kill(id.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(5 * time.Second); !feel().Stopped(); {
		if time.Now().After(deadline) {
			t.Fatalf("not stopped: %+v", feel())
		}
	}
	before = feel()
	time.Sleep(100 * time.Millisecond)
	if now := feel(); !before.Hangs(now) {
		t.Errorf("%+v, then %+v: it is stopped", before, now)
	}
	for _, busy := range []byte("RD") {
		if (Pulse{'S', 5}).Hangs(Pulse{busy, 5}) {
			t.Errorf("state %c counts as hanging", busy)
		}
	}
	if _, err := (ProcessID{PID: os.Getpid(), Start: 1}).Pulse(); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("another process of that pid: %v", err)
	}
}
