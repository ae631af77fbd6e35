package cloudip

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgrex/tests/contract/resource"
	"pgrex/tests/contract/sandbox"
)

// traced runs a call under strace and returns what it was asked to show.
func traced(t *testing.T, c resource.Call, code int, calls string) string {
	t.Helper()
	file := filepath.Join(sandbox.TempDir(t), "trace")
	cmd := exec.Command("strace", "-f", "-qq", "-s", "60", "-e", "trace="+calls, "-o", file, c.Agent.Path, c.Action)
	cmd.Env = c.Environment()
	out, err := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("%s under strace: want code %d, got %d (%v)\n%s", c.Name(), code, got, err, out)
	}
	return sandbox.ReadFile(t, file)
}

// processes counts the programs that were executed and the processes that were made, threads not
// among them.
func processes(trace string) (executed, forked int) {
	executed = strings.Count(trace, "execve(")
	for line := range strings.Lines(trace) {
		// Go's runtime also makes a thread-like child once, to see what the kernel can do; that one ends
		// without a signal.
		if regexp.MustCompile(`\b(v?fork|clone3?)\(`).MatchString(line) && strings.Contains(line, "SIGCHLD") {
			forked++
		}
	}
	return executed, forked
}

// No action but start makes a process, and start makes one, for the announcements in the background.
func TestOneProcess(t *testing.T) {
	begin(t)
	const calls = "execve,clone,clone3,fork,vfork"
	p := v4(nil)
	for _, tt := range []struct {
		call   resource.Call
		code   int
		forked int
	}{
		{probe(p), notRunning, 0}, {action("start", p), ok, 1}, {monitor(p), ok, 0}, {probe(p), ok, 0},
		{action("validate-all", p), ok, 0}, {action("stop", p), ok, 0}, {action("stop", p), ok, 0},
	} {
		executed, forked := processes(traced(t, tt.call, tt.code, calls))
		// The process in the background is executed too, if strace sees that far.
		if forked != tt.forked || executed < 1 || executed > 1+tt.forked {
			t.Errorf("%s: %d programs executed, %d processes made", tt.call.Name(), executed, forked)
		}
	}
}

// A monitor looks at this machine. It connects to nothing but the system's log.
func TestMonitorConnectsToNothing(t *testing.T) {
	begin(t)
	action("start", v4(nil)).Must(t, ok)
	for line := range strings.Lines(traced(t, monitor(v4(nil)), ok, "connect,socket")) {
		if strings.Contains(line, "AF_INET") || strings.Contains(line, "connect(") && !strings.Contains(line, "/dev/log") {
			t.Errorf("monitor: %s", line)
		}
	}
}

func TestBackground(t *testing.T) {
	begin(t)
	p := v4(params{"arp_count": "100"})
	action("start", p).Must(t, ok)
	pids := announcers(t)
	if len(pids) != 1 {
		t.Fatalf("announcing: %v", pids)
	}
	pid := pids[0]
	if session := strings.TrimSpace(sandbox.Command(t, "ps", "-o", "sid=", "-p", pid)); session != pid {
		t.Errorf("process %s is in session %s", pid, session)
	}
	for _, fd := range []string{"0", "1", "2"} {
		if target, err := os.Readlink("/proc/" + pid + "/fd/" + fd); err != nil || target != os.DevNull {
			t.Errorf("descriptor %s is %s, %v", fd, target, err)
		}
	}
	files, err := filepath.Glob("/proc/" + pid + "/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		target, err := os.Readlink(f)
		if err == nil && !strings.HasPrefix(target, "socket:") && !strings.HasPrefix(target, "anon_inode:") && target != os.DevNull &&
			!strings.HasPrefix(target, "/sys/fs/cgroup/") { // Go's runtime looks there for its share of the processors
			t.Errorf("it holds %s", target)
		}
	}
	if env := sandbox.ReadFile(t, "/proc/"+pid+"/environ"); strings.Contains(env, "OCF_RESKEY_") {
		t.Error("it has the parameters in its environment")
	}
	action("stop", p).Must(t, ok)
	if left := announcers(t); len(left) != 0 {
		t.Errorf("still announcing after stop: %v", left)
	}
	if files, _ := filepath.Glob(stateDir + "/cloudip/*"); len(files) != 0 {
		t.Errorf("left behind: %v", files)
	}
}

