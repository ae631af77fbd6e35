package pg

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Pulse is how far a process has got: two of the same process that are equal say
// that it has not run in between, not even to look whether there is work.
type Pulse struct {
	// State is the letter of /proc/PID/stat: R runs or wants to, S sleeps, D waits
	// for a disk, T and t are stopped.
	State byte
	// Switches counts how often it has left the processor.
	Switches uint64
}

// waitsForDisk is the state of a process that waits in the kernel and cannot be woken.
const waitsForDisk = 'D'

// Pulse feels the pulse of a process. The error wraps syscall.ESRCH when it has
// ended.
func (p ProcessID) Pulse() (Pulse, error) {
	pid := strconv.Itoa(p.PID)
	text, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return Pulse{}, fmt.Errorf("process %d: %w", p.PID, errGone)
	}
	st, err := readStat(pid)
	if err != nil || st.dead() || st.start != p.Start {
		return Pulse{}, fmt.Errorf("process %d: %w", p.PID, errGone)
	}
	return Pulse{State: st.state, Switches: switches(string(text))}, nil
}

// switches sums the context switches in /proc/PID/status.
func switches(status string) (sum uint64) {
	for line := range strings.Lines(status) {
		name, value, _ := strings.Cut(line, ":")
		if strings.HasSuffix(name, "ctxt_switches") {
			n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 64)
			if err == nil {
				sum += n
			}
		}
	}
	return sum
}

// Stopped reports whether somebody has stopped the process (SIGSTOP, a debugger).
func (p Pulse) Stopped() bool { return p.State == 'T' || p.State == 't' }

// Hangs reports whether a process whose pulse was p before did nothing at all since,
// although it is neither short of a processor nor waiting for a disk.
func (p Pulse) Hangs(now Pulse) bool {
	return p.Switches == now.Switches && (now.State == 'S' || now.Stopped())
}
