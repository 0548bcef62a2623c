# shellcheck shell=bash
# What builds share, so that the second is quick: the bootstrap's tar for each state of the mirrors,
# and the downloaded packages. Sourced by ./build. Everything here may be deleted at any time.
#
#   SHELF = .build/cache/SUITE-ARCH-SOURCES   SOURCES is a digest of the sources' lines
#   SHELF/DATE-KEY.tar                        KEY is a digest of all that goes into the tar
#   SHELF/packages/*.deb                      as apt names them
#
# A build takes hard links from here and gives files by rename, so no build ever sees a half-written
# one.

# open_shelf: sets $shelf.
open_shelf() {
	shelf="$here/.build/cache/$suite-$arch-$(sha256sum < "$work/sources" | cut -c 1-16)"
	mkdir -p "$shelf"
}

# bootstrap_key RELEASES: a digest of what the tar depends on.
bootstrap_key() {
	{
		printf '%s\n' "$suite" "$arch" "${SOURCE_DATE_EPOCH:-}"
		cat "$work/sources" "$here/builder/bootstrap"
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
			find "$shelf" -name '*.tar' -delete
			mv "$work/made.tar" "$entry"
			break
		fi
		made="$key"
		rm -f "$work/made.tar"
		# Without our own descriptors: mmdebstrap hands the numbers of its own to a shell that knows
		# one digit only.
		SOURCE_DATE_EPOCH="$date" in_namespace "$here/builder/bootstrap" "$suite" "$arch" "$work/sources" "$work/apt.conf" "$work/made.tar" \
			3>&- 7>&- 8>&-
	done
	ln "$entry" "$work/bootstrap.tar"
	printf '%s\n' "$date" > "$work/date"
	exec 8>&-
}

# take_packages: links of the cached packages, in a folder that this build's apt may write to.
take_packages() {
	mkdir -p "$shelf/packages" "$work/packages/partial"
	find "$shelf/packages" -name '*.deb' -exec ln -t "$work/packages" {} +
	(cd "$work/packages" && find . -name '*.deb' > "$work/packages.taken")
}

# give_packages: keeps what this build has downloaded, and drops what its apt found to be
# superseded.
give_packages() {
	local name
	while read -r name; do
		if [ ! -e "$work/packages/$name" ]; then rm -f "$shelf/packages/$name"; fi
	done < "$work/packages.taken"
	for name in "$work/packages"/*.deb; do
		if [ -e "$name" ] && [ ! -e "$shelf/packages/${name##*/}" ]; then mv "$name" "$shelf/packages/"; fi
	done
}
