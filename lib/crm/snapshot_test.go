package crm_test

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"pgrex/lib/crm"
)

// read gives a CIB as Pacemaker 2.1.5 on two nodes printed it.
func read(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".xml"))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func parse(t testing.TB, text string) crm.Snapshot {
	t.Helper()
	s, err := crm.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStatesOfAPeer(t *testing.T) {
	for _, tt := range []struct {
		cib  string
		node string
		// What a snapshot says of the node.
		online, pending, unclean, down, standby bool
		role                                    crm.Role
		mayRun                                  bool
		transient                               bool // has transient attributes
	}{
		{cib: "pair", node: "node1", online: true, role: crm.Promoted, mayRun: true, transient: true},
		{cib: "pair", node: "node2", online: true, role: crm.Unpromoted, mayRun: true, transient: true},
		{cib: "standby", node: "node2", online: true, standby: true, role: crm.Stopped, transient: true},
		{cib: "lost", node: "node2", unclean: true, role: crm.Unpromoted, mayRun: true},
		{cib: "lost_other_side", node: "node1", unclean: true, role: crm.Promoted, mayRun: true},
		{cib: "lost_other_side", node: "node2", online: true, role: crm.Unpromoted, mayRun: true, transient: true},
		{cib: "fenced", node: "node2", down: true, role: crm.Unknown},
		{cib: "stopped", node: "node2", down: true, role: crm.Stopped},
		{cib: "unmanaged", node: "node2", down: true, role: crm.Unpromoted, mayRun: true},
		{cib: "alone", node: "node1", online: true, role: crm.Unknown, transient: true},
		{cib: "alone", node: "node2", role: crm.Unknown},
		{cib: "confirmed", node: "node2", down: true, role: crm.Unknown},
		{cib: "starting", node: "node2", pending: true, role: crm.Unknown},
	} {
		t.Run(tt.cib+"/"+tt.node, func(t *testing.T) {
			s := parse(t, read(t, tt.cib))
			n, ok := s.Node(strings.ToUpper(tt.node))
			if !ok || n.Name != tt.node {
				t.Fatalf("node %q not found: %+v", tt.node, s.Nodes)
			}
			got := []any{n.Online, n.Pending, n.Unclean, n.ProvenDown(), n.Standby, n.Roles["pgsql"], n.MayRun("pgsql"), len(n.Transient) > 0}
			want := []any{tt.online, tt.pending, tt.unclean, tt.down, tt.standby, tt.role, tt.mayRun, tt.transient}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("online, pending, unclean, down, standby, role, may run, has attributes:\ngot  %v\nwant %v", got, want)
			}
		})
	}
}

func TestPair(t *testing.T) {
	s := parse(t, read(t, "pair"))
	if s.DC != "node1" || !s.HaveQuorum || !s.StonithEnabled || s.Maintenance || s.NoQuorumPolicy != "ignore" || s.ClusterName != "crmlab" || s.FeatureSet != "3.16.1" {
		t.Errorf("cluster: %+v", s)
	}
	if s.Version.AdminEpoch != 0 || s.Version.Epoch == 0 || s.Version.NumUpdates == 0 {
		t.Errorf("version %+v", s.Version)
	}
	if len(s.Nodes) != 2 {
		t.Errorf("nodes %v", s.Nodes)
	}
	for _, tt := range []struct{ node, status, data string }{
		{"node1", "PRI", "LATEST"},
		{"node2", "HS:sync", "STREAMING|SYNC"},
	} {
		n := s.Nodes[tt.node]
		if n.Transient["pgsql-status"] != tt.status || n.Forever["pgsql-data-status"] != tt.data {
			t.Errorf("%s: %v %v", tt.node, n.Transient, n.Forever)
		}
	}
	if px := s.Nodes["node2"].Forever["px"]; px != `<&">` {
		t.Errorf("quoted value %q", px)
	}
	if n := s.Nodes["node1"]; n.ID != "1" || n.Remote || n.ShuttingDown || !n.Joined || !n.ExpectedMember || n.ExpectedDown {
		t.Errorf("node1 %+v", n)
	}
	if score, ok := s.Nodes["node1"].Score("pgsql:0"); !ok || score != 77 {
		t.Errorf("score %d %v", score, ok)
	}
	if _, ok := s.Node("node3"); ok {
		t.Error("found a node that is not there")
	}
}

