package main

import (
	"errors"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"pgrex/lib/meta"
)

// declaration says what the agent is called, takes and offers. Names, types and defaults of the
// parameters are those of ocf:heartbeat:IPaddr2: an existing configuration must mean the same here.
// New are provider and the parameters of the cloud.
func declaration() meta.Agent {
	return meta.Agent{
		Name:    "cloudip",
		Version: "1.0",
		Short:   "Virtual IPv4 or IPv6 address, on a LAN or in a cloud",
		Long: `Holds a virtual IP address on one node. On a LAN it does what ocf:heartbeat:IPaddr2 does, without
starting other programs: it adds the address to an interface, announces it to the neighbours, and watches
address and link.

In a cloud an address that is only on the operating system gets no packets. There the agent first makes
the machine's network interface the holder of the address, in one step with taking it from its former holder,
and then adds it to the interface. On stop the address leaves the operating system first.

The parameters are those of IPaddr2, so an existing resource moves over by a change of its provider and type.`,
		Parameters: slices.Concat(addressParams(), announceParams(), checkParams(), cloudParams(), azureParams(), unsupportedParams()),
		Actions:    actions(),
	}
}

func actions() []meta.Action {
	const s = time.Second
	return []meta.Action{
		// On a LAN start takes milliseconds; the time is for clouds.
		{Name: "start", Timeout: 180 * s},
		{Name: "stop", Timeout: 60 * s},
		{Name: "status", Timeout: 20 * s, Interval: 10 * s},
		{Name: "monitor", Timeout: 20 * s, Interval: 10 * s},
		{Name: "reload-agent", Timeout: 20 * s},
		{Name: "meta-data", Timeout: 5 * s},
		{Name: "validate-all", Timeout: 60 * s},
	}
}

// addressParams say which address goes where.
func addressParams() []meta.Parameter {
	return []meta.Parameter{
		{
			Name: "ip", Type: meta.String, Required: true, Unique: true,
			Short: "The address",
			Long:  `The IPv4 or IPv6 address, for example 192.168.0.10 or 2001:db8::10.`,
			Check: func(v string) error {
				_, err := parseIP(v)
				return err
			},
		},
		{
			Name: "nic", Type: meta.String,
			Short: "Network interface",
			Long: `The interface that takes the address; an alternative name of an interface will do. Unless set, it is the
one with the longest route on the link that matches the address. An IPv6 link-local address needs it. The old form
eth0:label also sets iflabel.

In a cloud, unless set, it is the interface that the cloud says belongs to the address.`,
		},
		{
			Name: "cidr_netmask", Type: meta.String,
			Short: "Prefix length",
			Long: `The length of the network prefix, for example 24, or for IPv4 a netmask such as 255.255.255.0. Unless set,
it is that of the subnet that holds the address already; in a cloud 32, or 128 for IPv6, so that the address never becomes
the source of a connection this machine opens.`,
			Check: func(v string) error {
				_, err := parseMask(v)
				return err
			},
		},
		{
			Name: "broadcast", Type: meta.String,
			Short: "Broadcast address",
			Long: `The IPv4 broadcast address; + derives it from the prefix, - leaves it out. Unless set, it is that of the
interface's own address in the same subnet.`,
			Check: checkBroadcast,
		},
		{
			Name: "proto", Type: meta.String,
			Short: "Protocol of the routes looked at",
			Long: `When interface or prefix length are found from the routes, only those of this protocol count: kernel, static,
boot, dhcp, ra, or a number.`,
			Check: func(v string) error {
				_, err := parseProtocol(v)
				return err
			},
		},
		{
			Name: "iflabel", Type: meta.String,
			Short: "Label of the address",
			Long: `An IPv4 address gets the label <nic>:<iflabel>, which some older tools show as an interface of its own.
Together they have at most 15 characters.`,
		},
		{
			Name: "noprefixroute", Type: meta.Boolean, Default: "false",
			Short: "No route for the prefix",
			Long:  `The kernel adds no route to the subnet for this address.`,
		},
		{
			Name: "preferred_lft", Type: meta.String, Default: "forever",
			Short: "Preferred lifetime of an IPv6 address",
			Long: `In seconds, or forever. With 0 the address is never chosen as the source of a connection that this machine
opens; that is always so in a cloud.`,
			Check: func(v string) error {
				_, err := parseLifetime(v)
				return err
			},
		},
		{
			Name: "lvs_ipv6_addrlabel", Type: meta.Boolean, Default: "false",
			Short: "Never use an IPv6 address as source",
			Long: `With true the IPv6 address is never chosen as the source of a connection that this machine opens. IPaddr2
does it by a label in the address selection table; here it means preferred_lft=0.`,
		},
		{
			Name: "lvs_ipv6_addrlabel_value", Type: meta.Integer, Default: "99", Min: number(0),
			Short: "Label of an IPv6 address (accepted, not used)",
			Long:  `Kept so that existing configurations stay valid.`,
		},
		{
			Name: "nodad", Type: meta.Boolean, Default: "false",
			Short: "No duplicate address detection for IPv6",
			Long: `An IPv6 address can be used at once and nobody is asked whether it is in use already. Otherwise start waits
for the kernel's detection, one to two seconds.`,
		},
		{
			Name: "network_namespace", Type: meta.String,
			Short: "Network namespace",
			Long:  `The name of the network namespace, as "ip netns" shows it, that has the interface. A cloud is always asked from the node's own.`,
			Check: func(v string) error {
				if strings.ContainsAny(v, "/\x00") || v == "." || v == ".." {
					return errors.New("is not the name of a network namespace")
				}
				return nil
			},
		},
		{
			Name: "flush_routes", Type: meta.Boolean, Default: "false",
			Short: "Flush cached routes on stop",
			Long: `Kernels have had no cache of routes since Linux 3.6, and routes that are left behind by the address are
always removed; accepted, and nothing more is done.`,
		},
	}
}

