package netif

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	familyIPv4 = unix.AF_INET
	familyIPv6 = unix.AF_INET6
)

// Attributes that x/sys does not name.
const (
	attrAddressProto = 11 // IFA_PROTO, Linux 5.18
	attrPropList     = 52 // IFLA_PROP_LIST
	attrAltName      = 53 // IFLA_ALT_IFNAME
	skipStatistics   = 8  // RTEXT_FILTER_SKIP_STATS
)

// The headers of rtnetlink messages, <linux/rtnetlink.h>; numbers are in the machine's order.
const (
	linkHeader    = 16
	addressHeader = 8
	routeHeader   = 12
)

// linkQuery asks for all interfaces, without their counters.
func linkQuery() ([]byte, error) {
	ae := netlink.NewAttributeEncoder()
	ae.Uint32(unix.IFLA_EXT_MASK, skipStatistics)
	attrs, err := ae.Encode()
	return append(make([]byte, linkHeader), attrs...), err
}

// parseLink reads an RTM_NEWLINK message.
func parseLink(b []byte) (Link, error) {
	if len(b) < linkHeader {
		return Link{}, fmt.Errorf("message on a link has %d bytes", len(b))
	}
	l := Link{
		Type:  binary.NativeEndian.Uint16(b[2:]),
		Index: int(int32(binary.NativeEndian.Uint32(b[4:]))),
		Flags: binary.NativeEndian.Uint32(b[8:]),
	}
	ad, err := netlink.NewAttributeDecoder(b[linkHeader:])
	if err != nil {
		return Link{}, fmt.Errorf("message on a link: %w", err)
	}
	for ad.Next() {
		switch ad.Type() {
		case unix.IFLA_IFNAME:
			l.Name = ad.String()
		case unix.IFLA_ADDRESS:
			l.Hardware = net.HardwareAddr(ad.Bytes())
		case unix.IFLA_OPERSTATE:
			l.Oper = OperState(ad.Uint8())
		case unix.IFLA_MASTER:
			l.Master = int(ad.Uint32())
		case unix.IFLA_LINKINFO:
			ad.Nested(func(nad *netlink.AttributeDecoder) error {
				for nad.Next() {
					if nad.Type() == unix.IFLA_INFO_KIND {
						l.Kind = nad.String()
					}
				}
				return nil
			})
		case attrPropList:
			ad.Nested(func(nad *netlink.AttributeDecoder) error {
				for nad.Next() {
					if nad.Type() == attrAltName {
						l.AltNames = append(l.AltNames, nad.String())
					}
				}
				return nil
			})
		}
	}
	if err := ad.Err(); err != nil {
		return Link{}, fmt.Errorf("message on a link: %w", err)
	}
	return l, nil
}

// setUp is the body of an RTM_NEWLINK request that sets an interface up.
func setUp(index int) []byte {
	b := make([]byte, linkHeader)
	binary.NativeEndian.PutUint32(b[4:], uint32(index))
	binary.NativeEndian.PutUint32(b[8:], LinkUp)
	binary.NativeEndian.PutUint32(b[12:], LinkUp) // which flags to change
	return b
}

// addressQuery asks for all addresses of a family.
func addressQuery(family int) []byte {
	b := make([]byte, addressHeader)
	b[0] = uint8(family)
	return b
}

// encodeAddress is the body of a request about an address. what is RTM_NEWADDR or RTM_DELADDR.
func encodeAddress(a Address, what netlink.HeaderType) ([]byte, error) {
	b := make([]byte, addressHeader)
	b[0] = uint8(Family(a.IP()))
	b[1] = uint8(a.Prefix.Bits())
	b[2] = uint8(a.Flags)
	b[3] = a.Scope
	binary.NativeEndian.PutUint32(b[4:], uint32(a.Index))
	ae := netlink.NewAttributeEncoder()
	ae.Bytes(unix.IFA_LOCAL, a.IP().AsSlice())
	far := a.IP()
	if a.Peer.IsValid() {
		far = a.Peer
	}
	ae.Bytes(unix.IFA_ADDRESS, far.AsSlice())
	if a.Label != "" {
		ae.String(unix.IFA_LABEL, a.Label)
	}
	if what == unix.RTM_NEWADDR {
		if a.Broadcast.IsValid() {
			ae.Bytes(unix.IFA_BROADCAST, a.Broadcast.AsSlice())
		}
		ae.Uint32(unix.IFA_FLAGS, a.Flags)
		info := make([]byte, unix.SizeofIfaCacheinfo)
		binary.NativeEndian.PutUint32(info, a.Preferred)
		binary.NativeEndian.PutUint32(info[4:], a.Valid)
		ae.Bytes(unix.IFA_CACHEINFO, info)
		if a.Metric != 0 {
			ae.Uint32(unix.IFA_RT_PRIORITY, a.Metric)
		}
		if a.Proto != 0 {
			ae.Uint8(attrAddressProto, a.Proto)
		}
	}
	attrs, err := ae.Encode()
	return append(b, attrs...), err
}

