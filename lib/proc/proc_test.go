package proc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pgrex/lib/proc"
)

func sh(script string) proc.Cmd {
	return proc.Cmd{Path: "/bin/sh", Args: []string{"-c", script}}
}

// run runs and fails the test on an error of Run.
func run(t *testing.T, cmd proc.Cmd) proc.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	res, err := proc.OS{}.Run(ctx, cmd)
	if err != nil {
		t.Fatalf("Run: %v", err)
	}
	return res
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root: it changes users and limits")
	}
}

func TestOutputsAndExitCodes(t *testing.T) {
	for _, tt := range []struct {
		name     string
		cmd      proc.Cmd
		out, err string
		code     int
		signal   syscall.Signal
	}{
		{name: "success", cmd: sh("echo a; echo b >&2"), out: "a\n", err: "b\n"},
		{name: "exit code", cmd: sh("exit 105"), code: 105},
		{name: "signal", cmd: sh("kill -9 $$"), code: 137, signal: syscall.SIGKILL},
		{name: "name in PATH", cmd: proc.Cmd{Path: "echo", Args: []string{"x"}}, out: "x\n"},
		{name: "stdin", cmd: proc.Cmd{Path: "cat", Stdin: strings.NewReader("in")}, out: "in"},
		{name: "no stdin", cmd: proc.Cmd{Path: "cat"}},
		{name: "stdin not read", cmd: proc.Cmd{Path: "true", Stdin: bytes.NewReader(make([]byte, 1<<20))}},
		{name: "root directory", cmd: proc.Cmd{Path: "pwd"}, out: "/\n"},
		{name: "discard", cmd: proc.Cmd{Path: "echo", Args: []string{"x"}, Discard: true}},
		{name: "secret in stderr", cmd: proc.Cmd{Path: "/bin/sh", Args: []string{"-c", "echo pw=s3cret >&2"}, Secrets: []string{"", "s3cret"}}, err: "pw=***\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			res := run(t, tt.cmd)
			if string(res.Stdout) != tt.out || string(res.Stderr) != tt.err || res.ExitCode != tt.code || res.Signal != tt.signal {
				t.Errorf("got %q %q code %d signal %d", res.Stdout, res.Stderr, res.ExitCode, res.Signal)
			}
		})
	}
}

func TestFollow(t *testing.T) {
	var seen strings.Builder
	res, err := proc.OS{}.Run(t.Context(), proc.Cmd{
		Path: "/bin/sh", Args: []string{"-c", "echo out; echo one >&2; echo two >&2"}, MaxOutput: 4,
		Follow: func(p []byte) { seen.Write(p) },
	})
	if err != nil || seen.String() != "one\ntwo\n" || string(res.Stderr) != "one\n" {
		t.Errorf("seen %q, kept %q, %v", seen.String(), res.Stderr, err)
	}
}

func TestOutputCap(t *testing.T) {
	cmd := sh("head -c 300000 /dev/zero; echo end >&2")
	cmd.MaxOutput = 1000
	res := run(t, cmd)
	if len(res.Stdout) != 1000 || !res.Truncated || string(res.Stderr) != "end\n" {
		t.Errorf("kept %d bytes, truncated %v, stderr %q", len(res.Stdout), res.Truncated, res.Stderr)
	}
	cmd.MaxOutput = 0
	if res = run(t, cmd); len(res.Stdout) != 300000 || res.Truncated {
		t.Errorf("kept %d bytes, truncated %v", len(res.Stdout), res.Truncated)
	}
}

func TestLargeOutputIsComplete(t *testing.T) {
	// The last pipe-full must not be lost when the child ends first.
	for range 20 {
		if res := run(t, sh("head -c 65536 /dev/zero")); len(res.Stdout) != 65536 {
			t.Fatalf("got %d bytes of 65536", len(res.Stdout))
		}
	}
}

func TestDaemonKeepingOutputOpenDoesNotHang(t *testing.T) {
	begin := time.Now()
	res := run(t, sh("echo started; sleep 3 & echo $!"))
	if d := time.Since(begin); d > time.Second {
		t.Errorf("took %v", d)
	}
	f := strings.Fields(string(res.Stdout))
	if len(f) != 2 || f[0] != "started" {
		t.Fatalf("stdout %q", res.Stdout)
	}
	pid, _ := strconv.Atoi(f[1])
	if err := unix.Kill(pid, 0); err != nil {
		t.Errorf("the daemon is gone: %v", err)
	}
	_ = unix.Kill(pid, unix.SIGKILL)
}

