#!/bin/bash
# Makes a root file system of another Debian release, with everything that tests/deps.sh installs, and
# prints its directory. It stays below /var/cache/pgrex: the second call takes no time. Two minutes and
# 0.7 GB. Nothing may write to it; who runs something in it lays an overlay over it.
#
#   root.sh [RELEASE]      trixie (Debian 13) unless another is named
set -euo pipefail

release=${1:-trixie}
here=$(cd "$(dirname "$0")" && pwd)
deps=$here/../deps.sh
cache=/var/cache/pgrex

# What goes in names the directory, so that checkouts which need different roots do not fight over one:
# the packages, and a number that is raised when this script makes something else of them.
version=1
root=$cache/$release-$version-$(sed -n "/^needs='/,/^'/p" "$deps" | sha256sum | cut -c 1-8)
say() { printf 'root.sh: %s\n' "$*" >&2; }

if [ "${2-}" = inside ]; then # in namespaces of its own
	# Debian's postinst would make a database cluster; documentation is for people.
	mkdir -p "$root/etc/postgresql-common" "$root/etc/dpkg/dpkg.cfg.d"
	echo 'create_main_cluster = false' >"$root/etc/postgresql-common/createcluster.conf"
	printf '%s\n' force-unsafe-io 'path-exclude=/usr/share/doc/*' 'path-exclude=/usr/share/man/*' 'path-exclude=/usr/share/locale/*' >"$root/etc/dpkg/dpkg.cfg.d/pgrex"
	mount -t proc proc "$root/proc"
	mount -t tmpfs tmpfs "$root/tmp"
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
exec 9>"$cache/$release.lock"
flock 9
if [ -e "$root/.complete" ]; then
	echo "$root"
	exit
fi
# Roots that no test has asked for in a month; what a killed run left.
for old in "$cache/$release"-*; do
	[ -d "$old" ] || continue
	if [ ! -e "$old/.complete" ] || [ -n "$(find "$old/.complete" -mtime +30)" ]; then
		say "removing $old"
		rm -rf --one-file-system "$old"
	fi
done
say "making $root: a minute or three"
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' | grep -v security | head -n 1 || true)
log=$root.log
if ! debootstrap --variant=minbase "$release" "$root" "${mirror:-http://deb.debian.org/debian}" >"$log" 2>&1 ||
	! unshare --mount --pid --fork --kill-child --propagation private "$here/root.sh" "$release" inside >>"$log" 2>&1; then
	tail -n 20 "$log" >&2
	say "failed; all of it is in $log"
	exit 1
fi
touch "$root/.complete"
rm -f "$log"
echo "$root"
