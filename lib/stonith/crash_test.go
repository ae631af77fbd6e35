package stonith

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

// TestMain lets the test program be an agent that crashes, for TestCrash.
func TestMain(m *testing.M) {
	if os.Getenv("PGREX_CRASH") != "" {
		a := testAgent(nil)
		a.Open = func(context.Context, *Call) (Device, error) {
			go panic("on a goroutine that nobody guards")
			time.Sleep(time.Minute)
			return nil, nil
		}
		Main(a)
	}
	os.Exit(m.Run())
}

// A crash ends the agent by a signal. Go's own exit code for it is 2, which is status's "off".
func TestCrash(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-o", "status", "-a", "x")
	cmd.Env = append(os.Environ(), "PGREX_CRASH=1")
	var status *exec.ExitError
	if err := cmd.Run(); !errors.As(err, &status) {
		t.Fatal(err)
	}
	ws, ok := status.Sys().(syscall.WaitStatus)
	if !ok || !ws.Signaled() || ws.Signal() != syscall.SIGABRT || ws.CoreDump() {
		t.Errorf("ended by %v, core %v", status, ws.CoreDump())
	}
}

// SIGTERM ends a real agent at once with exit code 1.
func TestTerminated(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "PGREX_CRASH=1")
	in, err := cmd.StdinPipe() // never written to: the agent waits for its parameters
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = cmd.Wait()
	}()
	// The agent may not have its handler yet.
	for {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-done:
			if code := cmd.ProcessState.ExitCode(); code != 1 && code != -1 || time.Since(start) > 5*time.Second {
				t.Errorf("code %d after %v", code, time.Since(start))
			}
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}
