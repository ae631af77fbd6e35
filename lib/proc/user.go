package proc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
)

// ErrNoUser says that there is no such user, neither in the files nor in what
// getent asks.
var ErrNoUser = errors.New("no such user")

// User is an account a program can run as.
type User struct {
	// Name is the login name.
	Name string
	// UID and GID are the user's number and primary group.
	UID, GID uint32
	// Groups are the supplementary groups, the primary one included.
	Groups []uint32
	// Home and Shell are as in the passwd entry.
	Home, Shell string
}

// Env is the environment a login of the user starts with. Nothing of our own
// goes in, so that no parameter of a resource ends up in a daemon.
func (u User) Env() []string {
	shell := u.Shell
	if shell == "" {
		shell = "/bin/sh"
	}
	return []string{
		"HOME=" + u.Home, "USER=" + u.Name, "LOGNAME=" + u.Name, "SHELL=" + shell,
		"PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
	}
}

// current tells whether we run as the user already. Only root may set groups,
// so anyone else takes its own as they are.
func (u User) current() bool {
	return os.Geteuid() != 0 && os.Geteuid() == int(u.UID)
}

// Users looks users up.
type Users struct {
	// Passwd and Group are the files; empty means those in /etc.
	Passwd, Group string
	// Run asks getent about users not in the files: a static binary has no
	// name service switch of its own. nil means OS.
	Run Runner
}

// LookupUser looks a user up on this system: in /etc/passwd and /etc/group, and
// if it is not there with getent. The error wraps ErrNoUser if nobody knows it.
func LookupUser(ctx context.Context, name string) (User, error) {
	return Users{}.Lookup(ctx, name)
}

// Lookup finds a user by name. See LookupUser.
func (s Users) Lookup(ctx context.Context, name string) (User, error) {
	if name == "" || strings.ContainsAny(name, ":\n\x00") || strings.HasPrefix(name, "-") {
		return User{}, fmt.Errorf("user %q: %w: not a valid name", name, ErrNoUser)
	}
	if s.Passwd == "" {
		s.Passwd = "/etc/passwd"
	}
	if s.Group == "" {
		s.Group = "/etc/group"
	}
	if s.Run == nil {
		s.Run = OS{}
	}

	var user User
	found := false
	err := eachLine(s.Passwd, func(line string) {
		if !found && strings.HasPrefix(line, name+":") {
			user, found = parsePasswd(line)
		}
	})
	if err != nil {
		return User{}, fmt.Errorf("user %s: %w", name, err)
	}
	if !found {
		return s.getent(ctx, name)
	}
	user.Groups = []uint32{user.GID}
	err = eachLine(s.Group, func(line string) {
		f := strings.Split(line, ":")
		if len(f) < 4 || !slices.Contains(strings.Split(f[3], ","), name) {
			return
		}
		if gid, err := strconv.ParseUint(f[2], 10, 32); err == nil && !slices.Contains(user.Groups, uint32(gid)) {
			user.Groups = append(user.Groups, uint32(gid))
		}
	})
	if err != nil {
		return User{}, fmt.Errorf("groups of user %s: %w", name, err)
	}
	return user, nil
}

// getent asks the system's name service (LDAP, sssd, ...).
func (s Users) getent(ctx context.Context, name string) (User, error) {
	res, err := s.Run.Run(ctx, Cmd{Path: "getent", Args: []string{"passwd", name}})
	if err != nil {
		if errors.Is(err, ErrNotFound) {
			return User{}, fmt.Errorf("user %s: %w in %s, and there is no getent to ask", name, ErrNoUser, s.Passwd)
		}
		return User{}, fmt.Errorf("user %s: %w", name, err)
	}
	// 2 is "key not found"; anything else is a service that does not work.
	if res.ExitCode == 2 {
		return User{}, fmt.Errorf("user %s: %w", name, ErrNoUser)
	}
	if res.ExitCode != 0 {
		return User{}, fmt.Errorf("user %s: getent passwd failed with %d: %s", name, res.ExitCode, res.Message())
	}
	user, ok := parsePasswd(strings.TrimSpace(string(res.Stdout)))
	if !ok {
		return User{}, fmt.Errorf("user %s: getent passwd gave no passwd entry: %q", name, res.Stdout)
	}
	user.Groups = []uint32{user.GID}
	res, err = s.Run.Run(ctx, Cmd{Path: "getent", Args: []string{"initgroups", name}})
	if err != nil {
		return User{}, fmt.Errorf("groups of user %s: %w", name, err)
	}
	// The line is the name and the numbers of the groups.
	if f := strings.Fields(string(res.Stdout)); res.ExitCode == 0 && len(f) > 1 {
		for _, x := range f[1:] {
			if gid, err := strconv.ParseUint(x, 10, 32); err == nil && !slices.Contains(user.Groups, uint32(gid)) {
				user.Groups = append(user.Groups, uint32(gid))
			}
		}
	}
	return user, nil
}

// parsePasswd reads one line of passwd(5).
func parsePasswd(line string) (User, bool) {
	f := strings.Split(line, ":")
	if len(f) < 7 {
		return User{}, false
	}
	uid, err1 := strconv.ParseUint(f[2], 10, 32)
	gid, err2 := strconv.ParseUint(f[3], 10, 32)
	if err1 != nil || err2 != nil {
		return User{}, false
	}
	return User{Name: f[0], UID: uint32(uid), GID: uint32(gid), Home: f[5], Shell: f[6]}, true
}

func eachLine(path string, do func(string)) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	// A group of a large site is one long line.
	sc.Buffer(nil, 16<<20)
	for sc.Scan() {
		do(sc.Text())
	}
	return sc.Err()
}
