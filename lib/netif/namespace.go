package netif

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrNoNamespace says that there is no network namespace of that name.
var ErrNoNamespace = errors.New("no such network namespace")

// namespaceDirs are where `ip netns` keeps its handles.
var namespaceDirs = [...]string{"/run/netns", "/var/run/netns"}

// Namespace is a network namespace: a [Kernel] and a [Wire]. The process itself stays where it is.
type Namespace struct {
	*socket
	handle *os.File // nil for the process's own
}

// Open opens the namespace that `ip netns` knows by name, "" for the process's own.
func Open(name string) (*Namespace, error) {
	n := &Namespace{}
	if name != "" {
		for _, dir := range namespaceDirs {
			f, err := os.Open(filepath.Join(dir, name))
			if err == nil {
				n.handle = f
				break
			}
			if !errors.Is(err, fs.ErrNotExist) {
				return nil, fmt.Errorf("cannot open the network namespace: %w", err)
			}
		}
		if n.handle == nil {
			return nil, fmt.Errorf("%w: %s", ErrNoNamespace, name)
		}
	}
	fd := 0
	if n.handle != nil {
		fd = int(n.handle.Fd())
	}
	var err error
	if n.socket, err = dialKernel(fd); err != nil {
		_ = n.closeHandle()
		return nil, err
	}
	return n, nil
}

// Close closes what was opened.
func (n *Namespace) Close() error { return errors.Join(n.close(), n.closeHandle()) }

func (n *Namespace) closeHandle() error {
	if n.handle == nil {
		return nil
	}
	return n.handle.Close()
}

// Open opens a link for packets.
func (n *Namespace) Open(l Link, family int) (Packets, error) {
	var p *packets
	err := n.within(func() (err error) {
		p, err = openPackets(l, family)
		return err
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// Setting reads one of the namespace's settings, a path below /proc/sys/net.
func (n *Namespace) Setting(path string) (string, error) {
	var b []byte
	err := n.within(func() (err error) {
		b, err = os.ReadFile(filepath.Join("/proc/sys/net", path))
		return err
	})
	return strings.TrimSpace(string(b)), err
}

// within runs f on a thread that is in the namespace. The thread is not used for anything else
// again: it ends with its goroutine.
func (n *Namespace) within(f func() error) error {
	if n.handle == nil {
		return f()
	}
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := unix.Setns(int(n.handle.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("cannot enter the network namespace: %w", err)
			return
		}
		done <- f()
	}()
	return <-done
}
