# shellcheck shell=bash
# What is linked into the program: as a list, with the licences, and as a bill of materials. Sourced
# by scripts/package.d/inside.

# list_linked ARCH: the crates below osimage whose code is in the program, each with its licence, in
# lines of `NAME VERSION LICENCE`, as linked-ARCH. Macros and what only builds are not.
list_linked() {
	cargo tree --quiet --locked --edges normal,no-proc-macro --prefix none --target "$(target "$1")" \
		--format '{p}|{l}' > "/build/stage/tree-$1"
	sed -nE 's/^([^ ]+) v([^ |]+)[^|]*\|([^(]*[^( ])( \(\*\))?$/\1\t\2\t\3/p' "/build/stage/tree-$1" \
		| awk -F '\t' '$1 != "osimage" { gsub("/", " OR ", $3); print $1 "\t" $2 "\t" $3 }' \
		| LC_ALL=C sort --unique > "/build/stage/linked-$1"
	[ -s "/build/stage/linked-$1" ] || refuse "nothing is linked into the program for $1"
	beside_crates "$1" > "/build/stage/beside-$1"
}

# beside_crates ARCH: what else is in it, in lines of `NAME VERSION PACKAGE LICENCE COPYRIGHT-FILE`.
beside_crates() {
	local unwinder
	unwinder="$(dpkg-deb --field "/opt/libunwind-14-dev_"*"_$1.deb" Version)"
	printf '%s\t%s\t%s\t%s\t%s\n' \
		"Rust's standard library" "$(dpkg-query --show --showformat '${Version}' rust-web-src)" \
		rust-web-src "MIT OR Apache-2.0" /usr/share/doc/rust-web-src/copyright \
		musl "$(dpkg-query --show --showformat '${Version}' "musl-dev:$1")" \
		musl-dev MIT /usr/share/doc/musl-dev/copyright \
		"LLVM's unwinder" "$unwinder" \
		libunwind-14-dev "Apache-2.0 WITH LLVM-exception" "/opt/$1/usr/share/doc/libunwind-14-dev/copyright" \
		"GCC's first and last objects" "$(dpkg-query --show --showformat '${Version}' gcc-12-base:amd64)" \
		gcc-12-base "GPL-3.0-or-later WITH GCC-exception-3.1" /usr/share/doc/gcc-12-base/copyright
}

# licence_files FOLDER: the files in which a crate, and the C in it, name their authors and terms.
# The GPL is that of scripts beside liblzma; nothing of them is linked.
licence_files() {
	find "$1" -maxdepth 2 -type f \
		\( -iname 'licen[cs]e*' -o -iname 'copying*' -o -iname 'notice*' -o -iname 'unlicense*' \
		-o -iname 'copyright*' \) ! -iname '*GPL*' ! -name '*.rs' ! -name '*.sh' | LC_ALL=C sort
}

# gather_licences ARCH: third-party-ARCH.txt, with each text once, and the file `copyright` of the
# packages. A crate that comes without a text must allow Apache-2.0, which ours says.
gather_licences() {
	local arch="$1" name number licence copyright files file digest numbers text=0
	local -A known=()
	local texts="/build/stage/texts-$arch"
	: > "$texts"
	# number_of FILE: of the text, which is added where it is new.
	number_of() {
		digest="$(sha256sum < "$1")"
		if [ -z "${known[$digest]:-}" ]; then
			text=$((text + 1))
			known[$digest]="$text"
			{
				printf '\n\n======== text %d\n\n' "$text"
				cat "$1"
			} >> "$texts"
		fi
		numbers+=" ${known[$digest]}"
	}
	{
		printf 'What is linked into osimage for %s besides its own code, its licences, and where their\n' "$arch"
		printf 'texts are below.\n\n'
		while IFS=$'\t' read -r name number licence; do
			numbers=""
			lines_of files licence_files "/vendor/$name-$number"
			if [ "${#files[@]}" -eq 0 ]; then
				case "$licence" in
					*Apache-2.0*) files=(/source/LICENSE-APACHE) ;;
					*) refuse "the crate $name $number comes without the text of its licence, $licence" ;;
				esac
			fi
			for file in "${files[@]}"; do number_of "$file"; done
			printf '%s %s: %s; texts%s; https://crates.io/crates/%s/%s\n' \
				"$name" "$number" "$licence" "$numbers" "$name" "$number"
		done < "/build/stage/linked-$arch"
		while IFS=$'\t' read -r name number _ licence copyright; do
			numbers=""
			number_of "$copyright"
			printf '%s, Debian %s: %s; text%s\n' "$name" "$number" "$licence" "$numbers"
		done < "/build/stage/beside-$arch"
		cat "$texts"
	} > "/build/stage/third-party-$arch.txt"
	{
		printf 'osimage is licensed as MIT or Apache-2.0, as you like.\n\n'
		cat /source/LICENSE-MIT
		printf '\nThe Apache License, version 2.0, is /usr/share/common-licenses/Apache-2.0 on Debian.\n\n'
		printf 'What is linked into the program, its licences, and their texts with the names of the\n'
		printf 'authors are in third-party.txt.gz, beside this file.\n'
	} > /build/stage/copyright
}

# write_bill ARCH: the bill of materials, in CycloneDX 1.6.
write_bill() {
	local arch="$1"
	cargo metadata --quiet --locked --format-version 1 --filter-platform "$(target "$arch")" \
		> "/build/stage/metadata-$arch"
	# Cargo's lock has the digests of the crates.
	awk '$1 == "name" || $1 == "version" || $1 == "checksum" { gsub("\"", "", $3); it[$1] = $3 }
		$1 == "checksum" { print it["name"] "\t" it["version"] "\t" $3 }' Cargo.lock \
		> /build/stage/sums
	jq --null-input --sort-keys --slurpfile metadata "/build/stage/metadata-$arch" \
		--rawfile linked "/build/stage/linked-$arch" --rawfile beside "/build/stage/beside-$arch" \
		--rawfile sums /build/stage/sums --arg version "$VERSION" --arg arch "$arch" \
		--arg commit "$COMMIT" --argjson time "$SOURCE_DATE_EPOCH" \
		--arg program "$(sha256sum "$(program_of "$arch")" | cut -c 1-64)" \
		--from-file "$here/bill.jq" > "/out/osimage-$VERSION-$arch.cdx.json"
}
