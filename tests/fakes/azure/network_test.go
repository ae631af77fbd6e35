package azure_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"

	"pgrex/tests/fakes/azure"
)

type obj = map[string]any

func ms(n int) azure.Duration { return azure.Duration(time.Duration(n) * time.Millisecond) }

const (
	base = "/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/db/providers/Microsoft.Network/"
	net0 = base + "virtualNetworks/net"
	db   = net0 + "/subnets/db"
	nic1 = base + "networkInterfaces/n1"
	nic2 = base + "networkInterfaces/n2"
	asg  = base + "applicationSecurityGroups/asg"
	pip  = base + "publicIPAddresses/pip"
	lb   = base + "loadBalancers/lb"
	api  = "?api-version=2025-09-01"
)

var vip = netip.MustParseAddr("10.0.1.50")

func config(name, address string, more ...obj) obj {
	p := obj{"subnet": obj{"id": db}, "privateIPAllocationMethod": "Static", "privateIPAddress": address, "primary": name == "main"}
	for _, m := range more {
		for k, v := range m {
			p[k] = v
		}
	}
	return obj{"name": name, "properties": p}
}

func body(configs ...obj) obj {
	all := []any{}
	for _, c := range configs {
		all = append(all, c)
	}
	return obj{"location": "japaneast", "properties": obj{"ipConfigurations": all}}
}

// wired is a pair of machines in a subnet; the first has the virtual address.
func wired() azure.Config {
	cfg := two()
	cfg.VMs[0].NICs, cfg.VMs[1].NICs = []string{nic1}, []string{nic2}
	cfg.Network = map[string]map[string]any{
		net0: {"properties": obj{"subnets": []any{
			obj{"name": "db", "properties": obj{"addressPrefixes": []any{"10.0.1.0/24", "fd00::/64"}}},
			obj{"name": "other", "properties": obj{"addressPrefix": "10.0.2.0/24"}},
		}}},
		nic1: {"properties": obj{"enableIPForwarding": true, "future": obj{"n": json.Number("12345678901234567")}, "ipConfigurations": []any{
			config("main", "10.0.1.11"), config("vip", vip.String(), obj{"applicationSecurityGroups": []any{obj{"id": asg}}}),
		}}},
		nic2: body(config("main", "10.0.1.12")),
		asg:  {}, pip: {},
		lb: {"properties": obj{"backendAddressPools": []any{obj{"name": "out"}}, "outboundRules": []any{
			obj{"name": "r", "properties": obj{"backendAddressPool": obj{"id": lb + "/backendAddressPools/out"}}}}}},
	}
	return cfg
}

// reply is what ARM answered.
type reply struct {
	status int
	header http.Header
	body   obj
}

func (r reply) code() string {
	e, _ := r.body["error"].(map[string]any)
	s, _ := e["code"].(string)
	return s
}

func (r reply) message() string {
	b, _ := json.Marshal(r.body["error"])
	return string(b)
}

func (s site) call(t *testing.T, method, path string, in any, header ...string) reply {
	t.Helper()
	token, err := s.managed(t).GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{s.Audience() + "/.default"}})
	if err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(path, "https:") {
		if !strings.Contains(path, "api-version") {
			path += api
		}
		path = s.URL() + path
	}
	req, err := http.NewRequestWithContext(t.Context(), method, path, strings.NewReader(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token.Token)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, raw := s.send(t, req)
	out := reply{status: res.StatusCode, header: res.Header}
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &out.body); err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
	}
	return out
}

// send returns the answer to a request and its body.
func (s site) send(t *testing.T, req *http.Request) (*http.Response, []byte) {
	t.Helper()
	res, err := s.options.Transport.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, raw
}

