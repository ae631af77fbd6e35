package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// stateDir has what one call of the agent leaves for the next. It is emptied by a reboot, and that is
// meant: an address that is on an interface after a reboot was not put there by us.
const stateDir = "/run/pgrex/cloudip"

// bootID tells one boot from another, where /run outlives one after all.
const bootID = "/proc/sys/kernel/random/boot_id"

// state are the files of one address.
type state struct {
	dir, name string
	// clock is the time since boot, suspension included. The time of day is not asked: it jumps.
	clock func() time.Duration
}

func newState(c config) state {
	name := c.ip.String()
	if c.namespace != "" {
		name += "@" + c.namespace
	}
	return state{dir: stateDir, name: name, clock: sinceBoot}
}

func sinceBoot() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

func (s state) path(kind string) string { return filepath.Join(s.dir, s.name+"."+kind) }

func (s state) write(kind, text string) error {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return err
	}
	// A reader never sees half a file. It need not outlive a crash of the machine.
	tmp := s.path(kind) + "." + strconv.Itoa(os.Getpid())
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		return err
	}
	if err := os.Rename(tmp, s.path(kind)); err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return nil
}

func (s state) remove(kind string) { _ = os.Remove(s.path(kind)) }

// The stamps a state keeps.
const (
	// placed: a start of ours has put the address on this machine, in this boot.
	placed = "placed"
	// held: the cloud has said, in this boot and after our start, that the address is ours.
	held = "held"
	// asked: when the cloud was asked last.
	asked = "asked"
)

// stamp notes that something is so now.
func (s state) stamp(kind string) error {
	boot, _ := os.ReadFile(bootID)
	if err := s.write(kind, strconv.FormatInt(int64(s.clock()), 10)+" "+string(boot)); err != nil {
		return fmt.Errorf("cannot remember what was done: %w", err)
	}
	return nil
}

// age returns how long ago something was noted; false if it was not in this boot.
func (s state) age(kind string) (time.Duration, bool) {
	b, err := os.ReadFile(s.path(kind))
	if err != nil {
		return 0, false
	}
	at, boot, _ := strings.Cut(string(b), " ")
	now, _ := os.ReadFile(bootID)
	n, err := strconv.ParseInt(at, 10, 64)
	ago := s.clock() - time.Duration(n)
	if err != nil || boot != string(now) || ago < 0 {
		return 0, false
	}
	return ago, true
}

// confirm notes that the cloud has said, now, that the address is ours.
func (s state) confirm() error { return errors.Join(s.stamp(held), s.stamp(asked)) }

// confirmed reports whether it did so in this boot.
func (s state) confirmed() bool {
	_, ok := s.age(held)
	return ok
}

// forget removes the stamps.
func (s state) forget() {
	s.remove(placed)
	s.remove(held)
	s.remove(asked)
}
