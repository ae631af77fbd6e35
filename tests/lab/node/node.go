package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"pgrex/tests/lab/host"
	"pgrex/tests/lab/network"
)

const (
	// diskSize is the size of a node's file system with --disk=loop. The
	// file behind it has holes where nothing was written.
	diskSize = 2 << 30
	// walSize is that of pg_wal's own volume.
	walSize = 1 << 30
	// smallDisk is what storage-mon reads from when data is on a tmpfs.
	smallDisk = 8 << 20
)

// Node is a machine as its operator sees it: it can be powered on and off, cut
// off and frozen. Methods may be called from several goroutines.
type Node struct {
	cfg    Config
	sw     *network.Switch
	group  *host.Freezer
	binary string
	onDisk bool

	// Plugged, if not nil, is called at each boot when the network is plugged in and
	// nothing runs yet, with the path of the network namespace.
	Plugged func(ctx context.Context, netns string) error

	mu     sync.Mutex
	init   *host.Process
	ns     string // path of the network namespace while on
	disks  []*disk
	frozen bool
	hangs  *os.File // the volume that hangs, while one does
	boots  int
}

// New makes the machine's disk; it is powered off. group names its control
// group, binary is the lab's own executable, which becomes the first process.
// With onDisk, the Durable directories and the data volume are on file systems
// that lose what was not synced when the power goes.
func New(ctx context.Context, cfg Config, sw *network.Switch, group, binary string, onDisk bool) (*Node, error) {
	g, err := host.NewFreezer(group)
	if err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, sw: sw, group: g, binary: binary, onDisk: onDisk}
	for _, d := range []string{cfg.Upper(), cfg.work(), cfg.root(), cfg.Logs()} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
	}
	if !onDisk {
		n.disks = []*disk{{file: filepath.Join(cfg.Dir, "disk.img"), size: smallDisk}}
	} else {
		for _, name := range []string{"disk.img", "volume.img"} {
			n.disks = append(n.disks, &disk{file: filepath.Join(cfg.Dir, name), size: diskSize, holdsFiles: true})
		}
		if cfg.OwnWAL {
			n.disks = append(n.disks, &disk{file: filepath.Join(cfg.Dir, "wal.img"), size: walSize, holdsFiles: true})
		}
	}
	for _, d := range n.disks {
		if err := d.create(ctx); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// Config is what the node was made with.
func (n *Node) Config() Config { return n.cfg }

// Pid is the node's first process as the host sees it, 0 when powered off.
func (n *Node) Pid() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.on() {
		return n.init.Pid
	}
	return 0
}

// Boots counts how often the node was powered on.
func (n *Node) Boots() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.boots
}

// Frozen says whether the node is frozen.
func (n *Node) Frozen() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.frozen
}

func (n *Node) on() bool {
	if n.init == nil {
		return false
	}
	select {
	case <-n.init.Done:
		return false
	default:
		return true
	}
}

// PowerOn boots the node and returns once the boot script was started. It does
// nothing when the node is on.
func (n *Node) PowerOn(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.on() {
		return nil
	}
	if err := n.clean(ctx); err != nil {
		return err
	}
	for _, d := range n.disks {
		if err := d.attach(); err != nil {
			return err
		}
	}
	cfg, watched := n.cfg, n.disks[0]
	if n.onDisk {
		watched = n.disks[1]
		cfg.Disk, cfg.Volume = n.disks[0].loop.Device, watched.loop.Device
	}
	if n.onDisk && cfg.OwnWAL {
		cfg.WAL = n.disks[2].loop.Device
	}
	var err error
	if cfg.Loop, err = watched.loop.Number(); err != nil {
		return err
	}
	if err := n.start(ctx, cfg); err != nil {
		_ = n.group.Kill(ctx)
		return fmt.Errorf("cannot boot %s: %w", cfg.Name, err)
	}
	n.boots++
	return nil
}

