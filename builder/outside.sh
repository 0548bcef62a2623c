# shellcheck shell=bash
# What hooks find that run outside of the system: exec.post, fstab.mod and the rules of artifacts.
# Sourced by builder/system.
#
# They are written for Garden Linux's builder, so they find what is there:
#
#   /builder            the working directory
#   /builder/features   the features of the target
#   /builder/cert       the folder `cert` beside the folder of features
#   /builder/image.d    makepart, makedisk, uuid_hash and others
#   /builder/.build     the results; `$1` and `$2` of a rule lie there
#   TEMPFS_SIZE         the size of a memory file system, as mount(8) takes it
#
# The hooks inside of the system see /builder too.

# open_outside: puts /builder together.
open_outside() {
	mount -t tmpfs -o size=1M,mode=755 tmpfs /builder
	mkdir /builder/{features,cert,image.d,.build}
	mount --bind "$work/features" /builder/features
	if [ -d "$own/cert" ]; then mount --bind "$own/cert" /builder/cert; fi
	mount --bind "$here/../features/_disk/tools" /builder/image.d
	mount --bind "$own/out" /builder/.build
}

# outside COMMAND…: runs a hook. SOURCE_DATE_EPOCH is none of its variables: mksquashfs, for one, takes
# no time as an option beside it. BUILDER_TIMESTAMP says the same.
outside() {
	(cd /builder && exec env --unset=SOURCE_DATE_EPOCH TEMPFS_SIZE=90% "$@")
}
