// Package bmc is the management controller of a node: OpenIPMI's simulator on
// the management LAN, speaking real IPMI.
//
// The simulator only speaks. It asks and orders through a program it runs, the
// lab's own binary, which passes the question on to the lab's daemon: that one
// holds the power switch. See Ask for the other half.
package bmc

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"pgrex/tests/lab/host"
	"pgrex/tests/lab/network"
)

// User and Password open a session with administrator rights. Only cipher suite
// 3 works with this simulator.
const (
	User     = "pgrex"
	Password = "pgrex-lab"
)

// BMC is one node's management controller.
type BMC struct {
	machine string
	address string
	number  int
	dir     string
	sw      *network.Switch
	control string

	mu   sync.Mutex
	ns   *host.Netns
	proc *host.Process
}

// New prepares the controller of node number index; it is off. control is the
// command, with its arguments, that the simulator asks about the node's power.
func New(sw *network.Switch, node string, index int, dir, control string) *BMC {
	return &BMC{machine: MachineOf(node), address: network.BMCAddress(index), number: 0x80 + index, dir: dir, sw: sw, control: control}
}

// NewSecond prepares another controller of the same node, with an address and a
// port of its own: one that goes on when the first is dead.
func NewSecond(sw *network.Switch, node string, index int, dir, control string) *BMC {
	return &BMC{machine: SecondOf(node), address: network.SecondBMCAddress(index), number: 0xa0 + index, dir: dir, sw: sw, control: control}
}

// Machine is the controller's name at the switch.
func (b *BMC) Machine() string { return b.machine }

// MachineOf is the name at the switch of the controller of a node, SecondOf that
// of its second one.
func MachineOf(node string) string { return node + "bmc" }

// SecondOf is described at MachineOf.
func SecondOf(node string) string { return node + "bmc2" }

// Start plugs the controller in and starts it.
func (b *BMC) Start(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ns == nil {
		if err := b.plugIn(ctx); err != nil {
			return err
		}
	}
	if b.proc != nil {
		select {
		case <-b.proc.Done:
		default:
			return nil
		}
	}
	if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return err
	}
	state := filepath.Join(b.dir, "state")
	if err := os.MkdirAll(state, 0o755); err != nil {
		return err
	}
	lan, emu := filepath.Join(b.dir, "lan.conf"), filepath.Join(b.dir, "sim.emu")
	if err := os.WriteFile(lan, []byte(b.lanConf()), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(emu, []byte(emulation), 0o600); err != nil {
		return err
	}
	out, err := os.OpenFile(filepath.Join(b.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	const sim = "/usr/bin/ipmi_sim"
	b.proc, err = host.Start(host.Program{
		Path:  sim,
		Args:  []string{sim, "-n", "-c", lan, "-f", emu, "-s", state},
		Netns: b.ns.Path(),
		Files: []*os.File{nil, out, out},
	})
	return err
}

func (b *BMC) plugIn(ctx context.Context) error {
	ns, err := host.NewNetns()
	if err != nil {
		return err
	}
	b.ns = ns
	if err := b.sw.Plug(ctx, b.machine, b.number, ns.Path(), network.Management); err != nil {
		return err
	}
	mlan := network.Management.Interface()
	_, err = host.Input(ctx, fmt.Sprintf("link set lo up\naddress add %s/24 dev %s\nlink set %s up\n",
		b.address, mlan, mlan), "nsenter", "--net="+ns.Path(), "ip", "-batch", "-")
	return err
}

// Stop ends the controller as if it had crashed; its address stays.
func (b *BMC) Stop(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.proc == nil {
		return nil
	}
	_ = unix.Kill(b.proc.Pid, unix.SIGKILL)
	select {
	case <-b.proc.Done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Pid is the simulator's process, 0 when it does not run.
func (b *BMC) Pid() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.proc == nil {
		return 0
	}
	select {
	case <-b.proc.Done:
		return 0
	default:
		return b.proc.Pid
	}
}

func (b *BMC) lanConf() string {
	return fmt.Sprintf(`name "%s"
set_working_mc 0x20
  startlan 1
    addr %s 623
    priv_limit admin
    allowed_auths_callback none md5 straight
    allowed_auths_user none md5 straight
    allowed_auths_operator md5 straight
    allowed_auths_admin md5 straight
    guid a123456789abcdefa1234567%08x
  endlan
  chassis_control "%s"
  user 1 true "" "unused" user 10 none md5 straight
  user 2 true "%s" "%s" admin 10 md5 straight
`, b.machine, b.address, b.number, b.control, User, Password)
}

const emulation = `mc_setbmc 0x20
mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02
mc_enable 0x20
`
