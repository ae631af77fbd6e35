#!/bin/bash
# Installs what building and testing pgrex needs. Looks for the files first: where everything is
# there it changes nothing and needs no root.
#
#   deps.sh          everything
#   deps.sh --root   for a root file system in which tests run and nothing is built (tests/debian)
#   deps.sh --bench  also what only is measured beside ours, which is big
set -euo pipefail

# Where sources:NAME, in the list below, is unpacked.
cache=/var/cache/pgrex

# What is looked for, then the Debian package that has it (alternatives: Debian 12 | Debian 13),
# then the package of RHEL and its relatives. source:NAME is Debian's source package. What begins with
# + is not needed in a root.
needs='
pacemakerd                                          pacemaker                             pacemaker
crm_resource                                        pacemaker-cli-utils                   pacemaker
corosync                                            corosync                              corosync
pcs                                                 pcs                                   pcs
crm                                                 crmsh                                 crmsh
ocf-tester                                          resource-agents                       resource-agents
/usr/share/resource-agents/metadata.rng             resource-agents                       resource-agents
/usr/lib/ocf/resource.d/heartbeat/IPaddr2           resource-agents|resource-agents-base  resource-agents
/usr/lib/ocf/resource.d/heartbeat/pgsql             resource-agents|resource-agents-extra resource-agents
fence_ipmilan                                       fence-agents-ipmilan|fence-agents     fence-agents-ipmilan
+fence_azure_arm                                    fence-agents-azure-arm|fence-agents   fence-agents-azure-arm
ipmi_sim                                            openipmi                              OpenIPMI-lanserv
ipmitool                                            ipmitool                              ipmitool
/usr/lib/postgresql/*/bin/postgres:/usr/bin/postgres:/usr/pgsql-*/bin/postgres postgresql postgresql-server
xmllint                                             libxml2-utils                         libxml2
ip                                                  iproute2                              iproute
nft                                                 nftables                              nftables
ping                                                iputils-ping                          iputils
arping                                              iputils-arping|arping                 iputils
tcpdump                                             tcpdump                               tcpdump
strace                                              strace                                strace
mkfs.ext4                                           e2fsprogs                             e2fsprogs
ps                                                  procps                                procps-ng
+debootstrap                                        debootstrap                           debootstrap
+rpmbuild                                           rpm                                   rpm-build
+groff                                              groff-base                            groff-base
/usr/lib/python3*/*-packages/configobj/__init__.py  python3-configobj                     python3-configobj
/var/cache/pgrex/fence-agents/tests/fence_testing.py source:fence-agents                  source:fence-agents
/usr/lib/*/faketime/libfaketime.so.1:/usr/lib64/faketime/libfaketime.so.1 libfaketime     libfaketime
'

say() { printf 'deps: %s\n' "$*"; }

if [ "${1-}" = --bench ]; then
	# What fence_azure_arm does its work by: half a gigabyte.
	needs+='/usr/lib/python3*/*-packages/azure/mgmt/compute/__init__.py python3-azure python3-azure-sdk
'
fi
if [ "${1-}" = --root ]; then
	needs=$(grep -v '^+' <<<"$needs")
elif ! command -v go >/dev/null; then
	say "Go is missing. Install Go 1.26 or newer from https://go.dev/dl/ and put it into PATH." >&2
	exit 1
fi

