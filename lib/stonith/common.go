package stonith

import (
	"errors"
	"slices"
	"strings"

	"pgrex/lib/meta"
)

// parameters are all parameters of the agent: its own, then those that all agents have.
func (a Agent) parameters() []Parameter {
	own := slices.Clone(a.Parameters)
	has := func(name string) bool {
		return slices.ContainsFunc(own, func(p Parameter) bool { return p.Name == name })
	}
	all := []Parameter{actionParameter()}
	for _, p := range slices.Concat(a.addressParameters(), a.loginParameters(), a.plugParameters()) {
		if !has(p.Name) {
			all = append(all, p)
		}
	}
	all = append(all, own...)
	for _, p := range timeParameters() {
		if !has(p.Name) {
			all = append(all, p)
		}
	}
	for _, p := range reportParameters() {
		if !has(p.Name) {
			all = append(all, p)
		}
	}
	for i, p := range all {
		if d, ok := a.Defaults[p.Name]; ok {
			all[i].Default = d
		}
	}
	return all
}

func actionParameter() Parameter {
	return Parameter{
		Parameter: meta.Parameter{
			Name: "action", Type: meta.String, Default: "reboot",
			Short: "What to do",
			Long:  "on, off, reboot, status, monitor, list, list-status, validate-all, metadata or manpage. Pacemaker sets it; it does not belong into a configuration.",
		},
		Letter: "o", Word: "action",
	}
}

func ptr(n int) *int { return &n }

func (a Agent) addressParameters() []Parameter {
	if !a.Address {
		return nil
	}
	return []Parameter{
		{
			Parameter: meta.Parameter{
				Name: "ip", Type: meta.String,
				Short: "Address or host name of the fencing device",
				Long:  "An IPv4 or IPv6 address or a host name. An address is better: name service may be down when a node has to be fenced.",
			},
			Old: []string{"ipaddr"}, Letter: "a", Word: "ip",
		},
		{
			Parameter: meta.Parameter{
				Name: "ipport", Type: meta.Integer, Min: ptr(1), Max: ptr(65535),
				Short: "Port of the fencing device",
				Long:  "The TCP or UDP port on which the device answers.",
			},
			Letter: "u", Word: "port",
		},
	}
}

func (a Agent) loginParameters() []Parameter {
	if !a.Login {
		return nil
	}
	return []Parameter{
		{
			Parameter: meta.Parameter{
				Name: "username", Type: meta.String,
				Short: "Login name",
				Long:  "The user by whom the device lets us in.",
			},
			Old: []string{"login"}, Letter: "l", Word: "name",
		},
		{
			Parameter: meta.Parameter{
				Name: "password", Type: meta.String, Secret: true,
				Short: "Password",
				Long:  "The password itself. It stands in the cluster's configuration then; password_file and password_script keep it out of there.",
			},
			Old: []string{"passwd"}, Letter: "p", Word: "password",
		},
		{
			Parameter: meta.Parameter{
				Name: "password_script", Type: meta.String,
				Short: "Command that prints the password",
				Long:  "A command line for sh; what it prints is the password, without white space at the end. It wins over password.",
			},
			Old: []string{"passwd_script"}, Letter: "S", Word: "script",
		},
		{
			Parameter: meta.Parameter{
				Name: "password_file", Type: meta.String, Check: absolute,
				Short: "File whose first line is the password",
				Long:  "An absolute path, on every node that may fence. The file should be readable by root only. It wins over password, and password_script wins over it.",
			},
			Word: "path",
		},
	}
}

func absolute(path string) error {
	if !strings.HasPrefix(path, "/") {
		return errors.New("is not an absolute path")
	}
	return nil
}

func (a Agent) plugParameters() []Parameter {
	plug := Parameter{
		Parameter: meta.Parameter{
			Name: "plug", Type: meta.String, Required: a.Plugs,
			Short: "What to fence: name or number of the machine on the device",
			Long:  "Several, separated by plug_separator, are one machine with several supplies: it is off when all of them are. Pacemaker sets it to the node's name, or to what pcmk_host_map says.",
		},
		Old: []string{"port"}, Letter: "n", Word: "id",
	}
	separator := Parameter{
		Parameter: meta.Parameter{
			Name: "plug_separator", Type: meta.String, Default: ",",
			Short: "What separates several plugs",
			Long:  "For plugs with a comma in their names.",
		},
		Word: "char",
	}
	if !a.Plugs {
		plug.Short = "Address of the fencing device (together with port_as_ip)"
		plug.Long = "Pacemaker sets it to the node's name, which means nothing to this agent unless port_as_ip is set: then it is used in place of ip, and with pcmk_host_map one device serves many nodes. Several addresses, separated by plug_separator, are one machine with several devices: it is off when all say so."
		plug.Word = "ip"
	}
	ps := []Parameter{plug, separator}
	switch {
	case a.Plugs:
		ps = append(ps, Parameter{
			Parameter: meta.Parameter{
				Name: "separator", Type: meta.String, Default: ",",
				Short: "What separates the columns of list",
				Long:  "Between the name of a plug and its alias.",
			},
			Letter: "C", Word: "char",
		})
	case a.Address:
		ps = append(ps, Parameter{
			Parameter: meta.Parameter{
				Name: "port_as_ip", Type: meta.Boolean,
				Short: "Take plug as the address of the device",
				Long:  "See plug.",
			},
		})
	}
	if a.Cycle {
		ps = append(ps, Parameter{
			Parameter: meta.Parameter{
				Name: "method", Type: meta.Select, Default: "onoff", Options: []string{"onoff", "cycle"},
				Short: "How to reboot",
				Long:  "onoff switches off, proves it, and switches on. cycle leaves it to the device to switch on again; that too counts only once the machine was seen off.",
			},
			Letter: "m", Word: "method",
		})
	}
	return ps
}