// parseAddress reads an RTM_NEWADDR message.
func parseAddress(b []byte) (Address, error) {
	if len(b) < addressHeader {
		return Address{}, fmt.Errorf("message on an address has %d bytes", len(b))
	}
	bits := int(b[1])
	a := Address{Flags: uint32(b[2]), Scope: b[3], Index: int(binary.NativeEndian.Uint32(b[4:])), Preferred: Forever, Valid: Forever}
	ad, err := netlink.NewAttributeDecoder(b[addressHeader:])
	if err != nil {
		return Address{}, fmt.Errorf("message on an address: %w", err)
	}
	var local, far netip.Addr
	for ad.Next() {
		switch ad.Type() {
		case unix.IFA_LOCAL:
			local, _ = netip.AddrFromSlice(ad.Bytes())
		case unix.IFA_ADDRESS:
			far, _ = netip.AddrFromSlice(ad.Bytes())
		case unix.IFA_BROADCAST:
			a.Broadcast, _ = netip.AddrFromSlice(ad.Bytes())
		case unix.IFA_LABEL:
			a.Label = strings.TrimRight(ad.String(), "\x00")
		case unix.IFA_FLAGS:
			a.Flags = ad.Uint32()
		case unix.IFA_CACHEINFO:
			if info := ad.Bytes(); len(info) >= 8 {
				a.Preferred, a.Valid = binary.NativeEndian.Uint32(info), binary.NativeEndian.Uint32(info[4:])
			}
		case unix.IFA_RT_PRIORITY:
			a.Metric = ad.Uint32()
		case attrAddressProto:
			a.Proto = ad.Uint8()
		}
	}
	if err := ad.Err(); err != nil {
		return Address{}, fmt.Errorf("message on an address: %w", err)
	}
	// IPv6 has IFA_LOCAL on point-to-point links only, where IFA_ADDRESS is the other end.
	if !local.IsValid() {
		local = far
	}
	if far != local {
		a.Peer = far
	}
	a.Prefix = netip.PrefixFrom(local, bits)
	if !a.Prefix.IsValid() {
		return Address{}, fmt.Errorf("message on an address without one")
	}
	return a, nil
}

// routeQuery asks for all routes of a family.
func routeQuery(family int) []byte {
	b := make([]byte, routeHeader)
	b[0] = uint8(family)
	return b
}

// encodeRoute is the body of an RTM_DELROUTE request.
func encodeRoute(r Route) ([]byte, error) {
	b := make([]byte, routeHeader)
	b[0] = uint8(Family(r.Dst.Addr()))
	b[1] = uint8(r.Dst.Bits())
	b[3] = r.TOS
	b[4] = uint8(min(r.Table, 255))
	b[5], b[6], b[7] = r.Protocol, r.Scope, r.Type
	ae := netlink.NewAttributeEncoder()
	ae.Uint32(unix.RTA_TABLE, r.Table)
	if r.Dst.Bits() > 0 {
		ae.Bytes(unix.RTA_DST, r.Dst.Addr().AsSlice())
	}
	if r.Gateway.IsValid() {
		ae.Bytes(unix.RTA_GATEWAY, r.Gateway.AsSlice())
	}
	if r.Source.IsValid() {
		ae.Bytes(unix.RTA_PREFSRC, r.Source.AsSlice())
	}
	if r.Index != 0 {
		ae.Uint32(unix.RTA_OIF, uint32(r.Index))
	}
	if r.Metric != 0 {
		ae.Uint32(unix.RTA_PRIORITY, r.Metric)
	}
	attrs, err := ae.Encode()
	return append(b, attrs...), err
}

// parseRoute reads an RTM_NEWROUTE message.
func parseRoute(b []byte) (Route, error) {
	if len(b) < routeHeader {
		return Route{}, fmt.Errorf("message on a route has %d bytes", len(b))
	}
	r := Route{TOS: b[3], Table: uint32(b[4]), Protocol: b[5], Scope: b[6], Type: b[7]}
	dst := netip.IPv6Unspecified()
	if b[0] == familyIPv4 {
		dst = netip.IPv4Unspecified()
	}
	ad, err := netlink.NewAttributeDecoder(b[routeHeader:])
	if err != nil {
		return Route{}, fmt.Errorf("message on a route: %w", err)
	}
	for ad.Next() {
		switch ad.Type() {
		case unix.RTA_DST:
			dst, _ = netip.AddrFromSlice(ad.Bytes())
		case unix.RTA_GATEWAY:
			r.Gateway, _ = netip.AddrFromSlice(ad.Bytes())
		case unix.RTA_PREFSRC:
			r.Source, _ = netip.AddrFromSlice(ad.Bytes())
		case unix.RTA_OIF:
			r.Index = int(ad.Uint32())
		case unix.RTA_TABLE:
			r.Table = ad.Uint32()
		case unix.RTA_PRIORITY:
			r.Metric = ad.Uint32()
		}
	}
	if err := ad.Err(); err != nil {
		return Route{}, fmt.Errorf("message on a route: %w", err)
	}
	r.Dst = netip.PrefixFrom(dst, int(b[1]))
	if !r.Dst.IsValid() {
		return Route{}, fmt.Errorf("message on a route without a destination")
	}
	return r, nil
}