// finished polls an operation until its end and returns how it ended.
func (s site) finished(t *testing.T, r reply) string {
	t.Helper()
	url := r.header.Get("Azure-AsyncOperation")
	if url == "" {
		t.Fatalf("no operation: %+v", r)
	}
	for {
		o := s.call(t, http.MethodGet, url, nil)
		if st, _ := o.body["status"].(string); st != "InProgress" {
			return st
		}
		select {
		case <-t.Context().Done():
			t.Fatal("the operation does not end")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// plane records what the data plane was told.
type plane struct{ told chan []azure.Binding }

func (p plane) Bind(_ context.Context, changes []azure.Binding) error {
	p.told <- changes
	return nil
}

func state(b obj) string { return fmt.Sprint(dig(b, "properties", "provisioningState")) }

// dig follows keys and indexes into a body, to nil if there is nothing.
func dig(v any, path ...any) any {
	for _, step := range path {
		switch k := step.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[k]
		case int:
			l, _ := v.([]any)
			if v = nil; k < len(l) {
				v = l[k]
			}
		}
	}
	return v
}

// What a PUT leaves out is reset, what ARM alone decides stays, the rest is kept
// as it was sent.
func TestPutReplaces(t *testing.T) {
	s := begin(t, wired(), nil)
	before := s.call(t, http.MethodGet, nic1, nil)
	out := s.call(t, http.MethodPut, nic1, body(config("main", "10.0.1.11", obj{"odd": 1.0})), "If-Match", before.header.Get("Etag"))
	if out.status != 200 || s.finished(t, out) != "Succeeded" {
		t.Fatalf("%+v", out)
	}
	now := s.call(t, http.MethodGet, nic1, nil).body
	const p = "properties"
	if dig(now, p, "enableIPForwarding") != false || dig(now, p, "future") != nil || now["etag"] == before.body["etag"] {
		t.Errorf("not reset: %v", now)
	}
	if dig(now, p, "macAddress") != dig(before.body, p, "macAddress") || dig(now, p, "virtualMachine") == nil || state(now) != "Succeeded" {
		t.Errorf("lost: %v", now)
	}
	first := dig(now, p, "ipConfigurations", 0)
	if dig(first, p, "odd") != 1.0 || dig(first, "etag") != now["etag"] {
		t.Errorf("ipConfiguration: %v", first)
	}
	one := s.call(t, http.MethodGet, nic1+"/ipConfigurations/main", nil)
	if one.status != 200 || one.body["id"] != nic1+"/ipConfigurations/main" {
		t.Errorf("read by itself: %+v", one)
	}
	for method, want := range map[string]int{http.MethodPut: 405, http.MethodDelete: 405} {
		if r := s.call(t, method, nic1+"/ipConfigurations/main", obj{}); r.status != want {
			t.Errorf("%s of an ipConfiguration: %d", method, r.status)
		}
	}
	if l := s.call(t, http.MethodGet, strings.TrimSuffix(nic1, "/n1"), nil); dig(l.body, "value", 1) == nil || dig(l.body, "value", 2) != nil {
		t.Errorf("list: %v", l.body)
	}
}

// What is refused, and with which code.
func TestNetworkRefusals(t *testing.T) {
	main := config("main", "10.0.1.12")
	tests := []struct {
		name   string
		body   obj
		header []string
		status int
		code   string
		text   string
	}{
		{"taken", body(main, config("vip", "10.0.1.50")), nil, 400, "PrivateIPAddressIsAllocated",
			"IP configuration " + nic2 + "/ipConfigurations/vip is using the private IP address 10.0.1.50 which is already allocated to resource " + nic1 + "/ipConfigurations/vip."},
		{"reserved", body(main, config("vip", "10.0.1.3")), nil, 400, "PrivateIPAddressInReservedRange", "10.0.1.0/24"},
		{"last", body(main, config("vip", "10.0.1.255")), nil, 400, "PrivateIPAddressInReservedRange", ""},
		{"elsewhere", body(main, config("vip", "10.0.2.50")), nil, 400, "PrivateIPAddressNotInSubnet", ""},
		{"no address at all", body(main, config("vip", "ten")), nil, 400, "InvalidIPAddressFormat", ""},
		{"no primary", body(config("a", "10.0.1.12"), config("b", "10.0.1.60")), nil, 400, "MustHaveExactlyOnePrimaryIpConfiguration", ""},
		{"two primaries", body(main, config("b", "10.0.1.60", obj{"primary": true})), nil, 400, "MustHaveExactlyOnePrimaryIpConfiguration", ""},
		{"no configuration", body(), nil, 400, "InvalidIPConfigCount", ""},
		{"primary renamed", body(config("first", "10.0.1.12")), nil, 400, "IpConfigDeleteNotSupported", "IP Configuration main cannot be deleted"},
		{"names", body(main, config("Vip", "10.0.1.60"), config("vip", "10.0.1.61")), nil, 400, "DuplicateResourceName", ""},
		{"address twice", body(main, config("a", "10.0.1.60"), config("b", "10.0.1.60")), nil, 400, "PrivateIPAddressIsAllocated", ""},
		{"subnet", body(config("main", "10.0.1.12", obj{"subnet": obj{"id": net0 + "/subnets/none"}})), nil, 400, "InvalidResourceReference", ""},
		{"group", body(main, config("vip", "10.0.1.60", obj{"applicationSecurityGroups": []any{obj{"id": asg + "x"}}})), nil, 400, "InvalidResourceReference", ""},
		{"outbound pool", body(main, config("vip", "10.0.1.60", obj{"loadBalancerBackendAddressPools": []any{obj{"id": lb + "/backendAddressPools/out"}}})), nil, 400,
			"OutboundRuleCannotBeUsedWithBackendAddressPoolThatIsReferencedBySecondaryIpConfigs", ""},
		{"etag", body(main), []string{"If-Match", `W/"old"`}, 412, "PreconditionFailed", "PreconditionFailedEtagMismatch"},
		{"exists", body(main), []string{"If-None-Match", "*"}, 412, "PreconditionFailed", ""},
		{"no location", obj{"properties": obj{}}, nil, 400, "LocationRequired", ""},
	}
	s := begin(t, wired(), nil)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := s.Network(nic2)["etag"]
			r := s.call(t, http.MethodPut, nic2, tt.body, tt.header...)
			if r.status != tt.status || r.code() != tt.code || !strings.Contains(r.message(), tt.text) {
				t.Errorf("%d %s", r.status, r.message())
			}
			if s.Network(nic2)["etag"] != before {
				t.Error("it was changed nevertheless")
			}
		})
	}
	if r := s.call(t, http.MethodPut, nic1, body(config("main", "10.0.1.11"), config("vip", vip.String(), obj{"publicIPAddress": obj{"id": pip}}))); s.finished(t, r) != "Succeeded" {
		t.Fatal(r)
	}
	if r := s.call(t, http.MethodPut, nic2, body(main, config("b", "10.0.1.60", obj{"publicIPAddress": obj{"id": pip}}))); r.code() != "PublicIPAddressInUse" {
		t.Errorf("public address: %s", r.message())
	}
	if r := s.call(t, http.MethodDelete, nic2, nil); r.code() != "NicInUse" {
		t.Errorf("delete: %s", r.message())
	}
	s.Lock(s.GroupID(group), "ReadOnly")
	if r := s.call(t, http.MethodPut, nic2, body(main)); r.status != 409 || r.code() != "ScopeLocked" {
		t.Errorf("lock: %s", r.message())
	}
	if r := s.call(t, http.MethodGet, nic2, nil); r.status != 200 {
		t.Errorf("reading what is locked: %d", r.status)
	}
}

