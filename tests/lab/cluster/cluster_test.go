package cluster

import (
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParseView(t *testing.T) {
	b, err := os.ReadFile("testdata/crm_mon.xml")
	if err != nil {
		t.Fatal(err)
	}
	v, err := parseView("n2", b)
	if err != nil {
		t.Fatal(err)
	}
	if v.DC != "n1" || !v.Quorate || v.Maintenance || v.From != "n2" {
		t.Errorf("summary: %+v", v)
	}
	if got := v.Online(); !reflect.DeepEqual(got, []string{"n1", "n2"}) {
		t.Errorf("online: %v", got)
	}
	if v.Primary() != "n2" || v.Status("n1") != "HS:sync" || v.Score("n1") != "100" || !reflect.DeepEqual(v.Sync(), []string{"n1"}) {
		t.Errorf("roles: %s", v.Line())
	}
	for id, want := range map[string][]string{
		IPPrimary: {"n2"}, IPReplication: {"n2"}, IPStandby: {"n1"}, "ping": {"n1", "n2"}, "fence-n1": {"n2"}, "none": nil,
	} {
		if got := v.On(id, "Started"); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: on %v, want %v", id, got, want)
		}
	}
	if !v.Healthy([]string{"n1", "n2"}) {
		t.Errorf("not healthy: %s", v.Line())
	}
	if _, err := parseView("n1", []byte("<pacemaker")); err == nil {
		t.Error("torn XML is no error")
	}
}

// TestHealthy takes one thing away after the other.
func TestHealthy(t *testing.T) {
	b, err := os.ReadFile("testdata/crm_mon.xml")
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"maintenance":          {`maintenance-mode="false"`, `maintenance-mode="true"`},
		"a node is lost":       {`<node name="n1" id="1" online="true"`, `<node name="n1" id="1" online="false"`},
		"a node is unclean":    {`unclean="false"`, `unclean="true"`},
		"no primary":           {`role="Promoted"`, `role="Unpromoted"`},
		"no standby":           {`role="Unpromoted"`, `role="Stopped"`},
		"standby not sync":     {`value="HS:sync"`, `value="HS:async"`},
		"standby has no right": {`<attribute name="master-pgsql" value="100"/>`, `<attribute name="master-pgsql" value="-INFINITY"/>`},
	} {
		t.Run(name, func(t *testing.T) {
			s := strings.Replace(string(b), change[0], change[1], 1)
			if s == string(b) {
				t.Fatalf("nothing to change: %q", change[0])
			}
			v, err := parseView("n1", []byte(s))
			if err != nil {
				t.Fatal(err)
			}
			if v.Healthy([]string{"n1", "n2"}) {
				t.Errorf("healthy: %s", v.Line())
			}
		})
	}
}

// TestHealthyAsync: what is no standby to rely on with rep_mode=sync is one with async.
func TestHealthyAsync(t *testing.T) {
	b, err := os.ReadFile("testdata/crm_mon.xml")
	if err != nil {
		t.Fatal(err)
	}
	v, err := parseView("n1", []byte(strings.Replace(string(b), `value="HS:sync"`, `value="HS:async"`, 1)))
	if err != nil {
		t.Fatal(err)
	}
	nodes := []string{"n1", "n2"}
	if v.Healthy(nodes) {
		t.Errorf("healthy with rep_mode=sync: %s", v.Line())
	}
	if v.Mode = modeAsync; !v.Healthy(nodes) {
		t.Errorf("not healthy with rep_mode=async: %s", v.Line())
	}
}

