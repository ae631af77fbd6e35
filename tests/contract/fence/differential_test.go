package fence

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// comparison is one case that both agents go through, from the same state of the same simulator.
type comparison struct {
	name string
	// on is the machine's state before.
	on bool
	// lines and args are added to the parameters on standard input, or make a command line.
	lines []string
	args  []string
	// file makes a misfortune of the simulator's machine, with this content.
	file, content string
	// key is a Kg key that is set on the BMC.
	key string
}

var comparisons = []comparison{
	{name: "status, on", on: true, lines: []string{"action=status"}},
	{name: "status, off", lines: []string{"action=status"}},
	{name: "monitor, on", on: true, lines: []string{"action=monitor"}},
	{name: "monitor, off", lines: []string{"action=monitor"}},
	{name: "off, on", on: true, lines: []string{"action=off"}},
	{name: "off, off", lines: []string{"action=off"}},
	{name: "on, off", lines: []string{"action=on"}},
	{name: "on, on", on: true, lines: []string{"action=on"}},
	{name: "reboot, on", on: true, lines: []string{"action=reboot"}},
	{name: "reboot, off", lines: []string{"action=reboot"}},
	{name: "no action, on", on: true},
	{name: "reboot, cycle, on", on: true, lines: []string{"action=reboot", "method=cycle"}},
	{name: "reboot, cycle, off", lines: []string{"action=reboot", "method=cycle"}},
	{name: "reboot, slow machine", on: true, lines: []string{"action=reboot"}, file: "delay", content: "1\n"},
	{name: "off, ignored", on: true, lines: []string{"action=off", "power_timeout=2"}, file: "ignore"},
	{name: "reboot, off ignored", on: true, lines: []string{"action=reboot", "power_timeout=2"}, file: "ignore"},
	{name: "list", on: true, lines: []string{"action=list"}},
	{name: "list-status", on: true, lines: []string{"action=list-status"}},
	{name: "validate-all", on: true, lines: []string{"action=validate-all"}},
	{name: "diag", on: true, lines: []string{"action=diag"}},
	{name: "unknown action", on: true, lines: []string{"action=explode"}},
	{name: "upper case", on: true, lines: []string{"action=OFF"}},
	{name: "old names", on: true, lines: []string{"action=off", "ipaddr=127.0.0.1", "login=" + login, "passwd=" + password}},
	{name: "node name as plug", on: true, lines: []string{"action=off", "nodename=node1", "plug=node1"}},
	{name: "node name as port", on: true, lines: []string{"action=off", "nodename=node1", "port=node1"}},
	{name: "port_as_ip", on: true, lines: []string{"action=off", "ip=192.0.2.1", "port_as_ip=1", "plug=127.0.0.1"}},
	{name: "quotes", on: true, lines: []string{"action=off", "password=\"" + password + "\""}},
	{name: "unknown key", on: true, lines: []string{"action=off", "colour=blue"}},
	{name: "wrong password", on: true, lines: []string{"action=off", "password=wrong"}},
	{name: "no address", on: true, lines: []string{"action=off", "ip="}},
	{name: "bad number", on: true, lines: []string{"action=off", "power_timeout=soon"}},
	{name: "bad method", on: true, lines: []string{"action=off", "method=hammer"}},
	{name: "IPMI 1.5", on: true, lines: []string{"action=reboot", "lanplus=0"}},
	{name: "operator", on: true, lines: []string{"action=off", "privlvl=operator"}},
	{name: "user may not", on: true, lines: []string{"action=off", "privlvl=user", "power_timeout=1"}},
	{name: "cipher 2", on: true, lines: []string{"action=status", "cipher=2"}},
	{name: "kg", on: true, lines: []string{"action=reboot", "hexadecimal_kg=6b65792e6f662e626d63"}, key: "key.of.bmc"},
	{name: "kg, not given", on: true, lines: []string{"action=off", "power_timeout=1"}, key: "key.of.bmc"},
	{name: "kg, another", on: true, lines: []string{"action=off", "hexadecimal_kg=3132", "power_timeout=1"}, key: "key.of.bmc"},
	{name: "kg, not set", on: true, lines: []string{"action=off", "hexadecimal_kg=3132", "power_timeout=1"}},
	{name: "password script", on: true, lines: []string{"action=off", "password=", "password_script=echo " + password}},
	{name: "sudo is ignored", on: true, lines: []string{"action=status", "ipmitool_path=/usr/bin/ipmitool", "shell_timeout=9", "login_timeout=9"}},
	{name: "short options", on: true, args: strings.Fields("-a 127.0.0.1 -u PORT -l " + login + " -p " + password + " -P -C 3 -o off")},
	{name: "joined options", on: true, args: strings.Fields("-a127.0.0.1 -uPORT -l" + login + " -p" + password + " -PC3 -ooff")},
	{name: "long options", on: true, args: strings.Fields("--ip=127.0.0.1 --ipport PORT --username " + login + " --password=" + password + " --lanplus --cipher=3 --action off")},
	{name: "beginnings of options", on: true, args: strings.Fields("--ip=127.0.0.1 --ipp PORT --user " + login + " --password=" + password + " --lan --ciph=3 --act off")},
	{name: "unknown option", on: true, args: strings.Fields("-a 127.0.0.1 --nonsense")},
	{name: "plug without port_as_ip", on: true, args: strings.Fields("-a 127.0.0.1 -n node1 -o off")},
}

// seen is what a case shows of an agent: its answer, and what it did to the machine.
func seen(t *testing.T, s *simulator, program string, c comparison) string {
	t.Helper()
	s.reset(c.on)
	if c.file != "" {
		s.write(c.file, c.content)
	}
	var r outcome
	if c.args != nil {
		args := slices.Clone(c.args)
		for i := range args {
			args[i] = strings.ReplaceAll(args[i], "PORT", fmt.Sprint(s.port))
		}
		r = call(t, program, "", args...)
	} else {
		r = call(t, program, s.lines(c.lines...))
	}
	if strings.Contains(r.stderr, password) && program == agent {
		t.Errorf("%s shows the password: %s", program, r.stderr)
	}
	state := "off"
	s.remove("ignore")
	if s.on() {
		state = "on"
	}
	return fmt.Sprintf("code %d, %q, orders [%s], then %s", r.code, r.stdout, s.orders(), state)
}

// The two agents do and say the same.
func TestSameAsTheOriginal(t *testing.T) {
	names := map[string]bool{}
	for _, c := range comparisons {
		names[c.name] = true
	}
	for _, d := range deviations {
		if !names[d.name] || d.why == "" {
			t.Errorf("deviation %q is of no case, or has no reason", d.name)
		}
	}
	for _, c := range comparisons {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := startKeyed(t, c.key)
			theirs := seen(t, s, original, c)
			ours := seen(t, s, agent, c)
			deviates := slices.ContainsFunc(deviations, func(d deviation) bool { return d.name == c.name })
			switch {
			case ours != theirs && !deviates:
				t.Errorf("fence_ipmi:    %s\nfence_ipmilan: %s", ours, theirs)
			case ours == theirs && deviates:
				t.Errorf("the same now, so it is no deviation: %s", ours)
			}
		})
	}
}
