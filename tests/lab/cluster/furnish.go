package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"pgrex/tests/lab/network"
)

const (
	bootScript  = "/etc/lab/boot"
	startScript = "/etc/lab/start"
	stopScript  = "/etc/lab/stop"
	autostart   = "/etc/lab/autostart"
	seedCIB     = "/etc/lab/cib.xml"
)

// furnish writes a node's files before its first boot.
func (c *Cluster) furnish(o Options) error {
	for i, n := range c.NodeNames() {
		if err := c.furnishNode(o, n, i+1); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) furnishNode(o Options, node string, i int) error {
	files, err := c.files(o, node, i)
	if err != nil {
		return err
	}
	for path, content := range files {
		if err := c.put(node, path, content, 0o755); err != nil {
			return err
		}
	}
	return c.prepareLogs(node)
}

// put writes a file into a node that is off, or that has not read it yet.
func (c *Cluster) put(node, path, content string, mode os.FileMode) error {
	full := filepath.Join(c.Upper(node), path)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		return err
	}
	return os.WriteFile(full, []byte(content), mode)
}

func (c *Cluster) files(o Options, node string, i int) (map[string]string, error) {
	if o.Fresh {
		return c.freshFiles(o, node, i)
	}
	f := map[string]string{
		"/etc/hostname":               node + "\n",
		"/etc/hosts":                  c.hosts(),
		"/etc/corosync/corosync.conf": c.corosyncConf(),
		"/etc/lab/net.batch":          addresses(i, c.LANs()),
		bootScript:                    boot,
		startScript:                   start,
		stopScript:                    stop,
		autostart:                     "",
		seedCIB:                       c.seed(),
	}
	if err := c.addCloudFiles(f); err != nil {
		return nil, err
	}
	if off := o.Clocks[node]; off != 0 {
		f["/etc/lab/clock"] = clock(off)
	}
	if o.Agents == Reference {
		helper, err := patchedHelper(o.Lower)
		if err != nil {
			return nil, err
		}
		f[helperPath] = helper
	}
	needed := []string{"pgsql", "cloudip", "fence_ipmi"}
	if o.Azure {
		needed = []string{"pgsql", "cloudip", "cloudip-azure", "fence_azure"}
	}
	for bin, path := range agentPaths() {
		b, err := os.ReadFile(filepath.Join(o.Bin, bin))
		switch {
		case err == nil:
			f[path] = string(b)
		case slices.Contains(needed, bin) && o.Agents == Ours && !o.Bare:
			return nil, fmt.Errorf("our agent is not built: %w (make build, or --agents=reference)", err)
		}
	}
	return f, nil
}

// agentPaths says where our agents go on a node, by the names of the binaries.
func agentPaths() map[string]string {
	return map[string]string{
		"pgsql":         "/usr/lib/ocf/resource.d/pgrex/pgsql",
		"cloudip":       "/usr/lib/ocf/resource.d/pgrex/cloudip",
		"cloudip-azure": "/usr/libexec/pgrex/cloudip-azure",
		"fence_ipmi":    "/usr/sbin/fence_ipmi",
		"fence_azure":   "/usr/sbin/fence_azure",
	}
}

// UpdateAgents replaces our agents on the running nodes by those in bin.
func (c *Cluster) UpdateAgents(ctx context.Context, bin string) error {
	return c.each(func(n string) error { return c.UpdateNode(ctx, n, bin) })
}