// It ends by itself when it has done its work, and when the address is gone.
func TestBackgroundEnds(t *testing.T) {
	begin(t)
	action("start", v4(params{"arp_interval": "20"})).Must(t, ok)
	sandbox.Eventually(t, "the announcements are done", 5*time.Second, func() bool { return len(announcers(t)) == 0 })
	action("stop", v4(nil)).Must(t, ok)

	action("start", v4(params{"arp_count": "1000", "arp_interval": "50"})).Must(t, ok)
	ip(t, "address", "del", vip4+"/24", "dev", "eth0")
	sandbox.Eventually(t, "it sees that the address is gone", 5*time.Second, func() bool { return len(announcers(t)) == 0 })
}

// A note of a process that ended long ago: its id belongs to somebody else now, who is left alone.
func TestStaleNote(t *testing.T) {
	begin(t)
	sleeper := exec.Command("sleep", "600")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sleeper.Process.Kill(); _ = sleeper.Wait() }()
	for _, note := range []string{
		strconv.Itoa(sleeper.Process.Pid) + " 1", strconv.Itoa(sleeper.Process.Pid), "1 1", "-1 1", "0 0", "frog", "",
		"99999999999999999999 1",
	} {
		if err := os.MkdirAll(stateDir+"/cloudip", 0o700); err != nil {
			t.Fatal(err)
		}
		sandbox.WriteFile(t, stateDir+"/cloudip/"+vip4+".announcing", note, 0o600)
		action("start", v4(nil)).Want(t, ok)
		sandbox.WriteFile(t, stateDir+"/cloudip/"+vip4+".announcing", note, 0o600)
		action("stop", v4(nil)).Want(t, ok)
		if err := sleeper.Process.Signal(syscall.Signal(0)); err != nil {
			t.Fatalf("note %q: a stranger was killed", note)
		}
	}
}

// Killed at any moment, an action can be called again, and stop cleans up.
func TestKilled(t *testing.T) {
	begin(t)
	for i := range 60 {
		c := action("start", v4(params{"arp_count": "50"}))
		if i%2 == 1 {
			action("start", v4(nil)).Must(t, ok)
			c = action("stop", v4(nil))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*300*time.Microsecond)
		cmd := exec.CommandContext(ctx, c.Agent.Path, c.Action)
		cmd.Env = c.Environment()
		_ = cmd.Run()
		cancel()
		switch i % 3 {
		case 0:
			action("start", v4(nil)).Want(t, ok)
			monitor(v4(nil)).Want(t, ok)
		case 1:
			probe(v4(nil)).Want(t, ok, notRunning)
		}
		action("stop", v4(nil)).Want(t, ok)
		wantGone(t, vip4)
		probe(v4(nil)).Want(t, notRunning)
	}
	if left := announcers(t); len(left) > 0 {
		// One whose start was killed before it could be noted finds the address gone by itself.
		sandbox.Eventually(t, "nobody announces", 5*time.Second, func() bool { return len(announcers(t)) == 0 })
	}
}

// Without rights: said so, and what needs none works.
func TestNobody(t *testing.T) {
	begin(t)
	run := func(what string, p params) int {
		t.Helper()
		c := action(what, p)
		cmd := exec.Command(c.Agent.Path, c.Action)
		cmd.Env, cmd.Dir = c.Environment(), "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		t.Logf("%s: %v %s", what, err, out)
		return cmd.ProcessState.ExitCode()
	}
	for what, code := range map[string]int{
		"start": noPermission, "stop": ok, "monitor": notRunning, "validate-all": ok, "meta-data": ok, "usage": ok,
	} {
		if got := run(what, v4(nil)); got != code {
			t.Errorf("%s: %d, want %d", what, got, code)
		}
	}
	action("start", v4(nil)).Must(t, ok)
	if got := run("stop", v4(nil)); got != noPermission {
		t.Errorf("stop of an address that is there: %d", got)
	}
	wantHas(t, vip4)
}

// No program, no PATH, no directory of the agents' library is needed.
func TestBareEnvironment(t *testing.T) {
	begin(t)
	for _, what := range []string{"start", "monitor", "stop"} {
		cmd := exec.Command(cloudip.Path, what)
		cmd.Env, cmd.Dir = []string{"OCF_RESKEY_ip=" + vip4, "PATH=/nonexistent", "HA_LOGFACILITY=none"}, "/"
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", what, err, out)
		}
	}
}
