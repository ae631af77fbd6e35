package fault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"pgrex/lib/life"
	"pgrex/tests/lab/host"
	"pgrex/tests/lab/site"
)

// Process is a process of a node.
type Process struct {
	// Pid is its number as the host sees it.
	Pid int
	// Args is its command line. PostgreSQL's children have one element,
	// such as "postgres: checkpointer ".
	Args []string
	// Exe is its program's path on the node.
	Exe string
	// Replaced says that another file, or none, has that path by now.
	Replaced bool
	// Parent is its parent's number.
	Parent int
}

// String is the process in one line.
func (p Process) String() string {
	return fmt.Sprintf("%d %s", p.Pid, strings.TrimSpace(strings.Join(p.Args, " ")))
}

// Pattern chooses processes.
type Pattern func(Process) bool

// Postmaster is PostgreSQL's first process. A child looks the same for a moment,
// until it has set its title.
func Postmaster(p Process) bool {
	if !Postgres(p) || strings.HasPrefix(p.Args[0], "postgres:") {
		return false
	}
	parent, ok := read(p.Parent)
	return !ok || !Postgres(parent)
}

// Postgres is any process of PostgreSQL.
func Postgres(p Process) bool { return filepath.Base(p.Exe) == "postgres" }

// Child is a child of the postmaster by its title, such as "checkpointer",
// "walreceiver" or "walsender".
func Child(title string) Pattern {
	return func(p Process) bool {
		return strings.HasPrefix(p.Args[0], "postgres:") && strings.Contains(p.Args[0], title)
	}
}

// Daemon is a program by its name, such as "corosync" or "pacemakerd".
func Daemon(name string) Pattern {
	return func(p Process) bool { return filepath.Base(p.Exe) == name }
}

// Action is the pgsql agent at work on an action, ours or the reference's.
func Action(action string) Pattern { return Agent("pgsql", action) }

// Agent is a resource agent of some name at work on an action.
func Agent(name, action string) Pattern {
	return func(p Process) bool {
		// A shell agent has the interpreter first.
		for i, a := range p.Args {
			if strings.HasPrefix(a, "/usr/lib/ocf/resource.d/") && filepath.Base(a) == name {
				return i+1 < len(p.Args) && p.Args[i+1] == action
			}
		}
		return false
	}
}

// Find lists a node's processes that a pattern chooses.
func Find(s *site.Site, node string, match Pattern) ([]Process, error) {
	pids, err := s.Pids(node)
	if err != nil {
		return nil, err
	}
	var found []Process
	for _, pid := range pids {
		if p, ok := read(pid); ok && match(p) {
			found = append(found, p)
		}
	}
	return found, nil
}

func read(pid int) (Process, bool) {
	dir := "/proc/" + strconv.Itoa(pid)
	cmd, err := os.ReadFile(dir + "/cmdline")
	if err != nil || len(cmd) == 0 {
		return Process{}, false // gone, or a zombie
	}
	exe, err := os.Readlink(dir + "/exe")
	if err != nil {
		return Process{}, false
	}
	exe, replaced := strings.CutSuffix(exe, " (deleted)")
	p := Process{Pid: pid, Exe: exe, Replaced: replaced}
	for _, a := range bytes.Split(bytes.TrimRight(cmd, "\x00"), []byte{0}) {
		p.Args = append(p.Args, string(a))
	}
	if b, err := os.ReadFile(dir + "/stat"); err == nil {
		if f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:])); len(f) > 1 {
			p.Parent, _ = strconv.Atoi(f[1])
		}
	}
	return p, true
}

// ErrNoProcess says that there is nothing to hit.
var ErrNoProcess = errors.New("no such process")

// Signal sends a signal to all processes of a node that match. For SIGKILL it
// returns once they are gone, for SIGSTOP once they are stopped.
func Signal(ctx context.Context, s *site.Site, node, what string, match Pattern, sig unix.Signal) (Evidence, error) {
	ps, err := Find(s, node, match)
	if err != nil {
		return Evidence{}, err
	}
	if len(ps) == 0 {
		return Evidence{}, fmt.Errorf("%w: %s on %s", ErrNoProcess, what, node)
	}
	e := Evidence{At: time.Now(), Fault: fmt.Sprintf("%s %s on %s", unix.SignalName(sig), what, node)}
	var names []string
	for _, p := range ps {
		if err := unix.Kill(p.Pid, sig); err != nil && !errors.Is(err, unix.ESRCH) {
			return e, fmt.Errorf("cannot signal %v: %w", p, err)
		}
		names = append(names, p.String())
	}
	err = host.Poll(ctx, e.Fault, 2*time.Millisecond, func() (bool, error) {
		states := make([]string, len(ps))
		for i, p := range ps {
			states[i] = state(p.Pid)
		}
		return tookAll(sig, states)
	})
	if err != nil {
		return e, err
	}
	e.InForce = time.Now()
	e.Detail = fmt.Sprintf("seen %v after: %s", e.InForce.Sub(e.At).Round(time.Millisecond), strings.Join(names, ", "))
	return e, nil
}

