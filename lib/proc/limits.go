package proc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Limit is one resource limit of a process.
type Limit struct {
	// Resource is one of unix.RLIMIT_*.
	Resource int
	// Soft and Hard are the values in the kernel's unit; nil leaves one as
	// it is.
	Soft, Hard *uint64
}

// rlimit is a line's item in limits.conf(5): the kernel's number and unit.
type rlimit struct {
	name     string
	resource int
	unit     uint64
}

// rlimits are the items that are limits of a process. The others of the file
// (maxlogins, priority, chroot) are for sessions and mean nothing here.
var rlimits = [...]rlimit{
	{"core", unix.RLIMIT_CORE, 1024},
	{"data", unix.RLIMIT_DATA, 1024},
	{"fsize", unix.RLIMIT_FSIZE, 1024},
	{"memlock", unix.RLIMIT_MEMLOCK, 1024},
	{"nofile", unix.RLIMIT_NOFILE, 1},
	{"rss", unix.RLIMIT_RSS, 1024},
	{"stack", unix.RLIMIT_STACK, 1024},
	{"cpu", unix.RLIMIT_CPU, 60},
	{"nproc", unix.RLIMIT_NPROC, 1},
	{"as", unix.RLIMIT_AS, 1024},
	{"locks", unix.RLIMIT_LOCKS, 1},
	{"sigpending", unix.RLIMIT_SIGPENDING, 1},
	{"msgqueue", unix.RLIMIT_MSGQUEUE, 1},
	{"rtprio", unix.RLIMIT_RTPRIO, 1},
}

// LoginLimits are the limits a login would give the user: those pam_limits
// reads from /etc/security. Under a cluster manager nobody logs in, yet
// administrators give the database's user its limits there. A file that is
// missing or cannot be read gives no limits, and lines that make no sense are
// passed over, as pam_limits does.
func LoginLimits(u User) []Limit {
	limits, _ := LimitsIn(u, "/etc/security")
	return limits
}

// LimitsIn reads limits.conf and limits.d/*.conf under dir for the user. The
// limits found are valid even if there is an error about a file.
func LimitsIn(u User, dir string) ([]Limit, error) {
	files, err := filepath.Glob(filepath.Join(dir, "limits.d", "*.conf"))
	if err != nil {
		return nil, err
	}
	slices.Sort(files)
	set := limitSet{user: u, groups: groupNames(u)}
	var errs []error
	for _, file := range append([]string{filepath.Join(dir, "limits.conf")}, files...) {
		err := eachLine(file, set.line)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("limits of user %s: %w", u.Name, err))
		}
	}
	return set.limits(), errors.Join(errs...)
}

// groupNames gives the names of the user's groups, best effort: a group known
// to the name service only is matched by its number alone.
func groupNames(u User) []string {
	var names []string
	_ = eachLine("/etc/group", func(line string) {
		f := strings.Split(line, ":")
		if len(f) < 3 {
			return
		}
		if gid, err := strconv.ParseUint(f[2], 10, 32); err == nil && slices.Contains(u.Groups, uint32(gid)) {
			names = append(names, f[0])
		}
	})
	return names
}

// limitSet collects lines. A line for the user beats one for a group, that one
// beats the one for everybody; among equals the later wins.
type limitSet struct {
	user   User
	groups []string
	found  [len(rlimits)][2]struct {
		value uint64
		rank  int // 0: nothing yet
	}
}

func (s *limitSet) rank(domain string) int {
	low, high, ranged := strings.Cut(domain, ":")
	switch {
	case domain == s.user.Name:
		return 3
	case strings.HasPrefix(domain, "@"):
		name := domain[1:]
		if gid, ok := strings.CutPrefix(name, ":"); ok {
			if n, err := strconv.ParseUint(gid, 10, 32); err == nil && slices.Contains(s.user.Groups, uint32(n)) {
				return 2
			}
			return 0
		}
		if slices.Contains(s.groups, name) {
			return 2
		}
	case domain == "*" && s.user.UID != 0:
		return 1
	case ranged:
		min, errMin := strconv.ParseUint(low, 10, 32)
		max, errMax := strconv.ParseUint(high, 10, 32)
		uid := uint64(s.user.UID)
		switch {
		case low == "" && errMax == nil && uid == max, // ":uid" is that user
			errMin == nil && high == "" && uid >= min,
			errMin == nil && errMax == nil && uid >= min && uid <= max:
			return 3
		}
	}
	return 0
}

