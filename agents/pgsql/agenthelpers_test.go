package main

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"pgrex/lib/ocf"
	"pgrex/lib/pg"
	"pgrex/lib/pg/pgtest"
	"pgrex/lib/proc"
	"pgrex/lib/replication"
)

// journal is what an action logged. It may be written by several goroutines.
type journal struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.Write(p)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.b.String()
}

// currentUser is who runs the tests; the server's files are his then, and no root is needed.
func currentUser(t *testing.T) string {
	t.Helper()
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	return u.Username
}

// newCall is the call of an action in a cluster, on node n1 of n1 and n2 in sync mode, with a data
// directory that is empty but for its version. env overrides; an empty value unsets.
func newCall(t *testing.T, action string, env map[string]string) (*ocf.Call, *journal) {
	t.Helper()
	dir := pgtest.Dir(t)
	data := filepath.Join(dir, "data")
	bin := filepath.Join(dir, "bin")
	for _, d := range []string{data, bin, filepath.Join(dir, "tmp")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	put(t, filepath.Join(data, "PG_VERSION"), "15\n")
	put(t, filepath.Join(data, "postgresql.conf"), "# ours\n")
	for _, name := range []string{"pg_ctl", "postgres"} {
		put(t, filepath.Join(bin, name), "#!/bin/sh\nexit 1\n")
		if err := os.Chmod(filepath.Join(bin, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	full := map[string]string{
		"OCF_RESOURCE_INSTANCE": "pgsql:0", "OCF_RESKEY_crm_feature_set": "3.16.2",
		"OCF_RESKEY_CRM_meta_on_node": "n1", "OCF_RESKEY_CRM_meta_promotable": "true", "OCF_RESKEY_CRM_meta_promoted_max": "1",
		"OCF_RESKEY_CRM_meta_timeout": "30000", "OCF_RESKEY_CRM_meta_notify": "true",
		"OCF_RESKEY_pgdba": currentUser(t), "OCF_RESKEY_pgdata": data, "OCF_RESKEY_pgctl": filepath.Join(bin, "pg_ctl"),
		"OCF_RESKEY_tmpdir": filepath.Join(dir, "tmp"), "OCF_RESKEY_rep_mode": "sync", "OCF_RESKEY_node_list": "n1 n2",
		"OCF_RESKEY_master_ip": "192.0.2.1", "HA_RSCTMP": dir,
	}
	for k, v := range env {
		if v == "" {
			delete(full, k)
			continue
		}
		full[k] = v
	}
	return callOf(action, full)
}

// callOf is the call of an action in an environment.
func callOf(action string, env map[string]string) (*ocf.Call, *journal) {
	log := &journal{}
	lookup := func(name string) (string, bool) { s, ok := env[name]; return s, ok }
	return ocf.NewCall(declaration(), action, lookup, slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))), log
}

// newTestAgent is the agent of one action with a fake cluster behind it.
func newTestAgent(t *testing.T, run proc.Runner, action string, env map[string]string) (*agent, *journal) {
	t.Helper()
	c, log := newCall(t, action, env)
	return agentOf(t, c, run), log
}

func agentOf(t *testing.T, c *ocf.Call, run proc.Runner) *agent {
	t.Helper()
	a := newAgent(t.Context(), c, run)
	if a.cluster != nil {
		a.cluster.PeerTimeout = 60 * time.Millisecond
		a.cluster.Proc = sharedDaemons.get(t)
	}
	return a
}

// fakeDaemons makes a /proc with the daemons whose restart makes the cache void.
func fakeDaemons(dir string) error {
	for pid, comm := range map[string]string{"self": "pgsql", "101": "pacemaker-attrd", "102": "pacemaker-contr", "103": "pacemaker-based"} {
		if err := os.MkdirAll(filepath.Join(dir, pid, "ns"), 0o755); err != nil {
			return err
		}
		if err := os.Symlink("pid:[4026531836]", filepath.Join(dir, pid, "ns/pid")); err != nil {
			return err
		}
		stat := fmt.Sprintf("%s (%s) S 1 1 1 0 -1 4194560 1 0 0 0 1 1 0 0 20 0 1 0 %s00 1 1 1", pid, comm, pid)
		if err := os.WriteFile(filepath.Join(dir, pid, "stat"), []byte(stat), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// daemonsOnce is one such /proc for all tests that do not change it.
type daemonsOnce struct {
	once sync.Once
	dir  string
	err  error
}

func (d *daemonsOnce) get(t *testing.T) string {
	t.Helper()
	d.once.Do(func() {
		if d.dir, d.err = os.MkdirTemp(pgtest.Memory(), "pgsqlproc"); d.err == nil {
			d.err = fakeDaemons(d.dir)
		}
	})
	if d.err != nil {
		t.Fatal(d.err)
	}
	return d.dir
}

var sharedDaemons daemonsOnce

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func get(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(b)
}

// remembered is an agent that has read the cluster's memory.
func remembered(t *testing.T, f *fakeCluster, action string, env map[string]string) (*agent, *journal) {
	t.Helper()
	a, log := newTestAgent(t, f, action, env)
	if err := a.remember(t.Context()); err != nil {
		t.Fatal(err)
	}
	return a, log
}

// parseRecord makes a record from its text.
func parseRecord(t *testing.T, text string) replication.Record {
	t.Helper()
	r, err := replication.ParseRecord(text)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// says complains unless text holds all the words.
func says(t *testing.T, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%q does not say %q", text, w)
		}
	}
}

// sender is a line of pg_stat_replication.
func sender(name, state, sync string) pg.Sender {
	return pg.Sender{Name: name, State: state, SyncState: sync}
}

// primaryStatus is what a primary's server shows, with these standbys.
func primaryStatus(rows ...pg.Sender) pg.Status {
	return pg.Status{SystemID: 7, Timeline: 1, FlushLSN: 0x3000148, InsertLSN: 0x3000148, Walsenders: rows}
}

// standbyStatus is what a standby's server shows; with a state of its receiver, or none.
func standbyStatus(receiver string) pg.Status {
	st := pg.Status{SystemID: 7, Timeline: 1, InRecovery: true, ReceiveLSN: 0x3000148, ReplayLSN: 0x3000100}
	if receiver != "" {
		st.Receiver = &pg.Receiver{Status: receiver}
	}
	return st
}
