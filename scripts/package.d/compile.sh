# shellcheck shell=bash
# The static programs of both architectures. Sourced by scripts/package.d/inside.

# open_crates: cargo finds every crate in /build/crates, those of the standard library too.
open_crates() {
	local library
	for library in /usr/src/rustc-*/library; do :; done
	export CARGO_HOME=/build/cargo CARGO_TARGET_DIR=/build/target CARGO_NET_OFFLINE=true
	# Debian's compiler is a stable one, and building the standard library is not stable.
	export RUSTC_BOOTSTRAP=1
	rm -rf /build/crates
	mkdir -p /build/cargo /build/crates
	ln -s "$library"/vendor/* /build/crates/
	ln -sfn /vendor/* /build/crates/
	cat > /build/cargo/config.toml <<- 'END'
		[source.crates-io]
		replace-with = "gathered"
		[source.gathered]
		directory = "/build/crates"
	END
}

# bring_objects ARCH: what rustc links a static program of musl from, where it looks for that: what
# Rust's own builds of these targets come with.
bring_objects() {
	local folder object
	folder="/usr/lib/rustlib/$(target "$1")/lib/self-contained"
	mkdir -p "$folder"
	cp "/usr/lib/${CPU[$1]}-linux-musl/"{rcrt1.o,crt1.o,crti.o,crtn.o,libc.a} "$folder"
	for object in crtbegin.o crtbeginS.o crtend.o crtendS.o; do
		cp "$("${GCC[$1]}" -print-file-name="$object")" "$folder"
	done
	cp "/opt/$1/usr/lib/llvm-14/lib/libunwind.a" "$folder"
	"${CPU[$1]}-linux-musl-gcc" -O2 -fPIC -c -o "/build/stage/fortify-$1.o" "$here/fortify.c"
	"${GCC[$1]%gcc}ar" rD "$folder/libunwind.a" "/build/stage/fortify-$1.o" 2> /dev/null
}

# compile: /build/target/TARGET/release/osimage for each.
compile() {
	local arch upper targets=()
	for arch in "${ARCHES[@]}"; do
		targets+=(--target "$(target "$arch")")
		upper="${CPU[$arch]^^}_UNKNOWN_LINUX_MUSL"
		export "CC_${CPU[$arch]}_unknown_linux_musl=${CPU[$arch]}-linux-musl-gcc"
		export "CARGO_TARGET_${upper}_LINKER=${GCC[$arch]}"
	done
	cargo build --quiet --release --locked -Zbuild-std=std,panic_abort --bin osimage "${targets[@]}"
	for arch in "${ARCHES[@]}"; do check_static "$arch"; done
}

# check_static ARCH: the program needs no library and no loader. That for amd64 may lie anywhere in
# memory, too; rustc gives a static program for arm64 a fixed address.
check_static() {
	local headers
	headers="$(readelf --file-header --program-headers --dynamic --wide "$(program_of "$1")")"
	if grep --quiet -E 'INTERP|\(NEEDED\)' <<< "$headers"; then
		refuse "the program for $1 is not static: $headers"
	fi
	if [ "$1" = amd64 ] && ! grep --quiet 'Type: *DYN' <<< "$headers"; then
		refuse "the program for $1 has a fixed address"
	fi
}

# program_of ARCH: where it lies.
program_of() {
	printf '/build/target/%s/release/osimage\n' "$(target "$1")"
}
