package netif

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
)

// Advertisement is an unsolicited neighbour advertisement, RFC 4861 section 7.2.6, with the IPv6
// header around it: it goes out by a packet socket, where the kernel adds none.
type Advertisement struct {
	IP       netip.Addr
	Hardware net.HardwareAddr
	// Router says that this machine forwards packets; advertising otherwise would make neighbours
	// drop it as their router.
	Router bool
}

const (
	ipv6HeaderLength    = 40
	advertisementLength = 24 + 8
	protocolICMPv6      = 58
	neighbourAdvert     = 136
	targetHardware      = 2 // the option
	hopLimit            = 255
	flagRouter          = 0x80
	flagOverride        = 0x20
)

// allNodes is where advertisements go, allNodesHardware its Ethernet address.
var (
	allNodes         = netip.MustParseAddr("ff02::1")
	allNodesHardware = net.HardwareAddr{0x33, 0x33, 0, 0, 0, 1}
	broadcast        = net.HardwareAddr{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
)

// Marshal is the packet as it goes behind an Ethernet header.
func (a Advertisement) Marshal() []byte {
	b := make([]byte, ipv6HeaderLength+advertisementLength)
	b[0] = 6 << 4
	binary.BigEndian.PutUint16(b[4:], advertisementLength)
	b[6], b[7] = protocolICMPv6, hopLimit
	copy(b[8:], a.IP.AsSlice())
	copy(b[24:], allNodes.AsSlice())
	m := b[ipv6HeaderLength:]
	m[0] = neighbourAdvert
	m[4] = flagOverride
	if a.Router {
		m[4] |= flagRouter
	}
	copy(m[8:], a.IP.AsSlice())
	m[24], m[25] = targetHardware, 1
	copy(m[26:], a.Hardware)
	binary.BigEndian.PutUint16(m[2:], checksum(b[8:40], m))
	return b
}

// ParseAdvertisement reads a packet and checks it as RFC 4861 section 7.1.2 demands of a receiver.
// Solicited advertisements and those without a hardware address are ErrNotOurs.
func ParseAdvertisement(b []byte) (Advertisement, error) {
	if len(b) < ipv6HeaderLength+24 {
		return Advertisement{}, fmt.Errorf("neighbour advertisement of %d bytes", len(b))
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	if b[0]>>4 != 6 || b[6] != protocolICMPv6 || length < 24 || len(b) < ipv6HeaderLength+length {
		return Advertisement{}, ErrNotOurs
	}
	m := b[ipv6HeaderLength : ipv6HeaderLength+length]
	if m[0] != neighbourAdvert || m[1] != 0 || m[4]&0x40 != 0 {
		return Advertisement{}, ErrNotOurs
	}
	if b[7] != hopLimit {
		return Advertisement{}, fmt.Errorf("neighbour advertisement that was forwarded")
	}
	// A sum that comes out as all ones is sent as such; over a valid packet it is 0.
	if checksum(b[8:40], m) != 0 {
		return Advertisement{}, fmt.Errorf("neighbour advertisement with a wrong checksum")
	}
	a := Advertisement{IP: netip.AddrFrom16([16]byte(m[8:24])), Router: m[4]&flagRouter != 0}
	for o := m[24:]; len(o) > 0; {
		if len(o) < 8 || o[1] == 0 || len(o) < 8*int(o[1]) {
			return Advertisement{}, fmt.Errorf("neighbour advertisement with a broken option")
		}
		if o[0] == targetHardware && o[1] == 1 {
			a.Hardware = bytes.Clone(o[2:8])
		}
		o = o[8*int(o[1]):]
	}
	if a.Hardware == nil || a.IP.IsMulticast() {
		return Advertisement{}, ErrNotOurs
	}
	return a, nil
}

// checksum is the internet checksum over message and the pseudo-header of IPv6, whose addresses are
// given as they stand in the header, RFC 8200 section 8.1.
func checksum(addresses, message []byte) uint16 {
	sum := uint32(len(message)) + protocolICMPv6
	add := func(b []byte) {
		for i := 0; i+1 < len(b); i += 2 {
			sum += uint32(b[i])<<8 | uint32(b[i+1])
		}
		if len(b)%2 == 1 {
			sum += uint32(b[len(b)-1]) << 8
		}
	}
	add(addresses)
	add(message)
	for sum > 0xffff {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