func TestDeadlineKillsTheGroup(t *testing.T) {
	for name, script := range map[string]string{
		"obedient": "sleep 60 & echo $!; wait",
		"stubborn": "trap '' TERM; (trap '' TERM; while :; do sleep 1; done) & echo $!; while :; do sleep 1; done",
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
			defer cancel()
			cmd := sh(script)
			cmd.Grace = 100 * time.Millisecond
			cmd.Secrets = []string{"sleep"}
			begin := time.Now()
			res, err := proc.OS{}.Run(ctx, cmd)
			if d := time.Since(begin); d > 2*time.Second {
				t.Errorf("took %v", d)
			}
			var killed *proc.KilledError
			if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &killed) {
				t.Fatalf("error %v", err)
			}
			if strings.Contains(err.Error(), "sleep") || !strings.Contains(err.Error(), "***") {
				t.Errorf("secret in %q", err)
			}
			pid, convErr := strconv.Atoi(strings.TrimSpace(string(res.Stdout)))
			if convErr != nil {
				t.Fatalf("stdout %q", res.Stdout)
			}
			waitGone(t, pid)
		})
	}
}

// waitGone waits until the process is gone or a zombie.
func waitGone(t *testing.T, pid int) {
	t.Helper()
	for range 200 {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return
		}
		if i := bytes.LastIndexByte(stat, ')'); i >= 0 && bytes.HasPrefix(stat[i:], []byte(") Z")) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("process %d still runs", pid)
}

func TestEndedContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	mark := filepath.Join(t.TempDir(), "mark")
	if _, err := (proc.OS{}).Run(ctx, proc.Cmd{Path: "touch", Args: []string{mark}}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(mark); err == nil {
		t.Error("the program ran")
	}
}

func TestNotFound(t *testing.T) {
	for _, path := range []string{"no-such-program", "/no/such/program"} {
		_, err := proc.OS{}.Run(context.Background(), proc.Cmd{Path: path})
		if !errors.Is(err, proc.ErrNotFound) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error %v", path, err)
		}
	}
	if _, err := (proc.OS{}).Run(context.Background(), proc.Cmd{Path: "/etc/passwd"}); err == nil || errors.Is(err, proc.ErrNotFound) {
		t.Errorf("not executable: error %v", err)
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("OCF_RESKEY_repuser_password", "s3cret")
	t.Setenv("PGREX_TEST", "kept")
	cmd := proc.Cmd{Path: "env"}
	out := string(run(t, cmd).Stdout)
	if strings.Contains(out, "s3cret") || !strings.Contains(out, "PGREX_TEST=kept") {
		t.Errorf("inherited environment:\n%s", out)
	}
	cmd.Env = []string{"A=b"}
	if out = string(run(t, cmd).Stdout); out != "A=b\n" {
		t.Errorf("given environment:\n%s", out)
	}
}

func TestDescriptorsAreNotInherited(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	// A descriptor as a careless parent hands it down.
	fd, err := unix.FcntlInt(w.Fd(), unix.F_DUPFD, 50)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	out := run(t, proc.Cmd{Path: "ls", Args: []string{"/proc/self/fd"}}).Stdout
	// 3 is the directory ls reads.
	if got := strings.Fields(string(out)); strings.Join(got, " ") != "0 1 2 3" {
		t.Errorf("descriptors %v", got)
	}
}

func TestUserUmaskAndGroups(t *testing.T) {
	needRoot(t)
	cmd := sh("id -u; id -g; id -G; umask; echo $HOME:$USER")
	cmd.User = &proc.User{Name: "nobody", UID: 65534, GID: 65534, Groups: []uint32{65534, 7, 8}, Home: "/nonexistent"}
	got := strings.Split(string(run(t, cmd).Stdout), "\n")
	want := []string{"65534", "65534", "65534 7 8", "0077", "/nonexistent:nobody", ""}
	if strings.Join(got, "|") != strings.Join(want, "|") {
		t.Errorf("got %q, want %q", got, want)
	}
	// Ours has not changed, on any thread.
	for range 20 {
		if out := string(run(t, sh("umask; id -u")).Stdout); out != "0022\n0\n" {
			t.Fatalf("own child: %q", out)
		}
	}
}

func TestLimitsAreSet(t *testing.T) {
	soft, hard := uint64(123), uint64(234)
	cmd := sh("ulimit -Sn; ulimit -Hn; sh -c 'ulimit -Sn'")
	cmd.Limits = []proc.Limit{{Resource: unix.RLIMIT_NOFILE, Soft: &soft, Hard: &hard}}
	for range 20 {
		if res := run(t, cmd); string(res.Stdout) != "123\n234\n123\n" || res.LimitsErr != nil {
			t.Fatalf("got %q, %v", res.Stdout, res.LimitsErr)
		}
	}
	// A program that is held back must not get the pipe it was held by.
	ls := proc.Cmd{Path: "ls", Args: []string{"/proc/self/fd", "a b"}, Limits: cmd.Limits}
	if res := run(t, ls); strings.Join(strings.Fields(string(res.Stdout)), " ") != "/proc/self/fd: 0 1 2 3" || !strings.Contains(string(res.Stderr), "'a b'") {
		t.Errorf("got %q %q", res.Stdout, res.Stderr)
	}
	// What cannot be set holds nothing up.
	cmd.Limits = append(cmd.Limits, proc.Limit{Resource: 9999, Soft: &soft})
	if res := run(t, cmd); string(res.Stdout) != "123\n234\n123\n" || res.LimitsErr == nil || !strings.Contains(res.LimitsErr.Error(), "limit 9999") {
		t.Errorf("bad limit: %q, %v", res.Stdout, res.LimitsErr)
	}
}

