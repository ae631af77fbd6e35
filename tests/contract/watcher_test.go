package contract

import (
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgrex/tests/contract/sandbox"
)

// watchersOf are the processes of the agent that watch a data directory.
func watchersOf(t *testing.T, data string) (pids []string) {
	t.Helper()
	dirs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		line, _ := os.ReadFile(dir + "/cmdline")
		env, _ := os.ReadFile(dir + "/environ")
		if strings.HasSuffix(string(line), "\x00watch\x00") && strings.Contains(string(env), "OCF_RESKEY_pgdata="+data+"\x00") {
			pids = append(pids, filepath.Base(dir))
		}
	}
	return pids
}

// descriptor is one that the agent's caller has open, and knows how to find again.
type descriptor struct{ read, write *os.File }

func newDescriptor(t *testing.T) descriptor {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close(); _ = w.Close() })
	return descriptor{r, w}
}

// mustBeClosed fails the test if somebody still has it.
func (d descriptor) mustBeClosed(t *testing.T, what string) {
	t.Helper()
	_ = d.write.Close()
	if err := d.read.SetReadDeadline(time.Now().Add(2 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(d.read); err != nil {
		t.Errorf("somebody still has %s: %v", what, err)
	}
}

// The watcher that a monitor leaves behind has a session of its own and nothing of its caller's,
// who may be ocf-tester or crm_resource --force-check and waits until all is closed; it goes on when
// the caller's session is ended, is the only one, and ends before the server when that is stopped.
func TestWatcherIsDetached(t *testing.T) {
	t.Parallel()
	failing := stubs(t, "exit 102")
	s := newServer(t)
	p := s.replicated()
	action("start", p).Must(t, ok)
	if pids := watchersOf(t, s.data); len(pids) != 0 {
		t.Errorf("a watcher outside a cluster: %v", pids)
	}

	c := clustered(monitor(p), failing)
	ctx, cancel := context.WithTimeout(t.Context(), c.Limit())
	defer cancel()
	cmd := exec.CommandContext(ctx, c.Agent.Path, c.Action)
	cmd.Env, cmd.Dir = c.Environment(), "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, more := newDescriptor(t), newDescriptor(t)
	cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = out.write, out.write, []*os.File{more.write}
	if err := cmd.Run(); err != nil {
		t.Fatalf("monitor: %v", err)
	}
	out.mustBeClosed(t, "the monitor's output")
	more.mustBeClosed(t, "a descriptor that the monitor inherited")
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)

	var pid string
	sandbox.Eventually(t, "one watcher", 5*time.Second, func() bool {
		pids := watchersOf(t, s.data)
		if len(pids) != 1 {
			return false
		}
		pid = pids[0]
		return true
	})
	stat := sandbox.ReadFile(t, "/proc/"+pid+"/stat")
	if session := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])[3]; session != pid {
		t.Errorf("process %s is in session %s", pid, session)
	}
	for fd := range 3 {
		if to, err := os.Readlink("/proc/" + pid + "/fd/" + strconv.Itoa(fd)); err != nil || to != os.DevNull {
			t.Errorf("its descriptor %d is %q, %v", fd, to, err)
		}
	}
	for range 3 {
		c.Must(t, ok)
	}
	if pids := watchersOf(t, s.data); len(pids) != 1 || pids[0] != pid {
		t.Errorf("the watcher was %s and is %v", pid, pids)
	}
	clustered(action("stop", p), failing).Must(t, ok)
	if pids := watchersOf(t, s.data); len(pids) != 0 {
		t.Errorf("watchers of a stopped server: %v", pids)
	}
	s.mustBeGone(t)
}
