package azure

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	fake "pgrex/tests/fakes/azure"
	"pgrex/tests/lab/azure"
	"pgrex/tests/lab/host"
	"pgrex/tests/lab/network"
)

// sequence are the requests so far in short: "imds instance", "GET nic n1", "PUT nic n2 400". How often an
// operation and the interface it changes are looked at is a matter of time: a series of that is one.
func (w *world) sequence() string {
	var all []string
	for _, r := range w.Requests() {
		what := r.Path[strings.LastIndex(r.Path, "/")+1:]
		switch {
		case r.Service == fake.Metadata:
			all = append(all, "imds "+what)
			continue
		case r.Service == fake.Login:
			if strings.HasSuffix(r.Path, "/token") {
				all = append(all, "login token")
			}
			continue
		case strings.Contains(r.Path, "/operations/"):
			continue
		case strings.Contains(r.Path, "/networkInterfaces/"):
			what = "nic " + strings.TrimSuffix(what, "-service")
		case strings.Contains(r.Path, "/virtualMachines/"):
			what = "vm " + what
		}
		line := r.Method + " " + what
		if r.Status >= 300 {
			line += fmt.Sprintf(" %d", r.Status)
		}
		if len(all) == 0 || all[len(all)-1] != line || r.Method != "GET" {
			all = append(all, line)
		}
	}
	return strings.Join(all, ", ")
}

// asks compares the requests of what was done last, and forgets them.
func (w *world) asks(what, want string) {
	w.t.Helper()
	if got := w.sequence(); got != want {
		w.t.Errorf("%s:\n got %s\nwant %s", what, got, want)
	}
	w.ForgetRequests()
}

// TestRequests is the whole bill: what each action asks for, in which order, by both methods.
func TestRequests(t *testing.T) {
	each(t, func(t *testing.T, with func(*fake.Config)) {
		var move bool
		w := begin(t, func(c *fake.Config) {
			with(c)
			move = c.Move == fake.MoveOn
			c.FreeEarly = true // otherwise the number of attempts at our own interface is a matter of time, too
		})
		n1, n2 := w.nodes["n1"], w.nodes["n2"]
		const me = "imds instance, imds token, GET vm "
		pick := func(byMove, byPut string) string {
			if move {
				return byMove
			}
			return byPut
		}
		n1.does("start")
		w.asks("an address that nobody has", me+"n1, GET nic n1, PUT nic n1, GET nic n1, GET networkInterfaces")
		n1.does("monitor")
		n1.does("probe")
		n1.does("stop")
		n1.does("monitor", 7)
		n1.does("probe", 7)
		w.asks("monitor, probe and stop", "")
		n2.does("start")
		w.asks("from a holder that is not known", me+"n2, GET nic n2, PUT nic n2 400, GET nic n1, "+pick(
			"POST moveIpConfigurations, GET nic n2", "POST moveIpConfigurations 400, PUT nic n1, PUT nic n2, GET nic n2"))
		n2.does("stop")
		n1.does("start")
		w.asks("the first way back", "imds token, GET nic n1, PUT nic n1 400, GET nic n2, "+pick(
			"POST moveIpConfigurations, GET nic n1", "POST moveIpConfigurations 400, PUT nic n2, PUT nic n1, GET nic n1"))
		n1.does("stop")
		n2.does("start")
		w.asks("every later take-over", "imds token, GET nic n2, GET nic n1, "+pick(
			"POST moveIpConfigurations, GET nic n2", "PUT nic n1, PUT nic n2, GET nic n2"))
		n2.does("stop")
		n2.does("start")
		w.asks("one that is ours in the cloud already", "imds token, GET nic n2")
		n2.doesWith("monitor", params("cloud_check_interval=3600"))
		w.asks("a monitor that was told so moments ago", "")
		n2.doesWith("stop", params("release_on_stop=try"))
		w.asks("a stop that gives it back", "imds token, GET nic n2, PUT nic n2")
	})
}

