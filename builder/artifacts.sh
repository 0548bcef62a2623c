# shellcheck shell=bash
# What is made from the root file system's tar, by rules that features offer (Garden Linux's names
# for them). Sourced by builder/system.
#
#   image            TAR → .raw          convert.EXT   .raw → .EXT
#   image.EXT        TAR → .EXT          convert.A~B   .B → .A
#
# Without a feature's `image`, that of the feature _disk makes the raw one.

declare -A artifact_script=() artifact_input=() artifact_made=()

# collect_artifacts: the rules of the features.
collect_artifacts() {
	local feature file rule extension
	for feature in "${features[@]}"; do
		for file in "$work/features/$feature/"{image,image.*,convert.*}; do
			# An empty file is no rule.
			[ -s "$file" ] || continue
			rule="${file##*/}"
			case "$rule" in
				image) extension=raw ;;
				*) extension="${rule#*.}" && extension="${extension%%\~*}" ;;
			esac
			if [ -n "${artifact_script[$extension]:-}" ]; then
				refuse "two features make the artifact .$extension: ${artifact_script[$extension]#"$work/"} and features/$feature/$rule"
			fi
			artifact_script[$extension]="$file"
			case "$rule" in
				image*) artifact_input[$extension]=tar ;;
				*\~*) artifact_input[$extension]="${rule#*\~}" ;;
				*) artifact_input[$extension]=raw ;;
			esac
		done
	done
	: "${artifact_script[raw]:="$here/../features/_disk/image"}" "${artifact_input[raw]:=tar}"
}

# make_artifact EXT: makes .EXT, and first what it is made from.
make_artifact() {
	local extension="$1" input
	case "${artifact_made[$extension]:-}" in
		yes) return ;;
		begun) refuse "the artifact .$extension is made from itself" ;;
	esac
	[ -n "${artifact_script[$extension]:-}" ] || refuse "no feature makes .$extension, which another artifact is made from"
	artifact_made[$extension]=begun
	input="${artifact_input[$extension]}"
	make_artifact "$input"
	step "make .$extension"
	"${artifact_script[$extension]}" "$own/out/$name.$input" "$own/out/$name.$extension"
	[ -e "$own/out/$name.$extension" ] || refuse "${artifact_script[$extension]#"$work/"} has made no .$extension"
	artifact_made[$extension]=yes
}

# compress_rootfs: the tar itself is delivered compressed.
compress_rootfs() {
	osimage compress "$own/$name.tar" --output "$own/out/$name.tar.xz"
	(cd "$own/out" && sha256sum "$name.tar.xz" > "$name.tar.xz.sha256")
	if [ -n "$BUILD_TAR_GZ" ]; then gzip --no-name < "$own/$name.tar" > "$own/out/$name.tar.gz"; fi
}

make_artifacts() {
	local extension extensions compressing
	collect_artifacts
	# Beside the others, since it needs only the tar.
	compress_rootfs &
	compressing="$!"
	ln "$own/$name.tar" "$own/out/$name.tar"
	artifact_made[tar]=yes
	extensions="$(printf '%s\n' "${!artifact_script[@]}" | sort)"
	for extension in $extensions; do make_artifact "$extension"; done
	step "compress the root file system"
	wait "$compressing"
	rm "$own/out/$name.tar"
}
