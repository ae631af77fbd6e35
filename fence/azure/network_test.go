package main

import (
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	arm "pgrex/lib/azure"
	"pgrex/lib/life"
	"pgrex/tests/fakes/azure"
)

type obj = map[string]any

// cutNetwork is a pair with a network that is prepared for network fencing: n2 has two interfaces,
// one of them with two IP configurations.
func cutNetwork(t *testing.T) (azure.Config, *azure.Cloud) {
	t.Helper()
	ids, err := azure.New(azure.Config{}, nil) // only to make ids
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ids.Close)
	vnet := ids.NetworkID(group, "virtualNetworks", "net")
	nsg := ids.NetworkID(group, "networkSecurityGroups", "deny")
	asg := ids.NetworkID(group, "applicationSecurityGroups", "asg")
	nic := func(name string) string { return ids.NetworkID(group, "networkInterfaces", name) }
	config := func(name, method, ip string) obj {
		return obj{"name": name, "properties": obj{
			"subnet": obj{"id": vnet + "/subnets/db"}, "privateIPAllocationMethod": method, "privateIPAddress": ip,
			"applicationSecurityGroups": []any{obj{"id": asg}}, "unknownOfOurs": 12345678901234567,
		}}
	}
	rule := func(name, direction string) obj {
		return obj{"name": name, "properties": obj{
			"access": "Deny", "direction": direction, "priority": 100, "protocol": "*", "sourcePortRange": "*", "destinationPortRange": "*",
			"sourceAddressPrefix": "*", "destinationAddressPrefix": "*", "provisioningState": "Succeeded",
		}}
	}
	cfg := usual()
	cfg.Principals[0].Grants = []azure.Grant{documented[0], {Scope: "/", Actions: []string{
		"Microsoft.Network/networkInterfaces/read", "Microsoft.Network/networkInterfaces/write",
		"Microsoft.Network/virtualNetworks/read", "Microsoft.Network/virtualNetworks/subnets/join/action",
		"Microsoft.Network/networkSecurityGroups/read", "Microsoft.Network/networkSecurityGroups/join/action",
		"Microsoft.Network/applicationSecurityGroups/joinIpConfiguration/action",
	}}}
	cfg.VMs[0].NICs = []string{nic("n1-a")}
	cfg.VMs[1].NICs = []string{nic("n2-a"), nic("n2-b")}
	cfg.Network = map[string]map[string]any{
		asg: {},
		vnet: {"properties": obj{"subnets": []any{
			obj{"id": vnet + "/subnets/db", "name": "db", "properties": obj{"addressPrefix": "10.0.1.0/24"}},
			obj{"id": vnet + "/subnets/fence-subnet", "name": "fence-subnet", "properties": obj{"addressPrefix": "10.0.9.0/24", "networkSecurityGroup": obj{"id": nsg}}},
		}}},
		nsg:         {"properties": obj{"securityRules": []any{rule(inboundRule, "Inbound"), rule(outboundRule, "Outbound")}}},
		nic("n1-a"): {"properties": obj{"ipConfigurations": []any{config("main", "Static", "10.0.1.10")}}},
		nic("n2-a"): {"tags": obj{"owner": "dba"}, "futureField": obj{"n": 12345678901234567}, "properties": obj{
			"enableAcceleratedNetworking": true, "ipConfigurations": []any{config("main", "Static", "10.0.1.11"), config("vip", "Static", "10.0.1.50")}}},
		nic("n2-b"): {"properties": obj{"ipConfigurations": []any{config("main", "Dynamic", "10.0.1.12")}}},
	}
	return cfg, ids
}