// TestKilledAtEachRequest kills a start by SIGKILL at each of its requests in turn, every other time after
// the request has done its work, and lets the other machine, or the same, take the address then.
func TestKilledAtEachRequest(t *testing.T) {
	each(t, func(t *testing.T, with func(*fake.Config)) {
		w := begin(t, func(c *fake.Config) {
			with(c)
			c.Latency.Update, c.Latency.Program, c.Latency.Tail = ms(150), ms(80), ms(40)
		})
		c := w.calls()
		n1, n2 := w.nodes["n1"], w.nodes["n2"]
		for k := range 30 {
			n1.does("start")
			n1.does("stop")
			w.ForgetRequests()
			w.Script(fake.Fault{Service: fake.ARM, Path: "/subscriptions", Skip: k, Hang: true, Effect: k%2 == 1})
			take := n2.begin(agent, "start", patience, params()...)
			hit := w.hit(take)
			take.kill()
			w.ClearFaults()
			if !hit {
				if k < 4 {
					t.Errorf("a take-over took %d requests only", k)
				}
				return
			}
			n2.does("stop")
			if n2.has(vip) {
				t.Errorf("killed at request %d: stop left the address on the system", k)
			}
			next := []*node{n1, n2}[k/2%2]
			next.does("start")
			c.from(next.name, 2*time.Second)
			w.only(next.name)
			next.does("stop")
			if t.Failed() {
				t.Fatalf("killed at request %d:\n%v\n%s", k, take, w.requests())
			}
		}
		t.Error("it never came to an end")
	})
}

