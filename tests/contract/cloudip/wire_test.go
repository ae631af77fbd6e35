package cloudip

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// frame is an ARP packet as the peer saw it.
type frame struct {
	at             time.Time
	reply          bool
	sender, target string
}

// wire collects the ARP packets that reach the peer.
type wire struct {
	file   *os.File
	frames chan []frame
}

// listen begins to collect.
func listen(t *testing.T) *wire {
	t.Helper()
	var fd int
	in(t, peer, func() (err error) {
		const arp = 0x0608 // ETH_P_ARP as it is on the wire
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, arp)
		return err
	})
	w := &wire{file: os.NewFile(uintptr(fd), "arp"), frames: make(chan []frame, 1)}
	go func() {
		var frames []frame
		b := make([]byte, 256)
		for {
			n, err := w.file.Read(b)
			if errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, os.ErrClosed) {
				w.frames <- frames
				return
			}
			if err != nil || n < 28 {
				continue
			}
			frames = append(frames, frame{
				time.Now(), b[7] == 2, netip.AddrFrom4([4]byte(b[14:18])).String(), netip.AddrFrom4([4]byte(b[24:28])).String(),
			})
		}
	}()
	return w
}

// stop ends the collecting.
func (w *wire) stop(t *testing.T) []frame {
	t.Helper()
	if err := w.file.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	frames := <-w.frames
	_ = w.file.Close()
	return frames
}

// claim sends an ARP request on the peer's eth0 as a machine does that uses the address.
func claim(t *testing.T, addr, hardware string) {
	t.Helper()
	mac, err := net.ParseMAC(hardware)
	if err != nil {
		t.Fatal(err)
	}
	packet := []byte{0, 1, 8, 0, 6, 4, 0, 1}
	packet = append(packet, mac...)
	packet = append(packet, netip.MustParseAddr(addr).AsSlice()...)
	packet = append(packet, 0, 0, 0, 0, 0, 0, 192, 168, 144, 200)
	in(t, peer, func() error {
		link, err := net.InterfaceByName("eth0")
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }()
		to := unix.SockaddrLinklayer{Protocol: 0x0608, Ifindex: link.Index, Halen: 6, Addr: [8]byte{255, 255, 255, 255, 255, 255}}
		return unix.Sendto(fd, packet, 0, &to)
	})
}
