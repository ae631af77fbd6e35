package main

import (
	"encoding/hex"
	"errors"
	"strconv"
	"strings"
	"time"

	"pgrex/lib/meta"
	"pgrex/lib/stonith"
)

// declaration is the agent: what fence_ipmilan offers, under the same names.
func declaration() stonith.Agent {
	return stonith.Agent{
		Name:  "fence_ipmi",
		Short: "Fence agent for IPMI (any BMC, without ipmitool)",
		Long: "fence_ipmi fences a machine by its management controller (BMC), over IPMI 2.0 (RMCP+, \"lanplus\") or IPMI 1.5. " +
			"It takes the parameters of fence_ipmilan. One session serves a whole action, a machine counts as off when the BMC says so " +
			"after the order, and nothing waits for longer than that takes.",
		Vendor:     "",
		Address:    true,
		Login:      true,
		Cycle:      true,
		Diag:       true,
		Parameters: parameters(),
		Defaults:   map[string]string{"ipport": "623"},
		Check:      check,
		Open:       open,
	}
}

func parameters() []stonith.Parameter {
	return append(protocol(), inherited()...)
}

// protocol are the parameters that say how to talk to the BMC.
func protocol() []stonith.Parameter {
	return []stonith.Parameter{
		{
			Parameter: meta.Parameter{
				Name: "lanplus", Type: meta.Boolean,
				Short: "1 for IPMI 2.0 (RMCP+), 0 for IPMI 1.5; unset finds out",
				Long:  "Without it the BMC is asked, which takes two seconds at most: RMCP+ if it can, else IPMI 1.5. 1 saves the question and never falls back.",
			},
			Letter: "P",
		},
		{
			Parameter: meta.Parameter{
				Name: "cipher", Type: meta.String, Check: checkCipher,
				Short: "Cipher suite for RMCP+: 17 or 3; unset finds out",
				Long:  "17 is tried before 3. Other suites, which lack encryption or a keyed signature, are refused.",
			},
			Letter: "C", Word: "cipher",
		},
		{
			Parameter: meta.Parameter{
				Name: "privlvl", Type: meta.Select, Default: "administrator", Options: []string{"callback", "user", "operator", "administrator"},
				Short: "Privilege level of the session",
				Long:  "operator is enough to switch the power. With user only status and monitor work.",
			},
			Letter: "L", Word: "level",
		},
		{
			Parameter: meta.Parameter{
				Name: "auth", Type: meta.Select, Options: []string{"md5", "password", "none"},
				Short: "Authentication type for IPMI 1.5",
				Long:  "Without it the best that the BMC offers is taken. It means nothing for RMCP+.",
			},
			Letter: "A", Word: "auth",
		},
		{
			Parameter: meta.Parameter{
				Name: "ipmitool_timeout", Type: meta.String, Default: "1", Check: checkTry,
				Short: "Seconds until a question is sent again",
				Long:  "The next tries wait longer, and a BMC that says nothing for five times this counts as dead. Raise it for a slow one. The name is fence_ipmilan's; no ipmitool is run.",
			},
			Word: "seconds",
		},
		{
			Parameter: meta.Parameter{
				Name: "hexadecimal_kg", Type: meta.String, Secret: true, Check: checkKg,
				Short: "Kg key of the BMC, in hexadecimal digits",
				Long:  "Only for a BMC on which such a key is set, beside the users' passwords. It asks for RMCP+.",
			},
			Word: "key",
		},
		{
			Parameter: meta.Parameter{
				Name: "target", Type: meta.String,
				Short: "Bridging to another controller: not supported",
				Long:  "The agent refuses it, because an order that ended at the wrong controller would fence the wrong machine. Use fence_ipmilan for controllers behind a controller.",
			},
			Word: "targetaddress",
		},
	}
}

// inherited are parameters of fence_ipmilan that are accepted and mean nothing here, so that a
// configuration need not be changed.
func inherited() []stonith.Parameter {
	ignored := func(name string, kind meta.Kind, def, word string, old ...string) stonith.Parameter {
		return stonith.Parameter{
			Parameter: meta.Parameter{
				Name: name, Type: kind, Default: def,
				Short: "Accepted and ignored: no ipmitool is run",
				Long:  "It belongs to fence_ipmilan, which runs ipmitool.",
			},
			Old: old, Word: word, Obsolete: true,
		}
	}
	return []stonith.Parameter{
		ignored("ipmitool_path", meta.String, "/usr/bin/ipmitool", "path"),
		ignored("use_sudo", meta.Boolean, "", "", "sudo"),
		ignored("sudo_path", meta.String, "/usr/bin/sudo", "path"),
	}
}

// checkCipher lets pass what lib/ipmi can do.
func checkCipher(s string) error {
	if n, err := strconv.Atoi(s); err != nil || n != 3 && n != 17 {
		return errors.New("is not supported; use 17 or 3, or leave it out and the agent finds out which works")
	}
	return nil
}

// checkKg lets pass what is a key; the error does not repeat it.
func checkKg(s string) error {
	_, err := kg(s)
	return err
}

// kg reads a key of at most 20 bytes.
func kg(s string) ([]byte, error) {
	key, err := hex.DecodeString(strings.TrimPrefix(strings.TrimSpace(s), "0x"))
	if err != nil || len(key) == 0 || len(key) > 20 {
		return nil, errors.New("is not an even number of hexadecimal digits, 40 at most")
	}
	return key, nil
}

func checkTry(s string) error {
	_, err := try(s)
	return err
}

// try reads a number of seconds, which may have a fraction.
func try(s string) (time.Duration, error) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f <= 0 || f > 3600 {
		return 0, errors.New("is not a number of seconds above 0")
	}
	return time.Duration(f * float64(time.Second)), nil
}

// check refuses what is not supported instead of leaving it out: without the bridge another machine
// would be fenced than was meant.
func check(c *stonith.Call) error {
	if c.IsSet("target") {
		return stonith.Errorf(stonith.Usage, "Failed: target is not supported by fence_ipmi; use fence_ipmilan for this machine")
	}
	if c.Action == "validate-all" {
		// What lib/ipmi would refuse at once is told without a network.
		for _, cfg := range configs(c) {
			if err := cfg.Valid(); err != nil {
				return stonith.Errorf(stonith.Usage, "Failed: %w", err)
			}
		}
	}
	return nil
}
