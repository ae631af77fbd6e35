package crm_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgrex/lib/crm"
	"pgrex/lib/proc"
	"pgrex/lib/proc/proctest"
)

func set(l crm.Lifetime, node, name, value string) crm.Write {
	return crm.Write{Node: node, Name: name, Value: value, Lifetime: l}
}

func unset(l crm.Lifetime, node, name string) crm.Write {
	return crm.Write{Node: node, Name: name, Lifetime: l, Delete: true}
}

func TestLocalAndAt(t *testing.T) {
	r := &proctest.Runner{}
	r.On("cibadmin --query", proctest.Reply{Stdout: read(t, "lost")})
	r.On("cibadmin --query --node=node2", proctest.Reply{Stdout: read(t, "lost_other_side")})
	c := &crm.Client{Run: r}
	own, err := c.Local(context.Background())
	if err != nil || own.DC != "node1" {
		t.Errorf("local: %v, %v", own.DC, err)
	}
	peer, err := c.At(context.Background(), "node2")
	if err != nil || peer.DC != "node2" {
		t.Errorf("peer: %v, %v", peer.DC, err)
	}
	if got := r.Lines(); !slices.Equal(got, []string{"cibadmin --query", "cibadmin --query --node=node2"}) {
		t.Errorf("commands %q", got)
	}
	if _, err := c.At(context.Background(), ""); err == nil || len(r.Calls()) != 2 {
		t.Errorf("no node: %v", err)
	}
}

func TestErrors(t *testing.T) {
	query := func(c *crm.Client) error { _, err := c.Local(context.Background()); return err }
	at := func(c *crm.Client) error { _, err := c.At(context.Background(), "node2"); return err }
	name := func(c *crm.Client) error { _, err := c.Name(context.Background()); return err }
	write := func(c *crm.Client) error {
		return c.Apply(context.Background(), []crm.Write{set(crm.Transient, "node2", "a", "b")})
	}
	ended := func(f func(ctx context.Context, c *crm.Client) error) func(*crm.Client) error {
		return func(c *crm.Client) error {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
			defer cancel()
			return f(ctx, c)
		}
	}
	for _, tt := range []struct {
		name  string
		reply proctest.Reply
		do    func(*crm.Client) error
		is    []error
		not   []error
		says  string
	}{
		{name: "daemons down", reply: proctest.Reply{Exit: 102, Stderr: "Init failed, could not perform requested operations\n"}, do: query, is: []error{crm.ErrNotConnected}, not: []error{crm.ErrTimeout}, says: "Init failed"},
		{name: "daemons down at peer query", reply: proctest.Reply{Exit: 102}, do: at, is: []error{crm.ErrNotConnected}, not: []error{crm.ErrUnreachable}, says: "node2"},
		{name: "daemon silent", reply: proctest.Reply{Exit: 124, Stderr: "Call cib_query failed: Timer expired"}, do: query, is: []error{crm.ErrTimeout}},
		{name: "peer silent", reply: proctest.Reply{Exit: 124}, do: at, is: []error{crm.ErrUnreachable}, says: "node2"},
		{name: "peer hangs", reply: proctest.Reply{Hang: true}, do: at, is: []error{crm.ErrUnreachable}, not: []error{context.DeadlineExceeded, crm.ErrNotConnected}, says: "within 30ms"},
		{name: "own deadline at peer query", reply: proctest.Reply{Hang: true}, do: ended(func(ctx context.Context, c *crm.Client) error { _, err := c.At(ctx, "node2"); return err }), is: []error{crm.ErrUnreachable, context.DeadlineExceeded}},
		{name: "own deadline", reply: proctest.Reply{Hang: true}, do: ended(func(ctx context.Context, c *crm.Client) error { _, err := c.Local(ctx); return err }), is: []error{crm.ErrTimeout, context.DeadlineExceeded}},
		{name: "not a CIB", reply: proctest.Reply{Stdout: "hello"}, do: at, is: []error{crm.ErrNotCIB}, says: "node2"},
		{name: "cut short", reply: proctest.Reply{Do: func(context.Context, proc.Cmd) (proc.Result, error) { return proc.Result{Truncated: true}, nil }}, do: query, says: "larger"},
		{name: "no tools", reply: proctest.Reply{Err: fmt.Errorf("cibadmin: %w", proc.ErrNotFound)}, do: query, is: []error{proc.ErrNotFound}, says: "installed"},
		{name: "no such node", reply: proctest.Reply{Exit: 105, Stderr: "Could not map name=nosuch to a UUID"}, do: write, is: []error{crm.ErrNoSuch}, says: "set reboot attribute a of node node2"},
		{name: "write without daemons", reply: proctest.Reply{Exit: 102}, do: write, is: []error{crm.ErrNotConnected}},
		{name: "write times out", reply: proctest.Reply{Exit: 124}, do: write, is: []error{crm.ErrTimeout}},
		{name: "write without quorum", reply: proctest.Reply{Exit: 106}, do: write, is: []error{crm.ErrNoQuorum}},
		{name: "other exit code", reply: proctest.Reply{Exit: 1, Stderr: "boom"}, do: write, not: []error{crm.ErrTimeout, crm.ErrNotConnected, crm.ErrNoSuch, crm.ErrNoQuorum}, says: "exit code 1: boom"},
		{name: "no name", reply: proctest.Reply{Stdout: "\n"}, do: name, says: "crm_node printed"},
		{name: "name without daemons", reply: proctest.Reply{Exit: 102}, do: name, is: []error{crm.ErrNotConnected}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := &proctest.Runner{}
			r.On("", tt.reply)
			err := tt.do(&crm.Client{Run: r, PeerTimeout: 30 * time.Millisecond})
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Fatalf("error %v", err)
			}
			for _, is := range tt.is {
				if !errors.Is(err, is) {
					t.Errorf("%q is not %q", err, is)
				}
			}
			for _, not := range tt.not {
				if errors.Is(err, not) {
					t.Errorf("%q is %q", err, not)
				}
			}
		})
	}
}

