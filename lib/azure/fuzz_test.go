package azure

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Answers of the metadata service and of the Resource Manager, whoever gave them.
func FuzzAnswers(f *testing.F) {
	for _, s := range []string{
		`{"compute":{"name":"n1","resourceId":"/s/n1","vmId":"1"},"network":{"interface":[{"macAddress":"000D3A","ipv4":{"ipAddress":[{"privateIpAddress":"10.0.0.4"}],"subnet":[{"address":"10.0.0.0","prefix":"24"}]}}]}}`,
		`{"error":{"code":"AuthorizationFailed","message":"does not have authorization to perform action 'a/b' over scope '/c'","details":[{"code":"ScopeLocked"}]}}`,
		`{"error":{"message":"action(s) '' on the linked scope(s) ''","details":[{"details":[{}]}]}}`, `{"compute":[]}`, `null`, `<html>`, `{"x":1e400}`, `{"a":123456789012345678901234567890}`,
	} {
		f.Add([]byte(s), "1")
	}
	f.Add([]byte(`{}`), "9223372036854775807")
	f.Fuzz(func(t *testing.T, body []byte, header string) {
		var in Instance
		_ = json.Unmarshal(body, &in)
		r := Refusal{Status: http.StatusConflict}
		r.read(body)
		for _, w := range []string{r.Words(), Quotable(string(body)), Last(string(body))} {
			if strings.ContainsAny(w, "\r\n\x00\x1b") {
				t.Errorf("more than a line of text: %q", w)
			}
		}
		_, _ = r.Right()
		_, _ = r.Locked(), r.Has("x")
		h := http.Header{"Retry-After": {header}, "X-Ms-Retry-After-Ms": {header}}
		if d := retryAfter(&http.Response{Header: h}); d < 0 || d > 10*365*24*time.Hour {
			t.Errorf("retry after %v", d)
		}
		var e Exact
		if e.UnmarshalJSON(body) == nil && e != nil {
			b, err := json.Marshal(e)
			var again Exact
			if err != nil || again.UnmarshalJSON(b) != nil {
				t.Errorf("%q cannot be sent back: %v", body, err)
			}
		}
	})
}

// A certificate is a file of the administrator's, and a large one is no reason to spin.
func FuzzCertificate(f *testing.F) {
	for _, s := range []string{"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "-----BEGIN PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END PRIVATE KEY-----\n", "0\x82\x01\x00\x02\x01\x03", ""} {
		f.Add([]byte(s), "pass")
	}
	const canary = "g3he1m-"
	f.Fuzz(func(t *testing.T, data []byte, pass string) {
		if _, key, err := parseCertificate(data, canary+pass); err == nil && key == nil {
			t.Error("a certificate without its key")
		} else if err != nil && strings.Contains(err.Error(), canary) {
			t.Errorf("the passphrase is shown: %v", err)
		}
	})
}
