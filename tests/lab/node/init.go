package node

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Descriptors the first process is started with.
const (
	configFD = 3 // JSON of Config comes in, once the network is plugged in
	readyFD  = 4 // "ok" or an error text goes out
)

// Init is the first process of a node. It sets the node up, runs the boot
// script and then collects the dead: without that a killed postmaster would
// stay a zombie, which no real machine's would. It returns only with an error.
func Init() error {
	// What runs on the node must not hold them open.
	unix.CloseOnExec(configFD)
	unix.CloseOnExec(readyFD)
	ready := os.NewFile(readyFD, "ready")
	var c Config
	if err := json.NewDecoder(os.NewFile(configFD, "config")).Decode(&c); err != nil {
		return fmt.Errorf("node: no configuration: %w", err)
	}
	end := make(chan error, 1)
	err := setUp(c, end)
	if err == nil {
		err = boot(c)
	}
	if err != nil {
		err = fmt.Errorf("node %s: %w", c.Name, err)
		_, _ = io.WriteString(ready, err.Error())
		return err
	}
	_, _ = io.WriteString(ready, "ok")
	_ = ready.Close()
	go func() { end <- reap() }()
	return <-end
}

func setUp(c Config, end chan<- error) error {
	if err := unix.Sethostname([]byte(c.Name)); err != nil {
		return fmt.Errorf("cannot set host name: %w", err)
	}
	steps := []func(Config) error{mountRoot, mountSystem, enterRoot, guardHost}
	for _, step := range steps {
		if err := step(c); err != nil {
			return err
		}
	}
	go syslogd()
	go func() { end <- watchSysrq() }()
	return nil
}

// mount names what it could not mount.
func mount(source, target, kind string, flags uintptr, data string) error {
	if err := unix.Mount(source, target, kind, flags, data); err != nil {
		return fmt.Errorf("cannot mount %s on %s: %w", source, target, err)
	}
	return nil
}

