package azure

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	fake "pgrex/tests/fakes/azure"
	"pgrex/tests/lab/network"
)

// methods are the two ways an address changes hands: in one call where the
// subscription has it, else by a change of both interfaces.
var methods = map[string]fake.Move{"move": fake.MoveOn, "put": fake.MoveOff}

// each runs a test for both.
func each(t *testing.T, f func(t *testing.T, with func(*fake.Config))) {
	t.Helper()
	t.Parallel()
	for name, m := range methods {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t, func(c *fake.Config) { c.Move = m })
		})
	}
}

// TestPlannedMove stops the address on one machine and starts it on the other, and
// back.
func TestPlannedMove(t *testing.T) {
	each(t, func(t *testing.T, with func(*fake.Config)) {
		w := begin(t, with)
		c := w.calls()
		n1, n2 := w.nodes["n1"], w.nodes["n2"]
		n1.does("probe", 7)
		n1.does("start")
		c.from("n1", 10*time.Second)
		for _, m := range [][2]*node{{n1, n2}, {n2, n1}} {
			m[0].does("stop")
			m[0].does("monitor", 7)
			m[1].does("start")
			c.from(m[1].name, 10*time.Second)
			m[1].does("monitor")
			w.only(m[1].name)
		}
		c.order("n1 n2 n1")
	})
}

// TestTakeOver takes the address from a machine that lost its power without a word.
func TestTakeOver(t *testing.T) {
	each(t, func(t *testing.T, with func(*fake.Config)) {
		w := begin(t, with)
		c := w.calls()
		n1, n2 := w.nodes["n1"], w.nodes["n2"]
		n1.does("start")
		c.from("n1", 10*time.Second)
		n1.die()
		if err := w.Change("pgrex", "n1", func(vm *fake.VM) { vm.Power = fake.Stopped }); err != nil {
			t.Fatal(err)
		}
		w.ForgetRequests()
		n2.does("start")
		c.from("n2", 10*time.Second)
		w.only("n2")
		c.order("n1 n2")
		t.Logf("requests:\n%s", w.requests())

		// The old owner comes back, and its operating system's tools give it the address again:
		// the metadata had said so. The probe finds that it is not its own.
		n1.boot()
		n1.ip("address", "add", vip.String()+"/32", "dev", network.Service.Interface())
		n1.does("probe", 7)
		if n1.has(vip) {
			t.Error("the address is still on the system of its former owner")
		}
		w.only("n2")
	})
}

// requests are the requests so far that went to the Resource Manager or the
// metadata service, one on each line.
func (w *world) requests() string {
	var b strings.Builder
	for _, r := range w.Requests() {
		path := r.Path
		for _, long := range []string{w.GroupID("pgrex") + "/providers/Microsoft.", "/subscriptions/" + w.Subscription() + "/providers/Microsoft."} {
			path = strings.TrimPrefix(path, long)
		}
		fmt.Fprintf(&b, "%8v %-6s %-5s %s %s -> %d\n", time.Duration(r.At).Round(time.Millisecond), r.Principal, r.Service, r.Method, path, r.Status)
	}
	return b.String()
}

// control counts the requests to the Resource Manager.
func (w *world) control() int {
	n := 0
	for _, r := range w.Requests() {
		if r.Service == fake.ARM {
			n++
		}
	}
	return n
}

// TestMonitorAsksNobody shows that monitors cost the cloud nothing.
func TestMonitorAsksNobody(t *testing.T) {
	t.Parallel()
	w := begin(t, nil)
	n1, n2 := w.nodes["n1"], w.nodes["n2"]
	n1.does("start")
	w.ForgetRequests()
	for range 20 {
		n1.does("monitor")
		n2.does("monitor", 7)
	}
	if got := w.Requests(); len(got) != 0 {
		t.Errorf("monitors made %d requests:\n%s", len(got), w.requests())
	}
}

// TestDoubleFailover lets the second machine die in the middle of its take-over, and
// the first take the address back while that is still being carried out: in every
// way in which the cloud may treat a change that comes during another.
func TestDoubleFailover(t *testing.T) {
	each(t, func(t *testing.T, with func(*fake.Config)) {
		for name, vary := range map[string]func(*fake.Config){
			"conflict":   func(*fake.Config) {},
			"retry":      func(c *fake.Config) { c.Busy = fake.BusyRetry },
			"supersede":  func(c *fake.Config) { c.Busy = fake.BusySupersede },
			"free early": func(c *fake.Config) { c.FreeEarly = true },
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				doubleFailover(begin(t, func(c *fake.Config) {
					with(c)
					vary(c)
					c.Latency.Update, c.Latency.Program = ms(3000), ms(1500)
				}))
			})
		}
	})
}

func doubleFailover(w *world) {
	w.t.Helper()
	c := w.calls()
	n1, n2 := w.nodes["n1"], w.nodes["n2"]
	n1.does("start")
	c.from("n1", 10*time.Second)
	n1.die()
	w.ForgetRequests()
	take := n2.begin(agent, "start", patience, params()...)
	w.accepted()
	n2.die()
	if take.code() == 0 {
		w.t.Fatalf("the test came too late: %v", take)
	}
	n1.boot()
	n1.does("start")
	c.from("n1", 10*time.Second)
	w.only("n1")
	n2.boot()
	n2.does("probe", 7)
	w.only("n1")
	c.order("n1") // the second died before the network had followed
}

