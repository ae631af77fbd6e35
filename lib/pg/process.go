package pg

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Processes are the living processes of one cluster. Zombies are not among
// them: they hold nothing.
type Processes struct {
	// Postmaster is the server's main process, or the lone one of
	// "postgres --single"; 0 for none.
	Postmaster int
	// Children are all the others. With a Postmaster they are its children;
	// without one they outlived it and may still serve stale reads.
	Children []int
	// Launching are processes on the way to become a postmaster of this data
	// directory: pg_ctl's shell, or a postgres that has not gone there yet.
	Launching []int
	// PidFile is what postmaster.pid says if it can be read; with a
	// Postmaster of 0 it is stale.
	PidFile *PidFile
	// Unseen counts processes attached to the cluster's shared memory that
	// are none of the above, such as those of a container.
	Unseen int
	// Waiting are those that wait in the kernel at this moment in a sleep that no
	// signal ends, not even SIGKILL: for storage, as a rule.
	Waiting []int
	// changing says that a process with the data directory as its working
	// directory is between two programs, or about to end: it shows no arguments,
	// so what it becomes cannot be told yet.
	changing bool
}

// Running says whether anything of the cluster is alive.
func (p Processes) Running() bool {
	return p.Postmaster != 0 || len(p.Children)+len(p.Launching)+p.Unseen > 0
}

// All lists every pid, the postmaster first.
func (p Processes) All() []int {
	var all []int
	if p.Postmaster != 0 {
		all = append(all, p.Postmaster)
	}
	return append(append(all, p.Launching...), p.Children...)
}

// String is for logs and reasons.
func (p Processes) String() string {
	var parts []string
	if p.Postmaster != 0 {
		parts = append(parts, fmt.Sprintf("postmaster %d", p.Postmaster))
	}
	if n := len(p.Children); n > 0 && p.Postmaster != 0 {
		parts = append(parts, fmt.Sprintf("%d children", n))
	} else if n > 0 {
		parts = append(parts, fmt.Sprintf("processes %v without a postmaster", p.Children))
	}
	if len(p.Launching) > 0 {
		parts = append(parts, fmt.Sprintf("launching %v", p.Launching))
	}
	if p.Unseen > 0 {
		parts = append(parts, fmt.Sprintf("%d attached to its shared memory from elsewhere", p.Unseen))
	}
	if parts == nil {
		return "no process"
	}
	return strings.Join(parts, ", ")
}

// dataDir recognises a data directory as a process's working directory, by
// file identity (bind mounts and links give it other names) and by name (it may
// have been removed under a process that lives on).
type dataDir struct {
	names []string
	info  os.FileInfo
}

func (s *Server) dataDir() dataDir {
	var d dataDir
	abs, err := filepath.Abs(s.Data)
	if err != nil {
		abs = filepath.Clean(s.Data)
	}
	d.names = []string{abs}
	if real, err := filepath.EvalSymlinks(abs); err == nil && real != abs {
		d.names = append(d.names, real)
	}
	if info, err := os.Stat(abs); err == nil && info.IsDir() {
		d.info = info
	}
	return d
}

func (d dataDir) isCwdOf(pid string) bool {
	link := "/proc/" + pid + "/cwd"
	if d.info != nil {
		if info, err := os.Stat(link); err == nil && os.SameFile(info, d.info) {
			return true
		}
	}
	target, err := os.Readlink(link)
	if err != nil {
		return false
	}
	gone, deleted := strings.CutSuffix(target, " (deleted)")
	if deleted {
		return slices.Contains(d.names, gone)
	}
	// With the directory there, only its identity counts: the name alone may
	// mean a directory in another mount namespace.
	return d.info == nil && slices.Contains(d.names, target)
}

// named says whether arg is the data directory.
func (d dataDir) named(arg string) bool {
	if arg == "" || !filepath.IsAbs(arg) {
		return false
	}
	if slices.Contains(d.names, filepath.Clean(arg)) {
		return true
	}
	info, err := os.Stat(arg)
	return err == nil && d.info != nil && os.SameFile(info, d.info)
}

// exeName is the base name of pid's executable, also of one that an upgrade has
// removed from disk. A zombie has none, nor has a kernel thread.
func exeName(pid string) string {
	exe, err := os.Readlink("/proc/" + pid + "/exe")
	if err != nil {
		return ""
	}
	return filepath.Base(strings.TrimSuffix(exe, " (deleted)"))
}

