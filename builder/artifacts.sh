# shellcheck shell=bash
# What is made from the root file system's tar. Sourced by builder/system.
#
# Which artifacts that are, by which rules and in which order, `osimage features artifacts` has said
# before the build began.

# make_artifact EXT INPUT RULE: makes .EXT out of .INPUT by the file RULE of the features; the disk that
# no feature has a rule for, by that of the feature _disk.
make_artifact() {
	local extension="$1" input="$2" rule="$3" script="/builder/features/$3"
	if [ "$rule" = image ]; then script="$here/../features/_disk/image"; fi
	step "make .$extension"
	outside "$script" "/builder/.build/$name.$input" "/builder/.build/$name.$extension" < /dev/null
	[ -e "$own/out/$name.$extension" ] || refuse "$rule has made no .$extension"
}

# compress_rootfs: the tar itself is delivered compressed.
compress_rootfs() {
	osimage compress "$own/$name.tar" --output "$own/out/$name.tar.xz"
	(cd "$own/out" && sha256sum "$name.tar.xz" > "$name.tar.xz.sha256")
	if [ -n "$BUILD_TAR_GZ" ]; then gzip --no-name < "$own/$name.tar" > "$own/out/$name.tar.gz"; fi
}

make_artifacts() {
	local extension input rule compressing
	# Beside the others, since it needs only the tar.
	compress_rootfs &
	compressing="$!"
	ln "$own/$name.tar" "$own/out/$name.tar"
	while IFS=$'\t' read -r extension input rule; do
		make_artifact "$extension" "$input" "$rule"
	done < "$work/artifacts"
	step "compress the root file system"
	wait "$compressing"
	rm "$own/out/$name.tar"
}
