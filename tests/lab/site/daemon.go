package site

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"pgrex/tests/lab/azure"
	"pgrex/tests/lab/bmc"
	"pgrex/tests/lab/host"
	"pgrex/tests/lab/network"
	"pgrex/tests/lab/node"
)

// ClientMachine is the name at the switch of the machine clients run on.
const ClientMachine = "client"

// orderTimeout bounds one order, in time. Powering off with a disk copies it.
const orderTimeout = 60 * time.Second

// daemon is the running machine room.
type daemon struct {
	plan   Plan
	log    *slog.Logger
	sw     *network.Switch
	nodes  map[string]*node.Node
	bmcs   map[string]*bmc.BMC
	second []*bmc.BMC
	client *host.Netns
	cloud  *azure.Azure // nil on a LAN
	down   context.CancelFunc
	kept   atomic.Bool // the lab is complete
}

// lockFD is where the daemon inherits the lab's lock.
const lockFD = 3

// Serve builds the machine room of a plan, all nodes powered off, and obeys
// orders until it is told to go down or its owner dies. binary is the lab's
// executable. It must be called in a mount namespace of its own.
func Serve(ctx context.Context, p Plan, binary string, log *slog.Logger) error {
	// What it starts must not hold the lock when it is dead.
	unix.CloseOnExec(lockFD)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	d := &daemon{plan: p, log: log, down: cancel, nodes: map[string]*node.Node{}, bmcs: map[string]*bmc.BMC{}}
	go d.watchBuilder(ctx)
	if err := d.build(ctx, binary); err != nil {
		return err
	}
	// Everything we started dies with us: see host.Start.
	l, err := net.Listen("unix", p.socket())
	if err != nil {
		return err
	}
	start, err := startTime(os.Getpid())
	if err != nil {
		return err
	}
	s := State{Plan: p, Daemon: os.Getpid(), Start: start, ClientNetns: d.client.Path()}
	if err := s.save(); err != nil {
		return err
	}
	go d.watchOwner(ctx)
	go func() {
		<-ctx.Done()
		_ = l.Close()
	}()
	for {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return d.close()
			}
			return err
		}
		go d.serve(ctx, c)
	}
}

func (d *daemon) build(ctx context.Context, binary string) error {
	p := d.plan
	if err := unix.Mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("cannot detach mounts: %w", err)
	}
	if err := os.Mkdir(p.files(), 0o755); err != nil {
		return err
	}
	if err := unix.Mount("pgrex-lab", p.files(), "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("cannot mount a tmpfs: %w", err)
	}
	// A copy: the lab goes on when its binary is built anew meanwhile.
	own := filepath.Join(p.files(), "lab")
	if _, err := host.Output(ctx, "cp", "--", binary, own); err != nil {
		return err
	}
	var err error
	if p.Azure {
		err = d.buildCloud(ctx)
	} else {
		d.sw, err = network.NewSwitch(ctx)
	}
	if err != nil {
		return err
	}
	for i, name := range p.NodeNames() {
		cfg := node.Config{Name: name, Index: i + 1, Dir: p.nodeDir(name), Lower: p.Lower, Boot: p.Boot, LANs: p.LANs(), OwnWAL: p.OwnWAL}
		n, err := node.New(ctx, cfg, d.sw, p.nodeGroup(name), own, p.OnDisk)
		if err != nil {
			return err
		}
		d.nodes[name] = n
		if p.Azure {
			n.Plugged = func(ctx context.Context, netns string) error { return d.cloud.Attach(ctx, name, netns) }
			continue // and no BMC
		}
		control := fmt.Sprintf("%s _chassis %s %s", own, p.Name, name)
		d.bmcs[name] = bmc.New(d.sw, name, i+1, filepath.Join(p.files(), bmc.MachineOf(name)), control)
		if err := d.bmcs[name].Start(ctx); err != nil {
			return err
		}
		if !p.SecondBMC {
			continue
		}
		b := bmc.NewSecond(d.sw, name, i+1, filepath.Join(p.files(), bmc.SecondOf(name)), control)
		if err := b.Start(ctx); err != nil {
			return err
		}
		d.second = append(d.second, b)
	}
	return d.buildClient(ctx)
}

func (d *daemon) buildClient(ctx context.Context) error {
	ns, err := host.NewNetns()
	if err != nil {
		return err
	}
	d.client = ns
	if err := d.sw.Plug(ctx, ClientMachine, clientNumber, ns.Path(), network.Service); err != nil {
		return err
	}
	nic := network.Service.Interface()
	_, err = host.Input(ctx, fmt.Sprintf("link set lo up\naddress add %s/24 dev %s\nlink set %s up\n",
		network.Client, nic, nic), "nsenter", "--net="+ns.Path(), "ip", "-batch", "-")
	return err
}

