package azure

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"pgrex/lib/cloud"
)

// The guest's own tools configure every address that the metadata tell of, also one that has moved away and
// that they have heard of before: after a reboot a former holder could have it on its interface again.

// guestTools looks for those that are set to do so.
func (i *inspection) guestTools() {
	before := len(i.findings)
	i.cloudInit()
	if path := i.first("etc/systemd/system/timers.target.wants/nm-cloud-setup.timer", "etc/systemd/system/NetworkManager.service.wants/nm-cloud-setup.service",
		"etc/systemd/system/multi-user.target.wants/nm-cloud-setup.service"); path != "" {
		i.say(cloud.Warn, "nm-cloud-setup is enabled (%s) and configures addresses by itself; systemctl disable --now nm-cloud-setup.service nm-cloud-setup.timer", path)
	}
	i.cloudNetconfig()
	if on("Provisioning.MonitorHostName", "y", i.text("etc/waagent.conf")) {
		i.say(cloud.Warn, "waagent restarts the network when the host name changes (Provisioning.MonitorHostName=y in /etc/waagent.conf), which drops the address; set it to n")
	}
	if len(i.findings) == before {
		i.say(cloud.Fine, "no tool of the guest is set to configure secondary addresses by itself")
	}
}

func (i *inspection) path(name string) string { return filepath.Join("/", i.o.Root, name) }

// first is the first of some files that there is, "" if none.
func (i *inspection) first(names ...string) string {
	for _, name := range names {
		if _, err := os.Lstat(i.path(name)); err == nil {
			return "/" + name
		}
	}
	return ""
}

// text is what a file holds, "" if it cannot be read.
func (i *inspection) text(name string) string {
	b, err := os.ReadFile(i.path(name))
	if err != nil {
		return ""
	}
	return string(b)
}

// noSecondary are the settings of cloud-init that keep it from secondary addresses: the one made for that, no
// network from metadata, no network at all.
var noSecondary = []string{
	`(?m)^[^#]*\bapply_network_config_for_secondary_ips\s*:\s*(?i:false|no|off)\b`,
	`(?m)^[^#]*\bapply_network_config\s*:\s*(?i:false|no|off)\b`,
	`(?m)^[^#]*\bnetwork\s*:\s*\{\s*config\s*:\s*disabled\s*\}`,
	`(?m)^\s*network\s*:\s*\n\s+config\s*:\s*disabled\b`,
}

func (i *inspection) cloudInit() {
	if i.first("etc/cloud/cloud.cfg") == "" || i.first("etc/cloud/cloud-init.disabled") != "" {
		return
	}
	all := i.text("etc/cloud/cloud.cfg")
	more, err := filepath.Glob(filepath.Join(i.path("etc/cloud/cloud.cfg.d"), "*.cfg"))
	if err != nil {
		more = nil
	}
	for _, path := range more {
		if b, err := os.ReadFile(path); err == nil {
			all += "\n" + string(b)
		}
	}
	for _, r := range noSecondary {
		if regexp.MustCompile(r).MatchString(all) {
			return
		}
	}
	i.say(cloud.Warn, "cloud-init configures secondary addresses at boot; write to /etc/cloud/cloud.cfg.d/99-pgrex.cfg: datasource: {Azure: {apply_network_config_for_secondary_ips: false}}")
}

// cloudNetconfig looks at SUSE's tool.
func (i *inspection) cloudNetconfig() {
	if i.first("usr/libexec/cloud-netconfig", "usr/lib/cloud-netconfig", "etc/netconfig.d/cloud-netconfig", "etc/default/cloud-netconfig") == "" {
		return
	}
	files, err := filepath.Glob(i.path("etc/sysconfig/network/ifcfg-*"))
	if err != nil {
		files = nil
	}
	for _, path := range append(files, i.path("etc/default/cloud-netconfig")) {
		b, err := os.ReadFile(path)
		if err == nil && on("CLOUD_NETCONFIG_MANAGE", "yes", string(b)) {
			i.say(cloud.Warn, "cloud-netconfig adds and removes addresses by itself; set CLOUD_NETCONFIG_MANAGE='no' in %s", path)
		}
	}
}

// on says whether a file of NAME=value lines sets a name to a value.
func on(name, value, file string) bool {
	for line := range strings.Lines(file) {
		k, v, ok := strings.Cut(strings.TrimSpace(line), "=")
		if ok && strings.TrimSpace(k) == name {
			return strings.EqualFold(strings.Trim(strings.TrimSpace(v), `"'`), value)
		}
	}
	return false
}