// TestTimestamps: since 2.1.7 the two flags hold the time since when they are set.
func TestTimestamps(t *testing.T) {
	newer := strings.NewReplacer(`in_ccm="true"`, `in_ccm="1795238000"`, `crmd="online"`, `crmd="1795238001"`,
		`in_ccm="false"`, `in_ccm="0"`, `crmd="offline"`, `crmd="0"`)
	for _, name := range []string{"pair", "lost", "lost_other_side", "fenced", "stopped", "starting", "unmanaged", "confirmed"} {
		text := read(t, name)
		if got, want := parse(t, newer.Replace(text)), parse(t, text); !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\n%+v\n%+v", name, got, want)
		}
	}
}

// cib makes a small CIB of a node's entries.
func cib(config, nodes, status string) string {
	return `<cib crm_feature_set="3.16.1" admin_epoch="0" epoch="1" num_updates="2" have-quorum="0" dc-uuid="9"><configuration><crm_config>` + config +
		`</crm_config><nodes>` + nodes + `</nodes></configuration><status>` + status + `</status></cib>`
}

func TestNothingKnownIsNotDown(t *testing.T) {
	for name, state := range map[string]string{
		"no state":         ``,
		"empty state":      `<node_state id="1" uname="a"/>`,
		"down without crm": `<node_state id="1" uname="a" in_ccm="false" expected="down"/>`,
		"nonsense":         `<node_state id="1" uname="a" in_ccm="x" crmd="y" join="z" expected="down"/>`,
		"still there":      `<node_state id="1" uname="a" in_ccm="true" crmd="online" join="member" expected="down"/>`,
		"expectation lost": `<node_state id="1" uname="a" in_ccm="false" crmd="offline" join="down"/>`,
	} {
		s := parse(t, cib("", `<node id="1" uname="a"/>`, state))
		n, ok := s.Node("A")
		if !ok || n.ProvenDown() || n.Transient == nil || n.Forever == nil || n.Roles == nil {
			t.Errorf("%s: %+v", name, n)
		}
		if s.DC != "" || s.HaveQuorum {
			t.Errorf("%s: DC %q quorum %v", name, s.DC, s.HaveQuorum)
		}
	}
}

func TestAttributeSets(t *testing.T) {
	s := parse(t, cib("", `<node id="1" uname="a"><instance_attributes id="x"><nvpair name="v" value="1"/><nvpair name="v" value="2"/><nvpair name="n"/></instance_attributes>
		<instance_attributes id="y" score="5"><nvpair name="v" value="3"/></instance_attributes><instance_attributes id="z"><nvpair name="w" value=""/></instance_attributes></node>
		<node id="2" uname="r" type="remote"/>`,
		`<node_state id="1" uname="a" in_ccm="true" crmd="online" join="member" expected="member"><transient_attributes><instance_attributes><nvpair name="v" value="t"/></instance_attributes>
		<instance_attributes><nvpair name="shutdown" value="1795238201"/><nvpair name="standby" value="ON"/></instance_attributes></transient_attributes></node_state>
		<node_state id="2" remote_node="true" in_ccm="true"/><node_state id="7" uname="gone" in_ccm="false" crmd="offline" expected="down"/>`))
	a := s.Nodes["a"]
	if want := map[string]string{"v": "3", "w": ""}; !reflect.DeepEqual(a.Forever, want) {
		t.Errorf("forever %v", a.Forever)
	}
	if a.Transient["v"] != "t" || !a.ShuttingDown || !a.Standby {
		t.Errorf("transient %v, %+v", a.Transient, a)
	}
	if r := s.Nodes["r"]; !r.Remote || !r.Online || r.Pending {
		t.Errorf("remote %+v", r)
	}
	if g := s.Nodes["gone"]; !g.ProvenDown() {
		t.Errorf("a node that is in the status only: %+v", g)
	}
}

