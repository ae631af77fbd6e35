package stonith

import (
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// neverPass keeps a crash from passing for an answer. Go ends a process that panics on a goroutine
// of its own, or runs out of memory, with exit code 2, which from a fence agent means "the machine
// is off". Ended by a signal it means nothing. No core is left behind: there are passwords in it.
func neverPass() {
	debug.SetTraceback("crash")
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
}
