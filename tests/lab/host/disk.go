package host

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Loop is a loop device over a file. The kernel lets go of it when the last
// user, this descriptor or a mount, is gone: nothing is left after a crash.
type Loop struct {
	// Device is the path of the device on the host.
	Device string
	file   *os.File
}

// AttachLoop attaches file to a free loop device.
func AttachLoop(file string) (*Loop, error) {
	back, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer back.Close()
	ctl, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("no loop devices (modprobe loop): %w", err)
	}
	defer ctl.Close()
	var last error
	// Another lab may take the number between the question and the answer.
	for range 20 {
		n, err := unix.IoctlRetInt(int(ctl.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return nil, fmt.Errorf("no free loop device: %w", err)
		}
		dev := "/dev/loop" + strconv.Itoa(n)
		f, err := os.OpenFile(dev, os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		cfg := &unix.LoopConfig{Fd: uint32(back.Fd())}
		cfg.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
		if last = unix.IoctlLoopConfigure(int(f.Fd()), cfg); last == nil {
			return &Loop{Device: dev, file: f}, nil
		}
		_ = f.Close()
	}
	return nil, fmt.Errorf("cannot attach %s: %w", file, last)
}

// Close lets go of the device.
func (l *Loop) Close() error { return l.file.Close() }

// Number is the device's major and minor number.
func (l *Loop) Number() (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(l.Device, &st); err != nil {
		return 0, err
	}
	return st.Rdev, nil
}

// Writes is how many writes reached the backing file so far.
func (l *Loop) Writes() (int64, error) {
	b, err := os.ReadFile(filepath.Join("/sys/block", filepath.Base(l.Device), "stat"))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(b))
	if len(f) < 5 {
		return 0, fmt.Errorf("%s: unexpected statistics %q", l.Device, b)
	}
	return strconv.ParseInt(f[4], 10, 64)
}

// Snapshot copies the backing file from to the file to, without its holes. The
// copy is of one instant: it is made again if a write reached the file
// meanwhile, because half of a write sequence is what no disk would hold.
func (l *Loop) Snapshot(ctx context.Context, from, to string) error {
	for range 20 {
		before, err := l.Writes()
		if err != nil {
			return err
		}
		if _, err := Output(ctx, "cp", "--sparse=always", from, to); err != nil {
			return err
		}
		after, err := l.Writes()
		if err != nil {
			return err
		}
		if before == after {
			return nil
		}
	}
	return fmt.Errorf("cannot copy %s at one instant: writes kept coming", from)
}
