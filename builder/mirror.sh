# shellcheck shell=bash
# Where Debian's packages come from, as lines for sources.list. Sourced by ./build.

# machine_suite: the Debian release of this machine, by its code name.
machine_suite() {
	# shellcheck source=/dev/null
	(. /etc/os-release && printf '%s\n' "${VERSION_CODENAME:-}")
}

# machine_sources SUITE: the Debian sources of this machine (apt reads both of its formats for us),
# turned to SUITE. Without release info, apt names also what it has not downloaded yet.
machine_sources() {
	local suite="$1" own uri release
	own="$(machine_suite)"
	# shellcheck disable=SC2016
	apt-get indextargets --no-release-info --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' \
		| awk -v own="$own" '$3 == "main" && ($2 == own || $2 == own "-updates" || $2 == own "-security")' | sort -u \
		| while read -r uri release _; do
			case "$suite:$release" in
				# Debian's unstable has no updates beside it.
				sid:*-* | unstable:*-*) ;;
				*) printf 'deb %s %s main\n' "${uri%/}" "$suite${release#"$own"}" ;;
			esac
		done
}

# given_sources SUITE MIRROR…: each mirror is a URL, or a whole line for sources.list.
given_sources() {
	local suite="$1" mirror
	shift
	for mirror in "$@"; do
		case "$mirror" in
			'deb '*) printf '%s\n' "$mirror" ;;
			*) printf 'deb %s %s main\n' "${mirror%/}" "$suite" ;;
		esac
	done
}

# local_files SOURCES: what the lines for sources.list name of this machine: folders with packages,
# and keys.
local_files() {
	sed -nE 's#^deb (\[[^]]*\] *)?(file|copy):(//)?(/[^ ]*).*#\4#p' "$1"
	sed -nE 's#^deb \[([^]]* )?signed-by=(/[^] ,]*).*#\2#p' "$1"
}

# apt_settings: how this machine reaches its mirrors, as apt.conf. User and group ids of the
# namespace have no _apt to change to.
apt_settings() {
	apt-config dump Acquire::http Acquire::https Acquire::ForceIPv4 Acquire::ForceIPv6 \
		Acquire::Check-Valid-Until Acquire::Check-Date Acquire::Retries
	printf 'APT::Sandbox::User "root";\nAPT::Keep-Downloaded-Packages "true";\n'
}

# fetch_releases SOURCES FOLDER: the release file of each source, whose digests say in what state
# the mirrors are.
fetch_releases() {
	local sources="$1" folder="$2" number=0 type rest uri suite name
	while read -r type rest; do
		[ "$type" = deb ] || refuse "not a line for sources.list: $type $rest"
		# Options stand in brackets between the type and the URI.
		read -r uri suite _ <<< "${rest#\[*\] }"
		number=$((number + 1))
		case "$suite" in
			# A flat repository, which need not have a release file.
			*/) set -- "$suite/InRelease" "$suite/Release" "$suite/Packages" ;;
			*) set -- "dists/$suite/InRelease" "dists/$suite/Release" ;;
		esac
		for name in "$@"; do
			if /usr/lib/apt/apt-helper download-file "${uri%/}/$name" "$folder/$number" > /dev/null; then continue 2; fi
		done
		return 1
	done < "$sources"
}

# newest_date FOLDER: the newest date of the release files there, in seconds since 1970; nothing if
# none has one.
newest_date() {
	sed -n 's/^Date: //p' "$1"/* | while read -r date; do date -u -d "$date" +%s; done | sort -n | tail -n 1
}