# present WHAT: a command in PATH, or any of some file patterns separated by colons.
present() {
	case $1 in
	/*) any_file "$1" ;;
	*) PATH=$PATH:/usr/sbin:/sbin command -v "$1" >/dev/null ;;
	esac
}
any_file() {
	local p
	for p in ${1//:/ }; do [ -e "$p" ] && return 0; done # unquoted: the patterns expand here
	return 1
}

missing() { # prints one column of the needs that are not met
	local what debian rhel
	while read -r what debian rhel; do
		[ -z "$what" ] || present "${what#+}" || case $1 in
		what) echo "${what#+}" ;;
		debian) echo "$debian" ;;
		rhel) echo "$rhel" ;;
		esac
	done <<<"$needs"
}

if [ -z "$(missing what)" ]; then
	say "everything is there"
	exit 0
fi
say "missing:" $(missing what)

if ! command -v apt-get >/dev/null; then
	say "This script installs packages on Debian only. On RHEL, AlmaLinux or Rocky Linux enable the" >&2
	say "repository of the High Availability Add-On (highavailability) and run:" >&2
	say "  dnf install" $(missing rhel | grep -v ^source: | sort -u) >&2
	say "crmsh, ipmi_sim (OpenIPMI-lanserv) and libfaketime may need EPEL or CodeReady Builder. The" >&2
	say "source of fence-agents belongs into $cache/fence-agents." >&2
	exit 1
fi
if [ "$(id -u)" != 0 ]; then
	say "Packages have to be installed for this; run it as root." >&2
	exit 1
fi

# fetch_source NAME unpacks the original source of a Debian package, checked by apt against Debian's
# signed index. apt works in a directory of its own: the machine's list of sources stays as it is.
# The release is always the same, so that tests see the same files everywhere.
fetch_source() (
	dir=$(mktemp -d)
	trap 'rm -rf "$dir"' EXIT
	cd "$dir"
	mkdir -p lists/partial archives/partial unpacked
	mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' | grep -v security | head -n 1 || true)
	echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${mirror:-http://deb.debian.org/debian} trixie main" >sources
	cat >apt.conf <<-EOF
		Dir::Etc::SourceList "$dir/sources";
		Dir::Etc::SourceParts "-";
		Dir::State::Lists "$dir/lists";
		Dir::Cache "$dir";
		APT::Sandbox::User "root";
	EOF
	export APT_CONFIG=$dir/apt.conf
	apt-get -q update
	apt-get -q source --download-only --tar-only "$1"
	tar -xf "$1"_*.orig.tar.* -C unpacked --strip-components=1
	mkdir -p "$cache"
	rm -rf "${cache:?}/$1"
	mv unpacked "$cache/$1"
)

# Debian starts the services it installs. A cluster and a database must not come up on a machine
# that is only to test one, so policy-rc.d says no while we install, and is put back afterwards.
policy=/usr/sbin/policy-rc.d
mark='# pgrex tests/deps.sh'
saved=
restore() {
	if [ -e "$policy" ] && grep -qF "$mark" "$policy"; then rm -f "$policy"; fi
	if [ -n "$saved" ]; then mv "$saved" "$policy"; fi
}
trap restore EXIT
trap 'exit 1' INT TERM
if [ -e "$policy" ] && ! grep -qF "$mark" "$policy"; then
	saved=$policy.pgrex-saved
	mv "$policy" "$saved"
fi
printf '#!/bin/sh\n%s\nexit 101\n' "$mark" >"$policy"
chmod 755 "$policy"

# Nor may they come up at the next boot, unless they were installed before.
fresh=
for unit in corosync pacemaker pcsd postgresql openipmi; do
	[ -e "/lib/systemd/system/$unit.service" ] || [ -e "/etc/init.d/$unit" ] || fresh="$fresh $unit"
done

export DEBIAN_FRONTEND=noninteractive
apt-get -q update
packages=
for choice in $(missing debian | grep -v ^source: | sort -u); do
	pick=${choice%%|*}
	for p in ${choice//|/ }; do
		if apt-cache show "$p" >/dev/null 2>&1; then
			pick=$p
			break
		fi
	done
	packages="$packages $pick"
done
[ -z "$packages" ] || apt-get -q -y install --no-install-recommends $packages
for choice in $(missing debian | grep ^source: | sort -u); do
	fetch_source "${choice#source:}"
done

if command -v systemctl >/dev/null; then
	for unit in $fresh; do systemctl -q disable "$unit" 2>/dev/null || true; done
fi

# Debian 13 has spread the agents over several packages; what the first round did not bring is taken
# from the second choice.
if [ -n "$(missing what)" ]; then
	for choice in $(missing debian | grep -v ^source: | sort -u); do
		apt-get -q -y install --no-install-recommends "${choice##*|}" || true
	done
fi
if [ -n "$(missing what)" ]; then
	say "still missing after the installation:" $(missing what) >&2
	exit 1
fi
say "everything is there now"
