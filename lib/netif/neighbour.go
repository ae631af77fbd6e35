package netif

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// neighbourHeader is the length of struct ndmsg.
const neighbourHeader = 12

// flagUse makes the kernel use a neighbour: it asks on the link.
const flagUse = 0x01 // NTF_USE

// encodeNeighbour is the body of a request about one neighbour.
func encodeNeighbour(index int, ip netip.Addr, flags uint8) ([]byte, error) {
	b := make([]byte, neighbourHeader)
	b[0] = uint8(Family(ip))
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	b[10] = flags
	ae := netlink.NewAttributeEncoder()
	ae.Bytes(unix.NDA_DST, ip.AsSlice())
	attrs, err := ae.Encode()
	return append(b, attrs...), err
}

// neighbourOf is a message RTM_NEWNEIGH with the address and interface it is about.
type neighbourOf struct {
	Neighbour
	index int
	ip    netip.Addr
}

func parseNeighbour(b []byte) (neighbourOf, error) {
	if len(b) < neighbourHeader {
		return neighbourOf{}, fmt.Errorf("message on a neighbour has %d bytes", len(b))
	}
	n := neighbourOf{index: int(int32(binary.NativeEndian.Uint32(b[4:])))}
	n.State = binary.NativeEndian.Uint16(b[8:])
	ad, err := netlink.NewAttributeDecoder(b[neighbourHeader:])
	if err != nil {
		return neighbourOf{}, fmt.Errorf("message on a neighbour: %w", err)
	}
	for ad.Next() {
		switch ad.Type() {
		case unix.NDA_DST:
			n.ip, _ = netip.AddrFromSlice(ad.Bytes())
		case unix.NDA_LLADDR:
			n.Hardware = net.HardwareAddr(ad.Bytes())
		}
	}
	if err := ad.Err(); err != nil {
		return neighbourOf{}, fmt.Errorf("message on a neighbour: %w", err)
	}
	return n, nil
}

// Neighbour reads one entry. Kernels before 5.0 list them all or nothing.
func (s *socket) Neighbour(index int, ip netip.Addr) (Neighbour, error) {
	body, err := encodeNeighbour(index, ip, 0)
	if err != nil {
		return Neighbour{}, err
	}
	msgs, err := s.execute(unix.RTM_GETNEIGH, 0, body)
	switch {
	case err == nil && len(msgs) == 1 && msgs[0].Header.Type == unix.RTM_NEWNEIGH:
		n, err := parseNeighbour(msgs[0].Data)
		return n.Neighbour, err
	case errors.Is(err, unix.ENOENT):
		return Neighbour{}, nil
	case errors.Is(err, unix.EOPNOTSUPP):
		return s.findNeighbour(index, ip)
	case err == nil:
		err = errors.New("an answer of another kind")
	}
	return Neighbour{}, fmt.Errorf("cannot look for the neighbour %s: %w", ip, err)
}

func (s *socket) findNeighbour(index int, ip netip.Addr) (Neighbour, error) {
	body := make([]byte, neighbourHeader)
	body[0] = uint8(Family(ip))
	list, err := dump(s, unix.RTM_GETNEIGH, unix.RTM_NEWNEIGH, body, parseNeighbour)
	if err != nil {
		return Neighbour{}, fmt.Errorf("cannot list the neighbours: %w", err)
	}
	for _, n := range list {
		if n.index == index && n.ip == ip {
			return n.Neighbour, nil
		}
	}
	return Neighbour{}, nil
}

// Solicit asks on the link who has an address.
func (s *socket) Solicit(index int, ip netip.Addr) error {
	if err := s.Forget(index, ip); err != nil {
		return err
	}
	body, err := encodeNeighbour(index, ip, flagUse)
	if err != nil {
		return err
	}
	if _, err := s.execute(unix.RTM_NEWNEIGH, netlink.Acknowledge|netlink.Create, body); err != nil {
		return fmt.Errorf("cannot ask for the neighbour %s: %w", ip, err)
	}
	return nil
}

// Forget removes one entry.
func (s *socket) Forget(index int, ip netip.Addr) error {
	body, err := encodeNeighbour(index, ip, 0)
	if err != nil {
		return err
	}
	_, err = s.execute(unix.RTM_DELNEIGH, netlink.Acknowledge, body)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("cannot forget the neighbour %s: %w", ip, err)
	}
	return nil
}
