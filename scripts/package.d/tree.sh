# shellcheck shell=bash
# The files of the packages, as folders, .deb and .tar.zst. Sourced by scripts/package.d/inside.

# The names under which the program stands in for other tools.
readonly COMPAT=(onmetal-image ironcore-image)

# make_pages: what the program tells of itself under each of its names: manual pages, completions.
# They are the same for all architectures.
make_pages() {
	local name folder share
	for name in osimage "${COMPAT[@]}"; do
		folder=/build/stage/pages-compat
		if [ "$name" = osimage ]; then folder=/build/stage/pages; fi
		share="$folder/usr/share"
		mkdir -p "$share"/{bash-completion/completions,zsh/vendor-completions,fish/vendor_completions.d}
		ln -s "$(program_of amd64)" "/build/stage/$name"
		"/build/stage/$name" man --output "$share/man/man1" > /dev/null
		"/build/stage/$name" completions bash > "$share/bash-completion/completions/$name"
		"/build/stage/$name" completions zsh > "$share/zsh/vendor-completions/_$name"
		"/build/stage/$name" completions fish > "$share/fish/vendor_completions.d/$name.fish"
	done
	gzip --best --no-name /build/stage/pages{,-compat}/usr/share/man/man1/*.1
}

# make_tree ARCH: what is installed, in root-ARCH.
make_tree() {
	local root="/build/stage/root-$1" doc="/build/stage/root-$1/usr/share/doc/osimage"
	install -D --mode=755 "$(program_of "$1")" "$root/usr/bin/osimage"
	cp --recursive /build/stage/pages/. "$root"
	install -D --mode=755 scripts/mkosi.postoutput "$root/usr/share/osimage/mkosi.postoutput"
	install -D --mode=644 --target-directory="$root/usr/lib/systemd/system" contrib/systemd/*
	install -D --mode=644 contrib/default/osimage-serve "$root/etc/default/osimage-serve"
	install -D --mode=644 --target-directory="$doc/docs" docs/howto-*.md docs/FORMATS.md docs/GLOSSARY.md
	install --mode=644 README.md /build/stage/copyright "$doc"
	gzip --best --no-name < CHANGELOG.md > "$doc/changelog.gz"
	gzip --best --no-name < "/build/stage/third-party-$1.txt" > "$doc/third-party.txt.gz"
}

# make_tar ARCH: the same for systems without dpkg, with the names of the other tools.
make_tar() {
	local root="/build/stage/tar-$1"
	cp --recursive "/build/stage/root-$1" "$root"
	add_compat "$root"
	packed "$root" | zstd --quiet -19 --threads=1 -o "/out/osimage-$VERSION-$1.tar.zst"
}

# packed FOLDER: it as a tar, the same for the same files.
packed() {
	tar --create --directory "$1" --sort=name --format=ustar --mtime="@$SOURCE_DATE_EPOCH" \
		--owner=root:0 --group=root:0 --transform='s,^\./,,' --exclude=./DEBIAN .
}

# add_compat FOLDER: the other names.
add_compat() {
	local name
	mkdir -p "$1/usr/bin"
	cp --recursive /build/stage/pages-compat/. "$1"
	for name in "${COMPAT[@]}"; do ln -s osimage "$1/usr/bin/$name"; done
}

# make_package ARCH: osimage's .deb, with what only dpkg and its kin want to have.
make_package() {
	local root="/build/stage/root-$1"
	mkdir -p "$root/DEBIAN" "$root/usr/share/lintian/overrides"
	echo /etc/default/osimage-serve > "$root/DEBIAN/conffiles"
	# One program for every Debian, and for containers and initramfs without any library.
	echo 'osimage: statically-linked-binary [usr/bin/osimage]' \
		> "$root/usr/share/lintian/overrides/osimage"
	build_deb osimage "$1" "$root" <<- 'END'
		Recommends: ca-certificates
		Description: ships operating systems as OCI images
		 osimage packs the kernel, the initramfs and the root file system of an
		 operating system as an OCI image, pushes it to any container registry, signs
		 and promotes it there, and brings it to machines: as a boot server, as an
		 update server, and onto disks.
	END
}

# make_compat: the .deb with the other names.
make_compat() {
	local root=/build/stage/compat
	add_compat "$root"
	install -D --mode=644 /build/stage/copyright "$root/usr/share/doc/osimage-compat/copyright"
	mkdir -p "$root/DEBIAN"
	build_deb osimage-compat all "$root" <<- END
		Depends: osimage (>= $VERSION)
		Description: osimage under the names onmetal-image and ironcore-image
		 Under these names osimage stands in for those tools: same commands, flags,
		 texts, and the same bytes.
	END
}

# build_deb PACKAGE ARCH FOLDER: a .deb; the fields that differ come from stdin.
build_deb() {
	local package="$1" arch="$2" root="$3" size doc="$3/usr/share/doc/$1"
	gzip --best --no-name > "$doc/changelog.Debian.gz" <<- END
		$package ($VERSION-1) unstable; urgency=medium

		  * Built from the commit $COMMIT.

		 -- $MAINTAINER  $(date --utc --rfc-email --date="@$SOURCE_DATE_EPOCH")
	END
	size="$(find "$root" -path "$root/DEBIAN" -prune -o -printf '%y %s\n' \
		| awk '{ kib += $1 == "f" ? int(($2 + 1023) / 1024) : 1 } END { print kib }')"
	{
		printf 'Package: %s\nVersion: %s-1\nArchitecture: %s\nMaintainer: %s\nInstalled-Size: %s\n' \
			"$package" "$VERSION" "$arch" "$MAINTAINER" "$size"
		printf 'Section: admin\nPriority: optional\n'
		cat
	} > "$root/DEBIAN/control"
	(cd "$root" && find . -path ./DEBIAN -prune -o -type f -printf '%P\n' | LC_ALL=C sort \
		| xargs --delimiter='\n' md5sum > DEBIAN/md5sums)
	find "$root" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
	dpkg-deb --root-owner-group --threads-max=1 -Zxz --build "$root" \
		"/out/${package}_$VERSION-1_$arch.deb" > /dev/null
}
