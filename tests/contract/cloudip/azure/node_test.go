package azure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pgrex/tests/contract/sandbox"
	"pgrex/tests/lab/azure"
	"pgrex/tests/lab/host"
	"pgrex/tests/lab/network"
)

// echoPort is where every machine tells its name.
const echoPort = 9

// node is a machine: a network namespace, and a directory that is its /run.
type node struct {
	name   string
	number int
	w      *world

	mu    sync.Mutex
	ns    *host.Netns
	run   string
	boots int
	echo  *net.UDPConn
	// running are the agents at work, by their process groups.
	running map[int]bool
}

func (n *node) on() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.ns != nil
}

// boot starts the machine with nothing but its own addresses.
func (n *node) boot() {
	if n.on() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := n.start(ctx); err != nil {
		n.w.t.Errorf("%s does not boot: %v", n.name, err)
	}
}

func (n *node) start(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.boots++
	n.run = filepath.Join(n.w.dir, fmt.Sprintf("%s-run-%d", n.name, n.boots))
	n.running = map[int]bool{}
	ns, err := host.NewNetns()
	if err != nil {
		return err
	}
	if err := errors.Join(os.MkdirAll(filepath.Join(n.run, "resource-agents"), 0o755),
		os.WriteFile(filepath.Join(n.run, "ca.pem"), n.w.CA(), 0o644),
		n.w.sw.Plug(ctx, n.name, n.number, ns.Path(), azure.LANs()...)); err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString("link set lo up\n")
	for _, l := range azure.LANs() {
		fmt.Fprintf(&b, "address add %s/24 dev %s\nlink set %s up\n", network.Address(l, n.number), l.Interface(), l.Interface())
	}
	b.WriteString(azure.Routes())
	if _, err := host.Input(ctx, b.String(), "nsenter", "--net="+ns.Path(), "ip", "-batch", "-"); err != nil {
		return err
	}
	if err := n.w.Attach(ctx, n.name, ns.Path()); err != nil {
		return err
	}
	n.ns = ns
	return n.listen()
}

// listen answers whoever asks, from the address that was asked.
func (n *node) listen() error {
	err := host.InNetns(n.ns.Path(), func() error {
		var err error
		if n.echo, err = net.ListenUDP("udp4", &net.UDPAddr{Port: echoPort}); err != nil {
			return err
		}
		raw, err := n.echo.SyscallConn()
		if err != nil {
			return err
		}
		var set error
		err = raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_PKTINFO, 1) })
		return errors.Join(err, set)
	})
	if err != nil {
		return err
	}
	conn := n.echo
	go func() {
		data, info := make([]byte, 64), make([]byte, 128)
		for {
			k, oob, _, from, err := conn.ReadMsgUDP(data, info)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				_, _, _ = conn.WriteMsgUDP(append(data[:k:k], n.name...), info[:oob], from)
			}
		}
	}()
	return nil
}

// die takes the machine's power: its links first, then everything on it. What the
// cloud says of its interfaces stays.
func (n *node) die() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ns == nil {
		return
	}
	err := n.w.sw.Down(ctx, n.name)
	for pid := range n.running {
		_ = unix.Kill(-pid, unix.SIGKILL)
	}
	err = errors.Join(err, n.echo.Close(), n.w.Detach(n.name), n.w.sw.Unplug(ctx, n.name), n.ns.Close())
	if err != nil {
		n.w.t.Errorf("%s does not die: %v", n.name, err)
	}
	n.ns = nil
}

// has says whether the machine's system has an address.
func (n *node) has(a netip.Addr) bool {
	out, err := host.Output(context.Background(), "nsenter", "--net="+n.ns.Path(), "ip", "-o", "address", "show", "to", a.String())
	if err != nil {
		n.w.t.Error(err)
	}
	return strings.Contains(out, " "+a.String()+"/")
}

// ip runs ip(8) on the machine.
func (n *node) ip(args ...string) {
	n.w.t.Helper()
	if _, err := host.Output(n.w.t.Context(), "nsenter", append([]string{"--net=" + n.ns.Path(), "ip"}, args...)...); err != nil {
		n.w.t.Fatal(err)
	}
}

// call is a resource agent at work.
type call struct {
	node   *node
	what   string
	cmd    *exec.Cmd
	output bytes.Buffer
	done   chan struct{}
	began  time.Time
	took   time.Duration
}

// params are the usual parameters of cloudip.
func params(more ...string) []string {
	return append([]string{"ip=" + vip.String(), "provider=azure"}, more...)
}

