package pg

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"pgrex/lib/proc"
)

// isSocketDir says whether a host is a directory for Unix sockets or, since
// PostgreSQL 14, an abstract one.
func isSocketDir(host string) bool {
	return strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@")
}

func socketPath(dir string, port int) string {
	name := ".s.PGSQL." + strconv.Itoa(port)
	if strings.HasPrefix(dir, "@") {
		return dir + "/" + name
	}
	return filepath.Join(dir, name)
}

func isSocket(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode()&os.ModeSocket != 0
}

// dialUnix connects to a Unix socket as user, so that peer authentication sees
// the server's owner and not us. A nil user, or our own uid, is a plain dial.
//
// The kernel notes the credentials of the thread that calls connect(2). Go's
// setters change all threads, so this one is changed by raw system calls, used
// for this one call and thrown away: the goroutine never unlocks it.
func dialUnix(ctx context.Context, path string, user *proc.User) (net.Conn, error) {
	if user == nil || int(user.UID) == os.Geteuid() {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	onSpareThread(func() {
		conn, err := connectAs(ctx, path, *user)
		done <- result{conn, err}
	})
	r := <-done // connectAs ends with ctx
	if r.err != nil {
		return nil, &net.OpError{Op: "dial", Net: "unix", Addr: &net.UnixAddr{Name: path, Net: "unix"}, Err: r.err}
	}
	return r.conn, nil
}

// onSpareThread runs f on a thread that ends with it. The process's first thread
// cannot end, and its credentials are what /proc shows of the process, so
// should a goroutine land there, it sits while another one does the work.
func onSpareThread(f func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != os.Getpid() {
			f()
			return // locked: the thread goes with the goroutine
		}
		defer runtime.UnlockOSThread()
		moved := make(chan struct{})
		go func() {
			defer close(moved)
			runtime.LockOSThread()
			f()
		}()
		<-moved
	}()
}

// connectAs changes the calling thread's credentials and connects. Groups go
// first and the uid last, since each step needs the privilege the last one
// gives up. Only the effective ids count, but the others follow so that nothing
// the thread could still do is done as root.
func connectAs(ctx context.Context, path string, user proc.User) (net.Conn, error) {
	groups := user.Groups
	if len(groups) == 0 {
		groups = []uint32{user.GID}
	}
	if _, _, e := syscall.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&groups[0])), 0); e != 0 {
		return nil, fmt.Errorf("become %s: setgroups: %w", user.Name, e)
	}
	if _, _, e := syscall.RawSyscall(unix.SYS_SETRESGID, uintptr(user.GID), uintptr(user.GID), uintptr(user.GID)); e != 0 {
		return nil, fmt.Errorf("become %s: setresgid: %w", user.Name, e)
	}
	if _, _, e := syscall.RawSyscall(unix.SYS_SETRESUID, uintptr(user.UID), uintptr(user.UID), uintptr(user.UID)); e != 0 {
		return nil, fmt.Errorf("become %s: setresuid: %w", user.Name, e)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close() //nolint:errcheck // FileConn works on a duplicate
	err = every(ctx, poll, "connect", func() (bool, error) {
		err := unix.Connect(fd, &unix.SockaddrUnix{Name: path})
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			return false, nil // the listen queue is full
		}
		return err == nil, os.NewSyscallError("connect", err)
	})
	if err != nil {
		return nil, err
	}
	return net.FileConn(f)
}
