#!/bin/bash
# Builds the packages of the checked-out commit: rpms by pgrex.spec, and from each of them the package of
# Debian, with the same files, dependencies and texts. The same commit gives the same bytes, by the same Go,
# rpm and nfpm.
#
#   build.sh DIRECTORY     where the packages go; VERSION, if it is set, wins over that of the spec
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(mkdir -p "${1:?name a directory}" && cd "$1" && pwd)
say() { printf 'packages: %s\n' "$*" >&2; }
for need in git go make gzip tar rpm rpmbuild rpm2archive; do
	command -v "$need" >/dev/null || { say "$need is not installed; make deps installs what is missing" && exit 1; }
done

# The last version all of whose modules are on Go's module proxy.
nfpm_version=v2.45.0
tools=$PWD/bin/tools
nfpm=$tools/nfpm-$nfpm_version
if [ ! -x "$nfpm" ]; then
	say "building nfpm $nfpm_version"
	GOBIN=$tools CGO_ENABLED=0 GOFLAGS= go install "github.com/goreleaser/nfpm/v2/cmd/nfpm@$nfpm_version"
	mv "$tools/nfpm" "$nfpm"
fi

# A commit is packaged, not a directory: nothing gets in that nobody has reviewed.
commit=$(git rev-parse --short=12 HEAD) || { say "packages are made of a commit: run this in a checkout of git" && exit 1; }
[ -z "$(git status --porcelain)" ] || say "what is not committed is not in the packages"
version=${VERSION:-$(git show HEAD:rpm/pgrex.spec | sed -n 's/^Version: *//p')}
# What the caller's environment would change in a program.
export GOFLAGS= GOAMD64=v1 GOARM64=v8.0 GOEXPERIMENT=
# Time stamps in the packages, of rpmbuild and of nfpm.
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH LC_ALL=C.UTF-8 TZ=UTC
umask 022
# A commit that is tagged as the version is that release. Any other sorts before it, and after the commits
# that are older: whoever installs a later one upgrades.
snapshot=1
if [ "$(git describe --exact-match --match "v$version" HEAD 2>/dev/null)" != "v$version" ]; then
	snapshot=0.$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M%S).g$commit
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{SOURCES,SPECS}
git archive --prefix="pgrex-$version/" HEAD | gzip -n >"$work/SOURCES/pgrex-$version.tar.gz"
git show HEAD:rpm/pgrex.spec | sed "s/^Version:.*/Version:        $version/" >"$work/SPECS/pgrex.spec"
# --nodeps: the tools are on this machine, but not as rpms. No source rpm: it would carry the name of the
# directory it was made in, and the others a sum of it.
if ! rpmbuild -bb --nodeps --quiet --define "_topdir $work" --define "commit $commit" --define "snapshot $snapshot" "$work/SPECS/pgrex.spec" >"$work/log" 2>&1; then
	cat "$work/log" >&2
	exit 1
fi

# ask RPM FORMAT
ask() { rpm -qp --qf "$2" "$1"; }
# relations RPM TAG: what a package requires or recommends, in Debian's notation and with its names. (a or b)
# is a | b.
relations() {
	ask "$1" "[%{$2NAME};%{$2FLAGS:depflags};%{$2VERSION}\n]" |
		sed -E '/^rpmlib\(/d; s/^\((.*)\);.*/\1/; s/ or / | /g; s/;;$//; s/^(.*);(.*);(.*)$/\1 (\2 \3)/; s/^pacemaker-cli$/&-utils/; s/\( *([<>=]+) */(\1 /; /./s/.*/- "&"/' | sed '/^$/d'
}
for rpm in "$work"/RPMS/*/*.rpm; do
	name=$(ask "$rpm" '%{NAME}')
	root=$work/root/$name
	mkdir -p "$root"
	rpm2archive - <"$rpm" | tar -xz -C "$root"
	{
		cat <<-EOF
			name: $name
			arch: $(go env GOARCH)
			platform: linux
			version: "$version"
			version_schema: none
			release: "$(ask "$rpm" '%{RELEASE}')"
			section: admin
			priority: optional
			maintainer: $(ask "$rpm" '%{PACKAGER}')
			license: $(ask "$rpm" '%{LICENSE}')
			mtime: $(date -u -d "@$SOURCE_DATE_EPOCH" +%Y-%m-%dT%H:%M:%SZ)
			deb: {compression: zstd}
			description: |
		EOF
		ask "$rpm" '%{SUMMARY}\n%{DESCRIPTION}\n' | sed 's/^/  /'
		echo depends:
		relations "$rpm" REQUIRE
		echo recommends:
		relations "$rpm" RECOMMEND
		echo contents:
		ask "$rpm" '[%{FILEMODES:octal} %{FILENAMES}\n]' | while read -r mode file; do
			case $mode in
			100*) printf -- '- {src: "%s", dst: "%s", file_info: {mode: 0%s, owner: root, group: root}}\n' "$root$file" "$file" "${mode#100}" ;;
			40*) ;; # dpkg makes and removes directories by itself
			*) say "$rpm: $file is neither file nor directory" && exit 1 ;;
			esac
		done
	} >"$work/$name.yaml"
	"$nfpm" package --config "$work/$name.yaml" --packager deb --target "$work" >>"$work/log"
done

# One version at a time: the commands of the documentation take what is there.
for name in "$work"/root/*; do rm -f "$out/${name##*/}"[-_][0-9]*.{rpm,deb}; done
cp "$work"/RPMS/*/*.rpm "$work"/*.deb "$out/"
ls "$out"/*"$version"*