func (s *limitSet) line(line string) {
	line, _, _ = strings.Cut(line, "#")
	f := strings.Fields(line)
	if len(f) != 4 {
		return
	}
	rank := s.rank(f[0])
	item := slices.IndexFunc(rlimits[:], func(r rlimit) bool { return r.name == f[2] })
	if rank == 0 || item < 0 {
		return
	}
	var value uint64
	switch f[3] {
	case "-1", "unlimited", "infinity":
		value = unix.RLIM_INFINITY
	default:
		n, err := strconv.ParseUint(f[3], 10, 64)
		if err != nil || n > unix.RLIM_INFINITY/rlimits[item].unit {
			return
		}
		value = n * rlimits[item].unit
	}
	for i, kind := range [2]string{"soft", "hard"} {
		if x := &s.found[item][i]; (f[1] == kind || f[1] == "-") && rank >= x.rank {
			x.value, x.rank = value, rank
		}
	}
}

func (s *limitSet) limits() []Limit {
	var out []Limit
	for i := range s.found {
		l := Limit{Resource: rlimits[i].resource}
		if x := s.found[i][0]; x.rank > 0 {
			l.Soft = &x.value
		}
		if x := s.found[i][1]; x.rank > 0 {
			l.Hard = &x.value
		}
		if l.Soft != nil || l.Hard != nil {
			out = append(out, l)
		}
	}
	return out
}

// holder waits for a line on descriptor 3 and then becomes its arguments.
const holder = `read -r go <&3 || exit 126; exec 3<&-; exec "$@"`

// startLimited starts the command with the limits in force. limitsErr says
// which could not be set.
func startLimited(c *exec.Cmd, limits []Limit) (limitsErr, err error) {
	if len(limits) == 0 {
		return nil, c.Start()
	}
	gate, err := hold(c)
	if err != nil {
		return nil, err
	}
	defer gate.Close()
	err = c.Start()
	_ = c.ExtraFiles[0].Close()
	if err != nil {
		return nil, err
	}
	return release(c, gate, limits)
}

// hold changes the command so that it waits, as the user it is to run as, until
// a line comes from the file returned. Go can set no limit between fork and
// exec; setting them after exec loses the race against the program, and a
// program that became another user may no longer raise them itself.
func hold(c *exec.Cmd) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	c.Args = append([]string{"sh", "-c", holder, "sh", c.Path}, c.Args[1:]...)
	c.Path = "/bin/sh"
	c.ExtraFiles = []*os.File{r}
	return w, nil
}

// release sets the limits of the started command and lets it go. Limits that
// cannot be set are reported but hold nothing up.
func release(c *exec.Cmd, gate *os.File, limits []Limit) (limitsErr, err error) {
	limitsErr = setLimits(c.Process.Pid, limits)
	if _, err = gate.WriteString("\n"); err != nil {
		_ = unix.Kill(-c.Process.Pid, unix.SIGKILL)
		_ = c.Wait()
	}
	return limitsErr, err
}

// setLimits sets limits of a running process, as many as it can. A soft limit
// above the hard one is cut to it, as pam_limits does. On another user's process
// this needs CAP_SYS_RESOURCE, which root in a container may lack.
func setLimits(pid int, limits []Limit) error {
	var errs []error
	for _, l := range limits {
		var r unix.Rlimit
		if err := unix.Prlimit(pid, l.Resource, nil, &r); err != nil {
			errs = append(errs, fmt.Errorf("cannot read limit %d: %w", l.Resource, os.NewSyscallError("prlimit", err)))
			continue
		}
		if l.Hard != nil {
			r.Max = *l.Hard
		}
		if l.Soft != nil {
			r.Cur = *l.Soft
		}
		r.Cur = min(r.Cur, r.Max)
		if err := unix.Prlimit(pid, l.Resource, &r, nil); err != nil {
			errs = append(errs, fmt.Errorf("cannot set limit %d to %d/%d: %w", l.Resource, r.Cur, r.Max, os.NewSyscallError("prlimit", err)))
		}
	}
	return errors.Join(errs...)
}
