package main

import (
	"context"
	"encoding/xml"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgrex/lib/crm"
	"pgrex/lib/proc"
)

// fakeCluster stands in for Pacemaker as lib/crm sees it: the command lines of its tools. It keeps
// a small CIB per node, because which copy is read is what many rules hang on. What it knows of
// the real one is said in lib/crm's package comment.
type fakeCluster struct {
	mu sync.Mutex
	// self is the node on which the tools run.
	self   string
	copies map[string]*fakeCIB
	// cut nodes share nothing with us: they do not answer, and no write reaches them.
	cut map[string]bool
	// behind nodes answer and have not got our writes yet.
	behind map[string]bool
	// attrd are the transient attributes as our attribute manager has them, which can be more than
	// the CIB shows.
	attrd map[string]map[string]string
	// trouble answers a command before the cluster does; nil lets it pass.
	trouble func(line string) *trouble
	lines   []string
}

// trouble is how a tool fails.
type trouble struct {
	hang bool
	exit int
	text string
	// late: it does what it was told and fails to say so.
	late bool
}

// fakeCIB is one node's copy.
type fakeCIB struct {
	updates    int
	properties map[string]string
	nodes      map[string]*fakeNode
}

// fakeNode is a node in a copy. The zero values of crmd, join and expected are those of a member.
type fakeNode struct {
	crmd, join, expected string
	transient, forever   map[string]string
	// history are operations with their exit codes, "promote 0", oldest first.
	history []string
	// unseen nodes have no node_state.
	unseen bool
}

func newFakeCluster(self string, nodes ...string) *fakeCluster {
	f := &fakeCluster{self: self, copies: map[string]*fakeCIB{}, cut: map[string]bool{}, behind: map[string]bool{}, attrd: map[string]map[string]string{}}
	for _, owner := range nodes {
		cib := &fakeCIB{properties: map[string]string{}, nodes: map[string]*fakeNode{}}
		for _, n := range nodes {
			cib.nodes[n] = &fakeNode{transient: map[string]string{}, forever: map[string]string{}}
		}
		f.copies[owner] = cib
	}
	for _, n := range nodes {
		f.attrd[n] = map[string]string{}
	}
	return f
}

// here is our own copy.
func (f *fakeCluster) here() *fakeCIB { return f.copies[f.self] }

// set writes an attribute everywhere, as something that happened before the action.
func (f *fakeCluster) set(node, name, value string, forever bool) {
	for _, cib := range f.copies {
		cib.put(node, name, value, forever)
	}
	if !forever {
		f.attrd[node][name] = value
	}
}

// happened adds an operation to a node's history in all copies.
func (f *fakeCluster) happened(node string, operations ...string) {
	for _, cib := range f.copies {
		cib.nodes[node].history = append(cib.nodes[node].history, operations...)
	}
}

// lose makes a node one that was lost: in our copies its transient attributes are gone and its
// history stays; its own copy is as it was.
func (f *fakeCluster) lose(node string) {
	f.cut[node] = true
	for owner, cib := range f.copies {
		if owner != node {
			n := cib.nodes[node]
			n.crmd, n.join, n.expected = "offline", "down", "member"
			n.transient = map[string]string{}
		}
	}
	f.attrd[node] = map[string]string{}
}

// erase takes a node's transient attributes but those kept out of all copies; the attribute managers
// have them still. So it is when its controller was killed.
func (f *fakeCluster) erase(node string, kept ...string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, cib := range f.copies {
		maps.DeleteFunc(cib.nodes[node].transient, func(name, _ string) bool { return !slices.Contains(kept, name) })
	}
}

// fence makes a lost node a fenced one.
func (f *fakeCluster) fence(node string) {
	f.lose(node)
	for _, cib := range f.copies {
		cib.nodes[node].expected, cib.nodes[node].history = "down", nil
	}
}

// leave makes a node one whose cluster was stopped cleanly, its history ending as it is.
func (f *fakeCluster) leave(node string) {
	f.lose(node)
	for _, cib := range f.copies {
		cib.nodes[node].expected = "down"
	}
}

func (c *fakeCIB) put(node, name, value string, forever bool) bool {
	m := c.nodes[node].transient
	if forever {
		m = c.nodes[node].forever
	}
	old, had := m[name]
	if value == "" {
		delete(m, name)
		return had
	}
	m[name] = value
	if !had || old != value {
		c.updates++
	}
	return old != value
}

// attribute reads what a copy says.
func (f *fakeCluster) attribute(owner, node, name string, forever bool) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if forever {
		return f.copies[owner].nodes[node].forever[name]
	}
	return f.copies[owner].nodes[node].transient[name]
}

func (f *fakeCluster) status(node string) string {
	return f.attribute(f.self, node, "pgsql-status", false)
}
func (f *fakeCluster) score(node string) string {
	return f.attribute(f.self, node, "master-pgsql", false)
}
func (f *fakeCluster) record(owner, node string) string {
	return f.attribute(owner, node, "pgsql-record", true)
}

// commands are the tools run so far, as lines without their options' dashes in front.
func (f *fakeCluster) commands() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.lines)
}

