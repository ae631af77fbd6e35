package azure

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	arm "pgrex/lib/azure"
)

func parseNIC(t testing.TB, s string) nic {
	t.Helper()
	n := nic{id: "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkInterfaces/n"}
	if err := (*arm.Exact)(&n.body).UnmarshalJSON([]byte(s)); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestFind(t *testing.T) {
	t.Parallel()
	n := parseNIC(t, `{"properties":{"ipConfigurations":[null,7,{"name":"a"},{"name":"b","properties":{"privateIPAddress":"10.0.0.10"}},
		{"name":"c","properties":{"privateIPAddress":"FD00:0:0::0010"}},{"name":"d","properties":{"privateIPAddress":"::ffff:10.0.0.2"}}]}}`)
	for address, want := range map[string]string{"10.0.0.1": "", "10.0.0.10": "b", "fd00::10": "c", "10.0.0.2": "d", "0.0.0.0": ""} {
		c, ok := n.find(netip.MustParseAddr(address))
		if c.name() != want || ok != (want != "") {
			t.Errorf("%s: %q", address, c.name())
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	n := parseNIC(t, `{"properties":{"ipConfigurations":[{"name":"PGREX-10-0-0-1"},{"name":"pgrex-10-0-0-1-2"}]}}`)
	for address, want := range map[string]string{
		"10.0.0.1": "pgrex-10-0-0-1-3", "10.0.0.2": "pgrex-10-0-0-2", "fd00::1": "pgrex-fd00--1",
		"2001:db8:1111:2222:3333:4444:5555:6666": "pgrex-2001-db8-1111-2222-3333-4444-5555-6666",
	} {
		if got := n.freeName(netip.MustParseAddr(address)); got != want || len(got) > 80 {
			t.Errorf("%s: %q", address, got)
		}
	}
}

func TestIDs(t *testing.T) {
	t.Parallel()
	const id = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkInterfaces/n"
	for in, want := range map[string]string{
		id: id, id + "/": id, id + "/ipConfigurations/c": id, strings.ToUpper(id): strings.ToUpper(id),
		"/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/loadBalancers/l/frontendIPConfigurations/f": "",
		"/networkInterfaces/n": "", "": "", "networkInterfaces": "", "/networkInterfaces/": "",
	} {
		if got := nicOf(in); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
	if got := networkOf("/x/virtualNetworks/v/Subnets/s"); got != "/x/virtualNetworks/v" {
		t.Error(got)
	}
	if got := tidyMAC("00-0D-3A-1B-2c-3d"); got != "00:0d:3a:1b:2c:3d" || !sameMAC("000D3A1B2C3D", got) {
		t.Error(got)
	}
}

// FuzzNIC adds and removes an address on an arbitrary network interface: no panic, and everything else is what it was.
func FuzzNIC(f *testing.F) {
	for _, s := range []string{
		`{"tags":{"a":"b"},"x":1e400,"properties":{"provisioningState":"Succeeded","ipConfigurations":[{"name":"c","properties":{"primary":true,"subnet":{"id":"/v/subnets/db"},"privateIPAddress":"10.0.0.4"}}]}}`,
		`{"properties":{"ipConfigurations":[null,7,{"name":"pgrex-10-0-1-50","properties":null}]}}`,
		`{"tags":[],"properties":[]}`, `{}`, `{"properties":{"ipConfigurations":{}}}`,
		`{"tags":{"pgrex-ties-10-0-1-50":"n:3 a:g/x p:g/y l:g/z/w"},"properties":{"ipConfigurations":[{"name":"v","properties":{"privateIPAddress":"10.0.1.50"}}]}}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		n := nic{id: "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkInterfaces/n"}
		if (*arm.Exact)(&n.body).UnmarshalJSON(body) != nil || n.body == nil {
			t.Skip("no object")
		}
		n.subnet()
		n.describe()
		ties, _ := n.ties(vip)
		if ties.number < 0 {
			t.Error(ties)
		}
		if _, ok := n.find(vip); ok {
			t.Skip("it has the address")
		}
		p, ok := n.body["properties"].(map[string]any)
		if !ok {
			t.Skip("no interface of Azure's")
		}
		if _, ok := p["ipConfigurations"].([]any); !ok {
			t.Skip("no interface of Azure's")
		}
		if _, ok := n.body["tags"].(map[string]any); !ok && n.body["tags"] != nil || n.tagged(vip) {
			t.Skip("no tags of Azure's, or such as will change")
		}
		for k := range arm.Object(n.body["tags"]) {
			if strings.HasPrefix(k, tagPrefix) {
				t.Skip("ours")
			}
		}
		before, err := json.Marshal(n.body)
		if err != nil {
			t.Skip("not to be written again")
		}
		c := Preserve{true, true, true}.template(plain("/v/subnets/db")).shape(n.freeName(vip), vip)
		n.tie(vip, c, 1)
		n.with(c)
		if got, ok := n.find(vip); !ok || got.primary() {
			t.Fatal("it is not there")
		}
		if !n.without(c.name()) {
			t.Fatal("it cannot be taken off")
		}
		if list, ok := p["ipConfigurations"].([]any); ok && list == nil {
			p["ipConfigurations"] = []any{}
		}
		after, err := json.Marshal(n.body)
		if err != nil || !bytes.Equal(before, after) {
			t.Errorf("%s became %s (%v)", before, after, err)
		}
	})
}

// FuzzHolder reads arbitrary refusals: no panic, and only an id that stands there comes out.
func FuzzHolder(f *testing.F) {
	for _, m := range []string{
		"IP configuration /a/b is using the private IP address 10.0.0.5 which is already allocated to resource /subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkInterfaces/n/ipConfigurations/c.",
		"already allocated to resource '/x'", "already allocated to resource", "already allocated to resource nobody", "",
		"Private IP address 10.0.0.5 is Already Allocated To Resource /subscriptions/s, /y",
	} {
		f.Add("PrivateIPAddressIsAllocated", m)
		f.Add("PublicIPAddressInUse", m)
	}
	f.Fuzz(func(t *testing.T, code, message string) {
		e := &arm.Error{Class: arm.Refused, Refusal: &arm.Refusal{Status: 400, Code: code, Message: message}, Err: &azcore.ResponseError{}}
		id, ok := holderIn(e)
		if id != "" && (!ok || !strings.HasPrefix(id, "/") || !strings.Contains(message, id)) {
			t.Errorf("%q in %q", id, message)
		}
		if n := nicOf(id); n != "" && !strings.HasPrefix(id, n) {
			t.Errorf("%q of %q", n, id)
		}
	})
}

func TestHolderIn(t *testing.T) {
	t.Parallel()
	const id = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkInterfaces/n/ipConfigurations/c"
	for message, want := range map[string]string{
		"x is using the private IP address 10.0.0.5 which is already allocated to resource " + id + ".": id,
		"x is using the private IP address 10.0.0.5 which is already allocated to resource " + id:       id,
		"which is already allocated to resource '" + id + "'. Choose another.":                          id,
		"it is in use": "",
	} {
		got, ok := holderIn(&arm.Error{Refusal: &arm.Refusal{Status: 400, Code: codeAllocated, Message: message}})
		if got != want || !ok {
			t.Errorf("%q: %q %v", message, got, ok)
		}
	}
	if _, ok := holderIn(&arm.Error{Refusal: &arm.Refusal{Status: 400, Code: "Other", Message: "already allocated to resource " + id}}); ok {
		t.Error("that was about something else")
	}
}

// What an address is tied to survives tags, however long the names.
func TestTies(t *testing.T) {
	t.Parallel()
	const head = "/subscriptions/s/resourceGroups/"
	asg := func(n string) string {
		return head + "g/providers/Microsoft.Network/applicationSecurityGroups/" + n
	}
	long := strings.Repeat("x", 80)
	tests := []struct {
		name     string
		asg      []string
		public   string
		pools    []string
		complete bool
	}{
		{"nothing", nil, "", nil, true},
		{"one", []string{asg("a")}, "", nil, true},
		{"all", []string{asg("a"), asg("b")}, head + "G2/providers/Microsoft.Network/publicIPAddresses/p", []string{head + "g/providers/Microsoft.Network/loadBalancers/l/backendAddressPools/b"}, true},
		{"long names", []string{asg(long), asg(long + "2"), asg("c")}, head + strings.Repeat("g", 90) + "/providers/Microsoft.Network/publicIPAddresses/" + long, nil, true},
		{"of elsewhere", []string{"/subscriptions/other/resourceGroups/g/providers/Microsoft.Network/applicationSecurityGroups/a"}, "", nil, true},
		{"far too long", []string{"/subscriptions/other/resourceGroups/" + strings.Repeat("g", 300) + "/providers/x/y/z"}, "", nil, false},
	}
	for _, tt := range tests {
		n := parseNIC(t, `{"tags":{"owner":"dba","pgrex-ties-10-0-1-50":"n:1 a:old/one","pgrex-ties-10-0-1-50-part2":"a:old/two"}}`)
		c := ties{0, tt.asg, tt.pools, tt.public}.config("/v/subnets/s", Preserve{true, true, true})
		if got := n.tie(vip, c, 7); got != tt.complete {
			t.Errorf("%s: everything found room: %v", tt.name, got)
		}
		tags := arm.Object(n.body["tags"])
		if tags["owner"] != "dba" {
			t.Errorf("%s: the tags of others: %v", tt.name, tags)
		}
		for k, v := range tags {
			if s, ok := v.(string); !ok || len(s) > maxTag || strings.ContainsAny(k, `<>%&\?/`) {
				t.Errorf("%s: %s=%s", tt.name, k, s)
			}
		}
		got, ok := n.ties(vip)
		if tt.asg == nil {
			if ok || n.tagged(vip) {
				t.Errorf("%s: %v", tt.name, tags)
			}
			continue
		}
		if !tt.complete {
			continue
		}
		if !ok || got.number != 7 || !slices.Equal(got.asg, tt.asg) || got.public != tt.public || !slices.Equal(got.pools, tt.pools) {
			t.Errorf("%s: %+v from %v", tt.name, got, tags)
		}
	}
}

// What follows is what was asked for.
func TestTemplate(t *testing.T) {
	t.Parallel()
	from := config(parseNIC(t, `{"id":"i","etag":"e","name":"old","type":"t","future":1,"properties":{"provisioningState":"Succeeded","primary":false,"future":2,
		"subnet":{"id":"/v/subnets/s"},"applicationSecurityGroups":[{"id":"/a"}],"publicIPAddress":{"id":"/p"},"loadBalancerBackendAddressPools":[{"id":"/l"}],
		"loadBalancerInboundNatRules":[{"id":"/r"}],"applicationGatewayBackendAddressPools":[{"id":"/g"}]}}`).body)
	for keep, want := range map[Preserve]string{
		{}:                    "",
		{ASG: true}:           "applicationSecurityGroups",
		{PublicIP: true}:      "publicIPAddress",
		{LB: true}:            "applicationGatewayBackendAddressPools loadBalancerBackendAddressPools loadBalancerInboundNatRules",
		{ASG: true, LB: true}: "applicationGatewayBackendAddressPools applicationSecurityGroups loadBalancerBackendAddressPools loadBalancerInboundNatRules",
		{true, true, true}:    "applicationGatewayBackendAddressPools applicationSecurityGroups loadBalancerBackendAddressPools loadBalancerInboundNatRules publicIPAddress",
	} {
		c := keep.template(from)
		var left []string
		for k := range c.props() {
			if k != "primary" && k != "future" && k != "subnet" {
				left = append(left, k)
			}
		}
		slices.Sort(left)
		if got := strings.Join(left, " "); got != want || c["id"] != nil || c["etag"] != nil || c["future"] == nil {
			t.Errorf("%+v: %s, %v", keep, got, c)
		}
		if len(from.ids(fieldASG)) != 1 {
			t.Fatal("the original was changed")
		}
		// And what a move has carried along is put right.
		moved := config(copyOf(from))
		if changed := moved.adopt(c); changed == (keep == Preserve{true, true, true}) || !sameIDs(moved.ids(fieldASG), c.ids(fieldASG)) || moved.public() != c.public() || !sameIDs(moved.ids(fieldPools), c.ids(fieldPools)) {
			t.Errorf("%+v: changed %v: %v", keep, changed, moved)
		}
	}
}
