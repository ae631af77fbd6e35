package network

import (
	"strings"
	"testing"
)

func TestRuleset(t *testing.T) {
	ports := map[port]bool{{"n1", Service}: true, {"n1", Replication}: true, {"n2", Service}: true}
	for _, c := range []struct {
		name string
		cuts map[port]Direction
		want []string
	}{
		{"none", nil, nil},
		{"both", map[port]Direction{{"n1", Service}: Both}, []string{"from-n1-s", "to-n1-s"}},
		{"in", map[port]Direction{{"n1", Replication}: In}, []string{"to-n1-d"}},
		{"out", map[port]Direction{{"n2", Service}: Out}, []string{"from-n2-s"}},
		{"powered off", map[port]Direction{{"n3", Service}: Both}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := ruleset(c.cuts, ports, nil)
			if n := strings.Count(got, "chain "); n != len(c.want) {
				t.Errorf("%d chains, want %v:\n%s", n, c.want, got)
			}
			for _, w := range c.want {
				if !strings.Contains(got, "chain "+w+" ") {
					t.Errorf("no chain %s:\n%s", w, got)
				}
			}
		})
	}
}

// TestNames keeps interface names within the kernel's 15 characters and
// addresses apart.
func TestNames(t *testing.T) {
	seen := map[string]string{}
	add := func(what, s string) {
		if seen[s] != "" {
			t.Errorf("%s and %s are both %s", what, seen[s], s)
		}
		seen[s] = what
	}
	for _, vip := range []string{Gateway, Client, VIPPrimary, VIPStandby, VIPReplication} {
		add("fixed "+vip, vip)
	}
	for i := 1; i <= 5; i++ {
		for _, l := range LANs() {
			p := port{"n5bmc", l}
			if len(p.name()) > 15 || len(l.Interface()) > 15 {
				t.Errorf("name too long: %s", p.name())
			}
			add("node on "+string(l), Address(l, i))
		}
		add("bmc", BMCAddress(i))
	}
	for _, l := range LANs() {
		if got, err := ParseLAN(string(l)); err != nil || got != l {
			t.Errorf("%s: %v, %v", l, got, err)
		}
	}
	if _, err := ParseLAN("wan"); err == nil {
		t.Error("wan is a LAN")
	}
	if _, err := ParseDirection("up"); err == nil {
		t.Error("up is a direction")
	}
}
