# shellcheck shell=bash
# What builds share, so that the second is quick: the bootstrap's tar for each state of the mirrors,
# and the downloaded packages. Sourced by ./build. Everything here may be deleted at any time.
#
#   SHELF = CACHE/SUITE-ARCH-SOURCES   SOURCES is a digest of the sources' lines
#   SHELF/DATE-KEY.tar                        KEY is a digest of all that goes into the tar
#   SHELF/DATE-KEY.tar.sums                   the digests of all packages that the mirrors had then
#   SHELF/packages/*.deb                      as apt names them
#
# A build gives files by rename, so no build ever sees a half-written one, and only packages that
# the mirrors have: the hooks of features write to the folder that apt downloads to.

# choose_cache: sets $cache, unless --cache has. A checkout that can only be read is only read.
choose_cache() {
	if [ -z "$cache" ]; then
		cache="$here/.build/cache"
		if ! mkdir -p "$cache" 2> /dev/null || [ ! -w "$cache" ]; then
			cache="${XDG_CACHE_HOME:-${HOME:-/var}/.cache}/osimage"
		fi
	fi
	mkdir -p "$cache" 2> /dev/null || true
	[ -w "$cache" ] || refuse "$(id -un) may not write to $cache, where builds keep what they share" \
		"give another folder with --cache"
	cache="$(realpath "$cache")"
}

# open_shelf: sets $shelf.
open_shelf() {
	shelf="$cache/$suite-$arch-$(sha256sum < "$work/sources" | cut -c 1-16)"
	mkdir -p "$shelf"
}

# keep FILE PLACE: a finished file goes to the shelf, on whatever file system that is.
keep() {
	local new="$shelf/.new"
	mv "$1" "$new"
	chown "$EUID:$(id -g)" "$new"
	chmod 644 "$new"
	mv "$new" "$2"
}

# lend FILE PLACE: a build's own link of a file of the shelf, or a copy.
lend() {
	ln "$1" "$2" 2> /dev/null || cp --reflink=auto "$1" "$2"
}

# bootstrap_key RELEASES: a digest of what the tar depends on.
bootstrap_key() {
	{
		printf '%s\n' "$suite" "$arch" "${SOURCE_DATE_EPOCH:-}"
		cat "$work/sources" "$here/builder/bootstrap" "$here/builder/package-sums"
		cat "$1"/*
	} | sha256sum | cut -c 1-32
}

# take_bootstrap: puts the bootstrap's tar at $work/bootstrap.tar and its date at $work/date, from
# the cache or by making it.
take_bootstrap() {
	local date key entry made=
	# Of two builds that need the same tar, one makes it and the other waits.
	exec 8> "$shelf/lock"
	flock 8
	while true; do
		rm -rf "$work/releases"
		mkdir "$work/releases"
		if ! fetch_releases "$work/sources" "$work/releases"; then
			entry="$(find "$shelf" -name '*.tar' | sort --version-sort | tail -n 1)"
			if [ -z "$entry" ]; then
				refuse "no release file can be fetched: $(paste -s -d ';' "$work/sources")" \
					"is the network up, and does the mirror have the suite $suite? See --mirror and --suite"
			fi
			say "        no release file can be fetched: going on with what was bootstrapped before"
			date="$(basename "${entry%-*}")"
			break
		fi
		date="${SOURCE_DATE_EPOCH:-$(newest_date "$work/releases")}"
		date="${date:-1}"
		key="$(bootstrap_key "$work/releases")"
		entry="$shelf/$date-$key.tar"
		if [ -e "$entry" ]; then break; fi
		# What was made counts only if the mirrors' state is still the same afterwards.
		if [ "$made" = "$key" ]; then
			find "$shelf" -maxdepth 1 \( -name '*.tar' -o -name '*.tar.sums' \) -delete
			keep "$work/bootstrap/tar.sums" "$entry.sums"
			keep "$work/bootstrap/tar" "$entry"
			break
		fi
		made="$key"
		rm -rf "$work/bootstrap"
		mkdir "$work/bootstrap"
		SOURCE_DATE_EPOCH="$date" in_namespace "$work/bootstrap" "$work/program/builder/bootstrap" "$suite" "$arch" "$work/sources" "$work/machine" \
			"$work/bootstrap/tar"
	done
	lend "$entry" "$work/bootstrap.tar"
	lend "$entry.sums" "$work/packages.sums"
	printf '%s\n' "$date" > "$work/date"
	exec 8>&-
}

# take_packages: copies of the cached packages, in a folder that this build's hooks may write to.
take_packages() {
	mkdir -p "$shelf/packages" "$work/system/packages/partial"
	find "$shelf/packages" -name '*.deb' -exec cp --reflink=auto --target-directory "$work/system/packages" {} +
	(cd "$shelf/packages" && find . -name '*.deb' -printf '%P\n' > "$work/packages.taken")
}

# is_genuine FILE: the mirrors have this very package under this name.
is_genuine() {
	local sum
	if [ -L "$1" ] || [ ! -f "$1" ]; then return 1; fi
	sum="$(sha256sum < "$1")"
	grep --quiet --line-regexp --fixed-strings "${sum%% *}  ${1##*/}" "$work/packages.sums"
}

# give_packages: keeps what this build has downloaded, and drops what its apt found to be
# superseded.
give_packages() {
	local name file
	exec 8> "$shelf/lock"
	flock 8
	while read -r name; do
		if [ ! -e "$work/system/packages/$name" ]; then rm -f "$shelf/packages/$name"; fi
	done < "$work/packages.taken"
	for file in "$work/system/packages"/*.deb; do
		name="${file##*/}"
		if [ ! -e "$shelf/packages/$name" ] && is_genuine "$file"; then keep "$file" "$shelf/packages/$name"; fi
	done
	exec 8>&-
}
