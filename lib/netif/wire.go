package netif

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Wire opens links for packets of ARP or neighbour discovery.
type Wire interface {
	Open(l Link, family int) (Packets, error)
}

// Packets are those of one link and one family, without their link layer header.
type Packets interface {
	// Send sends a packet to everybody on the link.
	Send(b []byte) error
	// Receive waits for a packet from another machine, until ctx ends at most. Only ARP is received:
	// the kernel itself looks for conflicts of IPv6 addresses.
	Receive(ctx context.Context) ([]byte, error)
	Close() error
}

// packets is a packet socket bound to a link.
type packets struct {
	file *os.File
	to   unix.SockaddrLinklayer
}

// openPackets opens a socket in the namespace of the calling thread.
func openPackets(l Link, family int) (*packets, error) {
	send, receive, everybody := uint16(unix.ETH_P_ARP), uint16(unix.ETH_P_ARP), broadcast
	if family == familyIPv6 {
		send, receive, everybody = unix.ETH_P_IPV6, 0, allNodesHardware
	}
	// SOCK_DGRAM: the kernel writes the link layer header, of whatever device it is. The protocol is
	// set by bind, so that nothing of other links comes in before it.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open a packet socket: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian(receive), Ifindex: l.Index}); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("cannot open %s for packets: %w", l.Name, err)
	}
	p := &packets{
		file: os.NewFile(uintptr(fd), l.Name),
		to:   unix.SockaddrLinklayer{Protocol: bigEndian(send), Ifindex: l.Index, Halen: uint8(len(everybody))},
	}
	copy(p.to.Addr[:], everybody)
	return p, nil
}

// bigEndian is a protocol number as packet sockets take it.
func bigEndian(n uint16) uint16 { return n<<8 | n>>8 }

// Send sends a packet.
func (p *packets) Send(b []byte) error {
	raw, err := p.file.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	err = raw.Write(func(fd uintptr) bool {
		serr = unix.Sendto(int(fd), b, 0, &p.to)
		return !errors.Is(serr, unix.EAGAIN)
	})
	if err := errors.Join(err, serr); err != nil {
		return fmt.Errorf("cannot send on %s: %w", p.file.Name(), err)
	}
	return nil
}

// Receive waits for a packet.
func (p *packets) Receive(ctx context.Context) ([]byte, error) {
	if err := p.file.SetReadDeadline(time.Time{}); err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = p.file.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	b := make([]byte, 256)
	n, err := p.file.Read(b)
	switch {
	case err == nil:
		return b[:n], nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	return nil, fmt.Errorf("cannot receive on %s: %w", p.file.Name(), err)
}

// Close closes the socket.
func (p *packets) Close() error { return p.file.Close() }

// Own are the hardware addresses of this machine: another of its interfaces on the same LAN answers
// for the address too, and a switch may send our own packets back.
func Own(links []Link) []net.HardwareAddr {
	var own []net.HardwareAddr
	for _, l := range links {
		if len(l.Hardware) > 0 {
			own = append(own, l.Hardware)
		}
	}
	return own
}