// start clones the first process, plugs its network in and hands it its
// configuration: the process waits for that before it does anything.
func (n *Node) start(ctx context.Context, cfg Config) error {
	cfgR, cfgW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer cfgW.Close()
	okR, okW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer okR.Close()
	p, err := host.Start(host.Program{
		Path:  n.binary,
		Args:  []string{n.binary, "_init", cfg.Name},
		Clone: unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWPID | unix.CLONE_NEWNET,
		Files: []*os.File{nil, os.Stderr, os.Stderr, cfgR, okW},
	})
	_ = cfgR.Close()
	_ = okW.Close()
	if err != nil {
		return err
	}
	n.init, n.frozen = p, false
	if err := n.group.Add(p.Pid); err != nil {
		return err
	}
	n.ns = fmt.Sprintf("/proc/%d/ns/net", p.Pid)
	if err := n.sw.Plug(ctx, cfg.Name, cfg.Index, strconv.Itoa(p.Pid), cfg.LANs...); err != nil {
		return err
	}
	if n.Plugged != nil {
		if err := n.Plugged(ctx, n.ns); err != nil {
			return err
		}
	}
	if err := json.NewEncoder(cfgW).Encode(cfg); err != nil {
		return err
	}
	if err := okR.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		return err
	}
	said, err := io.ReadAll(okR)
	if err != nil {
		return fmt.Errorf("first process is silent: %w", err)
	}
	if string(said) != "ok" {
		return fmt.Errorf("first process failed: %q", said)
	}
	return nil
}

// PowerOff takes the power away: the links go first, so that no dying socket
// can say goodbye, then everything stops at one instant. On a disk that loses
// un-synced data, that instant's content of the disk is what the next boot
// finds. That nothing leaves the node after its links is checked at the switch. It
// does nothing when the node is off.
func (n *Node) PowerOff(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.on() {
		return nil
	}
	if err := n.sw.Down(ctx, n.cfg.Name); err != nil {
		return err
	}
	ear, err := n.sw.Listen(n.cfg.Index)
	if err != nil {
		return err
	}
	err = n.die(ctx)
	heard, e := ear.Heard()
	if err := errors.Join(err, e); err != nil {
		return err
	}
	if heard > 0 {
		return fmt.Errorf("%d frames came from %s after its links were taken away: no dead machine sends", heard, n.cfg.Name)
	}
	return nil
}

// die ends everything on the node at one instant.
func (n *Node) die(ctx context.Context) error {
	if n.hangs != nil {
		return n.dieHanging(ctx)
	}
	if n.onDisk {
		if err := n.group.Freeze(ctx); err != nil {
			return err
		}
		if err := n.snapshot(ctx); err != nil {
			return err
		}
	}
	if err := n.group.Kill(ctx); err != nil {
		return err
	}
	return n.clean(ctx)
}

func (n *Node) snapshot(ctx context.Context) error {
	for _, d := range n.disks {
		if err := d.snapshot(ctx); err != nil {
			return err
		}
	}
	return nil
}

// clean waits for the end of what was on and takes its parts away. The first
// process may also have ended by itself.
func (n *Node) clean(ctx context.Context) error {
	if n.init == nil {
		return nil
	}
	select {
	case <-n.init.Done:
	case <-ctx.Done():
		return fmt.Errorf("%s does not die: %w", n.cfg.Name, ctx.Err())
	}
	n.init, n.frozen = nil, false
	for _, d := range n.disks {
		if err := d.detach(); err != nil {
			return err
		}
	}
	// The overlay's work directory must be empty for the next mount.
	if err := os.RemoveAll(n.cfg.work()); err != nil {
		return err
	}
	if err := os.MkdirAll(n.cfg.work(), 0o755); err != nil {
		return err
	}
	return n.sw.Unplug(ctx, n.cfg.Name)
}

// Freeze stops everything on the node and its links: a virtual machine paused
// by its host.
func (n *Node) Freeze(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hangs != nil {
		return fmt.Errorf("a volume of %s hangs: who waits for it cannot be frozen", n.cfg.Name)
	}
	if err := n.sw.Down(ctx, n.cfg.Name); err != nil {
		return err
	}
	if err := n.group.Freeze(ctx); err != nil {
		return err
	}
	n.frozen = true
	return nil
}

// Thaw lets a frozen node run on, not knowing that time has passed.
func (n *Node) Thaw(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.frozen = false
	if err := n.group.Thaw(); err != nil {
		return err
	}
	return n.sw.Up(ctx, n.cfg.Name)
}

// Pids lists the node's processes as the host sees them.
func (n *Node) Pids() ([]int, error) { return n.group.Pids() }

// Destroy ends the node without keeping its disk.
func (n *Node) Destroy(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.on() {
		return nil
	}
	if n.hangs != nil {
		return n.dieHanging(ctx)
	}
	if err := n.group.Kill(ctx); err != nil {
		return err
	}
	return n.clean(ctx)
}