// announceParams say how neighbours are told.
func announceParams() []meta.Parameter {
	return []meta.Parameter{
		{
			Name: "arp_interval", Type: meta.Integer, Default: "200", Min: number(1), Max: number(60000), Reloadable: true,
			Short: "Milliseconds between announcements",
			Long:  `The time between two announcements (gratuitous ARP, or unsolicited neighbour advertisement for IPv6).`,
		},
		{
			Name: "arp_count", Type: meta.Integer, Default: "5", Min: number(0), Max: number(1000), Reloadable: true,
			Short: "Announcements at start",
			Long:  `How often the address is announced when it is started. 0 switches announcements off.`,
		},
		{
			Name: "arp_count_refresh", Type: meta.Integer, Default: "0", Min: number(0), Max: number(100), Reloadable: true,
			Short: "Announcements at each monitor",
			Long: `How often the address is announced again at each monitor, for IPv4 and IPv6. It mends switches and
neighbours that believed another node, for instance after a network was split in two.`,
		},
		{
			Name: "arp_bg", Type: meta.Boolean, Default: "true", Reloadable: true,
			Short: "Announce in the background",
			Long: `The first announcement is sent before start returns. The others are sent by a short-lived process in the
background; with false start waits for them.`,
		},
		{
			Name: "arp_sender", Type: meta.Select, Options: []string{"send_arp", "iputils_arping", "libnet_arping", "ipoibarping"}, Reloadable: true,
			Short: "Program that announces (accepted, not used)",
			Long:  `Kept so that existing configurations stay valid. The agent sends announcements itself.`,
		},
		{
			Name: "send_arp_opts", Type: meta.String, Reloadable: true,
			Short: "Options of the announcements",
			Long: `Each gratuitous ARP is sent in both forms, as request and as reply. -A sends replies only, -U requests
only. Other options were for the programs named in arp_sender and are ignored.`,
		},
	}
}

// checkParams say what is looked at.
func checkParams() []meta.Parameter {
	return []meta.Parameter{
		{
			Name: "run_arping", Type: meta.Boolean, Default: "false", Reloadable: true,
			Short: "Refuse an IPv4 address that is in use",
			Long: `With true the network is asked before the address is added (three probes in 0.6 s, ended by the first answer)
and start fails, naming the hardware address, if somebody has it. Otherwise one probe is sent while the address is being
added, and an answer within 20 ms is a warning. Later conflicts are shown by monitor in either case. Nobody is asked on
loopback and on links without ARP, nor in a cloud, whose network answers for every address.`,
		},
		{
			Name: "check_link_status", Type: meta.Boolean, Default: "true", Reloadable: true,
			Short: "The link must be up",
			Long:  `An address whose interface has no link counts as not running, and start does not succeed without one.`,
		},
	}
}

// cloudParams are those common to all clouds.
func cloudParams() []meta.Parameter {
	return []meta.Parameter{
		{
			Name: "provider", Type: meta.Select, Options: []string{providerAuto, providerNone, "azure"}, Default: providerAuto,
			Short: "The cloud that has to assign the address",
			Long: `none: a LAN, the operating system alone decides. azure: the network interface of the virtual machine has to hold
the address. auto: found out from what the firmware says of the machine, without asking the network.`,
		},
		{
			Name: "cloud_check_interval", Type: meta.Seconds, Default: "0", Min: number(0), Reloadable: true,
			Short: "Seconds between checks with the cloud",
			Long: `How often a monitor also asks the cloud who holds the address. 0 means never: a monitor then looks at this
machine only. When the cloud says that another machine holds it, the address is not running here; when the cloud cannot
be asked, nothing changes.`,
		},
		{
			Name: "release_on_stop", Type: meta.Select, Options: []string{releaseNever, releaseTry}, Default: releaseNever, Reloadable: true,
			Short: "Give the address back to the cloud on stop",
			Long: `never: stop takes the address off this machine and leaves its assignment; the next start takes it over in
the same time, and a planned move is one change less. try: the assignment is removed too if the cloud does it in time; stop
does not fail if not.`,
		},
	}
}

