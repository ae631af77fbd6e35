package azure_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"slices"
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
	res, err := s.options.Transport.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	out := reply{status: res.StatusCode, header: res.Header}
	if len(raw) > 0 {
		if err := json.Unmarshal(raw, &out.body); err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
	}
	return out
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

func state(b obj) string {
	p, _ := b["properties"].(map[string]any)
	s, _ := p["provisioningState"].(string)
	return s
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
	p, old := now["properties"].(map[string]any), before.body["properties"].(map[string]any)
	if p["enableIPForwarding"] != false || p["future"] != nil || now["etag"] == before.body["etag"] {
		t.Errorf("not reset: %v", now)
	}
	if p["macAddress"] != old["macAddress"] || p["virtualMachine"] == nil || state(now) != "Succeeded" {
		t.Errorf("lost: %v", now)
	}
	first := p["ipConfigurations"].([]any)[0].(map[string]any)
	if first["properties"].(map[string]any)["odd"] != 1.0 || first["etag"] != now["etag"] {
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
	if l := s.call(t, http.MethodGet, strings.TrimSuffix(nic1, "/n1"), nil); len(l.body["value"].([]any)) != 2 {
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

// The classic way: an address is freed when the data plane has let go of it, and
// reaches the other interface before the operation ends.
func TestPutAndPut(t *testing.T) {
	cfg := wired()
	cfg.Latency = azure.Latency{Update: ms(120), Program: ms(40), Tail: ms(20), Metadata: ms(60)}
	s := begin(t, cfg, nil)
	p := plane{make(chan []azure.Binding, 10)}
	if err := s.SetPlane(p); err != nil {
		t.Fatal(err)
	}
	if all := <-p.told; len(all) != 3 || all[2].NIC != nic1 || all[2].Address != vip {
		t.Fatalf("at the beginning: %v", all)
	}
	take := body(config("main", "10.0.1.12"), config("vip", vip.String()))
	drop := s.call(t, http.MethodPut, nic1, body(config("main", "10.0.1.11")))
	if st := state(drop.body); st != "Updating" {
		t.Errorf("after a PUT: %s", st)
	}
	if r := s.call(t, http.MethodPut, nic2, take); r.code() != "PrivateIPAddressIsAllocated" {
		t.Errorf("taken before it was given up: %s", r.message())
	}
	if got := <-p.told; len(got) != 1 || got[0].NIC != "" || got[0].Address != vip {
		t.Errorf("given up: %v", got)
	}
	if r := s.call(t, http.MethodPut, nic1, body(config("main", "10.0.1.11"))); r.status != 409 || r.code() != "AnotherOperationInProgress" {
		t.Errorf("changed while it changes: %s", r.message())
	}
	var put reply
	for put = s.call(t, http.MethodPut, nic2, take); put.code() == "PrivateIPAddressIsAllocated"; put = s.call(t, http.MethodPut, nic2, take) {
	}
	if got := <-p.told; len(got) != 1 || got[0].NIC != nic2 {
		t.Errorf("taken: %v", got)
	}
	if st := state(s.Network(nic2)); st != "Updating" {
		t.Errorf("the operation ended with its effect: %s", st)
	}
	if s.finished(t, put) != "Succeeded" || s.Holder(vip) != nic2 {
		t.Errorf("the address is at %s", s.Holder(vip))
	}
}

func (s site) metadataAddresses(t *testing.T) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://169.254.169.254/metadata/instance?api-version=2021-02-01", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Metadata", "true")
	res, err := s.options.Transport.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// The metadata service tells of a change later than the data plane has it.
func TestMetadataLags(t *testing.T) {
	cfg := wired()
	cfg.Latency.Metadata = ms(100)
	s := begin(t, cfg, nil)
	if got := s.metadataAddresses(t); !strings.Contains(got, "10.0.1.50") || !strings.Contains(got, `"prefix":"24"`) {
		t.Errorf("at the beginning: %s", got)
	}
	s.finished(t, s.call(t, http.MethodPut, nic1, body(config("main", "10.0.1.11"))))
	if s.Holder(vip) != "" || !strings.Contains(s.metadataAddresses(t), "10.0.1.50") {
		t.Error("the metadata service is not late")
	}
	for strings.Contains(s.metadataAddresses(t), "10.0.1.50") {
		select {
		case <-t.Context().Done():
			t.Fatal("the metadata service never tells")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Moving takes all items or none, and nobody is without an address in between.
func TestMove(t *testing.T) {
	cfg := wired()
	cfg.Latency = azure.Latency{Update: ms(60), Program: ms(20)}
	s := begin(t, cfg, nil)
	p := plane{make(chan []azure.Binding, 10)}
	if err := s.SetPlane(p); err != nil {
		t.Fatal(err)
	}
	<-p.told
	item := func(from, to string) obj {
		return obj{"sourceIpConfiguration": obj{"id": from}, "targetIpConfiguration": obj{"id": to}}
	}
	move := func(items ...obj) reply {
		return s.call(t, http.MethodPost, net0+"/moveIpConfigurations", obj{"moveIpConfigurationItems": items})
	}
	good := item(nic1+"/ipConfigurations/vip", nic2+"/ipConfigurations/other")
	if r := move(good); r.status != 400 || r.code() != "SubscriptionNotRegisteredForFeature" {
		t.Errorf("without the feature: %s", r.message())
	}
	s.SetMove(azure.MoveOn)
	if r := s.call(t, http.MethodPost, net0+"/moveIpConfigurations?api-version=2024-05-01", obj{}); r.code() != "NoRegisteredProviderFound" {
		t.Errorf("in an old version: %s", r.message())
	}
	for name, bad := range map[string]obj{
		"primary": item(nic1+"/ipConfigurations/main", nic2+"/ipConfigurations/x"), "taken name": item(nic1+"/ipConfigurations/vip", nic2+"/ipConfigurations/main"),
		"nothing": item(nic1+"/ipConfigurations/x", nic2+"/ipConfigurations/x"), "itself": item(nic1+"/ipConfigurations/vip", nic1+"/ipConfigurations/x"),
	} {
		if r := move(good, bad); r.status != 400 {
			t.Errorf("%s: %d", name, r.status)
		}
	}
	if s.Holder(vip) != nic1 {
		t.Fatal("half of a refused move was done")
	}
	s.Script(azure.Fault{Path: "/moveIpConfigurations", Operation: &azure.OperationFault{Code: "InternalServerError"}})
	if st := s.finished(t, move(good)); st != "Failed" || s.Holder(vip) != nic1 || state(s.Network(nic1)) != "Succeeded" {
		t.Errorf("failed move: %s, %s at %s", st, vip, s.Holder(vip))
	}
	r := move(good)
	if r.status != 202 || r.header.Get("Location") == "" || state(s.Network(nic1)) != "Updating" || state(s.Network(nic2)) != "Updating" {
		t.Errorf("accepted: %+v", r)
	}
	if st := s.finished(t, r); st != "Succeeded" {
		t.Fatal(st)
	}
	if got := <-p.told; len(got) != 1 || got[0].NIC != nic2 {
		t.Errorf("the data plane was told %v", got)
	}
	b, _ := json.Marshal(s.Network(nic2))
	if !strings.Contains(string(b), nic2+"/ipConfigurations/other") || !strings.Contains(string(b), asg) {
		t.Errorf("not what was moved: %s", b)
	}
}

// The three answers to a change of what is being changed, and a busy subnet.
func TestBusy(t *testing.T) {
	for _, tt := range []struct {
		busy   azure.Busy
		status int
		text   string
	}{
		{azure.BusyConflict, 409, "AnotherOperationInProgress"},
		{azure.BusyRetry, 429, "RetryableErrorDueToAnotherOperation"},
		{azure.BusySupersede, 200, ""},
	} {
		cfg := wired()
		cfg.Busy = tt.busy
		cfg.Latency.Update = ms(200)
		s := begin(t, cfg, nil)
		first := s.call(t, http.MethodPut, nic1, s.Network(nic1))
		second := s.call(t, http.MethodPut, nic1, body(config("main", "10.0.1.11")))
		if second.status != tt.status || !strings.Contains(second.message(), tt.text) {
			t.Errorf("%q: %d %s", tt.busy, second.status, second.message())
		}
		if tt.busy == azure.BusySupersede {
			if a, b := s.finished(t, first), s.finished(t, second); a != "Canceled" || b != "Succeeded" || s.Holder(vip) != "" {
				t.Errorf("superseded: %s, then %s", a, b)
			}
		}
	}
	s := begin(t, wired(), nil)
	if err := errors.Join(s.Occupy(db, 100*time.Millisecond), s.Occupy(nic2, time.Minute)); err != nil {
		t.Fatal(err)
	}
	if r := s.call(t, http.MethodPut, nic1, s.Network(nic1)); r.status != 429 || !strings.Contains(r.message(), "ReferencedResourceNotProvisioned") {
		t.Errorf("busy subnet: %d %s", r.status, r.message())
	}
	if !s.Cancel(nic2) || state(s.Network(nic2)) != "Canceled" {
		t.Errorf("not cancelled: %s", state(s.Network(nic2)))
	}
}

// How operations go wrong: with the interface left as it should have become, put
// back, slow, stuck.
func TestNetworkOperationFaults(t *testing.T) {
	take := body(config("main", "10.0.1.12"), config("new", "10.0.1.60"))
	address := netip.MustParseAddr("10.0.1.60")
	for _, tt := range []struct {
		name                 string
		fault                azure.OperationFault
		ends, state, configs string
		heldByTheEnd         bool
	}{
		{"failed", azure.OperationFault{Code: "InternalServerError"}, "Failed", "Failed", "main new", false},
		{"put back", azure.OperationFault{Code: "InternalServerError", Rollback: true}, "Failed", "Succeeded", "main", false},
		{"failed late", azure.OperationFault{Code: "InternalServerError", Effect: true}, "Failed", "Failed", "main new", true},
		{"cancelled", azure.OperationFault{Status: "Canceled", Code: "Canceled"}, "Canceled", "Canceled", "main new", false},
		{"slow", azure.OperationFault{Status: "Succeeded", Effect: true, After: ms(50)}, "Succeeded", "Succeeded", "main new", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := begin(t, wired(), nil)
			s.Script(azure.Fault{Method: "PUT", Operation: &tt.fault})
			if got := s.finished(t, s.call(t, http.MethodPut, nic2, take)); got != tt.ends {
				t.Errorf("the operation: %s", got)
			}
			n := s.Network(nic2)
			var names []string
			for _, c := range n["properties"].(map[string]any)["ipConfigurations"].([]any) {
				names = append(names, c.(map[string]any)["name"].(string))
			}
			if state(n) != tt.state || strings.Join(names, " ") != tt.configs || (s.Holder(address) == nic2) != tt.heldByTheEnd {
				t.Errorf("%s with %v, the address at %q", state(n), names, s.Holder(address))
			}
		})
	}
}

// Whether an address is free is said without saying whose it is.
func TestAvailability(t *testing.T) {
	s := begin(t, wired(), nil)
	ask := func(a string) obj {
		return s.call(t, http.MethodGet, net0+"/CheckIPAddressAvailability"+api+"&ipAddress="+a, nil).body
	}
	if r := ask("10.0.1.77"); r["available"] != true {
		t.Errorf("free: %v", r)
	}
	r := ask(vip.String())
	if b, _ := json.Marshal(r); r["available"] != false || len(r["availableIPAddresses"].([]any)) != 5 || strings.Contains(string(b), "n1") {
		t.Errorf("taken: %v", r)
	}
	if r := ask("10.0.1.1"); r["isPlatformReserved"] != true {
		t.Errorf("reserved: %v", r)
	}
	users, _ := json.Marshal(s.call(t, http.MethodGet, db, nil).body)
	if !slices.ContainsFunc([]string{nic1 + "/ipConfigurations/vip"}, func(id string) bool { return strings.Contains(string(users), id) }) {
		t.Errorf("subnet: %s", users)
	}
}

// A machine that is off keeps its interface, which can be changed.
func TestOffMachine(t *testing.T) {
	s := begin(t, wired(), nil)
	if err := s.Change(group, "n1", func(vm *azure.VM) { vm.Power = azure.Deallocated }); err != nil {
		t.Fatal(err)
	}
	if r := s.call(t, http.MethodPut, nic1, body(config("main", "10.0.1.11"))); s.finished(t, r) != "Succeeded" || s.Holder(vip) != "" {
		t.Errorf("%+v", r)
	}
}
