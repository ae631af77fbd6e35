package network

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"pgrex/tests/lab/host"
)

// Capture listens at the switch for one machine.
type Capture struct {
	fd      int
	machine byte
}

// mac is the hardware address of a machine's card on a LAN. Plug gives it.
func mac(l LAN, machine int) string {
	return fmt.Sprintf("02:00:5e:01:%02x:%02x", l.number(), machine)
}

// Listen starts a capture of all frames that reach the switch from machine
// number i.
func (s *Switch) Listen(i int) (*Capture, error) {
	c := &Capture{machine: byte(i)}
	err := host.InNetns(s.ns.Path(), func() error {
		// In network byte order, as the kernel wants it here.
		const everything = unix.ETH_P_ALL<<8&0xff00 | unix.ETH_P_ALL>>8
		var err error
		c.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, everything)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("cannot listen at the switch: %w", err)
	}
	return c, nil
}

// Heard ends the capture and counts the machine's frames since Listen.
func (c *Capture) Heard() (int, error) {
	defer func() { _ = unix.Close(c.fd) }()
	n := 0
	b := make([]byte, 128)
	for {
		k, from, err := unix.Recvfrom(c.fd, b, unix.MSG_TRUNC)
		if errors.Is(err, unix.EAGAIN) {
			return n, nil
		}
		if errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENETDOWN) {
			continue // the latter is said once of each link that goes down
		}
		if err != nil {
			return n, fmt.Errorf("cannot read what the switch heard: %w", err)
		}
		ll, ok := from.(*unix.SockaddrLinklayer)
		if !ok || k < 14 || ll.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		if b[6] == 0x02 && b[7] == 0x00 && b[8] == 0x5e && b[9] == 0x01 && b[11] == c.machine {
			n++
		}
	}
}
