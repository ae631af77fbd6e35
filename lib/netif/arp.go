package netif

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
)

// ARP is an ARP packet for IPv4 over Ethernet, RFC 826.
type ARP struct {
	// Reply tells a reply from a request.
	Reply                          bool
	SenderHardware, TargetHardware net.HardwareAddr
	Sender, Target                 netip.Addr
}

// ErrNotOurs says that a packet is valid perhaps but not of the kind this package knows.
var ErrNotOurs = errors.New("another kind of packet")

const (
	arpLength   = 28
	hardEther   = 1
	etherIPv4   = 0x0800
	opRequest   = 1
	opReply     = 2
	hardwareLen = 6
)

var noHardware = net.HardwareAddr{0, 0, 0, 0, 0, 0}

// Probe asks who has ip without claiming it, RFC 5227 section 2.1.1.
func Probe(own net.HardwareAddr, ip netip.Addr) ARP {
	return ARP{SenderHardware: own, Sender: netip.IPv4Unspecified(), TargetHardware: noHardware, Target: ip}
}

// Announcement says that ip is at own. Some switches and hosts learn from requests only, some from
// replies only. In a reply the target repeats the sender, RFC 5944 section 4.6.
func Announcement(own net.HardwareAddr, ip netip.Addr, reply bool) ARP {
	a := ARP{Reply: reply, SenderHardware: own, Sender: ip, TargetHardware: noHardware, Target: ip}
	if reply {
		a.TargetHardware = own
	}
	return a
}

// Marshal is the packet as it goes behind an Ethernet header.
func (a ARP) Marshal() []byte {
	b := make([]byte, 0, arpLength)
	b = binary.BigEndian.AppendUint16(b, hardEther)
	b = binary.BigEndian.AppendUint16(b, etherIPv4)
	b = append(b, hardwareLen, 4)
	op := uint16(opRequest)
	if a.Reply {
		op = opReply
	}
	b = binary.BigEndian.AppendUint16(b, op)
	b = append(b, a.SenderHardware...)
	b = append(b, a.Sender.AsSlice()...)
	b = append(b, a.TargetHardware...)
	return append(b, a.Target.AsSlice()...)
}

// ParseARP reads a packet. What follows it (short Ethernet frames are padded) is ignored.
func ParseARP(b []byte) (ARP, error) {
	if len(b) < arpLength {
		return ARP{}, fmt.Errorf("ARP packet of %d bytes", len(b))
	}
	op := binary.BigEndian.Uint16(b[6:])
	if binary.BigEndian.Uint16(b) != hardEther || binary.BigEndian.Uint16(b[2:]) != etherIPv4 ||
		b[4] != hardwareLen || b[5] != 4 || op != opRequest && op != opReply {
		return ARP{}, ErrNotOurs
	}
	return ARP{
		Reply:          op == opReply,
		SenderHardware: bytes.Clone(b[8:14]), Sender: netip.AddrFrom4([4]byte(b[14:18])),
		TargetHardware: bytes.Clone(b[18:24]), Target: netip.AddrFrom4([4]byte(b[24:28])),
	}, nil
}

// Claims reports whether the packet shows that its sender uses ip. With probing, another one's
// probe for it counts too: two machines are about to take it.
func (a ARP) Claims(ip netip.Addr, probing bool) bool {
	return a.Sender == ip || probing && !a.Reply && a.Sender.IsUnspecified() && a.Target == ip
}
