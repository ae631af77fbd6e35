package azure

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pgrex/lib/proc"
	"pgrex/tests/fakes/azure"
)

const (
	insideEnv = "PGREX_CONTRACT_INSIDE"
	binEnv    = "PGREX_BIN"

	work = "/run/pgrex-contract"
	// armAddress is where the names of Azure lead.
	armAddress  = "203.0.113.7"
	imdsAddress = "169.254.169.254"
	agent       = "/usr/sbin/fence_azure"
	caFile      = work + "/ca.pem"
)

// TestMain puts the test program into namespaces of its own.
func TestMain(m *testing.M) {
	if os.Getenv(insideEnv) != "" {
		if err := furnish(); err != nil {
			fmt.Fprintln(os.Stderr, "contract/azure:", err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	bin, err := binary()
	if err != nil {
		fmt.Fprintln(os.Stderr, "contract/azure:", err)
		os.Exit(1)
	}
	// If this program is killed the namespaces end with it. The kernel watches the thread.
	runtime.LockOSThread()
	cmd := exec.Command("unshare", append([]string{
		"--mount", "--net", "--ipc", "--pid", "--uts", "--fork", "--kill-child", "--mount-proc", "--propagation", "private",
		// Two commands, or the shell, which collects the dead, would be replaced by the first.
		"sh", "-c", `"$@"; exit $?`, "sh",
	}, os.Args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Env = append(os.Environ(), insideEnv+"="+bin)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	var status *exec.ExitError
	switch err := cmd.Run(); {
	case errors.As(err, &status):
		os.Exit(max(status.ExitCode(), 1))
	case err != nil:
		fmt.Fprintln(os.Stderr, "contract/azure: cannot make the namespaces:", err)
		os.Exit(1)
	}
}

// binary is the agent that was built.
func binary() (string, error) {
	if os.Geteuid() != 0 {
		return "", errors.New("these tests need root: they make namespaces")
	}
	dir := os.Getenv(binEnv)
	if dir == "" {
		dir = "../../../bin"
	}
	path, err := filepath.Abs(filepath.Join(dir, "fence_azure"))
	if err != nil {
		return "", err
	}
	for _, p := range []string{path, "/usr/lib/pacemaker/pacemaker-fenced", "/usr/sbin/stonith_admin"} {
		if _, err := os.Stat(p); err != nil {
			return "", fmt.Errorf("%w; `make deps build` brings it", err)
		}
	}
	return path, nil
}

// furnish prepares mounts and addresses. The agent lies in /usr/sbin as if it were
// installed, and in this mount namespace only.
func furnish() error {
	bin, err := os.ReadFile(os.Getenv(insideEnv))
	if err != nil {
		return err
	}
	for _, dir := range []string{"/run", "/dev/shm", "/var/lib/pacemaker", "/var/log/pacemaker"} {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0777"); err != nil {
			return fmt.Errorf("tmpfs on %s: %w", dir, err)
		}
	}
	for _, dir := range []string{work + "/upper", work + "/work", "/run/crm", "/run/lock", "/var/lib/pacemaker/cores"} {
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return err
		}
		if err := os.Chmod(dir, 0o777); err != nil {
			return err
		}
	}
	if err := unix.Mount("overlay", "/usr/sbin", "overlay", 0, "lowerdir=/usr/sbin,upperdir="+work+"/upper,workdir="+work+"/work"); err != nil {
		return fmt.Errorf("overlay on /usr/sbin: %w", err)
	}
	if err := os.WriteFile(agent, bin, 0o755); err != nil {
		return err
	}
	hosts := "127.0.0.1 localhost\n" + armAddress + " management.azure.com login.microsoftonline.com\n"
	if err := os.WriteFile(work+"/hosts", []byte(hosts), 0o644); err != nil {
		return err
	}
	if err := unix.Mount(work+"/hosts", "/etc/hosts", "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("binding /etc/hosts: %w", err)
	}
	batch := fmt.Sprintf("link set lo up\naddress add %s/32 dev lo\naddress add %s/32 dev lo\n", armAddress, imdsAddress)
	res, err := proc.OS{}.Run(context.Background(), proc.Cmd{Path: "ip", Args: []string{"-batch", "-"}, Stdin: strings.NewReader(batch)})
	if err != nil || res.ExitCode != 0 {
		return fmt.Errorf("ip: %w %s", err, res.Message())
	}
	return nil
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

// result is what a program left.
type result struct {
	code           int
	stdout, stderr string
}

func run(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	var in io.Reader
	if stdin != "" {
		in = strings.NewReader(stdin)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	res, err := proc.OS{}.Run(ctx, proc.Cmd{Path: args[0], Args: args[1:], Stdin: in, Env: append(os.Environ(), "SSL_CERT_FILE="+caFile, "REQUESTS_CA_BUNDLE="+caFile)})
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return result{res.ExitCode, string(res.Stdout), string(res.Stderr)}
}
