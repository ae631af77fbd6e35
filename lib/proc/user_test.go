package proc_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"golang.org/x/sys/unix"

	"pgrex/lib/proc"
	"pgrex/lib/proc/proctest"
)

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLookupUser(t *testing.T) {
	dir := t.TempDir()
	users := func(r *proctest.Runner) proc.Users {
		return proc.Users{
			Passwd: write(t, dir+"/passwd", "root:x:0:0::/root:/bin/sh\nbroken:x:y:z\npostgres:x:26:27:PG:/var/lib/pgsql:/bin/bash\n"),
			Group:  write(t, dir+"/group", "postgres:x:27:\nssl-cert:x:101:other,postgres\nother:x:102:postgres2\nbad\n"),
			Run:    r,
		}
	}
	pg := proc.User{Name: "postgres", UID: 26, GID: 27, Groups: []uint32{27, 101}, Home: "/var/lib/pgsql", Shell: "/bin/bash"}
	ldap := proc.User{Name: "ldap", UID: 5000, GID: 5001, Groups: []uint32{5001, 7}, Home: "/home/ldap", Shell: "/bin/sh"}

	r := &proctest.Runner{}
	r.On("getent passwd ldap", proctest.Reply{Stdout: "ldap:*:5000:5001:L:/home/ldap:/bin/sh\n"})
	r.On("getent initgroups ldap", proctest.Reply{Stdout: "ldap                  5001 7\n"})
	r.On("getent passwd nobody-here", proctest.Reply{Exit: 2})
	r.On("getent passwd down", proctest.Reply{Exit: 1, Stderr: "sssd is down"})
	r.On("getent passwd broken", proctest.Reply{Exit: 2})
	r.On("getent passwd static", proctest.Reply{Err: fmt.Errorf("getent: %w", proc.ErrNotFound)})
	for _, tt := range []struct {
		name   string
		want   proc.User
		noUser bool
		fails  bool
	}{
		{name: "postgres", want: pg},
		{name: "ldap", want: ldap},
		{name: "nobody-here", noUser: true},
		{name: "broken", noUser: true},
		{name: "static", noUser: true},
		{name: "", noUser: true},
		{name: "-x", noUser: true},
		{name: "a:b", noUser: true},
		{name: "down", fails: true},
	} {
		got, err := users(r).Lookup(context.Background(), tt.name)
		switch {
		case tt.noUser != errors.Is(err, proc.ErrNoUser), (tt.noUser || tt.fails) != (err != nil):
			t.Errorf("%q: error %v", tt.name, err)
		case !reflect.DeepEqual(got, tt.want):
			t.Errorf("%q: got %+v", tt.name, got)
		}
	}
	if _, err := (proc.Users{Passwd: dir + "/none"}).Lookup(context.Background(), "x"); err == nil || errors.Is(err, proc.ErrNoUser) {
		t.Errorf("unreadable passwd: %v", err)
	}
}

func TestLookupUserOfThisSystem(t *testing.T) {
	u, err := proc.LookupUser(context.Background(), "root")
	if err != nil || u.UID != 0 || u.Home != "/root" {
		t.Errorf("root: %+v, %v", u, err)
	}
	if _, err := proc.LookupUser(context.Background(), "pgrex-no-such-user"); !errors.Is(err, proc.ErrNoUser) {
		t.Errorf("error %v", err)
	}
}

func TestLoginLimits(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/limits.conf", `
# comment
*          soft  nofile  1000
*          hard  nofile  2000
postgres   -     nofile  65536
postgres   hard  core    unlimited   # why not
@root      soft  memlock 64
@root      soft  nofile  9
other      -     nproc   5
postgres   soft  what    5
postgres   soft  nproc   many
postgres   -     maxlogins 3
`)
	write(t, dir+"/limits.d/20.conf", "* soft stack 8\npostgres soft nofile 70000\n70:80 hard cpu 2\n:77 soft cpu 1\n100: soft data 1\n")
	u := proc.User{Name: "postgres", UID: 77, GID: 0, Groups: []uint32{0}}
	limits, err := proc.LimitsIn(u, dir)
	if err != nil {
		t.Fatal(err)
	}
	got := map[int][2]uint64{}
	for _, l := range limits {
		v := [2]uint64{}
		if l.Soft != nil {
			v[0] = *l.Soft
		}
		if l.Hard != nil {
			v[1] = *l.Hard
		}
		got[l.Resource] = v
	}
	want := map[int][2]uint64{
		unix.RLIMIT_NOFILE:  {70000, 65536},
		unix.RLIMIT_CORE:    {0, unix.RLIM_INFINITY},
		unix.RLIMIT_MEMLOCK: {64 << 10, 0},
		unix.RLIMIT_STACK:   {8 << 10, 0},
		unix.RLIMIT_CPU:     {60, 120},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if limits, err := proc.LimitsIn(u, dir+"/none"); err != nil || len(limits) != 0 {
		t.Errorf("no files: %v, %v", limits, err)
	}
}
