package contract

import (
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pgrex/tests/contract/sandbox"
)

// clusterTools are the programs by which an agent can speak to the cluster.
var clusterTools = []string{
	"attrd_updater", "cibadmin", "crm_attribute", "crm_master", "crm_mon", "crm_node", "crm_resource", "crmadmin", "pcs", "stonith_admin",
}

// stubs is a directory of these programs that all do the same; it comes first in
// PATH.
func stubs(t *testing.T, script string) string {
	t.Helper()
	dir := sandbox.TempDir(t)
	for _, tool := range clusterTools {
		sandbox.WriteFile(t, filepath.Join(dir, tool), "#!/bin/sh\n"+script+"\n", 0o755)
	}
	return dir
}

// The cluster's daemons as they are when a node is in trouble. In the sandbox
// none runs, so "down" is the real tools.
var troubles = []struct {
	name string
	path func(t *testing.T) string
}{
	{"down", func(*testing.T) string { return "" }},
	{"hanging", func(t *testing.T) string { return stubs(t, "exec sleep 600") }},
	// A tool that hangs and does not end when told to.
	{"hanging and stubborn", func(t *testing.T) string { return stubs(t, "trap '' TERM INT HUP; while :; do sleep 600; done") }},
	{"failing", func(t *testing.T) string { return stubs(t, "echo 'crm: Broken pipe' >&2; exit 32") }},
	{"talking nonsense", func(t *testing.T) string { return stubs(t, "echo '<cib'; echo nonsense") }},
	{"missing", func(t *testing.T) string { return stubs(t, "exit 127") }},
}

// clustered are calls by Pacemaker for a promotable clone, with these tools.
func clustered(c call, path string) call {
	c.Path = path
	return c.InCluster()
}

// stop and demote do what they are for without the cluster, within their time;
// everything that would need its memory says that it could not be had.
func TestDaemons(t *testing.T) {
	t.Parallel()
	for _, trouble := range troubles {
		t.Run(trouble.name, func(t *testing.T) {
			t.Parallel()
			path := trouble.path(t)
			for _, role := range []struct {
				name    string
				promote bool
				well    int
			}{{"standby", false, ok}, {"primary", true, promoted}} {
				for _, end := range []string{"stop", "demote"} {
					t.Run(role.name+"/"+end, func(t *testing.T) {
						t.Parallel()
						s := newServer(t)
						p := s.replicated()
						action("start", p).Must(t, ok)
						if role.promote {
							action("promote", p).Must(t, ok)
						}
						// It serves, whether or not the cluster can be told.
						clustered(monitor(p), path).Want(t, role.well)
						clustered(probe(p), path).Want(t, role.well)
						clustered(action("notify", p), path).Within(10*time.Second).Want(t, ok)

						o := clustered(action(end, p), path).Want(t, ok)
						if o.Took > 15*time.Second {
							t.Errorf("%s took %v: most of its time", end, o.Took)
						}
						if end == "stop" {
							s.mustBeGone(t)
							clustered(monitor(p), path).Want(t, notRunning)
						} else if o := clustered(monitor(p), path).Want(t, ok, notRunning); o.Code == notRunning {
							s.mustBeGone(t)
						}
					})
				}
			}
			t.Run("stopped", func(t *testing.T) {
				t.Parallel()
				s := newServer(t)
				p := s.replicated()
				clustered(probe(p), path).Want(t, notRunning)
				clustered(monitor(p), path).Want(t, notRunning)
				clustered(action("stop", p), path).Within(10*time.Second).Want(t, ok)
				clustered(action("demote", p), path).Within(10*time.Second).Want(t, ok)
				// Without the cluster's memory nobody knows whether its WAL may be started over.
				clustered(action("start", p), path).Within(10*time.Second).Want(t, generic)
				s.mustBeGone(t)
			})
			t.Run("promote", func(t *testing.T) {
				t.Parallel()
				s := newServer(t)
				p := s.replicated()
				action("start", p).Must(t, ok)
				// Nor whether it holds every acknowledged commit.
				clustered(action("promote", p), path).Within(10*time.Second).Want(t, generic)
				monitor(p).Want(t, ok)
			})
		})
	}
}

// Outside a cluster nothing is asked of one: the tools are not even called.
func TestNoClusterNoTools(t *testing.T) {
	t.Parallel()
	marks := sandbox.TempDir(t)
	path := stubs(t, "echo \"$0\" >> "+marks+"/called; exit 1")
	s := newServer(t)
	p := s.replicated()
	for _, name := range []string{"start", "promote", "monitor", "notify", "demote", "stop"} {
		c := action(name, p)
		c.Path = path
		if name == "monitor" {
			c.Interval = "10000"
			c.Want(t, promoted)
			continue
		}
		c.Want(t, ok)
	}
	if called, _ := filepath.Glob(marks + "/*"); len(called) > 0 {
		t.Errorf("called without a cluster: %s", sandbox.ReadFile(t, called[0]))
	}
}

// What a promotable clone needs of its configuration, seen only in a cluster.
func TestClusterParameters(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		params params
		env    []string
		says   string
		code   int
	}{
		{"not promotable", nil, []string{
			"OCF_RESKEY_CRM_meta_promotable=false", "OCF_RESKEY_CRM_meta_promoted_max=0", "OCF_RESKEY_CRM_meta_master_max=0",
		}, "promotable", notConfigured},
		// Of this node alone: on the others it runs on.
		{"node not in node_list", params{"node_list": "other another"}, nil, node, notInstalled},
		{"slave as a promotable clone", params{"rep_mode": "slave"}, nil, "rep_mode=slave", notConfigured},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t)
			p := s.replicated().With(tt.params)
			try := func(name string) call {
				c := action(name, p).InCluster()
				c.Env = tt.env
				return c
			}
			o := try("start").Want(t, tt.code)
			if !strings.Contains(o.Reason(), tt.says) {
				t.Errorf("the reason %q does not tell of %q", o.Reason(), tt.says)
			}
			s.mustBeGone(t)
			try("monitor").Want(t, notRunning)
			try("stop").Want(t, ok)

			action("start", s.replicated()).Must(t, ok)
			recurring := try("monitor")
			recurring.Interval = "10000"
			recurring.Want(t, tt.code)
			try("stop").Want(t, ok)
			s.mustBeGone(t)
		})
	}
}

// One line for people in the log the cluster names, with level and milliseconds.
func TestLogFile(t *testing.T) {
	t.Parallel()
	s := newServer(t)
	log := sandbox.TempDir(t) + "/ha.log"
	c := action("start", s.params().With(params{"pgdata": "/nonexistent"}))
	c.Env = []string{"PCMK_logfile=" + log}
	o := c.Want(t, notInstalled)
	text := sandbox.ReadFile(t, log)
	if !strings.Contains(text, o.Reason()) || !strings.Contains(text, "ERROR") || !strings.Contains(text, "pgsql") {
		t.Errorf("the log %q lacks level, agent or reason %q", text, o.Reason())
	}
}

// The server needs most of the operation's time to end and the cluster's tools
// hang: what is written afterwards must not cost the success.
func TestSlowStopWithHangingDaemons(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"stop", "demote"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			path := stubs(t, "exec sleep 600")
			s := newServer(t)
			p := s.replicated()
			action("start", p).Must(t, ok)
			action("promote", p).Must(t, ok)
			backend := s.busy(t)
			if err := syscall.Kill(backend, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			clustered(action(end, p), path).Within(15*time.Second).Want(t, ok)
			if end == "stop" {
				s.mustBeGone(t)
			}
		})
	}
}
