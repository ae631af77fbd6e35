package ipmi

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/bougou/go-ipmi/pkg/types"
)

// Dialect is a version of the protocol.
type Dialect int

const (
	// Any finds out what the BMC speaks: RMCP+ if it can.
	Any Dialect = iota
	// IPMI15 is IPMI 1.5, without encryption. Its signatures are weak.
	IPMI15
	// RMCPPlus is IPMI 2.0, "lanplus".
	RMCPPlus
)

// String is the name by which people know it.
func (d Dialect) String() string {
	switch d {
	case IPMI15:
		return "IPMI 1.5"
	case RMCPPlus:
		return "RMCP+"
	}
	return "any"
}

// Suites are the cipher suites of RMCP+ that can be used, the better first. They are those with
// encryption and a keyed signature; go-ipmi cannot do the others right.
var suites = []int{17, 3}

// Config says which BMC, as whom, and how.
type Config struct {
	// Host is a name or an address, IPv6 with or without brackets. Port 0 is 623.
	Host string
	Port int
	// User has at most 16 bytes, Password 20 for RMCP+ and 16 for IPMI 1.5. Both may be empty.
	User, Password string
	Dialect        Dialect
	// Suite is a cipher suite, 0 for the best the BMC takes. Suite 0 itself, which knows no
	// authentication, cannot be asked for.
	Suite int
	// Auth is the authentication type for IPMI 1.5: md5, password, none, or empty for the best.
	Auth string
	// Privilege is callback, user, operator or administrator (the default).
	Privilege string
	// Kg is a key of the BMC's own, at most 20 bytes; nearly all have none. It asks for RMCP+.
	Kg []byte
	// Try is how long an answer may take before the question is sent again, the first time; 0 is
	// one second. It bounds the silence that is borne, see Tries.
	Try time.Duration
	// Resolve finds the addresses of Host; nil asks the system. Where there are several, the next is
	// taken when the network refuses one: a name may have an IPv6 address at which no BMC listens.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	Log     *slog.Logger
}

// Tries is how many times Config.Try a BMC may say nothing at all before it counts as silent.
const Tries = 5

const (
	defaultPort = 623
	defaultTry  = time.Second
)

var privileges = map[string]types.PrivilegeLevel{
	"":              types.PrivilegeLevelAdministrator,
	"callback":      types.PrivilegeLevelCallback,
	"user":          types.PrivilegeLevelUser,
	"operator":      types.PrivilegeLevelOperator,
	"administrator": types.PrivilegeLevelAdministrator,
}

// authBits are the bits of the authentication types in the list of those that a BMC offers.
var authBits = map[string]byte{"": 0, "none": 1 << 0, "md5": 1 << 2, "password": 1 << 4}

// Valid says what no BMC could accept, without asking one.
func (c Config) Valid() error { return c.check() }

// check fills in defaults and refuses what no BMC could accept.
func (c *Config) check() error {
	c.Host = strings.TrimSuffix(strings.TrimPrefix(c.Host, "["), "]")
	if c.Port == 0 {
		c.Port = defaultPort
	}
	if c.Try <= 0 {
		c.Try = defaultTry
	}
	if c.Resolve == nil {
		c.Resolve = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.Privilege == "" {
		c.Privilege = "administrator"
	}
	longest := 20
	if c.Dialect == IPMI15 {
		longest = 16
	}
	switch {
	case c.Host == "":
		return errorf(BadConfig, "no address of a BMC is given")
	case len(c.User) > 16:
		return errorf(BadConfig, "the user name has %d bytes; IPMI knows 16 at most", len(c.User))
	case len(c.Password) > longest:
		return errorf(BadConfig, "the password has more than %d bytes, which is the most that %s knows", longest, c.Dialect)
	case len(c.Kg) > 20:
		return errorf(BadConfig, "the Kg key has %d bytes; IPMI knows 20 at most", len(c.Kg))
	case len(c.Kg) > 0 && c.Dialect == IPMI15:
		return errorf(BadConfig, "IPMI 1.5 knows no Kg key")
	case c.Suite != 0 && !slices.Contains(suites, c.Suite):
		return errorf(BadConfig, "cipher suite %d is not supported; use 17 or 3, or none to find out", c.Suite)
	}
	if _, ok := privileges[c.Privilege]; !ok {
		return errorf(BadConfig, "%q is no privilege level", c.Privilege)
	}
	if _, ok := authBits[c.Auth]; !ok {
		return errorf(BadConfig, "%q is no authentication type", c.Auth)
	}
	return nil
}

func (c *Config) level() string { return c.Privilege }

// address is how the BMC is called in sentences.
func (c *Config) address() string {
	if c.Port == defaultPort {
		return c.Host
	}
	return net.JoinHostPort(c.Host, strconv.Itoa(c.Port))
}

// String leaves out the password.
func (c Config) String() string {
	return fmt.Sprintf("%s@%s (%s)", c.User, c.address(), c.Dialect)
}