func mountRoot(c Config) error {
	if err := mount("none", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	opt := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", c.Lower, c.Upper(), c.work())
	if err := mount("overlay", c.root(), "overlay", 0, opt); err != nil {
		return err
	}
	if c.Disk != "" {
		disk := filepath.Join(c.root(), "disk")
		if err := os.MkdirAll(disk, 0o755); err != nil {
			return err
		}
		if err := mount(c.Disk, disk, "ext4", 0, ""); err != nil {
			return err
		}
		for _, d := range Durable() {
			for _, at := range []string{disk, c.root()} {
				if err := os.MkdirAll(filepath.Join(at, d), 0o755); err != nil {
					return err
				}
			}
			if err := mount(filepath.Join(disk, d), filepath.Join(c.root(), d), "", unix.MS_BIND, ""); err != nil {
				return err
			}
		}
		volume := filepath.Join(c.root(), DataVolume)
		if err := os.MkdirAll(volume, 0o755); err != nil {
			return err
		}
		if err := mount(c.Volume, volume, "ext4", 0, ""); err != nil {
			return err
		}
	}
	if c.WAL != "" {
		volume := filepath.Join(c.root(), WALVolume)
		if err := os.MkdirAll(volume, 0o755); err != nil {
			return err
		}
		if err := mount(c.WAL, volume, "ext4", 0, ""); err != nil {
			return err
		}
	}
	return mount(c.Logs(), filepath.Join(c.root(), "var/log"), "", unix.MS_BIND, "")
}

// mountSystem makes what a boot makes new: /proc, /sys, /dev, /run, /tmp.
func mountSystem(c Config) error {
	in := func(p string) string { return filepath.Join(c.root(), p) }
	tmpfs := func(p, opt string) error {
		if err := os.MkdirAll(in(p), 0o755); err != nil {
			return err
		}
		return mount("tmpfs", in(p), "tmpfs", unix.MS_NOSUID, opt)
	}
	for _, err := range []error{
		mount("proc", in("/proc"), "proc", 0, ""),
		mount("sysfs", in("/sys"), "sysfs", unix.MS_RDONLY, ""),
		tmpfs("/run", "mode=755"),
		tmpfs("/tmp", "mode=1777"),
		tmpfs("/dev", "mode=755"),
		tmpfs("/dev/shm", "mode=1777"),
		os.MkdirAll(in("/dev/pts"), 0o755),
		mount("devpts", in("/dev/pts"), "devpts", 0, "newinstance,ptmxmode=0666,mode=620"),
		os.Symlink("pts/ptmx", in("/dev/ptmx")),
		os.Symlink("/proc/self/fd", in("/dev/fd")),
		os.Symlink("/proc/self/fd/0", in("/dev/stdin")),
		os.Symlink("/proc/self/fd/1", in("/dev/stdout")),
		os.Symlink("/proc/self/fd/2", in("/dev/stderr")),
	} {
		if err != nil {
			return err
		}
	}
	for name, number := range map[string]uint64{
		"null": unix.Mkdev(1, 3), "zero": unix.Mkdev(1, 5), "full": unix.Mkdev(1, 7),
		"random": unix.Mkdev(1, 8), "urandom": unix.Mkdev(1, 9), "tty": unix.Mkdev(5, 0),
	} {
		if err := mknod(in("/dev/"+name), unix.S_IFCHR, 0o666, number); err != nil {
			return err
		}
	}
	if c.Loop != 0 {
		return mknod(in("/dev/labdisk"), unix.S_IFBLK, 0o660, c.Loop)
	}
	return nil
}

func mknod(path string, kind, mode uint32, number uint64) error {
	if err := unix.Mknod(path, kind|mode, int(number)); err != nil {
		return fmt.Errorf("cannot make %s: %w", path, err)
	}
	return os.Chmod(path, os.FileMode(mode)) // the umask took bits away
}

func enterRoot(c Config) error {
	old := filepath.Join(c.root(), "mnt")
	if err := unix.PivotRoot(c.root(), old); err != nil {
		return fmt.Errorf("cannot change root: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if err := unix.Unmount("/mnt", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("cannot leave the host's root: %w", err)
	}
	return nil
}

// sysrqPipe stands where /proc/sysrq-trigger is.
const sysrqPipe = "/dev/lab-sysrq"

// guardHost takes away what reaches through namespaces. Pacemaker's answer to
// the loss of one of its daemons is to write to /proc/sysrq-trigger, which
// would restart the host.
func guardHost(Config) error {
	if err := unix.Mkfifo(sysrqPipe, 0o600); err != nil {
		return fmt.Errorf("cannot make %s: %w", sysrqPipe, err)
	}
	// A kernel without it has nothing to guard.
	const trigger = "/proc/sysrq-trigger"
	if _, err := os.Stat(trigger); err == nil {
		if err := mount(sysrqPipe, trigger, "", unix.MS_BIND, ""); err != nil {
			return err
		}
	}
	if err := mount("/proc/sys/kernel", "/proc/sys/kernel", "", unix.MS_BIND, ""); err != nil {
		return err
	}
	if err := mount("none", "/proc/sys/kernel", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		return err
	}
	// Capabilities belong to threads, and only what is started from this
	// thread has to lack them: the boot script is.
	runtime.LockOSThread()
	for _, c := range []uintptr{unix.CAP_SYS_TIME, unix.CAP_SYS_MODULE, unix.CAP_SYS_RAWIO} {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil {
			return fmt.Errorf("cannot drop a capability: %w", err)
		}
	}
	return nil
}

// watchSysrq makes a node that asks the kernel for its own end get it.
func watchSysrq() error {
	f, err := os.OpenFile(sysrqPipe, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	b := make([]byte, 16)
	for {
		n, err := f.Read(b)
		if err != nil {
			return err
		}
		// The first process ends, and all others with it.
		if strings.ContainsAny(string(b[:n]), "bco") {
			return fmt.Errorf("the node asked for its own end (sysrq %q)", b[:n])
		}
	}
}

func boot(c Config) error {
	out, err := os.OpenFile("/var/log/boot.log", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer out.Close()
	null, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer null.Close()
	_, err = os.StartProcess("/bin/sh", []string{"sh", c.Boot}, &os.ProcAttr{
		Dir:   "/",
		Env:   []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", "HOME=/root"},
		Files: []*os.File{null, out, out},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return fmt.Errorf("cannot run the boot script: %w", err)
	}
	return nil
}

// reap waits for children of all kinds, its own and orphans, for ever.
func reap() error {
	died := make(chan os.Signal, 1)
	signal.Notify(died, unix.SIGCHLD)
	for {
		_, err := unix.Wait4(-1, nil, 0, nil)
		switch {
		case err == nil, errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ECHILD):
			<-died
		default:
			return fmt.Errorf("cannot wait for children: %w", err)
		}
	}
}

// syslogd writes what comes to /dev/log into /var/log/syslog, with the time of
// arrival in milliseconds.
func syslogd() {
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: "/dev/log", Net: "unixgram"})
	if err != nil {
		return
	}
	_ = os.Chmod("/dev/log", 0o666)
	f, err := os.OpenFile("/var/log/syslog", os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return
	}
	w := bufio.NewWriter(f)
	b := make([]byte, 64<<10)
	for {
		n, err := conn.Read(b)
		if err != nil {
			return
		}
		msg := strings.TrimRight(string(b[:n]), "\n\x00")
		// <prio>Mon _2 15:04:05 rest: priority and second are replaced.
		if i := strings.IndexByte(msg, '>'); i >= 0 && i < 5 {
			msg = msg[i+1:]
		}
		if len(msg) > 16 && msg[3] == ' ' && msg[15] == ' ' {
			msg = msg[16:]
		}
		_, _ = fmt.Fprintf(w, "%s %s\n", time.Now().Format("2006-01-02T15:04:05.000"), msg)
		_ = w.Flush()
	}
}
