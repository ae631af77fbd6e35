package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"time"
)

// wire is the way to the network. The zero value is the real one.
type wire struct {
	// dial replaces the dialer, roots the certificate authorities of the system.
	dial  func(ctx context.Context, network, address string) (net.Conn, error)
	roots *x509.CertPool
}

const (
	// dialPatience is enough for a lost packet or two; a firewall that drops
	// everything must not use up the time of a second fencing level.
	dialPatience = 5 * time.Second
	// pingAfter notices a connection that died in the middle of an action. Without
	// it HTTP/2 would send the next request into the same dead connection.
	pingAfter = 2 * time.Second
)

// client makes an HTTP client. The instance metadata service refuses requests
// that come through a proxy, so its client must have none.
func (w wire) client(proxy bool) *http.Client {
	dial := w.dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: dialPatience}).DialContext
	}
	t := &http.Transport{
		DialContext:         dial,
		TLSClientConfig:     &tls.Config{RootCAs: w.roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout: dialPatience,
		ForceAttemptHTTP2:   true,
		MaxIdleConnsPerHost: 2,
		HTTP2:               &http.HTTP2Config{SendPingTimeout: pingAfter, PingTimeout: pingAfter},
	}
	if proxy {
		t.Proxy = http.ProxyFromEnvironment
	}
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error {
		// Neither ARM nor the login endpoint redirects; a captive portal does.
		return http.ErrUseLastResponse
	}}
}