// Rights are looked at for the interface and for all it refers to.
func TestNetworkRights(t *testing.T) {
	const n = "Microsoft.Network/"
	all := []string{n + "networkInterfaces/read", n + "networkInterfaces/write", n + "virtualNetworks/subnets/join/action",
		n + "applicationSecurityGroups/joinIpConfiguration/action", n + "locations/operations/read"}
	cfg := wired()
	cfg.OperationRights = true
	s := begin(t, cfg, nil)
	for _, missing := range all {
		if err := s.SetGrants("system", []azure.Grant{{Scope: "/", Actions: []string{"*"}, NotActions: []string{missing}}}); err != nil {
			t.Fatal(err)
		}
		get := s.call(t, http.MethodGet, nic1, nil)
		put := s.call(t, http.MethodPut, nic1, s.Network(nic1))
		want := [2]string{}
		switch missing {
		case n + "networkInterfaces/read":
			want[0] = "AuthorizationFailed"
		case n + "networkInterfaces/write":
			want[1] = "AuthorizationFailed"
		case n + "locations/operations/read":
			if r := s.call(t, http.MethodGet, put.header.Get("Azure-AsyncOperation"), nil); r.code() != "AuthorizationFailed" {
				t.Errorf("operation: %+v", r)
			}
		default:
			want[1] = "LinkedAuthorizationFailed"
		}
		if got := [2]string{get.code(), put.code()}; got != want || want[1] != "" && !strings.Contains(put.message(), missing) {
			t.Errorf("without %s: %v %s", missing, got, put.message())
		}
	}
	if err := s.SetGrants("system", []azure.Grant{{Scope: "/", Actions: append(all, "Microsoft.Authorization/permissions/read")}}); err != nil {
		t.Fatal(err)
	}
	p := s.call(t, http.MethodGet, db+"/providers/Microsoft.Authorization/permissions?api-version=2022-04-01", nil)
	if b, _ := json.Marshal(p.body); !strings.Contains(string(b), "subnets/join/action") {
		t.Errorf("permissions: %s", b)
	}
}