// tookAll says whether a signal has had its effect on processes in their states. Of
// many that are to stand still one may have ended first, but not the last.
func tookAll(sig unix.Signal, states []string) (bool, error) {
	left := 0
	for _, state := range states {
		if !took(sig, state) {
			return false, nil
		}
		if !gone(state) {
			left++
		}
	}
	if sig == unix.SIGSTOP && left == 0 {
		return false, fmt.Errorf("%w: it ended before it could be stopped", ErrNoProcess)
	}
	return true, nil
}

func gone(state string) bool { return state == "" || state == "Z" }

// took says whether a signal has had its effect on a process in a state.
func took(sig unix.Signal, state string) bool {
	switch sig {
	case unix.SIGSTOP:
		return gone(state) || state == "T"
	case unix.SIGCONT:
		// Who goes on may end at once: a walreceiver whose primary has died meanwhile.
		return gone(state) || strings.Contains("RSD", state)
	default:
		return gone(state)
	}
}

// state is a process's state letter, empty when it is gone.
func state(pid int) string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ""
	}
	f := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(f) == 0 {
		return ""
	}
	return f[0]
}

// KillInAction waits until the pgsql agent is at work on an action on a node, lets
// it work for a while, and kills it as the cluster's executor would when the time is
// up. Errors as of SignalAtWork.
func KillInAction(ctx context.Context, s *site.Site, node, action string, after time.Duration) (Evidence, error) {
	return SignalAtWork(ctx, s, []string{node}, "agent in "+action, Action(action), after, unix.SIGKILL)
}

// SignalAtWork waits until a program is at work that comes and goes, on the first of
// some nodes, lets it work for a while, and sends a signal to its process group, as the
// executor and the fencer do; what it runs in groups of their own goes on. For SIGKILL it
// returns once it is gone, for SIGSTOP once it is stopped. It is an error if the program was
// done before.
func SignalAtWork(ctx context.Context, s *site.Site, nodes []string, what string, match Pattern, after time.Duration, sig unix.Signal) (Evidence, error) {
	var at Process
	var node string
	err := host.Poll(ctx, fmt.Sprintf("the %s on %s", what, strings.Join(nodes, " or ")), time.Millisecond, func() (bool, error) {
		for _, node = range nodes {
			ps, err := Find(s, node, match)
			if err != nil && len(nodes) == 1 {
				return false, err
			}
			if len(ps) == 0 {
				continue
			}
			at = ps[0]
			for _, p := range ps { // the eldest: others are its subshells
				if p.Pid < at.Pid {
					at = p
				}
			}
			return true, nil
		}
		return false, nil
	})
	if err != nil {
		return Evidence{}, err
	}
	if err := life.Pause(ctx, after); err != nil {
		return Evidence{}, err
	}
	e := Evidence{At: time.Now(), Fault: fmt.Sprintf("%s %s on %s", unix.SignalName(sig), what, node)}
	if gone(state(at.Pid)) {
		return e, fmt.Errorf("%w: the %s on %s was done within %v", ErrNoProcess, what, node, after)
	}
	if err := unix.Kill(-at.Pid, sig); err != nil {
		if err := unix.Kill(at.Pid, sig); err != nil {
			return e, fmt.Errorf("cannot signal %v: %w", at, err)
		}
	}
	e.Detail = at.String()
	return e, host.Poll(ctx, e.Fault, 2*time.Millisecond, func() (bool, error) {
		return tookAll(sig, []string{state(at.Pid)})
	})
}

// GoOn lets programs and their process groups go on that SignalAtWork has stopped. Those
// that have been ended meanwhile are passed over.
func GoOn(s *site.Site, nodes []string, match Pattern) error {
	var errs []error
	for _, node := range nodes {
		ps, err := Find(s, node, match)
		errs = append(errs, err)
		for _, p := range ps {
			if state(p.Pid) != "T" {
				continue
			}
			if unix.Kill(-p.Pid, unix.SIGCONT) != nil {
				_ = unix.Kill(p.Pid, unix.SIGCONT)
			}
		}
	}
	return errors.Join(errs...)
}
