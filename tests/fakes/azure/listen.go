package azure

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"time"
)

// Names are the host names that the certificates of a server are good for,
// besides the loopback addresses: those of the real clouds, for clients whose
// resolver has been told to come here.
var names = []string{
	"localhost",
	"management.azure.com", "login.microsoftonline.com",
	"management.usgovcloudapi.net", "login.microsoftonline.us",
	"management.chinacloudapi.cn", "login.chinacloudapi.cn", "login.partner.microsoftonline.cn",
}

// Authority signs the certificates of servers. Clients have to be told of it.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewAuthority makes an authority of its own key, good for ten years.
func NewAuthority() (*Authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t := template("Stand-in for Azure, certificate authority")
	t.IsCA, t.BasicConstraintsValid, t.KeyUsage = true, true, x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, key.Public(), key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &Authority{cert, key}, nil
}

func template(name string) *x509.Certificate {
	now := time.Now()
	serial := new(big.Int).SetBytes([]byte(uuid()))
	return &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: now.Add(-24 * time.Hour), NotAfter: now.AddDate(10, 0, 0),
	}
}

// PEM is the authority's certificate, for SSL_CERT_FILE.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// Pool holds the authority's certificate alone, for tls.Config.RootCAs.
func (a *Authority) Pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// Certificate makes a server certificate for the names of the clouds, loopback
// and the hosts given, which may be names or addresses.
func (a *Authority) Certificate(hosts ...string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	t := template("Stand-in for Azure")
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	t.DNSNames = append(t.DNSNames, names...)
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, key.Public(), a.key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: key}, nil
}

// Server is a running HTTP server.
type Server struct {
	// Address is host:port as listened on.
	Address string
	srv     *http.Server
	done    chan error
}

// Serve answers on a listener until Close. With a certificate it speaks HTTPS,
// HTTP/2 included.
func Serve(l net.Listener, h http.Handler, cert *tls.Certificate) *Server {
	s := &Server{Address: l.Addr().String(), done: make(chan error, 1)}
	s.srv = &http.Server{
		Handler: h, ReadHeaderTimeout: 10 * time.Second,
		// Clients that hang up in the middle are what the tests are about.
		ErrorLog: log.New(io.Discard, "", 0),
	}
	go func() {
		if cert == nil {
			s.done <- s.srv.Serve(l)
			return
		}
		s.srv.TLSConfig = &tls.Config{Certificates: []tls.Certificate{*cert}, MinVersion: tls.VersionTLS12}
		s.done <- s.srv.ServeTLS(l, "", "")
	}()
	return s
}

// Close ends the server and its connections.
func (s *Server) Close() error {
	err := s.srv.Close()
	if serr := <-s.done; !errors.Is(serr, http.ErrServerClosed) {
		return errors.Join(err, serr)
	}
	return err
}

// Listen serves ARM and the login endpoint on a local address, such as
// "127.0.0.1:0", under a certificate of the authority.
func (c *Cloud) Listen(ctx context.Context, a *Authority, address string, hosts ...string) (*Server, error) {
	cert, err := a.Certificate(hosts...)
	if err != nil {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return Serve(l, c.Handler(), &cert), nil
}