// UpdateNode is UpdateAgents for one node.
func (c *Cluster) UpdateNode(ctx context.Context, node, bin string) error {
	for name, path := range agentPaths() {
		b, err := os.ReadFile(filepath.Join(bin, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		// Beside it first: one may be running.
		res, err := c.ExecInput(ctx, node, string(b), "sh", "-c",
			`mkdir -p "${0%/*}" && cat >"$0.new" && chmod 755 "$0.new" && mv "$0.new" "$0"`, path)
		if err == nil && res.ExitCode != 0 {
			err = errors.New(res.Message())
		}
		if err != nil {
			return fmt.Errorf("cannot put %s onto %s: %w", name, node, err)
		}
	}
	return nil
}

// clock is what gives the programs of a node that are written in C another time of
// day. Timers are not touched.
func clock(off time.Duration) string {
	return fmt.Sprintf(`lib=$(ls /usr/lib/*/faketime/libfaketimeMT.so.1 2>/dev/null)
if [ -z "$lib" ]; then echo "no libfaketime: apt-get install libfaketime" >&2; exit 1; fi
export LD_PRELOAD=$lib FAKETIME=%+d FAKETIME_DONT_FAKE_MONOTONIC=1
`, int(off.Seconds()))
}

func (c *Cluster) prepareLogs(node string) error {
	for _, d := range []string{"pacemaker", "corosync", "cluster", "postgresql", "pcsd", "crmsh"} {
		if err := os.MkdirAll(filepath.Join(c.Logs(node), d), 0o777); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) hosts() string {
	var b strings.Builder
	b.WriteString("127.0.0.1 localhost\n")
	for i, n := range c.NodeNames() {
		fmt.Fprintf(&b, "%s %s\n", network.Address(network.Interconnect, i+1), n)
	}
	return b.String()
}

func addresses(i int, lans []network.LAN) string {
	var b strings.Builder
	b.WriteString("link set lo up\n")
	for _, l := range lans {
		fmt.Fprintf(&b, "address add %s/24 dev %s\nlink set %s up\n", network.Address(l, i), l.Interface(), l.Interface())
	}
	return b.String()
}

// corosyncConf is what "pcs cluster setup" would write for these nodes, with a
// token of one second.
func (c *Cluster) corosyncConf() string {
	var b strings.Builder
	b.WriteString(`totem {
    version: 2
    cluster_name: pgrex
    transport: knet
    token: 1000
    crypto_cipher: none
    crypto_hash: none
}

nodelist {
`)
	for i, n := range c.NodeNames() {
		fmt.Fprintf(&b, "    node {\n        ring0_addr: %s\n        name: %s\n        nodeid: %d\n    }\n\n",
			network.Address(network.Interconnect, i+1), n, i+1)
	}
	b.WriteString("}\n\nquorum {\n    provider: corosync_votequorum\n")
	if c.Nodes == 2 {
		b.WriteString("    two_node: 1\n") // wait_for_all comes with it
	}
	b.WriteString(`}

logging {
    to_logfile: yes
    logfile: /var/log/corosync/corosync.log
    to_syslog: no
    timestamp: hires
}
`)
	return b.String()
}

// seed is the configuration a node starts with. A new cluster otherwise waits
// 20 s for nodes that may be somewhere before it elects a DC. And each node sees
// the load of the whole machine, for which Pacemaker would slow down.
func (c *Cluster) seed() string {
	var b strings.Builder
	b.WriteString(`<cib crm_feature_set="3.0.0" validate-with="pacemaker-3.0" epoch="1" num_updates="0" admin_epoch="0">
  <configuration>
    <crm_config>
      <cluster_property_set id="cib-bootstrap-options">
        <nvpair id="cib-bootstrap-options-dc-deadtime" name="dc-deadtime" value="1s"/>
        <nvpair id="cib-bootstrap-options-load-threshold" name="load-threshold" value="10000%"/>
      </cluster_property_set>
    </crm_config>
    <nodes>
`)
	for i, n := range c.NodeNames() {
		fmt.Fprintf(&b, "      <node id=\"%d\" uname=\"%s\"/>\n", i+1, n)
	}
	b.WriteString("    </nodes>\n    <resources/>\n    <constraints/>\n  </configuration>\n  <status/>\n</cib>\n")
	return b.String()
}

const helperPath = "/usr/lib/ocf/lib/heartbeat/ocf-shellfuncs"

// patchedHelper is the resource-agents' shell library as the nodes get it: in
// Debian 12 it calls crm_attribute in a way that takes -INFINITY for options,
// and the reference agent then tries again for ever.
func patchedHelper(lower string) (string, error) {
	b, err := os.ReadFile(filepath.Join(lower, helperPath))
	if err != nil {
		return "", fmt.Errorf("the reference agent is not installed (apt install resource-agents): %w", err)
	}
	const old = "${HA_SBIN_DIR}/crm_attribute -p $@\n"
	s := string(b)
	if !strings.Contains(s, old) {
		return s, nil // another version, which need not be mended
	}
	const mended = `if [ "$1" = -v ]; then
			shift
			set -- "--update=$1"
		fi
		${HA_SBIN_DIR}/crm_attribute "--promotion=${OCF_RESOURCE_INSTANCE%%:*}" "$@"
`
	return strings.Replace(s, old, mended, 1), nil
}

// selfTest is what the firmware and kernel of a real machine take at the very least:
// longer than the others need to miss it (token 1 s and consensus 1.2 s). One that is
// back sooner is a member when the report of its own fencing arrives, by which
// Pacemaker stops there for good.
const selfTest = "sleep 3"

// boot is run by a node's first process.
const boot = `#!/bin/sh
# What a node does at boot.
ip -batch /etc/lab/net.batch
install -d -m 1777 /run/lock /run/lock/subsys
install -d -o hacluster -g haclient -m 750 /run/crm
install -d -o postgres -g postgres -m 2775 /run/postgresql
install -d -m 755 /run/resource-agents /run/heartbeat /run/cluster /var/lib/pgsql
install -d -o hacluster -g haclient -m 750 /var/lib/pacemaker /var/lib/pacemaker/cib \
	/var/lib/pacemaker/cores /var/lib/pacemaker/pengine /var/lib/pacemaker/blackbox
install -d -o postgres -g postgres -m 700 /dbfp /dbfp/pgdata /dbfp/pgwal /dbfp/pgarch /dbfp/pgarch/arc1
chown -R hacluster:haclient /var/log/pacemaker
chown postgres:postgres /var/log/postgresql
# The cluster's memory is only seeded on a new disk.
selftest=
if [ ! -e /var/lib/pacemaker/seeded ]; then
	install -o hacluster -g haclient -m 600 /etc/lab/cib.xml /var/lib/pacemaker/cib/cib.xml
	touch /var/lib/pacemaker/seeded
else
	selftest='` + selfTest + `'
fi
touch /run/lab-booted
if [ -e /etc/lab/autostart ]; then
	$selftest
	exec /etc/lab/start
fi
`

// start starts the cluster's daemons as their services would.
const start = `#!/bin/sh
# Start the cluster on this node.
until [ -e /run/lab-booted ]; do sleep 0.02; done
if [ -e /etc/lab/clock ]; then . /etc/lab/clock; fi
corosync || exit 1
# In the lab's Azure: the Resource Manager's certificate.
if [ -e /etc/lab/ca.pem ]; then export SSL_CERT_FILE=/etc/lab/ca.pem; fi
# Agents inherit these: one log with milliseconds for daemons and agents.
export PCMK_logfile=/var/log/pacemaker/pacemaker.log
export HA_logfile=/var/log/pacemaker/ha.log
export PCMK_logfacility=none
setsid pacemakerd >>/var/log/pacemaker/pacemakerd.out 2>&1 </dev/null &
`

// stop stops them in order, moving resources away first, as "pcs cluster stop"
// does.
const stop = `#!/bin/sh
# Stop the cluster on this node.
pid=$(pidof -s pacemakerd)
if [ -n "$pid" ]; then
	kill -TERM $pid
	while kill -0 $pid 2>/dev/null; do sleep 0.05; done
fi
pid=$(pidof -s corosync)
if [ -n "$pid" ]; then
	kill -TERM $pid
	while kill -0 $pid 2>/dev/null; do sleep 0.05; done
fi
`
