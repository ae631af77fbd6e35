#!/bin/bash
# Makes a root file system of another Debian release, with everything that tests/deps.sh installs, and
# prints its directory. It stays below /var/cache/pgrex: the second call takes no time. Two minutes and
# 0.7 GB. Nothing may write to it; who runs something in it lays an overlay over it.
#
#   root.sh [RELEASE]            trixie (Debian 13) unless another is named
#   root.sh RELEASE COMMANDS     a system as Debian's installer leaves it, nothing of ours, in which the
#                                shell commands in file COMMANDS were run
set -euo pipefail

release=${1:-trixie}
commands=$(realpath -m "${2:-/none}")
here=$(cd "$(dirname "$0")" && pwd)
deps=$here/../deps.sh
cache=/var/cache/pgrex

# What goes in names the directory, so that checkouts which need different roots do not fight over one:
# the packages, and a number that is raised when this script makes something else of them.
version=1
kind=$release variant=--variant=minbase
if [ "$commands" = /none ]; then
	root=$cache/$kind-$version-$(sed -n "/^needs='/,/^'/p" "$deps" | sha256sum | cut -c 1-8)
else
	kind=fresh-$release variant=
	root=$cache/$kind-$version-$(sha256sum <"$commands" | cut -c 1-8)
fi
say() { printf 'root.sh: %s\n' "$*" >&2; }

if [ "${3-}" = inside ]; then # in namespaces of its own
	mount -t proc proc "$root/proc"
	mount -t tmpfs tmpfs "$root/tmp"
	if [ -e "$commands" ]; then
		# Who answers apt-get's question says yes; nothing starts here, at the first boot it does.
		printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
		chmod 755 "$root/usr/sbin/policy-rc.d"
		echo 'APT::Get::Assume-Yes "true";' >"$root/etc/apt/apt.conf.d/90yes"
		echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/unsafe-io"
		cp "$commands" "$root/tmp/commands"
		chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive sh -ex /tmp/commands
		rm "$root/usr/sbin/policy-rc.d"
		chroot "$root" apt-get clean
		rm -rf "$root"/var/lib/apt/lists/*
		exit
	fi
	# Debian's postinst would make a database cluster; documentation is for people.
	mkdir -p "$root/etc/postgresql-common" "$root/etc/dpkg/dpkg.cfg.d"
	echo 'create_main_cluster = false' >"$root/etc/postgresql-common/createcluster.conf"
	printf '%s\n' force-unsafe-io 'path-exclude=/usr/share/doc/*' 'path-exclude=/usr/share/man/*' 'path-exclude=/usr/share/locale/*' >"$root/etc/dpkg/dpkg.cfg.d/pgrex"
	cp "$deps" "$root/tmp/deps.sh"
	chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb LANG=C.UTF-8 /tmp/deps.sh --root
	chroot "$root" apt-get clean
	rm -rf "$root"/var/lib/apt/lists/*
	exit
fi

if [ -e "$root/.complete" ]; then
	touch "$root/.complete"
	echo "$root"
	exit
fi
if [ "$(id -u)" != 0 ]; then
	say "$root is not there, and only root can make it"
	exit 1
fi
if ! command -v debootstrap >/dev/null; then
	say "debootstrap is not installed: run make deps"
	exit 1
fi
mkdir -p "$cache"
# The lock is held until this process and its children are gone.
exec 9>"$cache/$kind.lock"
flock 9
if [ -e "$root/.complete" ]; then
	echo "$root"
	exit
fi
# Roots that no test has asked for in a month; what a killed run left.
for old in "$cache/$kind"-*; do
	[ -d "$old" ] || continue
	if [ ! -e "$old/.complete" ] || [ -n "$(find "$old/.complete" -mtime +30)" ]; then
		say "removing $old"
		rm -rf --one-file-system "$old"
	fi
done
say "making $root: a few minutes"
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' | grep -v security | head -n 1 || true)
log=$root.log
if ! debootstrap $variant "$release" "$root" "${mirror:-http://deb.debian.org/debian}" >"$log" 2>&1 ||
	! unshare --mount --pid --fork --kill-child --propagation private "$here/root.sh" "$release" "$commands" inside >>"$log" 2>&1; then
	tail -n 20 "$log" >&2
	say "failed; all of it is in $log"
	exit 1
fi
touch "$root/.complete"
rm -f "$log"
echo "$root"
