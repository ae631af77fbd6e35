package pgtest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"pgrex/lib/proc"
)

// Waiter starts a process of a server in data that waits in the kernel for as long as
// the test runs, or ten minutes: one that has called vfork(2) sleeps like one that waits for
// a disk until its child ends or becomes another program. SIGKILL ends it, though, which
// a disk's waiters do not hear.
func Waiter(t testing.TB, data string) int {
	t.Helper()
	program, err := os.ReadFile("/usr/bin/perl")
	if err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(t.TempDir(), "postgres")
	if err := os.WriteFile(exe, program, 0o755); err != nil {
		t.Fatal(err)
	}
	vfork := fmt.Sprintf(`if (syscall(%d, %d, 0, 0, 0, 0) == 0) { sleep 600; syscall(%d, 0) }`,
		unix.SYS_CLONE, unix.CLONE_VFORK|unix.CLONE_VM|int(unix.SIGCHLD), unix.SYS_EXIT)
	pid, err := proc.OS{}.Detach(proc.Cmd{Path: "sh", Args: []string{"-c", `cd "$0" && exec "$1" -e "$2"`, data, exe, vfork}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Kill(-pid, unix.SIGKILL) })
	return pid
}
