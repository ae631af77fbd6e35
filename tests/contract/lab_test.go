package contract

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pgrex/tests/contract/sandbox"
)

// lab is a cluster of tests/lab inside the sandbox: real corosync and Pacemaker.
type lab struct{ name string }

var building sync.Mutex

// newLab builds one and takes it down after the test.
func newLab(t *testing.T, purpose string, nodes int, flags ...string) lab {
	t.Helper()
	name := labName(sandbox.Run(), purpose)
	l := lab{name}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	args := append([]string{"up", "--name", name, "--nodes", strconv.Itoa(nodes), "--bin", sandbox.Work + "/bin"}, flags...)
	t.Cleanup(func() {
		if out, err := exec.Command(sandbox.Work+"/bin/lab", "down", "--name", name).CombinedOutput(); err != nil {
			t.Logf("lab down: %v\n%s", err, out)
		}
	})
	building.Lock() // one at a time: it takes both processors
	defer building.Unlock()
	if out, err := exec.CommandContext(ctx, sandbox.Work+"/bin/lab", args...).CombinedOutput(); err != nil {
		t.Fatalf("lab %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return l
}

// exec runs a program on a node and returns its output and exit code.
func (l lab) exec(t *testing.T, on string, args ...string) (string, int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, sandbox.Work+"/bin/lab", append([]string{"exec", "--name", l.name, on}, args...)...).CombinedOutput()
	var status *exec.ExitError
	switch {
	case err == nil:
		return string(out), 0
	case ctx.Err() == nil && errors.As(err, &status) && status.Exited():
		return string(out), status.ExitCode()
	}
	t.Fatalf("lab exec %s %s: %v\n%s", on, strings.Join(args, " "), err, out)
	return "", 0
}

// must is exec of what has to succeed.
func (l lab) must(t *testing.T, on string, args ...string) string {
	t.Helper()
	out, code := l.exec(t, on, args...)
	if code != 0 {
		t.Fatalf("on %s: %s: exit code %d\n%s", on, strings.Join(args, " "), code, out)
	}
	return out
}

// call runs the agent on a node.
func (l lab) call(t *testing.T, on string, c call) outcome {
	t.Helper()
	begin := time.Now()
	out, code := l.exec(t, on, slices.Concat([]string{"env", "-i"}, c.Environment(), []string{"timeout", "-s", "KILL", fmt.Sprint(c.Limit().Seconds()), pgsql.Path, c.Action})...)
	return outcome{Outcome: sandbox.Outcome{Code: code, Stderr: out, Took: time.Since(begin)}}
}

// want is call with an expectation.
func (l lab) want(t *testing.T, on string, c call, code int) outcome {
	t.Helper()
	o := l.call(t, on, c)
	if o.Code != code {
		t.Errorf("%s on %s: want code %d, got %v", c.Name(), on, code, o)
	}
	return o
}

// attributes are a node's attributes as the cluster's own copy has them.
func (l lab) attributes(t *testing.T, on string) map[string]string {
	t.Helper()
	var cib struct {
		Nodes []struct {
			Name  string   `xml:"uname,attr"`
			Pairs []nvpair `xml:"instance_attributes>nvpair"`
		} `xml:"configuration>nodes>node"`
		States []struct {
			Name  string   `xml:"uname,attr"`
			Pairs []nvpair `xml:"transient_attributes>instance_attributes>nvpair"`
		} `xml:"status>node_state"`
	}
	if err := xml.Unmarshal([]byte(l.must(t, on, "cibadmin", "--query")), &cib); err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, n := range cib.Nodes {
		if n.Name == on {
			for _, p := range n.Pairs {
				all[p.Name] = p.Value
			}
		}
	}
	for _, n := range cib.States {
		if n.Name == on {
			for _, p := range n.Pairs {
				all[p.Name] = p.Value
			}
		}
	}
	return all
}

type nvpair struct {
	Name  string `xml:"name,attr"`
	Value string `xml:"value,attr"`
}

// A cluster of one node, without resources: the agent is called by hand as
// Pacemaker would, with the memory of a real cluster behind it.
const initNode = `set -e
cd /
install -d -o postgres -g postgres -m 700 /dbfp/pgdata
install -d -o postgres -g postgres -m 755 /run/postgresql
runuser -u postgres -- %[1]s/initdb --pgdata=%[2]s --no-sync --wal-segsize=1 --auth=trust >/dev/null
cat >>%[2]s/postgresql.conf <<CONF
unix_socket_directories = '/run/postgresql'
fsync = off
CONF
`

const labData = "/dbfp/pgdata/data"

func TestOneNodeCluster(t *testing.T) {
	t.Parallel()
	pgbin, err := findPostgres()
	if err != nil {
		t.Fatal(err)
	}
	l := newLab(t, "one", 1, "--bare")
	l.must(t, node, "sh", "-c", fmt.Sprintf(initNode, pgbin, labData))
	p := params{
		"pgctl": pgbin + "/pg_ctl", "psql": pgbin + "/psql", "pgdata": labData, "socketdir": "/run/postgresql", "tmpdir": "/var/lib/pgsql/tmp",
		"logfile": "/var/log/postgresql/first.log", "rep_mode": "sync", "node_list": node, "master_ip": "192.0.2.1", "repuser": dba,
	}
	// What Pacemaker says of a promotable clone besides the parameters.
	fromPacemaker := params{}
	for _, v := range action("monitor", nil).InCluster().Environment() {
		name, value, _ := strings.Cut(v, "=")
		if rest, found := strings.CutPrefix(name, "OCF_RESKEY_"); found && rest != "CRM_meta_timeout" && rest != "CRM_meta_name" {
			fromPacemaker[rest] = value
		}
	}

	// The parts stand on each other: a server with a record is another one than without.
	t.Run("ocf-tester without the cluster's memory", func(t *testing.T) {
		out, code := l.exec(t, node, append([]string{"ocf-tester"}, pgsql.Tester(p)...)...)
		checkOCFTester(t, out, failure(code), true)
	})
	t.Run("ocf-tester with the cluster's memory", func(t *testing.T) {
		out, code := l.exec(t, node, append([]string{"ocf-tester"}, pgsql.Tester(p.With(fromPacemaker))...)...)
		checkOCFTester(t, out, failure(code), true)
		got := l.attributes(t, node)
		for name, want := range map[string]string{"pgsql-status": "STOP", "master-pgsql": "-INFINITY"} {
			if got[name] != want {
				t.Errorf("after ocf-tester %s is %q, want %q (all: %v)", name, got[name], want, got)
			}
		}
	})
	t.Run("attributes and scores", func(t *testing.T) { l.checkAttributes(t, p) })
	t.Run("lock of the former agent", func(t *testing.T) { l.checkLock(t, p) })
	t.Run("outside the cluster", func(t *testing.T) {
		// A server with a record belongs to a cluster; nobody in a shell may promote it.
		l.want(t, node, action("start", p), ok)
		if o := l.want(t, node, action("promote", p), generic); !strings.Contains(o.Reason(), "cluster") {
			t.Errorf("the reason %q does not tell of the cluster", o.Reason())
		}
		l.want(t, node, action("stop", p), ok)
	})
	t.Run("daemons frozen", func(t *testing.T) { l.checkFrozen(t, p) })
}

func failure(code int) error {
	if code == 0 {
		return nil
	}
	return fmt.Errorf("exit status %d", code)
}

// checkAttributes goes through the states of a server and looks at what other
// resources' rules and people see.
func (l lab) checkAttributes(t *testing.T, p params) {
	expect := func(state string, want map[string]string) {
		t.Helper()
		var got map[string]string
		for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
			got = l.attributes(t, node)
			if agrees(got, want) {
				return
			}
		}
		t.Errorf("%s: the attributes are %v, want %v", state, got, want)
	}
	steps := []struct {
		action string
		code   int
		want   map[string]string
	}{
		{"start", ok, map[string]string{"pgsql-status": "HS:alone"}},
		{"monitor", ok, map[string]string{"pgsql-status": "HS:alone", "master-pgsql": "1000"}},
		// What no rule reads is left to the first monitor.
		{"promote", ok, map[string]string{"pgsql-status": "PRI", "master-pgsql": "1000"}},
		{"monitor", promoted, map[string]string{"pgsql-status": "PRI", "master-pgsql": "1000", "pgsql-data-status": "LATEST"}},
		{"demote", ok, map[string]string{"master-pgsql": "-INFINITY"}},
		{"stop", ok, map[string]string{"pgsql-status": "STOP", "master-pgsql": "-INFINITY"}},
	}
	for _, s := range steps {
		c := action(s.action, p).InCluster()
		if s.action == "monitor" {
			c.Interval = "10000"
		}
		l.want(t, node, c, s.code)
		expect("after "+s.action, s.want)
	}
}