// hit waits until a scripted fault has hit a request, or the call is over.
func (w *world) hit(c *call) bool {
	for {
		for _, r := range w.Requests() {
			if r.Fault {
				time.Sleep(20 * time.Millisecond) // what the request does is done while its answer is awaited
				return true
			}
		}
		select {
		case <-c.done:
			return false
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// TestSecrets signs in with a secret, and looks for it and for tokens wherever something is left.
func TestSecrets(t *testing.T) {
	t.Parallel()
	w := begin(t, func(c *fake.Config) {
		c.Principals = append(c.Principals, fake.Principal{Name: "app", ClientID: "app-id", Secret: "s3cr3t-value", Grants: []fake.Grant{{Scope: "/", Actions: azure.Role()}}})
	})
	n1 := w.nodes["n1"]
	file := filepath.Join(n1.run, "secret") // which is /run/secret there
	write := func(text string, mode os.FileMode) {
		if err := os.WriteFile(file, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
	}
	app := params("username=app-id", "tenantId="+w.Tenant(), "password_file=/run/secret")
	write("s3cr3t-value\n", 0o600)
	var said strings.Builder
	for _, action := range []string{"preflight", "start", "monitor", "stop"} {
		fmt.Fprintln(&said, n1.doesWith(action, app))
	}
	w.Script(fake.Fault{Service: fake.Login, Path: "/token", Status: 401, Times: -1})
	fmt.Fprintln(&said, n1.doesWith("preflight", app, 1))
	w.ClearFaults()
	write("wr0ng-value\n", 0o600)
	fmt.Fprintln(&said, n1.doesWith("start", app, 4))
	if !strings.Contains(said.String(), "the secret is wrong") {
		t.Errorf("it does not say what is wrong:\n%s", said.String())
	}
	write("s3cr3t-value\n", 0o644)
	fmt.Fprintln(&said, n1.doesWith("start", app, 4))
	if !strings.Contains(said.String(), "can be read by others") {
		t.Errorf("a file that everybody can read is taken:\n%s", said.String())
	}
	for _, r := range w.Requests() {
		if r.Service == fake.ARM && r.Principal != "app" && r.Status < 400 && strings.HasPrefix(r.Path, "/subscriptions") {
			t.Errorf("asked by %q: %v", r.Principal, r)
		}
	}
	files := 0
	err := filepath.WalkDir(n1.run, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == file || !d.Type().IsRegular() {
			return err
		}
		files++
		b, err := os.ReadFile(path)
		said.WriteString(path + ": " + string(b) + "\n")
		if info, ierr := d.Info(); ierr != nil || strings.Contains(path, "cloudip") && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s can be read by others (%v)", path, ierr)
		}
		return err
	})
	if err != nil || files == 0 {
		t.Errorf("%d files of state, %v", files, err)
	}
	for _, word := range []string{"s3cr3t", "wr0ng", "stand-in-token"} {
		if strings.Contains(said.String(), word) {
			t.Errorf("%q is shown:\n%s", word, said.String())
		}
	}
}

// TestSourceAddress makes the address the one that the kernel would speak from. The metadata service answers
// to a machine's own address only, so nothing may come from the other.
func TestSourceAddress(t *testing.T) {
	t.Parallel()
	w := begin(t, nil)
	n1 := w.nodes["n1"]
	n1.does("start")
	dev, own := network.Service.Interface(), network.Address(network.Service, 1)
	n1.ip("address", "delete", vip.String()+"/32", "dev", dev)
	n1.ip("address", "delete", own+"/24", "dev", dev)
	n1.ip("address", "add", vip.String()+"/24", "dev", dev)
	n1.ip("address", "add", own+"/24", "dev", dev)
	if _, err := host.Input(t.Context(), azure.Routes(), "nsenter", "--net="+n1.ns.Path(), "ip", "-batch", "-"); err != nil {
		t.Fatal(err)
	}
	from := func(target string) string {
		out, err := host.Output(t.Context(), "nsenter", "--net="+n1.ns.Path(), "ip", "route", "get", target)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if got := from(network.CloudAPI); !strings.Contains(got, "src "+vip.String()) {
		t.Fatalf("the kernel would not speak from the address: %s", got)
	}
	rules := fmt.Sprintf("table inet watch {\n chain out {\n  type filter hook output priority 0;\n  ip saddr %s meta l4proto tcp tcp flags syn / syn,ack counter\n  ip saddr %s meta l4proto tcp tcp flags syn / syn,ack counter\n }\n}\n", vip, own)
	if _, err := host.Input(t.Context(), rules, "nsenter", "--net="+n1.ns.Path(), "nft", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	w.ForgetRequests()
	n1.does("preflight")
	if w.control() == 0 {
		t.Error("nobody was asked")
	}
	seen, err := host.Output(t.Context(), "nsenter", "--net="+n1.ns.Path(), "nft", "list", "ruleset")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(seen) {
		none := strings.Contains(line, "counter packets 0 ")
		if strings.Contains(line, vip.String()) && !none || strings.Contains(line, own) && none {
			t.Errorf("connections came from the wrong address:\n%s", seen)
		}
	}
}

// TestPreflight shows what a person sees.
func TestPreflight(t *testing.T) {
	t.Parallel()
	w := begin(t, nil)
	w.give("n1", vip)
	n2 := w.nodes["n2"]
	good := n2.does("preflight").String()
	for _, part := range []string{"ok: this is machine n2", "ok: 192.168.0.10 is in subnet", "is held by n1-service (machine n1)", "unknown: whether the address can move in one call"} {
		if !strings.Contains(good, part) {
			t.Errorf("it lacks %q:\n%s", part, good)
		}
	}
	if err := w.SetGrants("n2", []fake.Grant{{Scope: "/", Actions: []string{"Microsoft.Compute/virtualMachines/read", "Microsoft.Network/networkInterfaces/read", "Microsoft.Authorization/permissions/read"}}}); err != nil {
		t.Fatal(err)
	}
	bad := n2.doesWith("preflight", params(), 1).String()
	for _, part := range []string{"error: the managed identity of this machine lacks the right Microsoft.Network/networkInterfaces/write", "a start on this node would fail"} {
		if !strings.Contains(bad, part) {
			t.Errorf("it lacks %q:\n%s", part, bad)
		}
	}
	if testing.Verbose() {
		t.Log("\n" + good + bad)
	}
}
