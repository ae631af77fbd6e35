package azure

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"

	arm "pgrex/lib/azure"
	"pgrex/tests/fakes/azure"
)

// calls are the requests of ARM that change or read something, in short. How often an operation and the NIC it
// changes are looked at is a matter of time: a series of that is one.
func (s *site) calls() []string {
	var all []string
	for line := range strings.Lines(s.trace(0)) {
		parts := strings.Fields(line)
		if parts[2] == "operation" {
			continue
		}
		call := parts[1] + " " + strings.TrimPrefix(parts[2], "networkInterfaces/")
		if parts[4] != "200" && parts[4] != "202" {
			call += " " + parts[4]
		}
		if len(all) == 0 || all[len(all)-1] != call || parts[1] != "GET" {
			all = append(all, call)
		}
	}
	return all
}

// Which requests a takeover takes, for every way and everything that can be known beforehand.
func TestCallsOfATakeOver(t *testing.T) {
	t.Parallel()
	move := func(m azure.Move) func(*azure.Config) { return func(c *azure.Config) { c.Move = m } }
	early := func(c *azure.Config) { c.FreeEarly = true }
	again := "GET n2, GET n1, POST virtualNetworks/net/moveIpConfigurations, GET n2"
	tests := []struct {
		name   string
		method Method
		cloud  func(*azure.Config)
		// first is what the first takeover of a machine that knows nothing asks, second what a later one of
		// another process does.
		first, second string
	}{
		{"one call", Auto, move(azure.MoveOn),
			"GET virtualMachines/n2, GET n2, PUT n2 400, GET n1, POST virtualNetworks/net/moveIpConfigurations, GET n2", again},
		{"one call, wanted", Move, move(azure.MoveOn),
			"GET virtualMachines/n2, GET n2, PUT n2 400, GET n1, POST virtualNetworks/net/moveIpConfigurations, GET n2", again},
		{"not registered", Auto, func(c *azure.Config) { early(c) },
			"GET virtualMachines/n2, GET n2, PUT n2 400, GET n1, POST virtualNetworks/net/moveIpConfigurations 400, PUT n1, PUT n2, GET n2",
			"GET n2, GET n1, PUT n1, PUT n2, GET n2"},
		{"two changes", Put, func(c *azure.Config) { early(c); move(azure.MoveOn)(c) },
			"GET virtualMachines/n2, GET n2, PUT n2 400, GET n1, PUT n1, PUT n2, GET n2",
			"GET n2, GET n1, PUT n1, PUT n2, GET n2"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg, i := usual(t)
			tt.cloud(&cfg)
			i.hold(&cfg, "n1", "10.0.1.50", nil)
			s := begin(t, cfg, i)
			method := func(o *Options) { o.Method = tt.method }
			s.must(t, s.on(t, "n2", method))
			s.checkHolder(t, "n2")
			if got := strings.Join(s.calls(), ", "); got != tt.first {
				t.Errorf("first:\n got %s\nwant %s", got, tt.first)
			}
			s.must(t, s.on(t, "n1", method))
			s.checkHolder(t, "n1")
			s.ForgetRequests()
			s.must(t, s.on(t, "n2", method))
			s.checkHolder(t, "n2")
			if got := strings.Join(s.calls(), ", "); got != tt.second {
				t.Errorf("again:\n got %s\nwant %s", got, tt.second)
			}
			// Nothing to do costs one look.
			s.ForgetRequests()
			s.must(t, s.on(t, "n2", method))
			if got := strings.Join(s.calls(), ", "); got != "GET n2" {
				t.Errorf("when it is ours already: %s", got)
			}
		})
	}
}

// strip takes off a NIC's JSON what a move is meant to change and what ARM makes up.
func strip(body map[string]any) string {
	b := maps.Clone(body)
	delete(b, "etag")
	p := maps.Clone(propsOf(b))
	delete(p, "provisioningState")
	var rest []any
	for _, c := range listOf(p["ipConfigurations"]) {
		c := maps.Clone(arm.Object(c))
		delete(c, "etag")
		cp := maps.Clone(propsOf(c))
		delete(cp, "provisioningState")
		c["properties"] = cp
		if cp["privateIPAddress"] != vip.String() {
			rest = append(rest, c)
		}
	}
	p["ipConfigurations"] = rest
	b["properties"] = p
	data, err := json.Marshal(b)
	if err != nil {
		panic(err)
	}
	return string(data)
}