// begin starts an action of an agent on the machine and does not wait for it.
func (n *node) begin(path, action string, within time.Duration, params ...string) *call {
	n.w.t.Helper()
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ns == nil {
		n.w.t.Fatalf("%s is off", n.name)
	}
	c := &call{node: n, what: fmt.Sprintf("%s on %s", action, n.name), done: make(chan struct{})}
	// /sys shows the interfaces of the namespace in which it was mounted.
	c.cmd = exec.Command("nsenter", "--net="+n.ns.Path(), "unshare", "--mount", "sh", "-c",
		`mount --bind "$1" /run && mount -t sysfs sysfs /sys && shift && exec "$@"`, "sh", n.run, path, action)
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.cmd.Stdout, c.cmd.Stderr = &c.output, &c.output
	c.cmd.Env = []string{
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "HOME=/root", "SSL_CERT_FILE=/run/ca.pem",
		"OCF_ROOT=/usr/lib/ocf", "OCF_RA_VERSION_MAJOR=1", "OCF_RA_VERSION_MINOR=1", "OCF_RESOURCE_INSTANCE=vip",
		"OCF_RESOURCE_PROVIDER=pgrex", "OCF_RESOURCE_TYPE=cloudip", "HA_RSCTMP=/run/resource-agents", "OCF_CHECK_LEVEL=0",
		fmt.Sprintf("OCF_RESKEY_CRM_meta_timeout=%d", within.Milliseconds()),
	}
	if action == "monitor" {
		c.cmd.Env = append(c.cmd.Env, "OCF_RESKEY_CRM_meta_interval=10000")
	}
	if action == "probe" {
		c.cmd.Args[len(c.cmd.Args)-1] = "monitor"
		c.cmd.Env = append(c.cmd.Env, "OCF_RESKEY_CRM_meta_interval=0")
	}
	if action == "preflight" {
		c.cmd.Args[len(c.cmd.Args)-1] = "validate-all"
		c.cmd.Env = append(c.cmd.Env, "OCF_CHECK_LEVEL=10") // the last one counts
	}
	for _, p := range params {
		c.cmd.Env = append(c.cmd.Env, "OCF_RESKEY_"+p)
	}
	c.began = time.Now()
	if err := c.cmd.Start(); err != nil {
		n.w.t.Fatal(err)
	}
	pid := c.cmd.Process.Pid
	n.running[pid] = true
	running := n.running
	// As Pacemaker does it when the time is over.
	kill := time.AfterFunc(within, func() { _ = unix.Kill(-pid, unix.SIGKILL) })
	go func() {
		_ = c.cmd.Wait()
		kill.Stop()
		c.took = time.Since(c.began)
		n.mu.Lock()
		delete(running, pid)
		n.mu.Unlock()
		close(c.done)
	}()
	return c
}

// kill ends the action in the middle.
func (c *call) kill() {
	_ = unix.Kill(-c.cmd.Process.Pid, unix.SIGKILL)
	<-c.done
}

// code is the exit code, -1 after a kill.
func (c *call) code() int {
	<-c.done
	return c.cmd.ProcessState.ExitCode()
}

// String is the call for a failed test.
func (c *call) String() string {
	return fmt.Sprintf("%s: code %d after %v\n%s", c.what, c.code(), c.took.Round(time.Millisecond), c.output.String())
}

const patience = 30 * time.Second

// does runs an action of cloudip that must give one of the codes.
func (n *node) does(action string, codes ...int) *call {
	n.w.t.Helper()
	return n.doesWith(action, params(), codes...)
}

func (n *node) doesWith(action string, params []string, codes ...int) *call {
	n.w.t.Helper()
	c := n.begin(agent, action, patience, params...)
	if len(codes) == 0 {
		codes = []int{0}
	}
	if !slices.Contains(codes, c.code()) {
		n.w.t.Fatalf("want %v: %v", codes, c)
	}
	if testing.Verbose() {
		n.w.t.Logf("%s: code %d after %v", c.what, c.code(), c.took.Round(time.Millisecond))
	}
	return c
}

// IPaddr2 is the agent that knows no cloud.
func (n *node) ipaddr2(action string) sandbox.Outcome {
	n.w.t.Helper()
	c := n.begin(ipaddr2, action, patience, "ip="+vip.String(), "cidr_netmask=24", "nic="+network.Service.Interface())
	return sandbox.Outcome{Code: c.code(), Stdout: c.output.String(), Took: c.took}
}
