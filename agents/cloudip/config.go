package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"pgrex/lib/netif"
	"pgrex/lib/ocf"
)

// config are the parameters in the form the actions use. Where a value makes no sense its default
// stands, so that stop and monitor find their way; check tells.
type config struct {
	ip        netip.Addr // invalid if it cannot be read
	nic       string
	mask      string // as it was given
	bits      int    // -1: to be found
	broadcast string
	label     string // the part behind the colon
	namespace string
	flags     uint32
	preferred uint32
	protocol  uint8

	interval       time.Duration
	count, refresh int
	background     bool
	request, reply bool
	thorough       bool // run_arping
	checkLink      bool
	waitDAD        bool
	provider       string
	cloudInterval  time.Duration
	release        bool
	err            error
}

func newConfig(c *ocf.Call) config {
	p := c.Params
	conf := config{
		nic: strings.TrimSpace(p.String("nic")), bits: -1, broadcast: strings.TrimSpace(p.String("broadcast")),
		label: strings.TrimSpace(p.String("iflabel")), namespace: p.String("network_namespace"),
		interval: time.Duration(p.Int("arp_interval")) * time.Millisecond,
		count:    p.Int("arp_count"), refresh: p.Int("arp_count_refresh"), background: p.Bool("arp_bg"),
		thorough: p.Bool("run_arping"), checkLink: p.Bool("check_link_status"), waitDAD: !p.Bool("nodad"),
		provider: p.String("provider"), cloudInterval: p.Duration("cloud_check_interval"),
		release: p.String("release_on_stop") == releaseTry,
		err:     c.ParamErr,
	}
	conf.ip, _ = parseIP(p.String("ip"))
	if nic, label, ok := strings.Cut(conf.nic, ":"); ok {
		conf.nic, conf.label = nic, label
	}
	mask := p.String("cidr_netmask")
	if mask == "" {
		// The name that older configurations have for it; no meta-data ever declared it.
		mask = c.Getenv("OCF_RESKEY_netmask")
	}
	conf.mask = mask
	if mask != "" {
		if n, err := parseMask(mask); err == nil {
			conf.bits = n
		} else if conf.err == nil {
			conf.err = bad("cidr_netmask=%q: %w", mask, err)
		}
	}
	if p.Bool("nodad") {
		conf.flags |= netif.AddrNoDAD
	}
	if p.Bool("noprefixroute") {
		conf.flags |= netif.AddrNoPrefixRoute
	}
	conf.preferred = netif.Forever
	if n, err := parseLifetime(p.String("preferred_lft")); err == nil {
		conf.preferred = n
	}
	if p.Bool("lvs_ipv6_addrlabel") {
		conf.preferred = 0
	}
	conf.protocol, _ = parseProtocol(p.String("proto"))
	options := strings.Fields(p.String("send_arp_opts"))
	conf.reply = !slices.Contains(options, "-U") || slices.Contains(options, "-A")
	conf.request = !slices.Contains(options, "-A") || slices.Contains(options, "-U")
	if conf.err == nil {
		conf.err = conf.check(c)
	}
	return conf
}

func bad(format string, a ...any) error { return ocf.Errorf(ocf.ErrConfigured, format, a...) }

// maxLabel is the longest name the kernel takes for an interface, and so for a label (IFNAMSIZ less
// its end).
const maxLabel = 15

// check finds what the declaration of the parameters cannot: rules between parameters. The answers
// are ErrConfigured, which stops the resource everywhere until someone mends the configuration.
func (c config) check(call *ocf.Call) error {
	if c.ip.Is6() && strings.Contains(c.mask, ".") {
		return bad("cidr_netmask=%s: is a netmask of IPv4, and %s is an IPv6 address: give the length of its prefix, such as 64", c.mask, c.ip)
	}
	if c.bits > c.ip.BitLen() {
		return bad("cidr_netmask=%d: %s has %d bits", c.bits, c.ip, c.ip.BitLen())
	}
	if c.label != "" && c.nic != "" && len(c.nic)+1+len(c.label) > maxLabel {
		return bad("iflabel=%s: %s:%s has more than %d characters", c.label, c.nic, c.label, maxLabel)
	}
	if len(c.label) > maxLabel-2 || strings.ContainsAny(c.label, " \t/:") {
		return bad("iflabel=%q: must be one short word", c.label)
	}
	if c.ip.Is6() && c.ip.IsLinkLocalUnicast() && c.nic == "" && c.provider == providerNone {
		return bad("nic: %s is a link-local address, so the interface has to be named", c.ip)
	}
	return c.checkUnsupported(call)
}

// errClone says that several nodes would have the address.
var errClone = errors.New("the address would be on several nodes at once, which this agent does not do (IPaddr2's cluster IP): " +
	"do not clone it, or clone it with a loopback address")

// checkUnsupported refuses the uses of IPaddr2 that this agent does not have.
func (c config) checkUnsupported(call *ocf.Call) error {
	for _, p := range unsupportedParams() {
		if v := call.Params.String(p.Name); v != p.Default {
			return bad("%s=%q: %s; use ocf:heartbeat:IPaddr2 for that", p.Name, v, unsupported)
		}
	}
	clone := call.Getenv("OCF_RESKEY_CRM_meta_clone_max")
	if clone != "" && clone != "0" && clone != "1" && !c.ip.IsLoopback() && c.nic != "lo" {
		return &ocf.Error{Code: ocf.ErrConfigured, Err: errClone}
	}
	return nil
}

// where is the address with what is known of its interface, for logs and reasons.
func (c config) where() string {
	s := c.ip.String()
	if c.nic != "" {
		s = fmt.Sprintf("%s on %s", s, c.nic)
	}
	if c.namespace != "" {
		s += " in network namespace " + c.namespace
	}
	return s
}