func TestName(t *testing.T) {
	r := &proctest.Runner{}
	r.On("crm_node --name", proctest.Reply{Stdout: "node1\n"})
	if name, err := (&crm.Client{Run: r}).Name(context.Background()); err != nil || name != "node1" {
		t.Errorf("%q, %v", name, err)
	}
}

func TestWrites(t *testing.T) {
	r := &proctest.Runner{}
	r.On("crm_attribute")
	c := &crm.Client{Run: r}
	ctx := context.Background()
	for _, w := range []crm.Write{
		set(crm.Transient, "n", "pgsql-status", "HS:sync"),
		unset(crm.Transient, "n", "a"),
		set(crm.Forever, "n", "pgsql-data-status", "STREAMING|SYNC"),
		unset(crm.Forever, "n", "b"),
		set(crm.Transient, "n", crm.ScoreAttr("pgsql:1"), "-INFINITY"),
		set(crm.Transient, "n", "empty", ""),
	} {
		if err := c.Apply(ctx, []crm.Write{w}); err != nil {
			t.Error(err)
		}
	}
	want := []string{
		"crm_attribute --lifetime=reboot --node=n --name=pgsql-status --update=HS:sync",
		"crm_attribute --lifetime=reboot --node=n --name=a --delete",
		"crm_attribute --lifetime=forever --node=n --name=pgsql-data-status --update=STREAMING|SYNC",
		"crm_attribute --lifetime=forever --node=n --name=b --delete",
		"crm_attribute --lifetime=reboot --node=n --name=master-pgsql --update=-INFINITY",
		"crm_attribute --lifetime=reboot --node=n --name=empty --update=",
	}
	if got := r.Lines(); !slices.Equal(got, want) {
		t.Errorf("commands:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for _, w := range []crm.Write{{}, {Node: "n"}, {Name: "a"}, {Node: "n", Name: "a", Value: "x\x00"}, {Node: "n", Name: "a", Value: "x\ny"}, {Node: "n", Name: "a", Value: "\xff"}} {
		if err := c.Apply(ctx, []crm.Write{w}); err == nil || len(r.Calls()) != len(want) {
			t.Errorf("%+v: %v", w, err)
		}
	}
}

func TestApplyTriesAllAndTellsEachFailure(t *testing.T) {
	r := &proctest.Runner{}
	r.On("crm_attribute")
	r.On("crm_attribute --lifetime=reboot --node=a --name=x", proctest.Reply{Exit: 124})
	r.On("crm_attribute --lifetime=forever --node=b --name=x", proctest.Reply{Exit: 102})
	c := &crm.Client{Run: r}
	var writes []crm.Write
	for _, node := range []string{"a", "b", "c"} {
		writes = append(writes, set(crm.Transient, node, "x", "1"), set(crm.Forever, node, "x", "1"))
	}
	err := c.Apply(context.Background(), writes)
	if !errors.Is(err, crm.ErrTimeout) || !errors.Is(err, crm.ErrNotConnected) {
		t.Errorf("error %v", err)
	}
	var we *crm.WriteError
	if !errors.As(err, &we) || len(r.Calls()) != len(writes) {
		t.Errorf("error %v after %d calls", err, len(r.Calls()))
	}
	if lines := strings.Count(err.Error(), "\n"); lines != 1 {
		t.Errorf("not two failures: %v", err)
	}
	if err := c.Apply(context.Background(), nil); err != nil {
		t.Errorf("nothing to write: %v", err)
	}
}

func TestApplyRunsSideBySide(t *testing.T) {
	started := make(chan struct{}, 2)
	r := &proctest.Runner{}
	// Each write waits for the other to have begun.
	r.On("crm_attribute", proctest.Reply{Do: func(ctx context.Context, _ proc.Cmd) (proc.Result, error) {
		started <- struct{}{}
		for len(started) < 2 {
			if ctx.Err() != nil {
				return proc.Result{}, ctx.Err()
			}
			time.Sleep(time.Millisecond)
		}
		return proc.Result{}, nil
	}})
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	err := (&crm.Client{Run: r}).Apply(ctx, []crm.Write{set(crm.Transient, "a", "x", "1"), set(crm.Transient, "b", "x", "1")})
	if err != nil {
		t.Error(err)
	}
}

func TestToolsGetNoParameters(t *testing.T) {
	t.Setenv("OCF_RESKEY_repuser_password", "s3cret")
	r := &proctest.Runner{}
	r.On("crm_node", proctest.Reply{Stdout: "n"})
	if _, err := (&crm.Client{Run: r}).Name(context.Background()); err != nil {
		t.Fatal(err)
	}
	env := strings.Join(r.Calls()[0].Env, "\n")
	if strings.Contains(env, "s3cret") || !strings.HasSuffix(env, "LC_ALL=C\nCHARSET=UTF-8") {
		t.Errorf("environment:\n%s", env)
	}
}

func TestRefresh(t *testing.T) {
	r := &proctest.Runner{}
	r.On("attrd_updater --refresh", proctest.Reply{}, proctest.Reply{Exit: 102})
	c := &crm.Client{Run: r}
	if err := c.Refresh(context.Background()); err != nil {
		t.Error(err)
	}
	if err := c.Refresh(context.Background()); !errors.Is(err, crm.ErrNotConnected) {
		t.Errorf("error %v", err)
	}
}
