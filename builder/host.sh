# shellcheck shell=bash
# What the machine needs: Debian packages, a cargo that is new enough, and osimage itself. Sourced
# by ./build.

# shellcheck source=builder/apt.sh
. "$(dirname "${BASH_SOURCE[0]}")/apt.sh"
# The oldest Rust that builds osimage; Cargo.toml says it, and nothing else does.
MSRV="$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' "$(dirname "${BASH_SOURCE[0]}")/../Cargo.toml")"
readonly MSRV
# Where rustup puts cargo, which is on the PATH of login shells only.
if [ -d "${HOME:-}/.cargo/bin" ]; then PATH="$HOME/.cargo/bin:$PATH"; fi

# missing_tools: the packages of the programs that the build calls and this machine lacks.
missing_tools() {
	local program package
	while read -r program package; do
		command -v "$program" > /dev/null || printf '%s\n' "$package"
	done <<- END
		mmdebstrap mmdebstrap
		mke2fs e2fsprogs
		sfdisk fdisk
		unshare util-linux
		awk mawk
	END
	hook_programs
	foreign_tools
	if [ "$EUID" -eq 0 ]; then return; fi
	# A namespace in which a user's files may have more than one owner needs newuidmap.
	if ! command -v newuidmap > /dev/null; then echo uidmap; fi
	# scripts/boot installs QEMU as root, with more care; anybody else is told before the build
	# rather than after it.
	if [ -n "$tests" ] && ! command -v qemu-system-x86_64 > /dev/null; then printf 'qemu-system-x86\nseabios\n'; fi
}

# hook_programs: what the hooks of the target call on this machine, once that is known. What no Debian
# has is said; it may be that a hook can do without.
hook_programs() {
	local program package called
	if [ ! -e "${work:-}/programs" ]; then return; fi
	while IFS=$'\t' read -r program package called; do
		if command -v "$program" > /dev/null; then continue; fi
		if [ "$package" = - ]; then
			say "        warning: there is no $program, which features/$called, calls; Debian has no package of it"
		else
			printf '%s\n' "$package"
		fi
	done < "$work/programs" | sort --unique
}

# new_enough PROGRAM: whether cargo or rustc is there in a version that builds osimage.
new_enough() {
	local version
	version="$("$1" --version 2> /dev/null | awk '{ print $2 }')"
	[ -n "$version" ] && printf '%s\n' "$MSRV" "${version%%-*}" | sort --version-sort --check=quiet
}

# missing_cargo: the packages that building osimage takes. Debian's own cargo is too old in some
# releases, which carry a newer one as cargo-web.
missing_cargo() {
	if ! new_enough cargo || ! new_enough rustc; then printf 'cargo-web\nrustc-web\nca-certificates\n'; fi
	# Some of the libraries below osimage are written in C.
	if ! command -v cc > /dev/null; then printf 'gcc\nlibc6-dev\n'; fi
}

# foreign_tools: what running programs of another architecture takes.
foreign_tools() {
	if [[ -z "${arch:-}" || "$arch" = "$(dpkg --print-architecture)" ]]; then return; fi
	if ! command -v arch-test > /dev/null; then echo arch-test; fi
	if ! compgen -G '/proc/sys/fs/binfmt_misc/qemu-*' > /dev/null; then
		printf 'qemu-user-static\nbinfmt-support\n'
	fi
}

# check_arch: this machine runs programs of the target's architecture.
check_arch() {
	local said
	if [ "$arch" = "$(dpkg --print-architecture)" ] || said="$(arch-test "$arch" 2>&1)"; then return; fi
	refuse "this machine runs no programs of $arch: $said" \
		"apt-get install qemu-user-static binfmt-support; in a container, on the machine around it"
}

# missing_packages: the packages of all that is missing.
missing_packages() {
	missing_tools
	missing_cargo
}

# tell_missing: who may not install packages is told of all at once, before anything is done.
tell_missing() {
	if [ "$EUID" -eq 0 ]; then return; fi
	if built_osimage "$here" > /dev/null; then
		install_missing missing_tools
	else
		install_missing missing_packages
	fi
}

# install_missing COMMAND: the packages that the command names, at one go.
install_missing() {
	local packages=()
	lines_of packages "$1"
	if [ "${#packages[@]}" -eq 0 ]; then return; fi
	apt_install "to build osimage and an OS with it" "${packages[@]}"
}

# check_cargo: what was installed is new enough too.
check_cargo() {
	if ! { new_enough cargo && new_enough rustc; }; then
		refuse "cargo is too old: $(cargo --version), and osimage needs $MSRV" "take it from https://rustup.rs, or set OSIMAGE to a built osimage"
	fi
}

# cargo_target SOURCE: where cargo works: beside the sources, or in the cache where these can only be
# read.
cargo_target() {
	local folder="${CARGO_TARGET_DIR:-$1/target}"
	if [ -z "${CARGO_TARGET_DIR:-}" ] && ! { mkdir -p "$folder" 2> /dev/null && [ -w "$folder" ]; }; then
		folder="$cache/cargo"
	fi
	printf '%s\n' "$folder"
}

# built_osimage SOURCE: prints where a built osimage lies that is as new as the sources; fails where
# there is none. OSIMAGE in the environment names one.
built_osimage() {
	local built newer places=("${CARGO_TARGET_DIR:-$1/target}" "$cache/cargo")
	if [ -n "${OSIMAGE:-}" ]; then
		[ -x "$OSIMAGE" ] || return 1
		printf '%s\n' "$OSIMAGE"
		return
	fi
	for built in "${places[@]/%//release/osimage}"; do
		if [ ! -x "$built" ]; then continue; fi
		newer="$(find "$1/src" "$1/Cargo.toml" "$1/Cargo.lock" -newer "$built" -print -quit)" || return 1
		if [ -z "$newer" ]; then
			printf '%s\n' "$built"
			return
		fi
	done
	return 1
}

# build_osimage SOURCE OUTPUT: builds osimage where it isn't built, and puts the program at OUTPUT, so
# that a later build of the sources doesn't disturb this one.
build_osimage() {
	local source="$1" output="$2" built folder
	if ! built_osimage "$source" > /dev/null; then
		(
			# cargo locks its folder for itself, but not what it leaves there.
			folder="$(cargo_target "$source")"
			mkdir -p "$folder"
			exec 9< "$folder"
			flock 9
			CARGO_TARGET_DIR="$folder" cargo build --release --locked --manifest-path "$source/Cargo.toml" 9>&-
			# What is newer than the program now had no effect on it.
			touch "$folder/release/osimage"
		)
	fi
	built="$(built_osimage "$source")" || refuse "there is no program ${OSIMAGE:-that cargo has built}" \
		"OSIMAGE names a built osimage, or is not set"
	cp "$built" "$output"
}
