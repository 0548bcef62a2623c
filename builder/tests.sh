# shellcheck shell=bash
# The tests that features offer: executables in features/F/tests/, each called with the folder of a
# copy of the packed root file system, in which it may chroot and change what it puts back, and the
# path that all artifacts begin with. Sourced by builder/system.

run_tests() {
	local feature file
	if [ -z "$BUILD_TESTS" ]; then return; fi
	step "unpack for the tests"
	mkdir "$rootfs"
	mount -t tmpfs -o size=90%,mode=755 tmpfs "$rootfs"
	tar --extract --file "$own/$name.tar" --directory "$rootfs" --numeric-owner \
		--acls --xattrs --xattrs-include='security.*' --xattrs-include='user.*'
	bind_kernel_folders
	for feature in $(hooks tests); do
		for file in "$work/features/$feature/tests/"*; do
			if [ ! -x "$file" ]; then continue; fi
			step "test ${file##*/} of $feature"
			"$file" "$rootfs" "$own/out/$name"
		done
	done
	unbind_kernel_folders
	umount "$rootfs"
}