// accepted waits until the cloud has accepted a change.
func (w *world) accepted() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	defer cancel()
	err := w.Await(ctx, func(r fake.Request) bool {
		return r.Service == fake.ARM && (r.Method == "PUT" || r.Method == "POST") && r.Status >= 200 && r.Status < 300
	})
	if err != nil {
		w.t.Fatal(err)
	}
}

// TestBothAtOnce lets both machines take the address at the same time, which no
// cluster in its right mind does. One of them gets it, and the other knows.
func TestBothAtOnce(t *testing.T) {
	each(t, func(t *testing.T, with func(*fake.Config)) {
		w := begin(t, func(c *fake.Config) {
			with(c)
			c.Latency.Update, c.Latency.Program = ms(1500), ms(700)
		})
		c := w.calls()
		a := w.nodes["n1"].begin(agent, "start", patience, params()...)
		b := w.nodes["n2"].begin(agent, "start", patience, params()...)
		if codes := []int{a.code(), b.code()}; codes[0] != 0 && codes[1] != 0 {
			t.Errorf("nobody got it:\n%v\n%v", a, b)
		}
		winner := w.holder()
		loser := map[string]string{"n1": "n2", "n2": "n1"}[winner]
		if winner == "" {
			t.Fatal("nobody holds it")
		}
		c.from(winner, 10*time.Second)
		// One that had it for a while and lost it again was told success; a probe tells it the rest.
		w.nodes[loser].doesWith("monitor", params("cloud_check_interval=1"), 0, 7)
		time.Sleep(1100 * time.Millisecond)
		w.nodes[loser].doesWith("monitor", params("cloud_check_interval=1"), 7)
		w.nodes[loser].does("stop")
		w.only(winner)
		c.from(winner, 10*time.Second)
		if got := c.who(); got != winner && got != loser+" "+winner {
			t.Errorf("there answered %q", got)
		}
	})
}

// TestKilledStart kills a start when its change is accepted. The next one goes on,
// here or there.
func TestKilledStart(t *testing.T) {
	each(t, func(t *testing.T, with func(*fake.Config)) {
		for _, next := range []string{"n2", "n1"} {
			w := begin(t, func(c *fake.Config) {
				with(c)
				c.Latency.Update, c.Latency.Program = ms(2000), ms(1000)
			})
			c := w.calls()
			n1, n2 := w.nodes["n1"], w.nodes["n2"]
			n1.does("start")
			n1.does("stop")
			w.ForgetRequests()
			take := n2.begin(agent, "start", patience, params()...)
			w.accepted()
			take.kill()
			n2.does("stop")
			if n2.has(vip) {
				t.Error("stop left the address on the system")
			}
			w.nodes[next].does("start")
			c.from(next, 10*time.Second)
			w.only(next)
		}
	})
}

// TestStopWithoutCloud shows that a stop needs nobody.
func TestStopWithoutCloud(t *testing.T) {
	t.Parallel()
	w := begin(t, nil)
	c := w.calls()
	n1 := w.nodes["n1"]
	n1.does("start")
	c.from("n1", 10*time.Second)
	if err := w.sw.Hide(t.Context(), "n1", true); err != nil {
		t.Fatal(err)
	}
	if err := w.Detach("n1"); err != nil {
		t.Fatal(err)
	}
	n1.does("monitor")
	if s := n1.does("stop"); s.took > 2*time.Second {
		t.Errorf("%v", s)
	}
	if n1.has(vip) {
		t.Error("the address is still on the system")
	}
	c.silent(100 * time.Millisecond)
	n1.does("stop")
}

// TestBootWithoutCloud boots a former holder whose system's tools give it the address again, while neither the
// Resource Manager nor the metadata service can be asked. "Running" would be a lie that makes a cluster restart
// the address where it serves. "Not running" would be one of a start that was killed, of which nobody knows how it ended.
func TestBootWithoutCloud(t *testing.T) {
	t.Parallel()
	w := begin(t, nil)
	c := w.calls()
	n1, n2 := w.nodes["n1"], w.nodes["n2"]
	n1.does("start")
	n1.die()
	n2.does("start")
	c.from("n2", 10*time.Second)
	away := func(n *node, away bool) { w.try(w.sw.Hide(t.Context(), n.name, away)) }

	n1.boot()
	away(n1, true)
	w.try(w.Detach("n1"))
	n1.ip("address", "add", vip.String()+"/24", "dev", network.Service.Interface())
	n1.does("probe", 7)
	w.only("n2")
	c.from("n2", time.Second)

	// The other way round: what a start of this boot has put there is running while nobody can tell.
	n2.does("stop")
	w.ForgetRequests()
	w.Script(fake.Fault{Service: fake.ARM, Path: "/operations/", Hang: true, Times: -1})
	w.give("", vip)
	take := n2.begin(agent, "start", patience, params()...)
	w.accepted()
	for begin := time.Now(); !n2.has(vip); time.Sleep(10 * time.Millisecond) {
		if time.Since(begin) > 10*time.Second {
			t.Fatal("the address has not come")
		}
	}
	take.kill()
	away(n2, true)
	n2.does("probe")
	if !n2.has(vip) {
		t.Error("what a start of this boot has put there was taken off although nobody can tell")
	}
	away(n2, false)
	w.ClearFaults()
	n2.does("stop")
}