// unsupported says why a parameter that IPaddr2 has is refused here.
const unsupported = "load sharing by one address on several nodes is not supported; accepted only with its default value"

// unsupportedParams belong to uses of IPaddr2 that this agent does not offer. They are declared so
// that a configuration which spells out their defaults stays valid.
func unsupportedParams() []meta.Parameter {
	p := func(name string, kind meta.Kind, def string) meta.Parameter {
		return meta.Parameter{
			Name: name, Type: kind, Default: def,
			Short:      "Not supported",
			Long:       `Part of IPaddr2's cluster IP and LVS modes, which this agent does not have. Any other value than the default is refused.`,
			Deprecated: &meta.Deprecation{Why: unsupported},
		}
	}
	return []meta.Parameter{
		p("lvs_support", meta.Boolean, "false"),
		p("mac", meta.String, ""),
		p("clusterip_hash", meta.String, "sourceip-sourceport"),
		p("clusterip_hash_seed", meta.String, ""),
		p("clusterip_firewall", meta.String, "auto"),
		p("clusterip_table", meta.String, "mangle"),
		p("clusterip_chain", meta.String, "PREROUTING"),
		p("clusterip_mac_mangle", meta.Boolean, "false"),
		p("unique_clone_address", meta.Boolean, "false"),
	}
}

func number(n int) *int { return &n }

// parseIP reads the address. An IPv4 address in IPv6 clothes and one with a zone are refused: the
// kernel has neither.
func parseIP(s string) (netip.Addr, error) {
	ip, err := netip.ParseAddr(strings.TrimSpace(s))
	switch {
	case err != nil:
		return netip.Addr{}, errors.New("is not an IPv4 or IPv6 address")
	case ip.Zone() != "":
		return netip.Addr{}, errors.New("has a zone: name the interface in nic instead")
	case ip.Is4In6():
		return netip.Addr{}, errors.New("is an IPv4 address in IPv6 form: write it as IPv4")
	case ip.IsUnspecified() || ip.IsMulticast() || ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return netip.Addr{}, errors.New("cannot be the address of an interface")
	}
	return ip, nil
}

// parseMask reads a prefix length, or an IPv4 netmask in dotted form.
func parseMask(s string) (int, error) {
	s = strings.TrimSpace(s)
	if n, err := strconv.Atoi(s); err == nil && n > 0 && n <= 128 && !strings.HasPrefix(s, "+") {
		return n, nil
	} else if err == nil && n == 0 {
		return 0, errWholeWorld
	}
	bad := errors.New("is not a prefix length such as 24")
	ip, err := netip.ParseAddr(s)
	if err != nil || !ip.Is4() {
		return 0, bad
	}
	b := ip.As4()
	mask := uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
	if mask == 0 {
		return 0, errWholeWorld
	}
	for n := range 33 {
		if mask == ^uint32(0)<<(32-n) {
			return n, nil
		}
	}
	return 0, bad
}

// errWholeWorld refuses what would be a route to everywhere over the link.
var errWholeWorld = errors.New("would make every address a neighbour on the link: give the length of the subnet's prefix, such as 24")

func checkBroadcast(s string) error {
	s = strings.TrimSpace(s)
	if s == "+" || s == "-" {
		return nil
	}
	if ip, err := netip.ParseAddr(s); err != nil || !ip.Is4() {
		return errors.New("is neither an IPv4 address nor + nor -")
	}
	return nil
}

// parseLifetime reads a lifetime in seconds; forever is the kernel's 2^32-1.
func parseLifetime(s string) (uint32, error) {
	s = strings.TrimSpace(s)
	if s == "forever" || s == "infinity" {
		return ^uint32(0), nil
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, errors.New("is neither a number of seconds nor forever")
	}
	return uint32(n), nil
}

// parseProtocol reads the protocol of a route, by the names of iproute2's rt_protos.
func parseProtocol(s string) (uint8, error) {
	names := map[string]uint8{"redirect": 1, "kernel": 2, "boot": 3, "static": 4, "ra": 9, "dhcp": 16}
	s = strings.TrimSpace(s)
	if n, ok := names[s]; ok {
		return n, nil
	}
	n, err := strconv.ParseUint(s, 10, 8)
	if err != nil {
		return 0, errors.New("is not a protocol of routes")
	}
	return uint8(n), nil
}
