# shellcheck shell=bash
# The root file system: the stages that Garden Linux's builder has, each for all features in their
# order before the next. Sourced by builder/system.

# in_rootfs COMMAND…: a command of the system that is built, with nothing of this machine's
# environment but the way to its mirror.
in_rootfs() {
	local name keep=()
	for name in http_proxy https_proxy no_proxy "${!BUILDER_@}"; do
		if [ -n "${!name:-}" ]; then keep+=("$name=${!name}"); fi
	done
	env --ignore-environment PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 TZ=UTC DEBIAN_FRONTEND=noninteractive \
		SOURCE_DATE_EPOCH="$BUILDER_TIMESTAMP" "${keep[@]}" chroot "$rootfs" "$@"
}

# bind_local_mirrors: folders with packages, where their lines say; a key becomes part of the
# system, which trusts the mirror with it.
bind_local_mirrors() {
	local path
	while read -r path; do
		if [ -d "$path" ]; then
			mkdir -p "$rootfs$path"
			mount --bind "$path" "$rootfs$path"
		elif [ -e "$path" ] && [ ! -e "$rootfs$path" ]; then
			install -D --mode=644 "$path" "$rootfs$path"
		fi
	done < "$work/local"
}

# unbind_local_mirrors: takes the folders away, as far as the system has nothing else there.
unbind_local_mirrors() {
	local path
	while read -r path; do
		if [ -d "$path" ]; then
			umount "$rootfs$path"
			(cd "$rootfs" && rmdir --parents --ignore-fail-on-non-empty ".$path")
		fi
	done < "$work/local"
}

# hooks NAME: the features that have the hook NAME.
hooks() {
	local feature
	for feature in "${features[@]}"; do
		if [ -e "$work/features/$feature/$1" ]; then printf '%s\n' "$feature"; fi
	done
}

# run_in_rootfs NAME: runs a hook of all features.
run_in_rootfs() {
	local feature
	for feature in $(hooks "$1"); do
		step "$1 of $feature"
		in_rootfs "/builder/features/$feature/$1"
	done
}

bind_kernel_folders() {
	local folder
	for folder in proc sys dev; do
		mount --rbind "/$folder" "$rootfs/$folder"
		mount --make-rslave "$rootfs/$folder"
	done
}

unbind_kernel_folders() {
	local folder
	for folder in proc sys dev; do umount --lazy "$rootfs/$folder"; done
}

open_rootfs() {
	step "unpack"
	mkdir "$rootfs"
	mount -t tmpfs -o size=90%,mode=755 tmpfs "$rootfs"
	# Only the owner of a machine can make device nodes; the image needs none, since the kernel has
	# them.
	tar --extract --file "$work/bootstrap.tar" --directory "$rootfs" --exclude='./dev/*' \
		--acls --xattrs --xattrs-include='security.*' --xattrs-include='user.*'
	bind_kernel_folders
	mkdir "$rootfs/builder"
	mount --rbind /builder "$rootfs/builder"
	mount --make-rslave "$rootfs/builder"
	mount --bind "$own/packages" "$rootfs/var/cache/apt/archives"
	lend_network
	bind_local_mirrors
	# Nothing starts while packages are installed.
	printf '#!/bin/sh\nexit 101\n' > "$rootfs/usr/sbin/policy-rc.d"
	chmod 755 "$rootfs/usr/sbin/policy-rc.d"
}

run_early() {
	run_in_rootfs exec.early
}

# package_words LINE: the words that a shell makes of the line, one a line. It knows $arch and no
# program at all.
package_words() {
	# shellcheck disable=SC2016
	env --ignore-environment arch="$BUILDER_ARCH" PATH=/nonexistent "$BASH" -f -r -u -c \
		'eval "set -- $1" || exit; for package; do printf "%s\n" "$package"; done' packages "$1"
}

# package_list FILE: the packages that the features have in FILE. A line that the shell complains of
# ends the build.
package_list() {
	local feature line number complaint="$own/tmp/complaint"
	for feature in $(hooks "$1"); do
		number=0
		while read -r line || [ -n "$line" ]; do
			number=$((number + 1))
			if ! package_words "$line" 2> "$complaint" || [ -s "$complaint" ]; then
				refuse "features/$feature/$1, line $number, is not what a shell understands: $line" \
					"$(sed 's/^packages: \(eval: \)*\(line [0-9]*: \)*//;q' "$complaint")"
			fi
		done < "$work/features/$feature/$1"
	done
}

# list_packages: what the features include and exclude, each in a file of its own.
list_packages() {
	local list
	for list in include exclude; do
		package_list "pkg.$list" > "$own/tmp/$list"
		sort --unique --output "$own/tmp/$list" "$own/tmp/$list"
	done
}

# wanted_packages: what is included and not excluded: `hello` excludes `hello=2.10-3` and
# `hello/bookworm-backports` too. Either list may be empty.
wanted_packages() {
	# shellcheck disable=SC2016
	awk '
		FILENAME == ARGV[1] { excluded[$0]; next }
		{ name = $0; sub(/[=\/:].*/, "", name) }
		!($0 in excluded || name in excluded)' "$own/tmp/exclude" "$own/tmp/include"
}

