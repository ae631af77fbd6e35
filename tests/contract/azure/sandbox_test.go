package azure

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pgrex/tests/contract/sandbox"
	"pgrex/tests/fakes/azure"
)

const (
	// armAddress is where the names of Azure lead.
	armAddress  = "203.0.113.7"
	imdsAddress = "169.254.169.254"
	agent       = "/usr/sbin/fence_azure"
	caFile      = sandbox.Work + "/ca.pem"
)

func TestMain(m *testing.M) {
	os.Exit(sandbox.Main(m, sandbox.Config{
		Needs:     []string{"nsenter", "strace"},
		Installed: []string{agent},
		Helpers:   []string{"lab", "fence_azure"}, // the lab installs what is beside it
		Release:   sandbox.Debian13,
		Furnish:   leadToAzure,
		Leave:     func(run string) { sandbox.RemoveGroups(labName(run)) },
	}.ForFencer()))
}

// labName is the name of the lab of a run: control groups have no namespace here.
func labName(run string) string { return "contract-azure-" + run }

// leadToAzure makes names and addresses of Azure lead to this machine, for every
// program of the sandbox.
func leadToAzure() error {
	const hosts = sandbox.Work + "/hosts"
	names := "127.0.0.1 localhost\n" + armAddress + " management.azure.com login.microsoftonline.com\n"
	if err := os.WriteFile(hosts, []byte(names), 0o644); err != nil {
		return err
	}
	if err := unix.Mount(hosts, "/etc/hosts", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("binding /etc/hosts: %w", err)
	}
	for _, address := range []string{armAddress, imdsAddress} {
		if out, err := exec.Command("ip", "address", "add", address+"/32", "dev", "lo").CombinedOutput(); err != nil {
			return fmt.Errorf("ip address add %s: %w: %s", address, err, out)
		}
	}
	return errors.Join(os.Setenv("SSL_CERT_FILE", caFile), os.Setenv("REQUESTS_CA_BUNDLE", caFile))
}

const group = "db"

func ms(n int) azure.Duration { return azure.Duration(time.Duration(n) * time.Millisecond) }

// switches records what is done to the machines' power.
type switches chan string

func (s switches) Switch(_ context.Context, vm string, on bool) error {
	s <- vm + map[bool]string{true: " on", false: " off"}[on]
	return nil
}

// site is Azure, served at its own names and addresses.
type site struct {
	*azure.Cloud
	power switches
}

func begin(t *testing.T) *site {
	t.Helper()
	s := &site{power: make(switches, 100)}
	var err error
	s.Cloud, err = azure.New(azure.Config{
		VMs: []azure.VM{{Name: "vm1", Group: group}, {Name: "vm2", Group: group}},
		Principals: []azure.Principal{
			{Name: "system", SystemOf: "vm1", Grants: []azure.Grant{{Scope: "/", Actions: []string{
				"Microsoft.Compute/virtualMachines/read",
				"Microsoft.Compute/virtualMachines/powerOff/action",
				"Microsoft.Compute/virtualMachines/start/action",
			}}}},
			{Name: "app", ClientID: "app-id", Secret: "s3cr3t", Grants: []azure.Grant{{Scope: "/", Actions: []string{"*"}}}},
		},
		Latency:   azure.Latency{Answer: ms(5), PowerOff: ms(300), Start: ms(2000), Tail: ms(2000)},
		PollAfter: 10,
	}, s.power)
	if err != nil {
		t.Fatal(err)
	}
	ca, err := azure.NewAuthority()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(caFile, ca.PEM(), 0o644); err != nil {
		t.Fatal(err)
	}
	srv, err := s.Listen(t.Context(), ca, net.JoinHostPort(armAddress, "443"))
	if err != nil {
		t.Fatal(err)
	}
	l, err := azure.ListenAt(t.Context(), net.JoinHostPort(imdsAddress, "80"))
	if err != nil {
		t.Fatal(err)
	}
	imds := azure.Serve(l, s.MetadataHandler(group, "vm1"), nil)
	t.Cleanup(func() {
		if err := errors.Join(srv.Close(), imds.Close()); err != nil {
			t.Error(err)
		}
		s.Close()
	})
	return s
}
