package host

import (
	"fmt"
	"os"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// Netns is a network namespace that lives as long as its descriptor is open.
type Netns struct{ file *os.File }

// NewNetns makes an empty network namespace with its loopback down.
func NewNetns() (*Netns, error) {
	type answer struct {
		f   *os.File
		err error
	}
	c := make(chan answer)
	go func() {
		// Never unlocked: the thread belongs to the new namespace now and
		// must not be reused.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			c <- answer{err: fmt.Errorf("cannot make a network namespace: %w", err)}
			return
		}
		f, err := os.Open("/proc/thread-self/ns/net")
		c <- answer{f, err}
	}()
	a := <-c
	if a.err != nil {
		return nil, a.err
	}
	return &Netns{file: a.f}, nil
}

// Path names the namespace for other programs and processes, as long as this
// process lives.
func (n *Netns) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.file.Fd()) }

// Close lets go of the namespace; it vanishes with its last process.
func (n *Netns) Close() error { return n.file.Close() }

// InNetns calls fn on a thread that has entered the network namespace at path.
// Sockets that fn makes belong to that namespace for good and may be used from
// anywhere. fn must not start goroutines that make sockets.
func InNetns(path string, fn func() error) error {
	c := make(chan error)
	go func() {
		runtime.LockOSThread()
		c <- enterNetns(path, fn)
	}()
	return <-c
}

func enterNetns(path string, fn func() error) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("cannot open network namespace: %w", err)
	}
	defer f.Close()
	if err := unix.Setns(int(f.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("cannot enter network namespace %s: %w", path, err)
	}
	return fn()
}

// Program is a long-lived process to start: a node's first process, a
// simulator, the lab's daemon.
type Program struct {
	// Path and Args are the program and all its arguments, name included.
	Path string
	Args []string
	// Dir is the working directory, empty for /.
	Dir string
	// Clone holds CLONE_NEW* flags: namespaces the process gets for itself.
	Clone uintptr
	// Netns is the path of the network namespace to start in, empty for ours.
	Netns string
	// Files are the descriptors from 0 on; nil entries are /dev/null.
	Files []*os.File
	// Session detaches it from our terminal and lets it outlive us. Without
	// it the kernel kills the process when we die.
	Session bool
}

// Process is a started Program.
type Process struct {
	// Pid is its number as the host sees it.
	Pid int
	// Done is closed when it has ended and was reaped.
	Done chan struct{}
}

// Start starts p. It does not go through lib/proc since that waits for what it
// runs, and since a process in namespaces of its own must be cloned from a
// thread prepared for it. That thread stays until the process has ended: the
// kernel's death signal belongs to the thread.
func Start(p Program) (*Process, error) {
	type answer struct {
		p   *Process
		err error
	}
	c := make(chan answer)
	go func() {
		runtime.LockOSThread()
		proc, err := start(p)
		if err != nil {
			c <- answer{err: fmt.Errorf("cannot start %s: %w", p.Path, err)}
			return
		}
		res := &Process{Pid: proc.Pid, Done: make(chan struct{})}
		c <- answer{p: res}
		_, _ = proc.Wait()
		close(res.Done)
	}()
	a := <-c
	return a.p, a.err
}

func start(p Program) (*os.Process, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	files := make([]*os.File, max(3, len(p.Files)))
	for i := range files {
		files[i] = null
		if i < len(p.Files) && p.Files[i] != nil {
			files[i] = p.Files[i]
		}
	}
	attr := &os.ProcAttr{
		Dir:   p.Dir,
		Env:   environ(),
		Files: files,
		Sys:   &syscall.SysProcAttr{Cloneflags: p.Clone, Setsid: true},
	}
	if attr.Dir == "" {
		attr.Dir = "/"
	}
	if !p.Session {
		attr.Sys.Pdeathsig = syscall.SIGKILL
	}
	var proc *os.Process
	run := func() error {
		var err error
		proc, err = os.StartProcess(p.Path, p.Args, attr)
		return err
	}
	if p.Netns == "" {
		err = run()
	} else {
		err = enterNetns(p.Netns, run)
	}
	return proc, err
}

// Become replaces this process by a program, which gets our terminal.
func Become(args, env []string) error { return syscall.Exec(args[0], args, env) }