func TestProperties(t *testing.T) {
	set := func(id string, pairs ...string) string {
		s := `<cluster_property_set id="` + id + `">`
		for i := 0; i < len(pairs); i += 2 {
			s += `<nvpair name="` + pairs[i] + `" value="` + pairs[i+1] + `"/>`
		}
		return s + `</cluster_property_set>`
	}
	for _, tt := range []struct {
		config               string
		stonith, maintenance bool
	}{
		{"", true, false},
		{set("a", "stonith-enabled", "false"), false, false},
		{set("a", "stonith-enabled", "False", "maintenance-mode", "Yes"), false, true},
		{set("a", "fencing-enabled", "0"), false, false},
		{set("a", "stonith-enabled", "false") + set("cib-bootstrap-options", "stonith-enabled", "true"), true, false},
		{set("a", "stonith-enabled", "true") + set("b", "stonith-enabled", "false"), true, false},
	} {
		s := parse(t, cib(tt.config, "", ""))
		if s.StonithEnabled != tt.stonith || s.Maintenance != tt.maintenance || s.NoQuorumPolicy != "stop" {
			t.Errorf("%s: %+v", tt.config, s)
		}
	}
}

func TestRoleFromHistory(t *testing.T) {
	op := func(operation, call, rc, status string) string {
		return `<lrm_rsc_op operation="` + operation + `" call-id="` + call + `" rc-code="` + rc + `" op-status="` + status + `"/>`
	}
	for name, tt := range map[string]struct {
		ops  string
		want crm.Role
	}{
		"nothing":                       {"", crm.Unknown},
		"probe finds nothing":           {op("monitor", "5", "7", "0"), crm.Stopped},
		"probe finds a primary":         {op("monitor", "5", "8", "0"), crm.Promoted},
		"started":                       {op("start", "6", "0", "0") + op("monitor", "7", "0", "0"), crm.Unpromoted},
		"promoted":                      {op("promote", "9", "0", "0") + op("monitor", "7", "0", "0"), crm.Promoted},
		"promotion pending":             {op("promote", "-1", "193", "-1") + op("monitor", "7", "0", "0"), crm.Unpromoted},
		"promotion failed":              {op("promote", "9", "1", "4") + op("start", "7", "0", "0"), crm.Unpromoted},
		"demoted after monitoring":      {op("monitor", "10", "8", "0") + op("demote", "12", "0", "0"), crm.Unpromoted},
		"demotion failed":               {op("monitor", "10", "8", "0") + op("demote", "12", "1", "4"), crm.Promoted},
		"demotion timed out":            {op("monitor", "10", "8", "0") + op("demote", "12", "0", "2"), crm.Promoted},
		"stopped":                       {op("stop", "12", "0", "0") + op("monitor", "10", "8", "0"), crm.Stopped},
		"failed primary":                {op("promote", "9", "0", "0") + op("monitor", "10", "9", "4"), crm.Promoted},
		"degraded":                      {op("monitor", "10", "191", "0"), crm.Promoted},
		"a primary that is not running": {op("promote", "9", "0", "0") + op("monitor", "10", "7", "4"), crm.Stopped},
		"calls compared as numbers":     {op("promote", "9", "0", "0") + op("demote", "10", "0", "0"), crm.Unpromoted},
		"nonsense":                      {op("monitor", "x", "8", "0") + op("monitor", "3", "x", "0") + op("monitor", "4", "8", "x") + op("", "5", "0", "0"), crm.Unknown},
	} {
		s := parse(t, cib("", "", `<node_state id="1" uname="a"><lrm><lrm_resources><lrm_resource id="pg:1">`+tt.ops+`</lrm_resource></lrm_resources></lrm></node_state>`))
		if got := s.Nodes["a"].Roles["pg"]; got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

// A node counts as promoted from the order to promote until it has been demoted, whatever is left of its
// history meanwhile, and when it is lost.
func TestPromoted(t *testing.T) {
	op := func(operation, call, rc, status string) string {
		return `<lrm_rsc_op operation="` + operation + `" call-id="` + call + `" rc-code="` + rc + `" op-status="` + status + `"/>`
	}
	for name, tt := range map[string]struct {
		ops  string
		want bool
	}{
		"nothing":           {"", false},
		"a standby":         {op("start", "6", "0", "0") + op("monitor", "7", "0", "0"), false},
		"promotion pending": {op("promote", "-1", "193", "-1") + op("monitor", "7", "0", "0"), true},
		"promoted":          {op("promote", "9", "0", "0") + op("monitor", "10", "8", "0"), true},
		"promotion failed":  {op("promote", "9", "1", "0") + op("monitor", "7", "0", "0"), false},
		"demotion pending":  {op("demote", "-1", "193", "-1") + op("monitor", "3", "7", "0"), true},
		"demoted":           {op("demote", "12", "0", "0"), false},
		"stop pending":      {op("stop", "-1", "193", "-1"), false},
		"monitor pending":   {op("promote", "9", "0", "0") + op("monitor", "-1", "193", "-1"), true},
		"start pending":     {op("start", "-1", "193", "-1") + op("monitor", "10", "8", "0"), false},
	} {
		s := parse(t, cib("", "", `<node_state id="1" uname="a"><lrm><lrm_resources><lrm_resource id="pg:1">`+tt.ops+
			`</lrm_resource><lrm_resource id="ip">`+op("start", "20", "0", "0")+`</lrm_resource></lrm_resources></lrm></node_state>`))
		if got := s.Nodes["a"].Promoted; got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
	for cib, want := range map[string]bool{"pair": true, "lost": true, "lost_other_side": true, "fenced": true, "stopped": true} {
		if got := parse(t, read(t, cib)).Nodes["node1"].Promoted; got != want {
			t.Errorf("%s: node1 promoted: %v, want %v", cib, got, want)
		}
		if parse(t, read(t, cib)).Nodes["node2"].Promoted {
			t.Errorf("%s: node2 is promoted", cib)
		}
	}
}

func TestHas(t *testing.T) {
	s := parse(t, read(t, "pair"))
	for _, tt := range []struct {
		w    crm.Write
		want bool
	}{
		{set(crm.Transient, "NODE1", "pgsql-status", "PRI"), true},
		{set(crm.Transient, "node1", "pgsql-status", "pri"), false},
		{set(crm.Forever, "node1", "pgsql-status", "PRI"), false},
		{set(crm.Forever, "node1", "pgsql-data-status", "LATEST"), true},
		{set(crm.Transient, "node1", "absent", ""), false},
		{unset(crm.Transient, "node1", "pgsql-status"), false},
		{unset(crm.Forever, "node1", "pgsql-status"), true},
		{unset(crm.Forever, "node3", "pgsql-status"), false},
		{set(crm.Transient, "node1", crm.ScoreAttr("pgsql"), "77"), true},
	} {
		if got := s.Has(tt.w); got != tt.want {
			t.Errorf("%+v: %v", tt.w, got)
		}
	}
}

func TestScores(t *testing.T) {
	for text, want := range map[string]int{"100": 100, " -5 ": -5, "INFINITY": crm.Infinity, "+infinity": crm.Infinity, "-INFINITY": -crm.Infinity, "9999999": crm.Infinity} {
		if got, ok := crm.ParseScore(text); !ok || got != want {
			t.Errorf("%q: %d %v", text, got, ok)
		}
	}
	for _, text := range []string{"", "x", "1.5", "INF"} {
		if _, ok := crm.ParseScore(text); ok {
			t.Errorf("%q is a score", text)
		}
	}
	if got := crm.ScoreAttr("pgsql:1"); got != "master-pgsql" {
		t.Errorf("attribute %q", got)
	}
}

func TestGarbage(t *testing.T) {
	whole := read(t, "pair")
	for name, text := range map[string]string{
		"empty":         "",
		"words":         "Call cib_query failed: Timer expired",
		"other XML":     "<crm_mon/>",
		"cut short":     whole[:len(whole)/2],
		"no status":     `<cib epoch="1" admin_epoch="0" num_updates="0"><configuration/></cib>`,
		"no config":     `<cib epoch="1" admin_epoch="0" num_updates="0"><status/></cib>`,
		"no version":    `<cib><configuration/><status/></cib>`,
		"version words": `<cib epoch="x" admin_epoch="0" num_updates="0"><configuration/><status/></cib>`,
	} {
		if _, err := crm.Parse([]byte(text)); !errors.Is(err, crm.ErrNotCIB) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.xml")
	if err != nil || len(files) == 0 {
		f.Fatal("no CIBs in testdata", err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(cib("", "", "")))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := crm.Parse(text)
		if err != nil {
			if !errors.Is(err, crm.ErrNotCIB) {
				t.Errorf("an error of another kind: %v", err)
			}
			return
		}
		for name, n := range s.Nodes {
			if n.Name != name || n.Transient == nil || n.Forever == nil || n.Roles == nil {
				t.Errorf("node %q: %+v", name, n)
			}
			if n.ProvenDown() && (n.Online || n.Unclean || n.CrmdOnline) {
				t.Errorf("node %q is down and is not: %+v", name, n)
			}
		}
	})
}

func BenchmarkParse(b *testing.B) {
	for _, bb := range []struct{ name, text string }{
		{"two nodes", read(b, "pair")},
		{"fifty resources", strings.Replace(read(b, "pair"), "<lrm_resources>", "<lrm_resources>"+strings.Repeat(`<lrm_resource id="other" type="Stateful" class="ocf" provider="pacemaker">
            <lrm_rsc_op id="pgsql_monitor_5000" operation_key="pgsql_monitor_5000" operation="monitor" crm-debug-origin="do_update_resource" crm_feature_set="3.16.1" transition-key="10:11:0:7b386641-2f5a-46da-adfb-8c4f9ee11107" transition-magic="0:0;10:11:0:7b386641-2f5a-46da-adfb-8c4f9ee11107" exit-reason="" on_node="node2" call-id="21" rc-code="0" op-status="0" interval="5000" last-rc-change="1795237846" exec-time="19" queue-time="0" op-digest="19240b0a103493c96459e91c1a816b50"/>
          </lrm_resource>`, 50), 1)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.SetBytes(int64(len(bb.text)))
			for b.Loop() {
				parse(b, bb.text)
			}
		})
	}
}

// A probe that is under way says nothing of its node yet; whatever else is under way
// was begun by a cluster that knows what is there.
func TestProbed(t *testing.T) {
	op := func(name, call, rc, status string) string {
		return `<lrm_rsc_op id="x" operation="` + name + `" call-id="` + call + `" rc-code="` + rc + `" op-status="` + status + `"/>`
	}
	for name, tt := range map[string]struct {
		ops  string
		want bool
	}{
		"no history":             {"", false},
		"the probe is under way": {op("monitor", "-1", "193", "-1"), false},
		"the probe has answered": {op("monitor", "5", "7", "0"), true},
		"the probe has failed":   {op("monitor", "5", "5", "4"), true},
		"a start is under way":   {op("start", "-1", "193", "-1"), true},
		"a stop is under way":    {op("stop", "-1", "193", "-1"), true},
	} {
		s := parse(t, cib("", "", `<node_state id="1" uname="a"><lrm><lrm_resources><lrm_resource id="pg:1">`+tt.ops+`</lrm_resource></lrm_resources></lrm></node_state>`))
		if got := s.Nodes["a"].Probed["pg"]; got != tt.want {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}
