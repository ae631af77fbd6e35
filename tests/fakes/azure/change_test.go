package azure_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"pgrex/tests/fakes/azure"
)

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
	_, raw := s.send(t, req)
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
			for i := 0; dig(n, "properties", "ipConfigurations", i) != nil; i++ {
				names = append(names, fmt.Sprint(dig(n, "properties", "ipConfigurations", i, "name")))
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
	if b, _ := json.Marshal(r); r["available"] != false || dig(r, "availableIPAddresses", 4) == nil || strings.Contains(string(b), "n1") {
		t.Errorf("taken: %v", r)
	}
	if r := ask("10.0.1.1"); r["isPlatformReserved"] != true {
		t.Errorf("reserved: %v", r)
	}
	users, _ := json.Marshal(s.call(t, http.MethodGet, db, nil).body)
	if !strings.Contains(string(users), nic1+"/ipConfigurations/vip") {
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