// shape is an interface without what Azure makes up anew at each change.
func shape(t *testing.T, body map[string]any) string {
	t.Helper()
	b := maps.Clone(body)
	delete(b, "etag")
	for _, c := range (nic{"", b}).configs() {
		delete(c, "etag")
	}
	data, err := json.MarshalIndent(b, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// The whole way: cut, off, reported at once; monitor brings the machine back when it is really off,
// and every interface is what it was.
func TestNetworkFencing(t *testing.T) {
	t.Parallel()
	cfg, ids := cutNetwork(t)
	cfg.Latency.PowerOff = ms(3000)
	s := begin(t, cfg)
	nics := []string{ids.NetworkID(group, "networkInterfaces", "n2-a"), ids.NetworkID(group, "networkInterfaces", "n2-b")}
	before := map[string]string{}
	for _, id := range nics {
		before[id] = shape(t, s.Network(id))
	}

	s.call(t, "reboot", "plug=n2", "network_fencing=1").check(t, 0, "Success: Powered OFF")
	if got := s.PowerState(group, "n2"); got != azure.Stopping {
		t.Errorf("the machine is %s when its network is cut", got)
	}
	for _, id := range nics {
		n := nic{id, s.Network(id)}
		for _, c := range n.configs() {
			if !strings.HasSuffix(subnetOf(c), "/fence-subnet") {
				t.Errorf("%s is in %s", id, subnetOf(c))
			}
		}
	}
	if tags := (nic{"", s.Network(nics[0])}).tags(); tags["owner"] != "dba" || tags[tagIP+"vip"] != "10.0.1.50" || tags[tagType+"main"] != "Static" {
		t.Errorf("tags %v", tags)
	}
	s.call(t, "status", "plug=n2", "network-fencing=1").check(t, 2, "Status: OFF")
	s.call(t, "status", "plug=n1", "network-fencing=1").check(t, 0, "Status: ON")
	s.call(t, "off", "plug=n2", "network_fencing=1").check(t, 0, "Success: Already OFF")

	s.call(t, "monitor", "network_fencing=1").check(t, 0, "")
	if n := s.count("POST", "/start"); n != 0 && s.PowerState(group, "n2") == azure.Stopping {
		t.Error("monitor started a machine that was not off yet")
	}
	// On a slow machine it was off by then, and has been started.
	if err := s.until(t, func() bool { return s.PowerState(group, "n2") != azure.Stopping }); err != nil {
		t.Fatal(err)
	}
	s.call(t, "monitor", "network_fencing=1").check(t, 0, "")
	if err := s.until(t, func() bool { return s.PowerState(group, "n2") == azure.Running }); err != nil {
		t.Fatal("monitor did not bring the machine back")
	}
	for _, id := range nics {
		if got := shape(t, s.Network(id)); got != before[id] {
			t.Errorf("%s was\n%s\nand is\n%s", id, before[id], got)
		}
	}
	s.call(t, "on", "plug=n2", "network_fencing=1").check(t, 0, "Success: Already ON")
}

// on brings back what was cut off as well.
func TestNetworkUnfencingByOn(t *testing.T) {
	t.Parallel()
	cfg, ids := cutNetwork(t)
	s := begin(t, cfg)
	s.call(t, "off", "plug=n2", "network_fencing=1").check(t, 0, "Success: Powered OFF")
	if err := s.until(t, func() bool { return s.PowerState(group, "n2") == azure.Stopped }); err != nil {
		t.Fatal(err)
	}
	s.call(t, "on", "plug=n2", "network_fencing=1").check(t, 0, "Success: Powered ON")
	n := nic{"", s.Network(ids.NetworkID(group, "networkInterfaces", "n2-a"))}
	if got := subnetOf(n.configs()[0]); !strings.HasSuffix(got, "/subnets/db") {
		t.Errorf("it is in %s", got)
	}
}

// A network that is not prepared: nothing is touched, and the sentence says what is missing.
func TestNetworkNotPrepared(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		spoil func(network map[string]map[string]any, ids *azure.Cloud, cfg *azure.Config)
		part  string
	}{
		{"no subnet", func(n map[string]map[string]any, ids *azure.Cloud, _ *azure.Config) {
			p := arm.Object(n[ids.NetworkID(group, "virtualNetworks", "net")]["properties"])
			p["subnets"] = items(p["subnets"])[:1]
		}, `has no subnet "fence-subnet"`},
		{"no security group", func(n map[string]map[string]any, ids *azure.Cloud, _ *azure.Config) {
			p := arm.Object(n[ids.NetworkID(group, "virtualNetworks", "net")]["properties"])
			delete(arm.Object(arm.Object(items(p["subnets"])[1])["properties"]), "networkSecurityGroup")
		}, "has no network security group"},
		{"rule that allows", func(n map[string]map[string]any, ids *azure.Cloud, _ *azure.Config) {
			p := arm.Object(n[ids.NetworkID(group, "networkSecurityGroups", "deny")]["properties"])
			arm.Object(arm.Object(items(p["securityRules"])[0])["properties"])["access"] = "Allow"
		}, "lacks the rule FENCE_DENY_ALL_INBOUND or FENCE_DENY_ALL_OUTBOUND"},
		{"rule of another priority", func(n map[string]map[string]any, ids *azure.Cloud, _ *azure.Config) {
			p := arm.Object(n[ids.NetworkID(group, "networkSecurityGroups", "deny")]["properties"])
			arm.Object(arm.Object(items(p["securityRules"])[1])["properties"])["priority"] = 101
		}, "lacks the rule"},
		{"no right to write", func(_ map[string]map[string]any, _ *azure.Cloud, cfg *azure.Config) {
			cfg.Principals[0].Grants = []azure.Grant{{Scope: "/", Actions: []string{"*/read", "Microsoft.Compute/*"}}}
		}, "lacks the right Microsoft.Network/networkInterfaces/write"},
		{"no right to join", func(_ map[string]map[string]any, _ *azure.Cloud, cfg *azure.Config) {
			cfg.Principals[0].Grants = []azure.Grant{{Scope: "/", Actions: []string{"*/read", "*/write", "Microsoft.Compute/*"}}}
		}, "lacks the right Microsoft.Network/virtualNetworks/subnets/join/action on"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg, ids := cutNetwork(t)
			tt.spoil(cfg.Network, ids, &cfg)
			s := begin(t, cfg)
			id := ids.NetworkID(group, "networkInterfaces", "n2-a")
			before := s.Network(id)["etag"]
			s.call(t, "off", "plug=n2", "network_fencing=1", "power_timeout=2").check(t, 1, "", tt.part)
			if s.Network(id)["etag"] != before || s.count("POST", "/powerOff") != 0 {
				t.Error("something was changed nevertheless")
			}
			if !strings.HasPrefix(tt.name, "no right") {
				s.call(t, "validate-all", "plug=n2", "network_fencing=1").check(t, 1, "", tt.part)
			}
			// Without network fencing none of this matters.
			s.call(t, "off", "plug=n2").check(t, 0, "Success: Powered OFF")
		})
	}
}

