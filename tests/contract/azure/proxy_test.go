package azure

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"pgrex/tests/contract/sandbox"
)

// proxy is one of those that let HTTPS through by CONNECT.
type proxy struct {
	*httptest.Server
	// status is the answer, 200 for a tunnel.
	status int

	mu    sync.Mutex
	asked []string
}

func startProxy(t *testing.T, status int) *proxy {
	t.Helper()
	p := &proxy{status: status}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

// hosts are the hosts that a tunnel was asked for, or that were asked without one, each once.
func (p *proxy) hosts() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Compact(slices.Sorted(slices.Values(p.asked)))
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked = append(p.asked, r.Host)
	p.mu.Unlock()
	if r.Method != http.MethodConnect || p.status != http.StatusOK {
		w.WriteHeader(max(p.status, http.StatusMethodNotAllowed))
		return
	}
	there, err := net.DialTimeout("tcp", r.Host, 5*time.Second)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer there.Close() //nolint:errcheck // a tunnel ends anyhow
	w.WriteHeader(http.StatusOK)
	here, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer here.Close() //nolint:errcheck // a tunnel ends anyhow
	go func() {
		_, _ = io.Copy(there, here)
		_ = there.Close()
	}()
	_, _ = io.Copy(here, there)
}

// A proxy in the environment is used for ARM and for the login, and not for the metadata service, which
// refuses what comes through one.
func TestProxy(t *testing.T) {
	s := begin(t)
	const arm, login = "management.azure.com:443", "login.microsoftonline.com:443"
	app := "username=app-id\npassword=s3cr3t\ntenantId=" + s.Tenant() + "\nresourceGroup=" + group + "\n"
	tests := []struct {
		name, stdin string
		status      int
		env         string
		code        int
		hosts       []string
		stderr      string
	}{
		{name: "managed identity", stdin: "action=off\nplug=vm2\n", status: 200, hosts: []string{arm}},
		{name: "application", stdin: "action=on\nplug=vm2\n" + app, status: 200, hosts: []string{login, arm}},
		{name: "except for one name", stdin: "action=status\nplug=vm2\n" + app, status: 200, env: "management.azure.com", hosts: []string{login}},
		{name: "a proxy that refuses", stdin: "action=status\nplug=vm2\n", status: 407, code: 1, hosts: []string{arm}, stderr: "refuses: 407 Proxy Authentication Required"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := startProxy(t, tt.status)
			t.Setenv("HTTPS_PROXY", p.URL)
			t.Setenv("HTTP_PROXY", p.URL)
			t.Setenv("NO_PROXY", tt.env)
			r := sandbox.Call(t, tt.stdin, agent)
			if got := p.hosts(); r.Code != tt.code || !slices.Equal(got, tt.hosts) || !strings.Contains(r.Stderr, tt.stderr) {
				t.Errorf("the proxy was asked for %q: %+v", got, r)
			}
		})
	}
	t.Run("no proxy there", func(t *testing.T) {
		p := startProxy(t, 200)
		p.Close()
		t.Setenv("HTTPS_PROXY", p.URL)
		address := strings.TrimPrefix(p.URL, "http://")
		if r := sandbox.Call(t, "action=status\nplug=vm2\n", agent); r.Code != 1 || !strings.Contains(r.Stderr, address) || !strings.Contains(r.Stderr, "the proxy was not reached") {
			t.Errorf("the sentence does not name the proxy %s: %+v", address, r)
		}
	})
	t.Run("fencer", func(t *testing.T) {
		p := startProxy(t, 200)
		t.Setenv("HTTPS_PROXY", p.URL)
		sandbox.Fencer(t)
		for _, args := range [][]string{{"-R", "az", "-a", "fence_azure", "-o", "pcmk_host_map=node2:vm2"}, {"-F", "node2"}} {
			if r := sandbox.Call(t, "", "stonith_admin", args...); r.Code != 0 {
				t.Fatalf("%v: %+v", args, r)
			}
		}
		if got := p.hosts(); !slices.Equal(got, []string{arm}) {
			t.Errorf("the proxy was asked for %q", got)
		}
	})
}