// isPostgres says whether pid runs the server's executable.
func isPostgres(pid string) bool { return isServerName(exeName(pid)) }

func isServerName(exe string) bool {
	return exe == "postgres" || exe == "postmaster" || exe == "edb-postgres"
}

// mayLaunch says whether an executable can be a step on the way to a postmaster.
func mayLaunch(exe string) bool {
	switch exe {
	case "pg_ctl", "sh", "dash", "bash", "ksh93", "mksh", "busybox":
		return true
	}
	return false
}

// procStat is what is needed of /proc/PID/stat.
type procStat struct {
	state byte
	ppid  int
	start uint64 // clock ticks since boot
}

func readStat(pid string) (procStat, error) {
	b, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return procStat{}, err
	}
	st, err := parseStat(b)
	if err != nil {
		return procStat{}, fmt.Errorf("/proc/%s/stat: %w", pid, err)
	}
	return st, nil
}

func parseStat(b []byte) (procStat, error) {
	// The name is in parentheses and may contain any byte.
	f := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(f) < 20 || len(f[0]) != 1 {
		return procStat{}, errors.New("cannot be understood")
	}
	ppid, err1 := strconv.Atoi(string(f[1]))
	start, err2 := strconv.ParseUint(string(f[19]), 10, 64)
	return procStat{f[0][0], ppid, start}, errors.Join(err1, err2)
}

func (st procStat) dead() bool { return st.state == 'Z' || st.state == 'X' || st.state == 'x' }

func cmdline(pid string) []string {
	b, err := os.ReadFile("/proc/" + pid + "/cmdline")
	if err != nil || len(b) == 0 {
		return nil
	}
	return strings.Split(strings.TrimRight(string(b), "\x00"), "\x00")
}

// settledCmdline is the command line of a postgres process. While it is being
// executed there is none for a moment, and while it ends there is none any more;
// the first passes, in the second there is no executable either.
func settledCmdline(pid string) []string {
	const patience, step = 50 * time.Millisecond, time.Millisecond
	for range int(patience / step) {
		if argv := cmdline(pid); argv != nil || !isPostgres(pid) {
			return argv
		}
		<-time.After(step)
	}
	return nil
}

// isChildTitle says whether a command line is the title a child gives itself
// ("postgres: checkpointer"); a postmaster keeps its arguments.
func isChildTitle(argv []string) bool {
	return len(argv) > 0 && strings.HasPrefix(argv[0], "postgres: ")
}

// opensData says whether a postgres' arguments name the data directory: it has
// been executed but has not changed into it.
func (d dataDir) opensData(argv []string) bool {
	for i, a := range argv {
		switch {
		case a == "-D" && i+1 < len(argv):
			return d.named(argv[i+1])
		case strings.HasPrefix(a, "-D"):
			return d.named(a[2:])
		}
	}
	return false
}

// launches says whether argv is a step of pg_ctl on the way to a postmaster of
// this data directory: pg_ctl itself (it forks before it executes the shell), or
// the shell, sh -c 'exec ".../postgres" -D "DATA" ...'.
func (d dataDir) launches(argv []string) bool {
	if len(argv) > 2 && filepath.Base(argv[0]) == "pg_ctl" {
		return (slices.Contains(argv, "start") || slices.Contains(argv, "restart")) && d.opensData(argv)
	}
	if len(argv) != 3 || argv[1] != "-c" || !strings.HasPrefix(argv[2], `exec "`) {
		return false
	}
	return slices.ContainsFunc(d.names, func(n string) bool {
		return strings.Contains(argv[2], `"-D" "`+n+`"`) || strings.Contains(argv[2], `-D "`+n+`"`)
	})
}

