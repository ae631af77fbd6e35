package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"pgrex/tests/lab/host"
)

// disk is a block device of the node over a file on the host.
type disk struct {
	file       string
	size       int64
	holdsFiles bool       // it has a file system
	loop       *host.Loop // nil while the node is off
}

// create makes an empty disk.
func (d *disk) create(ctx context.Context) error {
	f, err := os.Create(d.file)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(d.size), f.Close()); err != nil {
		return err
	}
	if !d.holdsFiles {
		return nil
	}
	if _, err := host.Output(ctx, "mkfs.ext4", "-q", "-F", "-J", "size=16", d.file); err != nil {
		return fmt.Errorf("cannot make file system: %w", err)
	}
	return nil
}

func (d *disk) attach() (err error) {
	d.loop, err = host.AttachLoop(d.file)
	return err
}

// detach lets go of the device and puts what a snapshot holds in its place.
func (d *disk) detach() error {
	if d.loop != nil {
		_ = d.loop.Close()
		d.loop = nil
	}
	if _, err := os.Stat(d.next()); err != nil {
		return nil
	}
	return os.Rename(d.next(), d.file)
}

// snapshot keeps what is on the disk now for the next boot.
func (d *disk) snapshot(ctx context.Context) error { return d.loop.Snapshot(ctx, d.file, d.next()) }

func (d *disk) next() string { return d.file + ".next" }

// The kernel's FIFREEZE and FITHAW.
const (
	ioctlFreeze = 0xc0045877
	ioctlThaw   = 0xc0045878
)

// Hang makes a volume, DataVolume or WALVolume, hang: whoever writes to it waits in the
// kernel, in a sleep that no signal ends, until Release or the end of the power. Reading
// goes on. It does nothing when the volume hangs already.
//
// The lab's daemon is what ends it: should that be killed meanwhile, "fsfreeze
// --unfreeze /proc/PID/root/dbfp" with the pid of a process that waits does.
func (n *Node) Hang(volume string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case !n.onDisk:
		return errors.New("its data is on a tmpfs, which cannot hang: use --disk=loop")
	case !n.on():
		return fmt.Errorf("%s is off", n.cfg.Name)
	case n.frozen:
		return fmt.Errorf("%s is frozen", n.cfg.Name)
	case volume != DataVolume && (volume != WALVolume || !n.cfg.OwnWAL):
		return fmt.Errorf("%s has no volume %s of its own (--disk=loop+wal gives pg_wal one)", n.cfg.Name, volume)
	}
	path := filepath.Join("/proc", strconv.Itoa(n.init.Pid), "root", volume)
	if n.hangs != nil {
		if n.hangs.Name() == path {
			return nil
		}
		return fmt.Errorf("another volume of %s hangs", n.cfg.Name)
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	if err := fsIoctl(f, ioctlFreeze); err != nil {
		return errors.Join(fmt.Errorf("cannot freeze %s: %w", volume, err), f.Close())
	}
	n.hangs = f
	return nil
}

// Release lets a volume that hangs go on, as if nothing had been.
func (n *Node) Release() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.release()
}

func (n *Node) release() error {
	if n.hangs == nil {
		return nil
	}
	f := n.hangs
	n.hangs = nil
	err := fsIoctl(f, ioctlThaw)
	return errors.Join(err, f.Close())
}

// Hangs says whether a volume hangs.
func (n *Node) Hangs() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.hangs != nil
}

func fsIoctl(f *os.File, request uintptr) error {
	if _, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, 0); e != 0 {
		return e
	}
	return nil
}

// dieHanging is die for a node whose volume hangs. Who waits for the disk can be
// neither frozen nor killed, so all are told to die first and the volume goes on
// when nothing else does: what is written then goes to the disk that was, and the
// next boot gets the copy made before.
func (n *Node) dieHanging(ctx context.Context) error {
	if err := n.snapshot(ctx); err != nil {
		return err
	}
	pids, err := n.group.Pids()
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if err := unix.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	if err := n.release(); err != nil {
		return err
	}
	return n.clean(ctx)
}
