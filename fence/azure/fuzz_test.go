package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"

	arm "pgrex/lib/azure"
	"pgrex/lib/meta"
	"pgrex/lib/stonith"
)

// canned answers every request with the same.
type canned struct {
	status int
	body   []byte
}

func (c canned) Do(req *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: c.status, Status: "canned", Header: http.Header{"Content-Type": {"application/json"}},
		Body: io.NopCloser(bytes.NewReader(c.body)), Request: req, ContentLength: int64(len(c.body)),
	}, nil
}

type anyToken struct{}

func (anyToken) GetToken(context.Context, policy.TokenRequestOptions) (azcore.AccessToken, error) {
	return azcore.AccessToken{Token: "t", ExpiresOn: time.Now().Add(time.Hour)}, nil
}

// cannedDevice is a device whose every answer is the same.
func cannedDevice(t *testing.T, answer canned) *device {
	t.Helper()
	place := arm.Place{Configuration: cloud.AzurePublic, Compute: "2024-03-01", Network: "2024-03-01"}
	base := policy.ClientOptions{Transport: answer, Retry: policy.RetryOptions{MaxRetries: -1}, Cloud: cloud.AzurePublic}
	client, err := arm.Connect(arm.NewCredential(anyToken{}, "nobody", nil), place, base, 0, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	d := &device{
		call: &stonith.Call{Action: "off", Values: meta.Values{}, Log: slog.New(slog.DiscardHandler)}, arm: client,
		subscription: "s", group: "g", targets: map[string]*target{},
	}
	cred, options := client.Typed(place.Compute)
	if d.vms, err = armcompute.NewVirtualMachinesClient("s", cred, options); err != nil {
		t.Fatal(err)
	}
	return d
}

// saysOff reads a machine in another way than the agent: off is one power state, of the right
// machine, in so many words.
func saysOff(body []byte, vm string) bool {
	var doc map[string]any
	if json.Unmarshal(body, &doc) != nil {
		return false
	}
	name, _ := doc["name"].(string)
	list, _ := arm.Object(arm.Object(arm.Object(doc["properties"])["instanceView"]))["statuses"].([]any)
	states := map[string]bool{}
	for _, s := range list {
		if code, _ := arm.Object(s)["code"].(string); strings.HasPrefix(code, "PowerState/") {
			states[strings.TrimPrefix(code, "PowerState/")] = true
		}
	}
	return strings.EqualFold(name, vm) && len(states) == 1 && (states["stopped"] || states["deallocated"])
}

// FuzzMachine feeds arbitrary answers to the question for a machine: no panic, never a wrong off, and
// every error is one line without the words that Pacemaker searches for.
func FuzzMachine(f *testing.F) {
	for _, body := range []string{
		`{"name":"vm","properties":{"vmId":"1","instanceView":{"statuses":[{"code":"ProvisioningState/succeeded"},{"code":"PowerState/stopped"}]}}}`,
		`{"name":"vm","properties":{"instanceView":{"statuses":[{"code":"PowerState/deallocated"}]}}}`,
		`{"name":"vm","properties":{"instanceView":{"statuses":[{"code":"PowerState/stopped"},{"code":"PowerState/running"}]}}}`,
		`{"name":"other","properties":{"instanceView":{"statuses":[{"code":"PowerState/stopped"}]}}}`,
		`{"name":"vm","properties":{"instanceView":{"statuses":[null,{},{"code":null},{"code":7}]}}}`,
		`{"name":"vm","properties":{"instanceView":null}}`, `{"name":"vm","properties":null}`, `{"name":null}`,
		`[]`, `null`, `"PowerState/stopped"`, ``, `{`, `<html>PowerState/stopped</html>`,
		`{"properties":{"instanceView":{"statuses":[{"code":"PowerState/stopped"}]}}}`,
		`{"name":"VM","properties":{"instanceView":{"statuses":[{"code":"PowerState/Stopped"}]}}}`,
		`{"error":{"code":"OperationTimedOut","message":"timed out\ntimeout","details":[{"code":"x"}]}}`,
	} {
		f.Add(200, []byte(body))
		f.Add(404, []byte(body))
	}
	f.Add(403, []byte(`{"error":{"code":"AuthorizationFailed","message":"perform action 'a/b' over scope '/c' or"}}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if status < 200 || status > 499 || status == http.StatusTooManyRequests || status == http.StatusRequestTimeout {
			t.Skip("those are asked again after a pause")
		}
		d := cannedDevice(t, canned{status, body})
		state, err := d.Status(t.Context(), "vm")
		if state == stonith.Off && (err != nil || status != http.StatusOK || !saysOff(body, "vm")) {
			t.Errorf("off by %d %q", status, body)
		}
		if err != nil {
			checkWords(t, err)
		}
	})
}

func checkWords(t *testing.T, err error) {
	t.Helper()
	for _, bad := range []string{"\n", "\r", "timeout", "timed out", "nrecognised", "nsupported"} {
		if strings.Contains(err.Error(), bad) {
			t.Errorf("%q in %q", bad, err)
		}
	}
}

// FuzzOperation feeds arbitrary answers to the question how an operation goes: only one that says
// failed or cancelled ends the wait.
func FuzzOperation(f *testing.F) {
	for _, body := range []string{
		`{"status":"InProgress"}`, `{"status":"Succeeded"}`, `{"status":"Failed","error":{"code":"AllocationFailed","message":"no room"}}`,
		`{"status":"Canceled"}`, `{"status":"failed","error":null}`, `{"status":7}`, `{}`, ``, `null`, `{"status":"Failed","error":{"message":"it timed out"}}`,
		`{"status":"Canceled","error":{"code":"OperationPreempted"}}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		d := cannedDevice(t, canned{200, body})
		op := &operation{&arm.Operation{URL: "https://management.azure.com/subscriptions/s/operations/1"}, stonith.Off, "powerOff"}
		err := d.follow(t.Context(), "vm", op)
		if err == nil {
			return
		}
		var doc struct {
			Status string `json:"status"`
		}
		_ = json.Unmarshal(body, &doc)
		if w := strings.ToLower(doc.Status); w != "failed" && w != "canceled" && w != "cancelled" {
			t.Errorf("%q ended the wait: %v", body, err)
		}
		checkWords(t, err)
	})
}

// FuzzInterface changes an arbitrary network interface there and back: no panic, and what comes out is
// what went in.
func FuzzInterface(f *testing.F) {
	f.Add([]byte(`{"tags":{"a":"b"},"x":1e400,"properties":{"provisioningState":"Succeeded","ipConfigurations":[{"name":"c","properties":{"subnet":{"id":"/v/subnets/db"},"privateIPAllocationMethod":"Static","privateIPAddress":"10.0.0.1"}}]}}`))
	f.Add([]byte(`{"properties":{"ipConfigurations":[null,7,{"name":"c","properties":null}]}}`))
	f.Add([]byte(`{"tags":[],"properties":[]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		n := nic{id: "/nic"}
		if (*arm.Exact)(&n.body).UnmarshalJSON(body) != nil || n.body == nil {
			t.Skip("no object")
		}
		before, err := json.Marshal(n.body)
		if err != nil {
			t.Skip("not to be written again")
		}
		names := map[string]bool{}
		for _, c := range n.configs() {
			props := arm.Object(c["properties"])
			if names[arm.Text(c, "name")] || subnetOf(c) == "" || arm.Text(props, "privateIPAllocationMethod") == "" || arm.Text(props, "privateIPAddress") == "" {
				t.Skip("no interface of Azure's")
			}
			names[arm.Text(c, "name")] = true
		}
		for _, k := range []string{tagSubnet, tagType, tagIP} {
			for tag := range n.tags() {
				if strings.HasPrefix(tag, k) {
					t.Skip("it was cut off already")
				}
			}
		}
		if n.body["tags"] != nil && len(n.tags()) == 0 {
			t.Skip("tags that are none")
		}
		for _, c := range n.configs() {
			for k := range arm.Object(arm.Object(c["properties"])["subnet"]) {
				if k != "id" {
					t.Skip("a subnet in full; Azure sends it back by itself")
				}
			}
		}
		fence := subnet{ID: "/v/subnets/fence-subnet"}
		known := map[string]subnet{}
		for _, c := range n.configs() {
			if v, ok := networkOf(subnetOf(c)); ok {
				known[strings.ToLower(v)] = fence
			}
			if strings.EqualFold(subnetOf(c), fence.ID) || strings.EqualFold(arm.Last(subnetOf(c)), fenceSubnet) {
				t.Skip("it was cut off already")
			}
		}
		changed, err := n.cut(t.Context(), &fences{nil, known})
		if err != nil || !changed {
			return
		}
		if back, err := n.back(); err != nil || !back {
			t.Fatalf("it does not come back: %v", err)
		}
		after, err := json.Marshal(n.body)
		if err != nil || !bytes.Equal(before, after) {
			t.Errorf("%s became %s (%v)", before, after, err)
		}
	})
}
