// Package azuretest serves a fake cloud for the length of one test, on ports of
// the loopback interface: its Resource Manager and login over HTTPS, and for each
// of its machines the instance metadata service that this machine would see.
package azuretest

import (
	"context"
	"net"
	"testing"

	"pgrex/tests/fakes/azure"
)

// metadata is where every machine of Azure finds its metadata service.
const metadata = "169.254.169.254:80"

// Site is a cloud that is served.
type Site struct {
	*azure.Cloud
	// Authority is what a client has to trust.
	Authority *azure.Authority
	// Server answers for the Resource Manager and the login.
	Server *azure.Server
	// metadata are the metadata services by machine.
	metadata map[string]*azure.Server
}

// Start serves a cloud until the test has ended. power may be nil.
func Start(t testing.TB, cfg azure.Config, power azure.Power) *Site {
	t.Helper()
	c, err := azure.New(cfg, power)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	s := &Site{Cloud: c, metadata: map[string]*azure.Server{}}
	if s.Authority, err = azure.NewAuthority(); err != nil {
		t.Fatal(err)
	}
	if s.Server, err = c.Listen(t.Context(), s.Authority, "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	ends(t, s.Server)
	for _, vm := range cfg.VMs {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		s.metadata[vm.Name] = azure.Serve(l, c.MetadataHandler(vm.Group, vm.Name), nil)
		ends(t, s.metadata[vm.Name])
	}
	return s
}

func ends(t testing.TB, s *azure.Server) {
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

// URL is the Resource Manager's.
func (s *Site) URL() string { return "https://" + s.Server.Address }

// Dial connects as from a machine of the cloud: the metadata service's address
// leads to that machine's own.
func (s *Site) Dial(vm string) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == metadata {
			address = s.metadata[vm].Address
		}
		return new(net.Dialer).DialContext(ctx, network, address)
	}
}
