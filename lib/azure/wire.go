package azure

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"
)

// Wire is the way to the network. The zero value is the real one.
type Wire struct {
	// Dial replaces the dialer, Roots the certificate authorities of the system.
	Dial  func(ctx context.Context, network, address string) (net.Conn, error)
	Roots *x509.CertPool
	// Avoid are addresses of this machine that are never the source of a connection: the metadata
	// service answers a machine's primary address only, and a virtual address may be gone at any time.
	Avoid []netip.Addr
}

const (
	// dialPatience is enough for a lost packet or two; a firewall that drops
	// everything must not use up the time of a second fencing level.
	dialPatience = 5 * time.Second
	// pingAfter notices a connection that died in the middle of an action. Without
	// it HTTP/2 would send the next request into the same dead connection.
	pingAfter = 2 * time.Second
	// idlePatience is longer than any pause between two looks at the same thing.
	idlePatience = 2 * time.Second
)

// proxyError is the refusal of a proxy, which knows nothing of what was asked of Azure.
type proxyError struct{ host, status string }

func (e *proxyError) Error() string {
	return fmt.Sprintf("the proxy %s refuses: %s", Quotable(e.host), Quotable(e.status))
}

// Client makes an HTTP client with bounds of its own. The instance metadata service refuses requests
// that come through a proxy, so its client must have none.
func (w Wire) Client(proxy bool) *http.Client {
	dial := w.Dial
	if dial == nil {
		dial = w.dialFromElsewhere
	}
	t := &http.Transport{
		DialContext:         dial,
		TLSClientConfig:     &tls.Config{RootCAs: w.Roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: dialPatience,
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 2,
		// One that is busy with a request that was given up is not closed with the rest.
		IdleConnTimeout: idlePatience,
		HTTP2:           &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingAfter},
	}
	if proxy {
		t.Proxy = http.ProxyFromEnvironment
		t.OnProxyConnectResponse = func(_ context.Context, proxy *url.URL, _ *http.Request, res *http.Response) error {
			if res.StatusCode != http.StatusOK {
				return &proxyError{proxy.Host, res.Status}
			}
			return nil
		}
	}
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error {
		// Neither ARM nor the login endpoint redirects; a captive portal does.
		return http.ErrUseLastResponse
	}}
}