func agrees(got, want map[string]string) bool {
	for name, value := range want {
		if got[name] != value {
			return false
		}
	}
	return true
}

// checkLock leaves the reference agent's mark of a primary: it must be named
// where it forbids the start, and gone where the record says more.
func (l lab) checkLock(t *testing.T, p params) {
	const lock = "/var/lib/pgsql/tmp/PGSQL.lock"
	l.must(t, node, "touch", lock)
	refused := action("start", p.With(params{"rejoin": "refuse"})).InCluster()
	if o := l.want(t, node, refused, generic); !strings.Contains(o.Reason(), "PGSQL.lock") {
		t.Errorf("the reason %q does not name the lock", o.Reason())
	}
	l.want(t, node, action("start", p).InCluster(), ok)
	if _, code := l.exec(t, node, "test", "-e", lock); code == 0 {
		t.Errorf("%s is still there though the record says more", lock)
	}
	l.want(t, node, action("stop", p).InCluster(), ok)
}

// checkFrozen stops the daemons an agent asks: their sockets take requests and
// nothing answers. It comes last; the cluster is of no more use.
func (l lab) checkFrozen(t *testing.T, p params) {
	l.want(t, node, action("start", p).InCluster(), ok)
	l.want(t, node, action("promote", p).InCluster(), ok)
	l.must(t, node, "sh", "-c", "kill -STOP $(pidof pacemaker-based pacemaker-attrd pacemaker-controld)")
	well := monitor(p).InCluster().Within(15 * time.Second)
	o := l.want(t, node, well, promoted)
	t.Logf("monitor with frozen daemons: %v", o.Took.Round(time.Millisecond))
	o = l.want(t, node, action("stop", p).InCluster(), ok)
	t.Logf("stop with frozen daemons: %v", o.Took.Round(time.Millisecond))
	if o.Took > 15*time.Second {
		t.Errorf("stop took %v: most of its time", o.Took)
	}
	if out, code := l.exec(t, node, "pgrep", "-a", "postgres"); code == 0 {
		t.Errorf("stop answered 0, but there are: %s", out)
	}
	l.want(t, node, well, notRunning)
}

