package cluster

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"pgrex/tests/lab/network"
)

// secondLink is the second network of corosync on fresh machines. It has no card
// of its own: it is on the one of the interconnect.
const secondLink = "192.168.3"

// freshFiles are what a machine has before anybody has worked on it: a name,
// addresses, and the files that its operator has carried there.
func (c *Cluster) freshFiles(o Options, node string, i int) (map[string]string, error) {
	f := map[string]string{
		"/etc/hostname":      node + "\n",
		"/etc/hosts":         "127.0.0.1 localhost\n127.0.1.1 " + node + "\n",
		"/etc/lab/net.batch": addresses(i, c.LANs()),
		bootScript:           freshBoot,
		startScript:          "#!/bin/sh\nexec systemctl start pacemaker\n",
		stopScript:           "#!/bin/sh\nexec systemctl stop corosync\n",
		"/usr/bin/systemctl": systemctl,
		seedScript:           seedFresh,
	}
	if !c.Azure {
		f["/etc/lab/net.batch"] += fmt.Sprintf("address add %s.%d/24 dev %s\n", secondLink, 10+i, network.Interconnect.Interface())
	}
	if err := c.addCloudFiles(f); err != nil {
		return nil, err
	}
	if ca, ok := f["/etc/lab/ca.pem"]; ok {
		f["/etc/ssl/certs/ca-certificates.crt"] = ca
	}
	for path, content := range o.Carried {
		f[path] = content
	}
	return f, nil
}

// hasFresh says whether a root file system is of the kind that fresh machines need.
func hasFresh(lower string) error {
	for _, want := range []string{"usr/bin/systemd-tmpfiles", "usr/sbin/ip", "usr/bin/pgrep"} {
		if found, _ := filepath.Glob(filepath.Join(lower, want)); len(found) == 0 {
			return fmt.Errorf("%s has no /%s: it is no complete system (tests/debian/root.sh)", lower, want)
		}
	}
	return nil
}

// SeedFresh gives a cluster that was not started yet the properties that the lab
// needs. All else is what Pacemaker begins with.
func (c *Cluster) SeedFresh(ctx context.Context, node string) error {
	_, err := c.Must(ctx, node, "sh", seedScript)
	return err
}

const seedScript = "/etc/lab/seed"

// seedFresh: without the first property a cluster waits 20 s before it elects a
// controller, and as long before it can stop; for the second see docs/lab.md.
const seedFresh = `#!/bin/sh
set -e
cd /var/lib/pacemaker/cib
cibadmin --empty | sed 's|<crm_config/>|<crm_config><cluster_property_set id="cib-bootstrap-options">\
<nvpair id="cib-bootstrap-options-dc-deadtime" name="dc-deadtime" value="1s"/>\
<nvpair id="cib-bootstrap-options-load-threshold" name="load-threshold" value="10000%"/></cluster_property_set></crm_config>|' >cib.xml
grep -q load-threshold cib.xml
chown hacluster:haclient cib.xml
chmod 600 cib.xml
`

// freshBoot is what a machine does at boot by itself: networks, the directories
// that vanish with the power, the services that are enabled.
const freshBoot = `#!/bin/sh
ip -batch /etc/lab/net.batch
systemd-tmpfiles --create --prefix=/run --prefix=/var/lib
install -d -m 1777 /run/lock
chown -R hacluster:haclient /var/log/pacemaker
chown postgres:postgres /var/log/postgresql
[ -e /etc/lab/seeded ] || { sh /etc/lab/seed && touch /etc/lab/seeded; }
systemctl --quiet is-enabled corosync && ` + selfTest + `
for unit in corosync pacemaker pcsd postgresql; do
	systemctl --quiet is-enabled $unit && systemctl start $unit
done
touch /run/lab-booted
`