install_packages() {
	local packages=()
	list_packages
	lines_of packages wanted_packages
	if [ "${#packages[@]}" -gt 0 ]; then
		step "install ${#packages[@]} packages and what they need"
		# INITRD=No: the initramfs is made once, at the end.
		in_rootfs env INITRD=No apt-get install -y --no-install-recommends "${packages[@]}"
	fi
	in_rootfs apt-get autoclean
	umount "$rootfs/var/cache/apt/archives"
}

include_files() {
	local feature user group mode patterns
	step "include files"
	for feature in $(hooks file.include); do
		# Folders that the system has keep their rights: /tmp and /root have others than most.
		tar --create --directory "$work/features/$feature/file.include" --owner=0 --group=0 . \
			| in_rootfs tar --extract --directory / --no-overwrite-dir --keep-directory-symlink
	done
	for feature in $(hooks file.include.stat); do
		sed 's/#.*$//;/^[[:space:]]*$/d' "$work/features/$feature/file.include.stat" | while read -r user group mode patterns; do
			# shellcheck disable=SC2016
			in_rootfs bash -O globstar -O nullglob -c 'for file in $4; do chown "$1:$2" "$file" && chmod "$3" "$file" || exit; done' \
				stat "$user" "$group" "$mode" "$patterns" < /dev/null
		done
	done
}

exclude_files() {
	local feature pattern
	for feature in $(hooks file.exclude); do
		step "exclude files of $feature"
		sed 's/#.*$//;/^[[:space:]]*$/d' "$work/features/$feature/file.exclude" | while read -r pattern; do
			# shellcheck disable=SC2016
			in_rootfs bash -O globstar -O nullglob -c 'for file in $1; do rm -rf -- "$file"; done' exclude "$pattern" < /dev/null
		done
	done
}

# run_post: the hooks that run on this machine, with the root file system's folder as their
# argument.
run_post() {
	local feature
	for feature in $(hooks exec.post); do
		step "exec.post of $feature"
		outside "/builder/features/$feature/exec.post" "$rootfs"
	done
}

# close_rootfs: takes away what the build itself has put in.
close_rootfs() {
	step "clean up"
	take_network_back
	umount --recursive "$rootfs/builder"
	unbind_local_mirrors
	unbind_kernel_folders
	rm -rf "$rootfs/builder" "$rootfs/usr/sbin/policy-rc.d"
	find "$rootfs/dev" "$rootfs/proc" "$rootfs/run" "$rootfs/sys" "$rootfs/tmp" "$rootfs/var/tmp" -mindepth 1 -delete
	find "$rootfs/var/cache/apt" "$rootfs/var/lib/apt/lists" -type f -delete
	write_sources
	write_fstab
}

# write_sources: an image updates itself from the mirrors that it was made from, as far as these are
# on the network.
write_sources() {
	sed -E -e 's/^deb (\[[^]]*\] *)?(copy|file):/# &/' -e 's#//[^/@]*@#//#' "$work/sources" \
		> "$rootfs/etc/apt/sources.list"
}

# write_fstab: the features' fstab, as its fstab.mod hooks change it. Whoever makes a disk finds it with
# its words for partitions in $OSIMAGE_FSTAB; the system has none of them.
write_fstab() {
	local feature
	: > "$OSIMAGE_FSTAB"
	for feature in $(hooks fstab); do
		osimage features fstab "/builder/features/$feature/fstab" > "$OSIMAGE_FSTAB"
	done
	for feature in $(hooks fstab.mod); do
		step "fstab.mod of $feature"
		outside "/builder/features/$feature/fstab.mod" < "$OSIMAGE_FSTAB" > "$own/tmp/fstab.mod"
		osimage features fstab "$own/tmp/fstab.mod" > "$OSIMAGE_FSTAB"
	done
	if [ ! -s "$OSIMAGE_FSTAB" ]; then return; fi
	osimage features fstab --installed "$OSIMAGE_FSTAB" > "$own/tmp/fstab"
	cp --no-preserve=mode "$own/tmp/fstab" "$rootfs/etc/fstab"
}

# describe_rootfs: what is in it.
describe_rootfs() {
	dpkg-query --admindir="$rootfs/var/lib/dpkg" --show --showformat='${binary:Package} ${Version}\n' > "$own/out/$name.manifest"
	cp --dereference "$rootfs/etc/os-release" "$own/out/$name.os-release"
	describe_packages
}

# describe_packages: the bill of materials, unless a feature makes one of its own.
describe_packages() {
	local extension=spdx.json made
	if [ "$BUILD_SBOM" = cyclonedx ]; then extension=cdx.json; fi
	made="$(awk -F '\t' -v extension="$extension" '$1 == extension' "$work/artifacts")"
	if [ -n "$made" ]; then return; fi
	osimage features sbom --format "$BUILD_SBOM" --name "$BUILDER_CNAME_BASE" --version "$BUILDER_VERSION" \
		--timestamp "$BUILDER_TIMESTAMP" "$rootfs" > "$own/out/$name.$extension"
}

# pack_rootfs: the tar that all images are made from, with labels, lists of rights and all else that
# files bear. What a user's namespace cannot give a file (trusted.*) no feature could have given.
pack_rootfs() {
	step "pack the root file system"
	tar --create --file "$own/$name.tar" --directory "$rootfs" --transform 's|^\./||' --sort=name \
		--mtime="@$BUILDER_TIMESTAMP" --numeric-owner \
		--acls --xattrs --xattrs-include='security.*' --xattrs-include='user.*' \
		--pax-option='exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime' .
	umount "$rootfs"
	rmdir "$rootfs"
}