// Fields that no SDK knows, other addresses and the primary ipConfigurations are after the move what they were before.
func TestNothingElseChanges(t *testing.T) {
	t.Parallel()
	for _, m := range []Method{Put, Move} {
		t.Run(string(m), func(t *testing.T) {
			t.Parallel()
			cfg, i := usual(t)
			cfg.Move = azure.MoveOn
			i.hold(&cfg, "n1", "10.0.1.51", nil)
			i.hold(&cfg, "n2", "10.0.1.5", nil)
			p := propsOf(cfg.Network[i.nic("n1")])
			p["ipConfigurations"] = append(listOf(p["ipConfigurations"]), i.entry("vip", "10.0.1.50", obj{"futureOfAddress": obj{"x": 98765432109876543}}))
			s := begin(t, cfg, i)
			before := map[string]string{"n1": strip(s.Network(s.nic("n1"))), "n2": strip(s.Network(s.nic("n2")))}
			for _, name := range []string{"n2", "n1", "n2"} {
				s.must(t, s.on(t, name, func(o *Options) { o.Method = m }))
				s.checkHolder(t, name)
			}
			for name, was := range before {
				if is := strip(s.Network(s.nic(name))); is != was {
					t.Errorf("%s was\n%s\nand is\n%s", name, was, is)
				}
			}
			got, _ := nic{"", s.Network(s.nic("n2"))}.find(vip)
			if n := arm.Object(got["futureOfConfig"])["n"]; n != json.Number("12345678901234567") {
				t.Errorf("a field that is unknown: %v", n)
			}
			if n := arm.Object(got.props()["futureOfAddress"])["x"]; n != json.Number("98765432109876543") {
				t.Errorf("a property that is unknown: %v", n)
			}
			if got.primary() {
				t.Error("it became primary")
			}
		})
	}
}

// What ARM answers to a change that comes too early, and when it frees an address, is not known: all of it works.
func TestWaysOfTheCloud(t *testing.T) {
	t.Parallel()
	for _, busy := range []azure.Busy{azure.BusyConflict, azure.BusyRetry, azure.BusySupersede} {
		for _, early := range []bool{false, true} {
			for _, m := range []Method{Put, Auto} {
				t.Run(string(busy)+string(m), func(t *testing.T) {
					t.Parallel()
					cfg, i := usual(t)
					cfg.Busy, cfg.FreeEarly, cfg.Move = busy, early, azure.MoveOn
					i.hold(&cfg, "n1", "10.0.1.50", nil)
					s := begin(t, cfg, i)
					for _, name := range []string{"n2", "n3", "n1"} {
						s.must(t, s.on(t, name, func(o *Options) { o.Method = m }))
						s.checkHolder(t, name)
					}
				})
			}
		}
	}
}

// The former holder may be off, and its NIC without a machine.
func TestHolderIsOff(t *testing.T) {
	t.Parallel()
	for _, m := range []Method{Put, Move} {
		cfg, i := usual(t)
		cfg.Move = azure.MoveOn
		cfg.VMs[0].Power = azure.Deallocated
		i.hold(&cfg, "n1", "10.0.1.50", nil)
		s := begin(t, cfg, i)
		s.must(t, s.on(t, "n2", func(o *Options) { o.Method = m }))
		s.checkHolder(t, "n2")
	}
}

// A holder that is remembered and gone is no obstacle.
func TestRememberedHolderIsGone(t *testing.T) {
	t.Parallel()
	cfg, i := usual(t)
	s := begin(t, cfg, i)
	p := s.on(t, "n2")
	if err := p.state.edit(vip, func(r *record) { r.Peer = i.nic("long-gone") }); err != nil {
		t.Fatal(err)
	}
	s.must(t, p)
	s.checkHolder(t, "n2")
}

// A NIC that was replaced while the machine ran is found anew.
func TestOwnInterfaceIsAnother(t *testing.T) {
	t.Parallel()
	cfg, i := usual(t)
	s := begin(t, cfg, i)
	p := s.on(t, "n2")
	me, err := p.remembered(t.Context(), vip)
	if err != nil {
		t.Fatal(err)
	}
	for _, wrong := range []string{i.nic("long-gone"), i.nic("n1")} {
		me.NIC = wrong
		if err := p.state.edit(vip, func(r *record) { r.Self = &me }); err != nil {
			t.Fatal(err)
		}
		s.must(t, s.on(t, "n2"))
		s.checkHolder(t, "n2")
	}
}

// accepted is called before the change is complete, and once.
func TestAcceptedComesEarly(t *testing.T) {
	t.Parallel()
	for _, m := range []Method{Put, Move} {
		s := held(t, func(c *azure.Config) { c.Latency.Update, c.Latency.Move = ms(1000), ms(1000) })
		told := 0
		err := s.on(t, "n2", func(o *Options) { o.Method = m }).Acquire(t.Context(), vip, func(context.Context) error {
			told++
			if n := (nic{"", s.Network(s.nic("n2"))}); n.settled() {
				t.Errorf("%s: the change is complete already", m)
			}
			return nil
		})
		if err != nil || told != 1 {
			t.Errorf("%s: told %d times, %v", m, told, err)
		}
	}
}

func TestAcceptedFails(t *testing.T) {
	t.Parallel()
	cfg, i := usual(t)
	s := begin(t, cfg, i)
	err := s.on(t, "n2").Acquire(t.Context(), vip, func(context.Context) error { return errTest })
	if !errors.Is(err, errTest) {
		t.Error(err)
	}
}
