package cost

import "testing"

func TestCount(t *testing.T) {
	trace := `10 execve("/usr/bin/env", ["env"], 0x1) = 0
10 execve("/usr/lib/ocf/resource.d/pgrex/pgsql", ["pgsql"], 0x2) = 0
10 clone(child_stack=0xc0, flags=CLONE_VM|CLONE_FS|CLONE_THREAD) = 11
10 clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|SIGCHLD) = 12
10 vfork( <unfinished ...>
13 execve("/bin/nothing", ["x"], 0x3) = -1 ENOENT (No such file or directory)
13 execve("/bin/ls", ["ls"], 0x3) = 0
10 <... vfork resumed>) = 13
`
	processes, execs := count(trace)
	if processes != 3 || execs != 2 {
		t.Errorf("count = %d processes, %d execs; want 3 and 2", processes, execs)
	}
}
