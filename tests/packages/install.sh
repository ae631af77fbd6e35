#!/bin/bash
# Installs, upgrades, removes and purges packages in a root file system of Debian, and looks at what a
# user would look at. Runs in namespaces of its own (install_test.go), first outside the root, then in it.
#
#   install.sh ROOT OLD NEW ONLY_OLD
#
# ROOT is not written to. OLD and NEW are directories with packages; ONLY_OLD is a file that only the old
# ones have.
set -euo pipefail

if [ "$1" != inside ]; then
	root=$1 old=$2 new=$3
	shift 3
	layers=$(mktemp -d)
	mount -t tmpfs -o mode=755 layers "$layers"
	mkdir "$layers"/{upper,work,root}
	mount -t overlay -o "lowerdir=$root,upperdir=$layers/upper,workdir=$layers/work" root "$layers/root"
	root=$layers/root
	mount -t proc proc "$root/proc"
	mount --rbind /dev "$root/dev"
	mount -t tmpfs tmpfs "$root/tmp"
	mkdir "$root"/tmp/{old,new}
	mount --bind "$old" "$root/tmp/old"
	mount --bind "$new" "$root/tmp/new"
	cp "$0" "$root/tmp/install.sh"
	# The roots are made without documentation; here it counts.
	rm -f "$root/etc/dpkg/dpkg.cfg.d/pgrex"
	exec chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive /tmp/install.sh inside "$@"
fi
only_old=$2

packages='pgrex pgrex-cloudip pgrex-cloudip-azure pgrex-fence-ipmi pgrex-fence-azure'
agents=/usr/lib/ocf/resource.d/pgrex

fail() { echo "FAIL: $*" && exit 1; }
step() { echo "--- $*"; }

# system lists everything that a package may leave behind; dpkg's own memory and logs are no traces.
system() {
	find / -xdev \( -path /proc -o -path /dev -o -path /tmp -o -path /var/lib/dpkg -o -path /var/log -o -path /var/cache -o -path /run \) -prune \
		-o -type d -printf '%p %y %m %u %g\n' -o -printf '%p %y %m %u %g %s\n' | sort
}
# of FIELD DEB, relation FIELD PACKAGE: what a file, or an installed package, says of itself.
of() { dpkg-deb --field "$2" "$1"; }
relation() { dpkg-query -W -f "\${$1}" "$2"; }
versions() { dpkg-query -W -f '${Version} ${db:Status-Status}\n' $packages 2>/dev/null | sort | uniq -c | sed 's/^ *//'; }
# has PATTERN reads all of its input; grep -q would leave early, and the program before it would fail.
has() { grep "$@" >/dev/null; }
want() { # WHAT GOT WANTED
	[ "$2" = "$3" ] || fail "$1: $2, want $3"
}

step "before: $(. /etc/os-release && echo "$PRETTY_NAME")"
system >/tmp/before
[ ! -e "$agents" ] || fail "pgrex is there already"

old_version=$(of Version /tmp/old/pgrex_*.deb) new_version=$(of Version /tmp/new/pgrex_*.deb)
dpkg --compare-versions "$old_version" lt "$new_version" || fail "$new_version is no upgrade of $old_version"
step "install $old_version"
dpkg --install /tmp/old/*.deb
want "state of the packages" "$(versions)" "5 $old_version installed"
[ -e "$only_old" ] || fail "$only_old is missing"

step "upgrade to $new_version"
dpkg --install /tmp/new/*.deb
want "state of the packages" "$(versions)" "5 $new_version installed"
[ ! -e "$only_old" ] || fail "$only_old is still there"
for p in $packages; do want "files of $p that were changed" "$(dpkg --verify "$p")" ""; done
want "what pgrex depends on" "$(relation Depends pgrex)" 'pacemaker (>= 2.1), pacemaker-cli-utils'
want "what it recommends" "$(relation Recommends pgrex)" 'pgrex-fence-ipmi | pgrex-fence-azure'
want "what cloudip depends on" "$(relation Depends pgrex-cloudip)" 'pacemaker (>= 2.1)'
want "what cloudip-azure depends on" "$(relation Depends pgrex-cloudip-azure)" "pgrex-cloudip (= $new_version)"
for p in pgrex-fence-ipmi pgrex-fence-azure; do want "what $p recommends" "$(relation Depends $p)$(relation Recommends $p)" pacemaker-cli-utils; done
want "files that are not root's" "$(dpkg --listfiles $packages | grep -v '^$' | sort -u | xargs stat -c '%U:%G %n' | grep -v '^root:root ' || true)" ""
for page in man7/ocf_pgrex_pgsql.7 man7/ocf_pgrex_cloudip.7 man8/fence_ipmi.8 man8/fence_azure.8; do
	gzip -dc "/usr/share/man/$page.gz" | has '^\.SH "NAME"' || fail "no manual page $page"
done

step "the cluster's tools see the agents"
for agent in pgsql cloudip; do
	crm_resource --show-metadata "ocf:pgrex:$agent" | has "<resource-agent name=\"$agent\"" || fail "no meta-data of $agent"
	cmp <("$agents/$agent" meta-data) "/usr/share/pgrex/metadata/$agent.xml" || fail "the meta-data file of $agent is another one"
	crm_resource --list-agents ocf:pgrex | has -x " *$agent" || fail "Pacemaker does not list $agent"
done
for agent in fence_ipmi fence_azure; do
	cmp <("$agent" -o metadata) "/usr/share/pgrex/metadata/$agent.xml" || fail "the meta-data file of $agent is another one"
	stonith_admin --list-installed | has -x " *$agent" || fail "the fencer does not list $agent"
done

step "a node without a cloud"
dpkg --remove pgrex-cloudip-azure pgrex-fence-azure
want "agents" "$(cd "$agents" && echo *) $(cd /usr/sbin && echo fence_[i]pmi fence_[a]zure)" "cloudip pgsql fence_ipmi fence_[a]zure"
[ ! -e /usr/libexec/pgrex ] || fail "there is $(echo /usr/libexec/pgrex/*)"

step "remove"
dpkg --remove pgrex pgrex-cloudip pgrex-fence-ipmi
want "state of the packages" "$(versions)" ""
system >/tmp/after
diff /tmp/before /tmp/after || fail "removal leaves something behind"

step "purge, after another installation"
dpkg --install /tmp/new/*.deb
dpkg --purge $packages
system >/tmp/after
diff /tmp/before /tmp/after || fail "purge leaves something behind"
echo done