// watchOwner ends the lab with the process that wanted it.
func (d *daemon) watchOwner(ctx context.Context) {
	if d.plan.Owner == 0 {
		return
	}
	start, err := startTime(d.plan.Owner)
	owner := process{d.plan.Owner, start}
	if err == nil {
		err = host.Poll(ctx, "end of owner", 500*time.Millisecond, func() (bool, error) { return !owner.alive(), nil })
	}
	d.log.Info("owner is gone", "err", err)
	d.down()
}

// watchBuilder ends a lab whose builder is gone before it was complete: nobody
// would finish it.
func (d *daemon) watchBuilder(ctx context.Context) {
	err := host.Poll(ctx, "end of builder", 100*time.Millisecond, func() (bool, error) {
		return d.kept.Load() || !d.plan.Builder.alive(), nil
	})
	if err == nil && !d.kept.Load() {
		d.log.Info("builder is gone before the lab was complete")
		d.down()
	}
}

// close ends what runs. The kernel would do it too; this way it is over when
// the process is.
func (d *daemon) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), orderTimeout)
	defer cancel()
	var errs []error
	for _, n := range d.nodes {
		errs = append(errs, n.Destroy(ctx))
	}
	for _, b := range d.bmcs {
		errs = append(errs, b.Stop(ctx))
	}
	for _, b := range d.second {
		errs = append(errs, b.Stop(ctx))
	}
	if d.cloud != nil {
		errs = append(errs, d.cloud.Close())
	}
	return errors.Join(errs...)
}

func (d *daemon) serve(ctx context.Context, c net.Conn) {
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, orderTimeout)
	defer cancel()
	var q request
	if err := json.NewDecoder(c).Decode(&q); err != nil {
		return
	}
	begin := time.Now()
	r, err := d.obey(ctx, q)
	if err != nil {
		r.Error = err.Error()
	}
	if q.Op != opStatus {
		d.log.Info("order", "op", q.Op, "node", q.Node, "on", q.On, "lans", q.LANs, "dir", q.Dir,
			"took", time.Since(begin).Round(time.Millisecond), "err", err)
	}
	_ = json.NewEncoder(c).Encode(r)
	if q.Op == opDown {
		d.down()
	}
}

func (d *daemon) obey(ctx context.Context, q request) (response, error) {
	switch q.Op {
	case opStatus:
		return response{Status: d.status()}, nil
	case opKeep:
		d.kept.Store(true)
		return response{}, nil
	case opDown:
		return response{}, nil
	case opHealAll:
		return response{}, d.sw.HealAll(ctx)
	case opCut:
		return response{}, d.sw.Cut(ctx, q.Node, q.Dir, q.LANs...)
	case opHeal:
		return response{}, d.sw.Heal(ctx, q.Node, q.LANs...)
	case opTraffic:
		t, err := d.sw.Traffic(ctx, q.Node)
		return response{Traffic: t}, err
	}
	n, ok := d.nodes[q.Node]
	if !ok {
		return response{}, fmt.Errorf("no node %q", q.Node)
	}
	if d.cloud == nil && (q.Op == opHide || q.Op == opMetadata) || d.cloud != nil && q.Op == opBMC {
		return response{}, fmt.Errorf("this lab has no such thing: Azure is %v", d.plan.Azure)
	}
	switch {
	case q.Op == opHide:
		return response{}, d.sw.Hide(ctx, q.Node, q.On)
	case q.Op == opMetadata && q.On:
		return response{}, d.cloud.Attach(ctx, q.Node, fmt.Sprintf("/proc/%d/ns/net", n.Pid()))
	case q.Op == opMetadata:
		return response{}, d.cloud.Detach(q.Node)
	case q.Op == opPower && q.On:
		return response{}, n.PowerOn(ctx)
	case q.Op == opPower:
		return response{}, n.PowerOff(ctx)
	case q.Op == opFreeze && q.On:
		return response{}, n.Freeze(ctx)
	case q.Op == opFreeze:
		return response{}, n.Thaw(ctx)
	case q.Op == opHang && q.On:
		return response{}, n.Hang(q.Volume)
	case q.Op == opHang:
		return response{}, n.Release()
	case q.Op == opBMC && q.On:
		return response{}, d.bmcs[q.Node].Start(ctx)
	case q.Op == opBMC:
		return response{}, d.bmcs[q.Node].Stop(ctx)
	}
	return response{}, fmt.Errorf("unknown order %q", q.Op)
}

func (d *daemon) status() *Status {
	s := &Status{Cuts: d.sw.Cuts()}
	for _, name := range d.plan.NodeNames() {
		n := d.nodes[name]
		s.Nodes = append(s.Nodes, NodeStatus{
			Name: name, Pid: n.Pid(), Boots: n.Boots(), Frozen: n.Frozen(), Hangs: n.Hangs(), BMC: d.bmcPid(name),
		})
	}
	return s
}