func TestLimitsOfAnotherUser(t *testing.T) {
	needRoot(t)
	soft := uint64(123)
	cmd := sh("ulimit -Sn")
	cmd.User = &proc.User{Name: "nobody", UID: 65534, GID: 65534}
	cmd.Limits = []proc.Limit{{Resource: unix.RLIMIT_NOFILE, Soft: &soft}}
	res := run(t, cmd)
	set := string(res.Stdout) == "123\n"
	// Either it is set or we are told; with the capability it is set.
	if set == (res.LimitsErr != nil) || !set && hasCap(t, unix.CAP_SYS_RESOURCE) {
		t.Errorf("got %q, %v", res.Stdout, res.LimitsErr)
	}
}

func hasCap(t *testing.T, capability int) bool {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "CapEff:")
	mask, err := strconv.ParseUint(strings.Fields(rest)[0], 16, 64)
	if err != nil {
		t.Fatal(err)
	}
	return mask>>capability&1 == 1
}

func TestNewSession(t *testing.T) {
	cmd := sh("ps -o sid= -p $$; echo $$")
	cmd.NewSession = true
	f := strings.Fields(string(run(t, cmd).Stdout))
	if len(f) != 2 || f[0] != f[1] {
		t.Errorf("session and pid: %v", f)
	}
}

// TestChildrenDieWithUs: Pacemaker ends an agent that is late with SIGKILL.
func TestChildrenDieWithUs(t *testing.T) {
	if os.Getenv("PGREX_PROC_PARENT") != "" {
		for _, session := range []bool{false, true} {
			cmd := sh("echo $$ > " + filepath.Join(os.Getenv("PGREX_PROC_PARENT"), strconv.FormatBool(session)) + "; exec sleep 30")
			cmd.NewSession = session
			go func() { _, _ = proc.OS{}.Run(context.Background(), cmd) }()
		}
		select {}
	}
	dir := t.TempDir()
	parent := exec.Command("/proc/self/exe", "-test.run=^TestChildrenDieWithUs$")
	parent.Env = append(os.Environ(), "PGREX_PROC_PARENT="+dir)
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	pids := map[string]int{}
	for range 500 {
		for _, name := range []string{"true", "false"} {
			if b, err := os.ReadFile(filepath.Join(dir, name)); err == nil && bytes.HasSuffix(b, []byte("\n")) {
				pids[name], _ = strconv.Atoi(strings.TrimSpace(string(b)))
			}
		}
		if len(pids) == 2 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	_ = parent.Process.Kill()
	_ = parent.Wait()
	if len(pids) != 2 {
		t.Fatalf("children did not start: %v", pids)
	}
	waitGone(t, pids["false"])
	if err := unix.Kill(pids["true"], 0); err != nil {
		t.Errorf("a child in its own session died with us")
	}
	_ = unix.Kill(pids["true"], unix.SIGKILL)
}

func TestConcurrentRuns(t *testing.T) {
	errs := make(chan error)
	for i := range 16 {
		go func() {
			res, err := proc.OS{}.Run(context.Background(), sh(fmt.Sprintf("echo %d", i)))
			if err == nil && string(res.Stdout) != fmt.Sprintf("%d\n", i) {
				err = fmt.Errorf("%d: got %q", i, res.Stdout)
			}
			errs <- err
		}()
	}
	for range 16 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestMessage(t *testing.T) {
	for _, tt := range []struct {
		res  proc.Result
		want string
	}{
		{proc.Result{}, ""},
		{proc.Result{Stdout: []byte("a\nb\n")}, "b"},
		{proc.Result{Stdout: []byte("out"), Stderr: []byte(" one\n two \n\n")}, "two"},
	} {
		if got := tt.res.Message(); got != tt.want {
			t.Errorf("Message of %q: %q", tt.res.Stderr, got)
		}
	}
}

func BenchmarkRun(b *testing.B) {
	for b.Loop() {
		if _, err := (proc.OS{}).Run(context.Background(), proc.Cmd{Path: "/bin/true"}); err != nil {
			b.Fatal(err)
		}
	}
}