// writes are the writes so far, oldest first: "n1 master-pgsql=1000", "n1 pgsql-xlog-loc deleted".
func (f *fakeCluster) writes() []string {
	var out []string
	for _, line := range f.commands() {
		rest, ok := strings.CutPrefix(line, "crm_attribute ")
		if !ok {
			continue
		}
		// Values hold blanks and come last.
		rest, value, set := strings.Cut(rest, " --update=")
		words := map[string]string{}
		for _, w := range strings.Fields(rest) {
			name, v, _ := strings.Cut(w, "=")
			words[name] = v
		}
		if set {
			out = append(out, words["--node"]+" "+words["--name"]+"="+value)
		} else {
			out = append(out, words["--node"]+" "+words["--name"]+" deleted")
		}
	}
	return out
}

// Run is a proc.Runner.
func (f *fakeCluster) Run(ctx context.Context, cmd proc.Cmd) (proc.Result, error) {
	line := strings.Join(append([]string{cmd.Path}, cmd.Args...), " ")
	f.mu.Lock()
	f.lines = append(f.lines, line)
	var odd *trouble
	if f.trouble != nil {
		odd = f.trouble(line)
	}
	f.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return proc.Result{}, &proc.KilledError{Cmd: line, Err: err}
	}
	if odd != nil && odd.hang {
		<-ctx.Done()
		if odd.late {
			f.mu.Lock()
			defer f.mu.Unlock()
			_, _ = f.carryOut(ctx, cmd, line)
		}
		return proc.Result{}, &proc.KilledError{Cmd: line, Err: ctx.Err()}
	}
	failed := proc.Result{}
	if odd != nil {
		failed = proc.Result{Stderr: []byte(odd.text), ExitCode: odd.exit}
	}
	if odd != nil && !odd.late {
		return failed, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	res, err := f.carryOut(ctx, cmd, line)
	if odd != nil {
		return failed, nil
	}
	return res, err
}

func (f *fakeCluster) carryOut(ctx context.Context, cmd proc.Cmd, line string) (proc.Result, error) {
	switch cmd.Path {
	case "cibadmin":
		return f.query(ctx, cmd.Args)
	case "crm_attribute":
		return f.write(cmd.Args)
	case "attrd_updater":
		return f.refresh(cmd.Args)
	case "crm_node":
		if slices.Equal(cmd.Args, []string{"--name"}) {
			return proc.Result{Stdout: []byte(f.self + "\n")}, nil
		}
	}
	return proc.Result{ExitCode: 64, Stderr: []byte("usage: " + line)}, nil
}

func (f *fakeCluster) query(ctx context.Context, args []string) (proc.Result, error) {
	owner := f.self
	switch {
	case slices.Equal(args, []string{"--query"}):
	case len(args) == 2 && args[0] == "--query" && strings.HasPrefix(args[1], "--node="):
		owner = strings.TrimPrefix(args[1], "--node=")
	default:
		return proc.Result{ExitCode: 64}, nil
	}
	cib, ok := f.copies[owner]
	if !ok || f.cut[owner] {
		// Nobody answers: the tool waits for its own 30 s.
		f.mu.Unlock()
		<-ctx.Done()
		f.mu.Lock()
		return proc.Result{}, &proc.KilledError{Cmd: "cibadmin", Err: ctx.Err()}
	}
	return proc.Result{Stdout: []byte(cib.xml())}, nil
}

func (f *fakeCluster) write(args []string) (proc.Result, error) {
	o := map[string]string{}
	for _, a := range args {
		name, value, _ := strings.Cut(a, "=")
		if !slices.Contains([]string{"--lifetime", "--node", "--name", "--update", "--delete"}, name) {
			return proc.Result{ExitCode: 64, Stderr: []byte("unknown option " + a)}, nil
		}
		o[name] = value
	}
	node, name, value := o["--node"], o["--name"], o["--update"]
	if _, ok := f.here().nodes[node]; !ok {
		return proc.Result{ExitCode: 105, Stderr: []byte("Could not map name=" + node + " to a UUID")}, nil
	}
	forever := o["--lifetime"] == "forever"
	if !forever {
		if f.here().nodes[node].crmd == "offline" {
			return proc.Result{}, nil // taken and forgotten
		}
		if old, had := f.attrd[node][name]; had && old == value {
			return proc.Result{}, nil // nothing new, so the CIB is not written
		}
		if value == "" {
			delete(f.attrd[node], name)
		} else {
			f.attrd[node][name] = value
		}
	}
	for owner, cib := range f.copies {
		if owner == f.self || !f.cut[owner] && !f.behind[owner] {
			cib.put(node, name, value, forever)
		}
	}
	return proc.Result{}, nil
}

func (f *fakeCluster) refresh(args []string) (proc.Result, error) {
	if !slices.Equal(args, []string{"--refresh"}) {
		return proc.Result{ExitCode: 64}, nil
	}
	for owner, cib := range f.copies {
		if f.cut[owner] {
			continue
		}
		for node, attrs := range f.attrd {
			for name, value := range attrs {
				cib.put(node, name, value, false)
			}
		}
	}
	return proc.Result{}, nil
}

