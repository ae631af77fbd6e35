package azure

import (
	"net/netip"
	"strings"
	"testing"

	"pgrex/tests/fakes/azure"
)

// What the address is tied to follows it by both ways, and load balancers only if asked.
func TestAssociations(t *testing.T) {
	t.Parallel()
	for _, m := range []Method{Put, Move} {
		for name, keep := range map[string]Preserve{"usual": {ASG: true, PublicIP: true}, "all": {true, true, true}, "none": {}} {
			t.Run(string(m)+" "+name, func(t *testing.T) {
				t.Parallel()
				cfg, i := usual(t)
				cfg.Move = azure.MoveOn
				i.hold(&cfg, "n1", "10.0.1.50", obj{
					"applicationSecurityGroups": []any{obj{"id": i.asg("web")}}, "publicIPAddress": obj{"id": i.pip("public")},
					"loadBalancerBackendAddressPools": []any{obj{"id": i.pool("back")}},
				})
				s := begin(t, cfg, i)
				for _, name := range []string{"n2", "n3"} {
					s.must(t, s.on(t, name, func(o *Options) { o.Method, o.Preserve = m, keep }))
					s.checkHolder(t, name)
					c, _ := nic{"", s.Network(s.nic(name))}.find(vip)
					if (len(c.ids(fieldASG)) == 1) != keep.ASG || (c.public() != "") != keep.PublicIP || (len(c.ids(fieldPools)) == 1) != keep.LB {
						t.Errorf("%s on %s: %v", m, name, c)
					}
				}
			})
		}
	}
}

// A policy that refuses tags does not keep the address from moving.
func TestTagsRefused(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"n1", "n2"} {
		cfg, i := usual(t)
		cfg.FreeEarly = true
		i.hold(&cfg, "n1", "10.0.1.50", obj{"applicationSecurityGroups": []any{obj{"id": i.asg("web")}}})
		s := begin(t, cfg, i)
		skip := 0
		if name == "n2" {
			skip = 1
		}
		s.Script(azure.Fault{Method: "PUT", Path: "/networkInterfaces/" + name, Skip: skip, Status: 403, Code: "RequestDisallowedByPolicy", Message: "no tags"})
		s.must(t, s.on(t, "n2", func(o *Options) { o.Method = Put }))
		s.checkHolder(t, "n2")
		if c, _ := (nic{"", s.Network(s.nic("n2"))}).find(vip); len(c.ids(fieldASG)) != 1 {
			t.Error(c)
		}
	}
}

// An IPv6 address is a secondary ipConfiguration like any other.
func TestIPv6(t *testing.T) {
	t.Parallel()
	for _, m := range []Method{Put, Move} {
		cfg, i := usual(t)
		cfg.Move = azure.MoveOn
		s := begin(t, cfg, i)
		six := netip.MustParseAddr("fd00:1::50")
		for _, name := range []string{"n1", "n2"} {
			p := s.on(t, name, func(o *Options) { o.Method = m })
			if err := p.Acquire(t.Context(), six, accept); err != nil {
				t.Fatal(err)
			}
			if got := s.holders(six); len(got) != 1 || got[0] != name {
				t.Errorf("%v", got)
			}
			me, err := p.Self(t.Context(), six)
			if err != nil || me.Prefix.String() != "fd00:1::/64" {
				t.Errorf("%+v %v", me, err)
			}
		}
		c, _ := nic{"", s.Network(s.nic("n2"))}.find(six)
		if c.props()["privateIPAddressVersion"] != "IPv6" || !strings.EqualFold(c.subnet(), i.subnet()) {
			t.Error(c)
		}
	}
}

// Many addresses on the same machines do not disturb each other.
func TestManyAddresses(t *testing.T) {
	t.Parallel()
	for _, busy := range []azure.Busy{azure.BusyConflict, azure.BusySupersede} {
		for _, m := range []Method{Put, Move} {
			cfg, i := usual(t)
			cfg.Busy, cfg.Move = busy, azure.MoveOn
			all := []string{"10.0.1.50", "10.0.1.51", "10.0.1.52"}
			for n, a := range all {
				p := propsOf(cfg.Network[i.nic("n1")])
				p["ipConfigurations"] = append(listOf(p["ipConfigurations"]), i.entry("vip"+all[n][7:], a, nil))
			}
			s := begin(t, cfg, i)
			errs := make(chan error, len(all))
			for _, a := range all {
				p := s.on(t, "n2", func(o *Options) { o.Method = m })
				go func() { errs <- p.Acquire(t.Context(), netip.MustParseAddr(a), accept) }()
			}
			for range all {
				if err := <-errs; err != nil {
					t.Errorf("%s %s: %v", busy, m, err)
				}
			}
			for _, a := range all {
				if got := s.holders(netip.MustParseAddr(a)); len(got) != 1 || got[0] != "n2" {
					t.Errorf("%s is held by %v", a, got)
				}
			}
		}
	}
}