// The network counts as cut when Azure has carried out the change, not when it has accepted it.
func TestNetworkChangeFails(t *testing.T) {
	t.Parallel()
	cfg, _ := cutNetwork(t)
	cfg.VMs[1].Stuck = true
	s := begin(t, cfg)
	s.Script(azure.Fault{Method: "PUT", Path: "/networkInterfaces/n2-b", Operation: &azure.OperationFault{Code: "InternalServerError"}, Times: -1})
	s.call(t, "off", "plug=n2", "network_fencing=1", "power_timeout=500ms").check(t, 1, "", "Timed out waiting to power OFF")

	cfg, _ = cutNetwork(t)
	cfg.VMs[1].Stuck = true
	cfg.Latency.Update = ms(60000)
	s = begin(t, cfg)
	s.call(t, "off", "plug=n2", "network_fencing=1", "power_timeout=500ms").check(t, 1, "", "Timed out waiting to power OFF")
}

// Somebody else changes the interface at the same time: what they did stays.
func TestNetworkChangedMeanwhile(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]azure.Fault{
		"etag":   {Status: 412, Code: "PreconditionFailed", Details: []string{"PreconditionFailedEtagMismatch"}},
		"lock":   {Status: 429, Code: "RetryableError", Details: []string{"RetryableErrorDueToAnotherOperation"}},
		"busy":   {Status: 409, Code: "AnotherOperationInProgress"},
		"remain": {Status: 400, Code: "PrivateIPAddressIsBeingCleanedUp"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg, ids := cutNetwork(t)
			s := begin(t, cfg)
			fault.Method, fault.Path = "PUT", "/networkInterfaces/n2-a"
			s.Script(fault)
			s.call(t, "off", "plug=n2", "network_fencing=1").check(t, 0, "Success: Powered OFF")
			for _, q := range s.Requests() {
				if q.Method == "PUT" && !strings.Contains(q.Body, "unknownOfOurs") {
					t.Errorf("a field was lost: %s", q.Body)
				}
			}
			if tags := (nic{"", s.Network(ids.NetworkID(group, "networkInterfaces", "n2-a"))}).tags(); tags[tagIP+"main"] != "10.0.1.11" {
				t.Errorf("tags %v", tags)
			}
		})
	}
}

// What is written is what was read, changed: not over what somebody else has written in between.
func TestNetworkNotOverwritten(t *testing.T) {
	t.Parallel()
	cfg, ids := cutNetwork(t)
	s := begin(t, cfg)
	id := ids.NetworkID(group, "networkInterfaces", "n2-b")
	s.Script(azure.Fault{Method: "PUT", Path: "/networkInterfaces/n2-b", Delay: ms(200)})
	go func() {
		if s.Await(t.Context(), func(r azure.Request) bool { return r.Is("PUT", "/n2-b") }) == nil {
			body := s.Network(id)
			body["tags"] = obj{"other": "hand"}
			_ = s.PutNetwork(id, body)
		}
	}()
	s.call(t, "off", "plug=n2", "network_fencing=1").check(t, 0, "Success: Powered OFF", "PreconditionFailed")
	if tags := (nic{"", s.Network(id)}).tags(); tags["other"] != "hand" {
		t.Errorf("somebody's change is lost: %v", tags)
	}
}

// A machine without interfaces is not cut off for that.
func TestNoInterfaces(t *testing.T) {
	t.Parallel()
	cfg, _ := cutNetwork(t)
	cfg.VMs[1].NICs = nil
	cfg.VMs[1].Stuck = true
	s := begin(t, cfg)
	s.call(t, "status", "plug=n2", "network_fencing=1").check(t, 0, "Status: ON")
	s.call(t, "off", "plug=n2", "network_fencing=1", "power_timeout=300ms").check(t, 1, "", "Timed out waiting to power OFF")
}

func items(v any) []any {
	list, ok := v.([]any)
	if !ok {
		return make([]any, 2)
	}
	return list
}

// until waits for something the cloud does by itself.
func (s *site) until(t *testing.T, ok func() bool) error {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); {
		if ok() {
			return nil
		}
		if err := life.Pause(t.Context(), 10*time.Millisecond); err != nil {
			return err
		}
	}
	return errors.New("it did not happen within 20 s")
}