// TestHealthyQuorum: the address for reading may be on the primary only while
// standbys vote.
func TestHealthyQuorum(t *testing.T) {
	b, err := os.ReadFile("testdata/crm_mon.xml")
	if err != nil {
		t.Fatal(err)
	}
	nodes := []string{"n1", "n2"}
	for status, want := range map[string]bool{"HS:sync": false, "HS:quorum": true} {
		v, err := parseView("n1", []byte(strings.Replace(string(b), `value="HS:sync"`, `value="`+status+`"`, 1)))
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range v.Resources {
			if r.ID == IPStandby {
				v.Resources[i].Nodes = []string{v.Primary()}
			}
		}
		if on := v.On(IPStandby, "Started"); len(on) != 1 || on[0] != v.Primary() {
			t.Fatalf("the address for reading is on %v", on)
		}
		if got := v.Healthy(nodes); got != want {
			t.Errorf("%s: healthy %v: %s", status, got, v.Line())
		}
	}
}

func TestParseLogLine(t *testing.T) {
	near := time.Date(2026, 11, 21, 0, 0, 0, 0, time.Local)
	l, ok := parseLogLine("Nov 21 05:34:58.791 n2 pacemaker-fenced    [53] (finalize_op) \tnotice: Operation 'reboot' done", near)
	want := LogLine{At: time.Date(2026, 11, 21, 5, 34, 58, 791e6, time.Local), Node: "n2", Daemon: "pacemaker-fenced",
		Text: "(finalize_op) \tnotice: Operation 'reboot' done"}
	if !ok || !reflect.DeepEqual(l, want) {
		t.Errorf("got %+v, %v, want %+v", l, ok, want)
	}
	for _, s := range []string{"", "short", "no date at all in this line of text", strings.Repeat("x", 100)} {
		if _, ok := parseLogLine(s, near); ok {
			t.Errorf("%q was taken for a log line", s)
		}
	}
}

func TestSteps(t *testing.T) {
	for line, want := range map[string]string{
		"(log_executor_event) \tnotice: Result of promote operation for pgsql on n2: ok | graph action confirmed; call=1":       "promote of pgsql on n2: ok",
		"(log_executor_event) \tnotice: Result of monitor operation for pgsql on n1: not running | rc=7":                        "monitor on n1: not running",
		"(finalize_op) \tnotice: Operation 'reboot' targeting n1 by n2 for pacemaker-controld.57@n2: OK (complete) | id=0ee4":   "n1 is fenced by n2",
		"(controld_execute_fence_action) \tnotice: Requesting fencing (reboot) of node n1 | action=1 timeout=60000":             "fencing of n1 is asked for",
		"(update_peer_state_iter) \tnotice: Node n1 state is now lost | nodeid=1 previous=member source=crm_update_peer_proc":   "n1 is lost from the cluster",
		"(execute_rsc_action) \tnotice: Initiating promote operation pgsql_promote_0 locally on n2 | action 3":                  "promote of pgsql on n2 begins",
		"(log_executor_event) \tnotice: Result of start operation for ipaddr-primary on n2: ok | graph action confirmed; call=": "start of ipaddr-primary on n2: ok",
		"(something) info: of no interest": "",
	} {
		got := ""
		for _, s := range steps() {
			if m := s.match.FindStringSubmatchIndex(line); m != nil {
				got = string(s.match.ExpandString(nil, s.text, line, m))
				break
			}
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
}

func TestMergeConfiguration(t *testing.T) {
	const now = `<configuration><crm_config><cluster_property_set id="a"><nvpair id="x" name="dc-version" value="2"/></cluster_property_set></crm_config>` +
		`<nodes><node id="1" uname="n1"/></nodes><resources/></configuration>`
	const made = `<cib><configuration><crm_config><cluster_property_set id="a"><nvpair id="y" name="stonith-enabled" value="true"/></cluster_property_set></crm_config>` +
		`<nodes/><resources><primitive id="pgsql"/></resources></configuration></cib>`
	got, err := mergeConfiguration(now, made)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`name="dc-version"`, `name="stonith-enabled"`, `uname="n1"`, `id="pgsql"`} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is missing in %s", want, got)
		}
	}
	if _, err := mergeConfiguration(now, "<cib/>"); err == nil {
		t.Error("an empty configuration is no error")
	}
}

func TestShellVariables(t *testing.T) {
	got := shellVariables(map[string]string{"B": "it's", "A": "x y"})
	if want := "A='x y'\nB='it'\\''s'\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