// A healthy pair in steady state: a monitor is one process of ours, no child,
// one connection and one query.
func TestOneProcessPerMonitor(t *testing.T) {
	t.Parallel()
	l := newLab(t, "two", 2)
	p := l.resource(t)
	// The judge must be able to say no: validate-all asks the cluster by a program.
	check := action("validate-all", p).InCluster()
	if found := l.trace(t, node, check, ok); !strings.HasPrefix(found, "2 programs, ") {
		t.Fatalf("validate-all asks the cluster, and that was not seen: %q", found)
	}
	roles := map[int]string{}
	for _, on := range []string{"n1", "n2"} {
		c := monitor(p).InCluster()
		c.Env = []string{"OCF_RESKEY_CRM_meta_on_node=" + on, "OCF_RESKEY_CRM_meta_clone_max=2"}
		o := l.call(t, on, c)
		if roles[o.Code] != "" || o.Code != ok && o.Code != promoted {
			t.Fatalf("%s: not the second half of a healthy pair: %v", on, o)
		}
		roles[o.Code] = on
		t.Run(map[int]string{ok: "standby", promoted: "primary"}[o.Code], func(t *testing.T) {
			const tries, allowed = 6, 1 // one of them may be the verification that comes once a minute
			var bad []string
			for range tries {
				if found := l.trace(t, on, c, o.Code); found != "" {
					bad = append(bad, found)
				}
			}
			const runs = 10
			begin := time.Now()
			l.must(t, on, slices.Concat([]string{"env", "-i"}, c.Environment(),
				[]string{"sh", "-c", fmt.Sprintf("i=0; while [ $i -lt %d ]; do %s monitor; i=$((i+1)); done; true", runs, pgsql.Path)})...)
			t.Logf("one monitor takes %v", (time.Since(begin) / runs).Round(100*time.Microsecond))
			if len(bad) > allowed {
				t.Errorf("%d of %d monitors were not one process with one connection and one query:\n%s", len(bad), tries, strings.Join(bad, "\n"))
			}
		})
	}
}

