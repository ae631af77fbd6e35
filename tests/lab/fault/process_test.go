package fault

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pgrex/tests/lab/host"
)

// TestPostmaster: a child that was just forked has its parent's command line and
// program, and is no second postmaster.
func TestPostmaster(t *testing.T) {
	sh, err := os.ReadFile("/bin/sh")
	if err != nil {
		t.Fatal(err)
	}
	postgres := filepath.Join(t.TempDir(), "postgres")
	if err := os.WriteFile(postgres, sh, 0o755); err != nil {
		t.Fatal(err)
	}
	p, err := host.Start(host.Program{Path: postgres, Args: []string{"postgres", "-c", "(sleep 60; :) & wait"}})
	if err != nil {
		t.Fatal(err)
	}
	var child Process
	defer func() { _ = unix.Kill(-p.Pid, unix.SIGKILL) }() // the whole session
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	err = host.Poll(ctx, "the child", 5*time.Millisecond, func() (bool, error) {
		found, err := filepath.Glob("/proc/[0-9]*")
		for _, f := range found {
			pid, _ := strconv.Atoi(filepath.Base(f))
			if c, ok := read(pid); ok && c.Parent == p.Pid {
				child = c
				return true, nil
			}
		}
		return false, err
	})
	if err != nil {
		t.Fatal(err)
	}
	parent, ok := read(p.Pid)
	if !ok || strings.Join(parent.Args, " ") != strings.Join(child.Args, " ") || !Postgres(child) {
		t.Fatalf("not alike: %v, %v", parent, child)
	}
	if !Postmaster(parent) || Postmaster(child) {
		t.Errorf("%v: %v, its child %v: %v", parent, Postmaster(parent), child, Postmaster(child))
	}
}

func TestTook(t *testing.T) {
	for _, tt := range []struct {
		sig   unix.Signal
		state string
		want  bool
	}{
		{unix.SIGKILL, "", true}, {unix.SIGKILL, "Z", true}, {unix.SIGKILL, "S", false}, {unix.SIGKILL, "T", false},
		{unix.SIGTERM, "", true}, {unix.SIGTERM, "R", false},
		{unix.SIGSTOP, "T", true}, {unix.SIGSTOP, "S", false}, {unix.SIGSTOP, "", true}, {unix.SIGSTOP, "Z", true},
		{unix.SIGCONT, "S", true}, {unix.SIGCONT, "R", true}, {unix.SIGCONT, "T", false},
		{unix.SIGCONT, "", true}, {unix.SIGCONT, "Z", true},
	} {
		if got := took(tt.sig, tt.state); got != tt.want {
			t.Errorf("%s, process %q: %v", unix.SignalName(tt.sig), tt.state, got)
		}
	}
}

// One of many may end before it is stopped; if nothing stands still, that is no fault.
func TestTookAll(t *testing.T) {
	for _, tt := range []struct {
		sig    unix.Signal
		states []string
		want   bool
		fails  bool
	}{
		{unix.SIGSTOP, []string{"T", "T"}, true, false},
		{unix.SIGSTOP, []string{"T", ""}, true, false},
		{unix.SIGSTOP, []string{"T", "S"}, false, false},
		{unix.SIGSTOP, []string{"", "Z"}, false, true},
		{unix.SIGKILL, []string{"", "Z"}, true, false},
		{unix.SIGKILL, []string{"", "D"}, false, false},
	} {
		got, err := tookAll(tt.sig, tt.states)
		if got != tt.want || tt.fails != errors.Is(err, ErrNoProcess) {
			t.Errorf("%s, processes %q: %v, %v", unix.SignalName(tt.sig), tt.states, got, err)
		}
	}
}

// An agent is known by its name and action, with an interpreter or without; the same words
// elsewhere are something else.
func TestAgent(t *testing.T) {
	const ours, shell = "/usr/lib/ocf/resource.d/pgrex/", "/usr/lib/ocf/resource.d/heartbeat/"
	for _, tt := range []struct {
		args         string
		name, action string
		want         bool
	}{
		{ours + "cloudip start", "cloudip", "start", true},
		{ours + "cloudip start", "cloudip", "stop", false},
		{ours + "cloudip start", "pgsql", "start", false},
		{"/bin/sh " + shell + "pgsql promote", "pgsql", "promote", true},
		{"vi " + ours + "cloudip", "cloudip", "", false},
		{"cloudip start", "cloudip", "start", false},
	} {
		if got := Agent(tt.name, tt.action)(Process{Args: strings.Fields(tt.args)}); got != tt.want {
			t.Errorf("%q is %s in %s: %v", tt.args, tt.name, tt.action, got)
		}
	}
}