// systemctl is what the nodes have in place of systemd: what the cluster's tools,
// and a guide, ask of it, for the few services there are.
const systemctl = `#!/bin/sh
# The nodes of the lab have no systemd. This starts, stops and enables what a cluster has for services.
WANTS=/etc/systemd/system/multi-user.target.wants
quiet= now= verb= units=
for word; do
	case $word in
	--quiet | -q) quiet=1 ;;
	--now) now=1 ;;
	-*) ;;
	*) if [ -z "$verb" ]; then verb=$word; else units="$units ${word%.service}"; fi ;;
	esac
done

say() { [ -n "$quiet" ] || echo "$*"; }
runs() { pgrep -x "$1" >/dev/null; }
end() { pkill -TERM -x "$1"; while runs "$1"; do sleep 0.05; done; }
daemon() { log=$1; shift; setsid "$@" >>"$log" 2>&1 </dev/null & }

start() {
	case $1 in
	corosync) runs corosync || corosync ;;
	pacemaker)
		start corosync || return
		# Agents inherit these: one log with milliseconds for daemons and agents.
		export PCMK_logfile=/var/log/pacemaker/pacemaker.log HA_logfile=/var/log/pacemaker/ha.log PCMK_logfacility=none
		runs pacemakerd || daemon /var/log/pacemaker/pacemakerd.out pacemakerd
		;;
	pcsd)
		is_active pcsd && return
		set -a
		. /etc/default/pcsd
		daemon /var/log/pcsd/pcsd-ruby.out /usr/share/pcsd/pcsd
		daemon /var/log/pcsd/pcsd.out /usr/sbin/pcsd
		while ! is_active pcsd; do sleep 0.05; done
		;;
	postgresql) for d in /etc/postgresql/*/*/; do [ ! -d "$d" ] || pg_ctlcluster $(echo "$d" | cut -d / -f 4,5 --output-delimiter=' ') start; done ;;
	*) unknown $1 ;;
	esac
}
stop() {
	case $1 in
	corosync) end pacemakerd; end corosync ;;
	pacemaker) end pacemakerd ;;
	pcsd) pkill -f /usr/share/pcsd/pcsd; pkill -f /usr/sbin/pcsd; true ;;
	postgresql) for d in /etc/postgresql/*/*/; do [ ! -d "$d" ] || pg_ctlcluster $(echo "$d" | cut -d / -f 4,5 --output-delimiter=' ') stop -m fast || true; done ;;
	*) unknown $1 ;;
	esac
}
is_active() {
	case $1 in
	corosync) runs corosync ;;
	pacemaker) runs pacemakerd ;;
	pcsd) ss -tln | grep -q ':2224 ' ;;
	*) return 3 ;;
	esac
}
unknown() { echo "Unit $1.service not found." >&2; return 5; }

case $verb in
list-unit-files)
	for unit in corosync pacemaker pcsd postgresql; do echo "$unit.service enabled enabled"; done
	exit ;;
is-system-running) say running; exit ;;
daemon-reload) exit ;;
esac
status=0
for unit in $units; do
	case $verb in
	start | stop) $verb $unit ;;
	restart) stop $unit && start $unit ;;
	enable) mkdir -p $WANTS && ln -sf /lib/systemd/system/$unit.service $WANTS/$unit.service && { [ -z "$now" ] || start $unit; } ;;
	disable) rm -f $WANTS/$unit.service && { [ -z "$now" ] || stop $unit; } ;;
	is-enabled) if [ -L $WANTS/$unit.service ]; then say enabled; else say disabled; false; fi ;;
	is-active) if is_active $unit; then say active; else say inactive; false; fi ;;
	*) echo "the lab's systemctl does not know $verb" >&2; false ;;
	esac || status=$?
done
exit $status
`

// Renew puts another machine in the place of a node: same name, same addresses, and
// nothing on its disk but what a new machine has. It has booted when this returns.
func (c *Cluster) Renew(ctx context.Context, node string) error {
	if err := c.Power(ctx, node, false); err != nil {
		return err
	}
	upper := c.Upper(node)
	left, err := os.ReadDir(upper)
	if err != nil {
		return err
	}
	for _, e := range left {
		if err := os.RemoveAll(filepath.Join(upper, e.Name())); err != nil {
			return err
		}
	}
	for i, n := range c.NodeNames() {
		if n == node {
			if err := c.furnishNode(c.options, n, i+1); err != nil {
				return err
			}
		}
	}
	return c.boot(ctx, node)
}