func timeParameters() []Parameter {
	duration := func(name, def, short, long string) Parameter {
		return Parameter{
			Parameter: meta.Parameter{Name: name, Type: meta.Seconds, Default: def, Short: short, Long: long},
			Word:      "seconds",
		}
	}
	retry := Parameter{
		Parameter: meta.Parameter{
			Name: "retry_on", Type: meta.Integer, Default: "1", Min: ptr(0), Max: ptr(1000),
			Short: "How often to try again to switch on",
			Long:  "The action on waits power_timeout once more for each. Without it reboot sends on each second for up to 4 seconds until the machine is on; when it is set, it is the number of times that reboot sends on.",
		},
		Word: "attempts",
	}
	disable := Parameter{
		Parameter: meta.Parameter{
			Name: "disable_timeout", Type: meta.String, Check: truth,
			Short: "Leave the limits to the caller",
			Long:  "true makes power_timeout and login_timeout mean nothing. It is the default when Pacemaker is the caller, whose own limits (pcmk_off_timeout and the like) count then, and false otherwise.",
		},
		Word: "true/false",
	}
	return []Parameter{
		duration("delay", "0", "Wait before fencing",
			"Only before off and reboot. Pacemaker's pcmk_delay_base and pcmk_delay_max are the better choice: it can shorten them."),
		duration(unpromotedDelay, "0", "Wait before fencing, on the side that is not promoted",
			"Only before off and reboot, and only when Pacemaker is the caller; 0 means none. When two nodes lose each other, both are told to fence: "+
				"the one that runs a promoted resource does so at once, the other one after this time. Where neither alone is promoted the nodes wait twice and three times as long, "+
				"in the order of their names, and four and five times where the cluster's state cannot be read. The wait ends at once when the device says that the target is off, "+
				"and for no other reason. It has to be longer than the time by which the two sides may differ (1.5 s and a fifth of corosync's token) plus that from the order to off. "+
				"It counts against the time that Pacemaker gives the action (pcmk_reboot_timeout, stonith-timeout). In a cluster of two nodes it takes the place of priority-fencing-delay; a partition with a real quorum never waits."),
		duration("power_timeout", "20", "How long to wait for the wanted state",
			"After on or off was sent. 0 means no limit. See disable_timeout."),
		duration("power_wait", "0", "Pause after on or off was sent",
			"For a device that lies or chokes if it is asked too early. Without it the state is read back at once."),
		duration("login_timeout", "5", "How long the login may take",
			"If it is set; a device that does not answer is given up after a while in any case. See disable_timeout."),
		duration("shell_timeout", "3", "Accepted and ignored: the device has no shell",
			"It is for devices that are typed at. What bounds one request to this one is a parameter of the agent's own."),
		duration("stonith_status_sleep", "", "Pause between two looks at the state",
			"Without it the first look is at once, the next after a tenth of a second, and then ever more slowly until there is one each second."),
		retry, disable,
	}
}

func truth(s string) error {
	_, err := meta.ParseBool(s)
	return err
}

func reportParameters() []Parameter {
	return []Parameter{
		{
			Parameter: meta.Parameter{
				Name: "quiet", Type: meta.Boolean,
				Short: "No log lines on standard error",
				Long:  "The system log and debug_file still get them.",
			},
			Letter: "q",
		},
		{
			Parameter: meta.Parameter{
				Name: "verbose", Type: meta.Boolean,
				Short: "Say what is being done",
				Long:  "On the command line it may be given several times (-vvv).",
			},
			Letter: "v",
		},
		{
			Parameter: meta.Parameter{
				Name: "verbose_level", Type: meta.Integer,
				Short: "How much to say",
				Long:  "0 is nothing but warnings and errors. The default is the number of times that verbose was given.",
			},
			Word: "level",
		},
		{
			Parameter: meta.Parameter{
				Name: "debug_file", Type: meta.String,
				Short: "Write everything that is said to this file",
				Long:  "The file is appended to. If it cannot be opened nothing is done.",
			},
			Old: []string{"debug"}, Letter: "D", Word: "path",
		},
		{
			Parameter: meta.Parameter{
				Name: "version", Type: meta.Boolean,
				Short: "Print the version",
				Long:  "For people.",
			},
			Letter: "V",
		},
		{
			Parameter: meta.Parameter{
				Name: "help", Type: meta.Boolean,
				Short: "Print this help",
				Long:  "For people.",
			},
			Letter: "h",
		},
	}
}