// catchUp brings the forever attributes of our copy to a node that was behind.
func (f *fakeCluster) catchUp(node string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.behind[node] = false
	for name, n := range f.here().nodes {
		maps.Copy(f.copies[node].nodes[name].forever, n.forever)
	}
}

// xml writes the copy in Pacemaker's form.
func (c *fakeCIB) xml() string {
	var b strings.Builder
	q := func(s string) string {
		var e strings.Builder
		_ = xml.EscapeText(&e, []byte(s))
		return e.String()
	}
	pairs := func(m map[string]string) {
		for _, name := range slices.Sorted(maps.Keys(m)) {
			fmt.Fprintf(&b, `<nvpair id="p-%s" name="%s" value="%s"/>`, q(name), q(name), q(m[name]))
		}
	}
	fmt.Fprintf(&b, `<cib crm_feature_set="3.16.2" admin_epoch="0" epoch="7" num_updates="%d" have-quorum="1" dc-uuid="1"><configuration>`, c.updates)
	b.WriteString(`<crm_config><cluster_property_set id="cib-bootstrap-options">`)
	pairs(c.properties)
	b.WriteString(`</cluster_property_set></crm_config><nodes>`)
	names := slices.Sorted(maps.Keys(c.nodes))
	for i, name := range names {
		fmt.Fprintf(&b, `<node id="%d" uname="%s"><instance_attributes id="nodes-%d">`, i+1, q(name), i+1)
		pairs(c.nodes[name].forever)
		b.WriteString(`</instance_attributes></node>`)
	}
	b.WriteString(`</nodes><resources/><constraints/></configuration><status>`)
	for i, name := range names {
		n := c.nodes[name]
		if n.unseen {
			continue
		}
		or := func(v, def string) string {
			if v == "" {
				return def
			}
			return v
		}
		crmd := or(n.crmd, "online")
		fmt.Fprintf(&b, `<node_state id="%d" uname="%s" in_ccm="%v" crmd="%s" join="%s" expected="%s">`, i+1, q(name), crmd == "online", crmd, or(n.join, "member"), or(n.expected, "member"))
		fmt.Fprintf(&b, `<transient_attributes id="%d"><instance_attributes id="status-%d">`, i+1, i+1)
		pairs(n.transient)
		fmt.Fprintf(&b, `</instance_attributes></transient_attributes><lrm id="%d"><lrm_resources><lrm_resource id="pgsql" type="pgsql" class="ocf" provider="pgrex">`, i+1)
		for call, op := range n.history {
			operation, rc, _ := strings.Cut(op, " ")
			fmt.Fprintf(&b, `<lrm_rsc_op id="pgsql_%d" operation="%s" call-id="%d" rc-code="%s" op-status="0"/>`, call, operation, call+1, rc)
		}
		b.WriteString(`</lrm_resource></lrm_resources></lrm></node_state>`)
	}
	b.WriteString(`</status></cib>`)
	return b.String()
}

// The fake must know every command line that lib/crm issues: one that it refuses would make a test
// show the behaviour in trouble instead of the ordinary one.
func TestFakeCluster(t *testing.T) {
	t.Parallel()
	f := newFakeCluster("n1", "n1", "n2")
	a, _ := newTestAgent(t, f, "monitor", nil)
	ctx := t.Context()
	set := func(l crm.Lifetime, node, name, value string) error {
		return a.cluster.Apply(ctx, []crm.Write{{Lifetime: l, Node: node, Name: name, Value: value}})
	}
	for _, w := range [][2]string{{"master-pgsql", "-INFINITY"}, {"odd", `a <b> & "c" =d`}} {
		if err := set(crm.Transient, "n1", w[0], w[1]); err != nil {
			t.Fatal(err)
		}
		for _, owner := range []string{"n1", "n2"} {
			snap, err := a.cluster.At(ctx, owner)
			if err != nil || snap.Nodes["n1"].Transient[w[0]] != w[1] {
				t.Errorf("%s: %v, %v", owner, snap.Nodes["n1"].Transient, err)
			}
		}
	}
	if err := set(crm.Forever, "n2", "pgsql-record", "x"); err != nil || f.record("n2", "n1")+f.record("n1", "n2") != "x" {
		t.Errorf("forever: %v", err)
	}
	if err := set(crm.Transient, "n9", "a", "b"); err == nil {
		t.Error("an unknown node is accepted")
	}
	if err := a.cluster.Refresh(ctx); err != nil {
		t.Error(err)
	}
	if n, err := a.cluster.Name(ctx); err != nil || n != "n1" {
		t.Error(n, err)
	}
	f.lose("n2")
	snap, err := a.cluster.Local(ctx)
	if n := snap.Nodes["n2"]; err != nil || n.Online || n.ProvenDown() || !n.Unclean {
		t.Errorf("a lost node: %+v, %v", n, err)
	}
	f.fence("n2")
	if snap, err = a.cluster.Local(ctx); err != nil || !snap.Nodes["n2"].ProvenDown() {
		t.Errorf("a fenced node: %+v, %v", snap.Nodes["n2"], err)
	}
}