// resource are the parameters of the resource pgsql in the lab's configuration.
func (l lab) resource(t *testing.T) params {
	t.Helper()
	var set struct {
		Pairs []nvpair `xml:"nvpair"`
	}
	out := l.must(t, node, "cibadmin", "--query", "--xpath", "//primitive[@id='pgsql']/instance_attributes")
	if err := xml.Unmarshal([]byte(out), &set); err != nil {
		t.Fatal(err)
	}
	p := params{}
	for _, pair := range set.Pairs {
		p[pair.Name] = pair.Value
	}
	if p["rep_mode"] != "sync" {
		t.Fatalf("the lab runs another resource than expected: %v", p)
	}
	return p
}

// trace runs a call under strace and says what was not as it should be, "" if
// nothing.
func (l lab) trace(t *testing.T, on string, c call, code int) string {
	t.Helper()
	const file = "/tmp/contract.trace"
	out, got := l.exec(t, on, slices.Concat([]string{"env", "-i"}, c.Environment(),
		[]string{"strace", "-f", "-qq", "-s", "60", "-e", "trace=execve,clone,clone3,fork,vfork,connect,write,sendto", "-o", file, pgsql.Path, c.Action})...)
	if got != code {
		t.Fatalf("monitor under strace: want code %d, got %d\n%s", code, got, out)
	}
	text := l.must(t, on, "cat", file)
	var programs, children, connections, queries int
	for line := range strings.Lines(text) {
		_, call, _ := strings.Cut(strings.TrimSpace(line), " ")
		call = strings.TrimSpace(call)
		switch name, _, _ := strings.Cut(call, "("); name {
		case "execve":
			programs++
		case "fork", "vfork":
			children++
		case "clone", "clone3":
			// The threads of the agent's own process do not count.
			if !strings.Contains(call, "CLONE_THREAD") {
				children++
			}
		case "connect":
			if !strings.Contains(call, "/dev/log") {
				connections++
			}
		case "write", "sendto":
			// A query in PostgreSQL's protocol: the letter Q and a length of four bytes.
			if _, data, _ := strings.Cut(call, `, "`); strings.HasPrefix(data, `Q\0\0`) {
				queries++
			}
		}
	}
	if programs == 1 && children == 0 && connections == 1 && queries == 1 {
		return ""
	}
	var log bytes.Buffer
	fmt.Fprintf(&log, "%d programs, %d children, %d connections, %d queries: %s", programs, children, connections, queries, out)
	for line := range strings.Lines(text) {
		if strings.Contains(line, "execve(") || strings.Contains(line, "connect(") {
			log.WriteString("    " + line)
		}
	}
	return log.String()
}
