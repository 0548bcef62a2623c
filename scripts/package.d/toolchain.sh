# shellcheck shell=bash
# A Debian with the compilers of both architectures, for scripts/package, which sources this.
# Debian 12 carries a Rust that is new enough (rustc-web) with the sources of its standard library
# and all crates below that, musl for both architectures, and a compiler for the other one.

readonly TOOLCHAIN_SUITE=bookworm
# What is linked into the program besides crates is in packages of their own: musl-dev, libunwind of
# LLVM, and two objects of gcc. The unwinder of gcc calls a function that only glibc has.
TOOLCHAIN_PACKAGES=rustc-web,cargo-web,rust-web-src,gcc,libc6-dev,gcc-aarch64-linux-gnu
TOOLCHAIN_PACKAGES+=,musl-dev:amd64,musl-dev:arm64,ca-certificates,jq,zstd
readonly TOOLCHAIN_PACKAGES
readonly UNWINDER=libunwind-14-dev

# make_toolchain: a Debian in $toolchain, unless it is there in the state that the mirrors have now.
make_toolchain() {
	local state
	machine_sources "$TOOLCHAIN_SUITE" > "$work/sources.list"
	apt_settings > "$work/apt.conf"
	rm -rf "$work/releases"
	mkdir "$work/releases"
	APT_CONFIG="$work/apt.conf" fetch_releases "$work/sources.list" "$work/releases" \
		|| refuse "no release file can be fetched" "look at the mirrors: $(head -n 1 "$work/sources.list")"
	state="$(sha256sum "$work/releases"/* scripts/package.d/toolchain.sh | cut -c 1-64 | sha256sum)"
	if [ "$(cat "$work/state" 2> /dev/null)" = "$state" ]; then return; fi
	step "a Debian $TOOLCHAIN_SUITE with the compilers"
	rm -rf "$work/state" "$toolchain" "$work/build"
	# Both instances of the unwinder cannot be installed beside each other.
	# shellcheck disable=SC2016
	mmdebstrap --quiet --mode=root --variant=minbase --format=directory --architectures=amd64,arm64 \
		--aptopt="$work/apt.conf" --include="$TOOLCHAIN_PACKAGES" \
		--customize-hook='cd "$1/opt" && APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" \
			apt-get --quiet --quiet download '"$UNWINDER:amd64 $UNWINDER:arm64"'' \
		--customize-hook='for deb in "$1"/opt/*.deb; do
			dpkg-deb --extract "$deb" "$1/opt/$(dpkg-deb --field "$deb" Architecture)"
		done' \
		"$TOOLCHAIN_SUITE" "$toolchain" - < "$work/sources.list" 3>&-
	printf '%s\n' "$state" > "$work/state"
}
