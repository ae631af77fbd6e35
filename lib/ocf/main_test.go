package ocf

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain makes the test binary an agent when it is called as one, so that Main is tested as the
// process it is: signals, a closed stderr, the exit code.
func TestMain(m *testing.M) {
	if os.Getenv("PGREX_TEST_AGENT") == "" {
		os.Exit(m.Run())
	}
	Main(Agent{Meta: sampleMeta(), Handlers: map[string]func(context.Context, *Call) error{
		"monitor": func(context.Context, *Call) error { return Status(NotRunning) },
		// start waits for the end of its context.
		"start": func(ctx context.Context, _ *Call) error {
			fmt.Println("ready")
			<-ctx.Done()
			return ctx.Err()
		},
		// stop talks to a stderr that is gone, then proves that it lived on.
		"stop": func(_ context.Context, c *Call) error {
			fmt.Println("ready")
			_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
			c.Log.Error("nobody reads this")
			fmt.Println("alive")
			return nil
		},
	}})
}

func agent(t *testing.T, action string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], action)
	cmd.Env = append(os.Environ(), "PGREX_TEST_AGENT=1", "HA_LOGFACILITY=none")
	return cmd
}

func TestMainExitCode(t *testing.T) {
	var exit *exec.ExitError
	if err := agent(t, "monitor").Run(); !errors.As(err, &exit) || exit.ExitCode() != 7 {
		t.Errorf("%v, want exit code 7", err)
	}
}

func TestMainSIGTERM(t *testing.T) {
	cmd := agent(t, "start")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(stderr.String(), "ocf-exit-reason:context canceled (the resource manager told") {
		t.Errorf("%v after %s: %s", err, time.Since(begin), stderr.String())
	}
}

func TestMainSurvivesClosedStderr(t *testing.T) {
	cmd := agent(t, "stop")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out := bufio.NewReader(stdout)
	if _, err := out.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	// The manager dies here: its end of the pipe is closed before the agent logs.
	if err := errors.Join(stderr.Close(), second(io.WriteString(stdin, "go\n"))); err != nil {
		t.Fatal(err)
	}
	line, err := out.ReadString('\n')
	if werr := cmd.Wait(); line != "alive\n" || err != nil || werr != nil {
		t.Errorf("said %q (%v), ended with %v", line, err, werr)
	}
}

func second(_ int, err error) error { return err }
