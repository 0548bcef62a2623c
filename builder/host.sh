# shellcheck shell=bash
# What the machine needs: Debian packages, a cargo that is new enough, and osimage itself. Sourced by ./build.

readonly MSRV=1.89

# install WHY PACKAGE…: installs Debian packages as root, and otherwise says what root has to do.
install() {
	local why="$1"
	shift
	if [ "$EUID" -ne 0 ]; then
		refuse "not installed: $* ($why)" "as root: apt-get update && apt-get install --no-install-recommends $*; then start the build again"
	fi
	step "install $* ($why)"
	apt-get update
	DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

# install_tools: the programs that the build calls, each with the package that has it.
install_tools() {
	local missing=() program package
	while read -r program package; do
		command -v "$program" > /dev/null || missing+=("$package")
	done <<- END
		mmdebstrap mmdebstrap
		mke2fs e2fsprogs
		sfdisk fdisk
		unshare util-linux
		awk mawk
	END
	# A namespace in which a user's files may have more than one owner needs newuidmap.
	if [ "$EUID" -ne 0 ] && ! command -v newuidmap > /dev/null; then missing+=(uidmap); fi
	if [ "${#missing[@]}" -gt 0 ]; then install "to build an OS" "${missing[@]}"; fi
}

# new_enough PROGRAM: whether cargo or rustc is there in a version that builds osimage.
new_enough() {
	local version
	version="$("$1" --version 2> /dev/null | awk '{ print $2 }')"
	[ -n "$version" ] && printf '%s\n' "$MSRV" "${version%%-*}" | sort --version-sort --check=quiet
}

# install_cargo: Debian's own cargo is too old in some releases, which carry a newer one as cargo-web.
install_cargo() {
	local packages=()
	if [ -d "$HOME/.cargo/bin" ]; then PATH="$HOME/.cargo/bin:$PATH"; fi
	if ! new_enough cargo || ! new_enough rustc; then packages+=(cargo-web rustc-web ca-certificates); fi
	# Some of the libraries below osimage are written in C.
	if ! command -v cc > /dev/null; then packages+=(gcc libc6-dev); fi
	if [ "${#packages[@]}" -eq 0 ]; then return; fi
	install "to build osimage" "${packages[@]}"
	if ! new_enough cargo || ! new_enough rustc; then
		refuse "cargo is too old: $(cargo --version), and osimage needs $MSRV" "take it from https://rustup.rs, or set OSIMAGE to a built osimage"
	fi
}

# build_osimage SOURCE OUTPUT: builds osimage and puts the program at OUTPUT, so that a later build of the sources doesn't disturb this one.
# OSIMAGE in the environment names a built one.
build_osimage() {
	local source="$1" output="$2"
	if [ -n "${OSIMAGE:-}" ]; then
		cp "$OSIMAGE" "$output"
		return
	fi
	(
		# cargo locks its folder for itself, but not what it leaves there.
		exec 9> "$source/.build/cargo.lock"
		flock 9
		cargo build --release --locked --manifest-path "$source/Cargo.toml" 9>&-
		cp "${CARGO_TARGET_DIR:-$source/target}/release/osimage" "$output"
	)
}