// Processes finds every living process of the cluster: those that run the
// server's executable with the data directory as working directory, and as a
// check those attached to its shared memory. The error is only about /proc
// itself; nothing of the cluster's files or of the OS users is needed.
func (s *Server) Processes() (Processes, error) {
	var out Processes
	if pf, err := s.PidFile(); err == nil {
		out.PidFile = &pf
	}
	dir := s.dataDir()
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return out, fmt.Errorf("look for processes: %w", err)
	}
	type member struct {
		pid, ppid int
		child     bool
	}
	var members []member
	var strangers []string // servers of other directories, or not there yet
	for _, e := range entries {
		name := e.Name()
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		exe := exeName(name)
		if mayLaunch(exe) {
			argv := cmdline(name)
			if dir.launches(argv) {
				out.Launching = append(out.Launching, pid)
			}
			out.changing = out.changing || argv == nil && dir.isCwdOf(name)
		}
		if !isServerName(exe) {
			continue
		}
		st, err := readStat(name)
		if err != nil || st.dead() {
			continue
		}
		if !dir.isCwdOf(name) {
			strangers = append(strangers, name)
			continue
		}
		if st.state == waitsForDisk {
			out.Waiting = append(out.Waiting, pid)
		}
		// One without arguments is about to end: they go with its memory, and a
		// postmaster has them before it comes here.
		argv := cmdline(name)
		out.changing = out.changing || argv == nil
		members = append(members, member{pid, st.ppid, argv == nil || isChildTitle(argv)})
	}
	ours := func(pid int) bool {
		return slices.ContainsFunc(members, func(m member) bool { return m.pid == pid })
	}
	for _, m := range members {
		// A child forked a moment ago still has its parent's arguments, so
		// the parent decides; the file decides among several.
		root := !m.child && !ours(m.ppid)
		if root && (out.Postmaster == 0 || out.PidFile != nil && out.PidFile.PID == m.pid) {
			if out.Postmaster != 0 {
				out.Children = append(out.Children, out.Postmaster)
			}
			out.Postmaster = m.pid
			continue
		}
		out.Children = append(out.Children, m.pid)
	}
	s.strangers(dir, strangers, &out)
	return out, nil
}

// strangers sorts out postgres processes whose working directory is elsewhere:
// on their way here, or gone away from here but attached to our memory.
func (s *Server) strangers(dir dataDir, pids []string, out *Processes) {
	attached, id := 0, 0
	if pf := out.PidFile; pf != nil && pf.ShmKey != 0 {
		if seg, ok := sharedMemory(pf); ok {
			attached, id = seg, pf.ShmID
		}
	}
	seen := len(out.Children)
	if out.Postmaster != 0 {
		seen++
	}
	for _, name := range pids {
		pid, _ := strconv.Atoi(name)
		argv := settledCmdline(name)
		switch {
		case attached > seen && mapsSegment(name, out.PidFile.ShmKey, id):
			out.Children = append(out.Children, pid)
			seen++
		case !isChildTitle(argv) && dir.opensData(argv):
			out.Launching = append(out.Launching, pid)
		}
	}
	// Processes come and go while we look, so the count proves something only
	// when nothing at all was found.
	if seen == 0 && attached > 0 {
		out.Unseen = attached
	}
}

// sharedMemory says how many processes are attached to the segment the pid file
// names. ok is false when there is no such segment of that postmaster's: ids
// and keys are used again after a boot.
func sharedMemory(pf *PidFile) (attached int, ok bool) {
	b, err := os.ReadFile("/proc/sysvipc/shm")
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line) // key shmid perms size cpid lpid nattch ...
		if len(f) < 7 {
			continue
		}
		key, err1 := strconv.ParseInt(f[0], 10, 64)
		id, err2 := strconv.Atoi(f[1])
		cpid, err3 := strconv.Atoi(f[4])
		n, err4 := strconv.Atoi(f[6])
		if errors.Join(err1, err2, err3, err4) != nil {
			continue
		}
		if uint32(key) == uint32(pf.ShmKey) && id == pf.ShmID && cpid == pf.PID {
			return n, true
		}
	}
	return 0, false
}

// mapsSegment says whether pid has the System V segment mapped.
func mapsSegment(pid string, key uint64, id int) bool {
	b, err := os.ReadFile("/proc/" + pid + "/maps")
	if err != nil {
		return false
	}
	want := fmt.Sprintf("/SYSV%08x", uint32(key))
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line) // range perms offset dev inode path
		if len(f) >= 6 && f[5] == want && f[4] == strconv.Itoa(id) {
			return true
		}
	}
	return false
}

// alive says whether pid exists and is no zombie.
func alive(pid int) bool {
	st, err := readStat(strconv.Itoa(pid))
	return err == nil && !st.dead()
}

// errGone says that a process ended before it could be signalled.
var errGone = syscall.ESRCH
