# shellcheck shell=bash disable=SC2016,SC2154
# Disks of several partitions, and hooks that are written for Garden Linux's builder. Sourced by
# scripts/test-build.

# part DISK LABEL: the partition as a file of its own, at $scratch/part.
part() {
	local start size
	read -r start size <<< "$(sfdisk --json "$1" | jq -r --arg name "$2" '.partitiontable.partitions[] | select(.name == $name) | "\(.start) \(.size)"')"
	dd status=none if="$1" of="$scratch/part" bs=512 skip="$start" count="$size" conv=sparse
}

test_disks() { # the partitions of an fstab and its fstab.mod, each with what belongs there; the same bytes twice
	local folder="$scratch/features/disks" disk
	feature disks platform
	mkdir -p "$folder/file.include/efi/EFI/Linux"
	echo kernel > "$folder/file.include/efi/EFI/Linux/a-long-name.efi"
	# As Garden Linux's base, cisPartition and gardener have them, and a swap.
	cat > "$folder/fstab" <<- 'END'
		# <file system>    <dir>        <type>    <options>                                <makeimg args>
		LABEL=EFI          /efi         vfat      umask=0077                               type=uefi
		LABEL=ROOT         /            ext4      rw,errors=remount-ro,prjquota,discard
		LABEL=VARTMP       /var/tmp     ext4      defaults,nosuid,noexec,nodev size=64MiB
		LABEL=SWAP         none         swap      sw                                       size=16MiB
	END
	hook disks fstab.mod <<< 'cat; printf "LABEL=USR          /usr         ext4      ro\n"'
	build disks disks || fail "no disk" "$scratch/disks.out"
	cp --archive "$scratch/features" "$scratch/closed-features"
	chmod --recursive go= "$scratch/closed-features"
	(umask 077 && build disks-again --features-dir "$scratch/closed-features" disks) || fail "no second disk" "$scratch/disks-again.out"
	rm -r "$scratch/closed-features"
	disk=("$scratch/disks/"*.raw)
	cmp "${disk[0]}" "$scratch/disks-again/"*.raw || fail "two disks differ"

	sfdisk --json "${disk[0]}" | jq -r '.partitiontable.partitions[] | "\(.name) \(.type) \(if .name == "VARTMP" or .name == "SWAP" then .size / 2048 else "" end)"' > "$scratch/table"
	diff "$scratch/table" - <<- 'END' || fail "other partitions"
		VARTMP 0FC63DAF-8483-4772-8E79-3D69D8477DE4 64
		USR 0FC63DAF-8483-4772-8E79-3D69D8477DE4 
		SWAP 0657FD6D-A4AB-43C4-84E5-0933C84B4F4F 16
		EFI C12A7328-F81F-11D2-BA4B-00A0C93EC93B 
		ROOT 4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709 
	END
	sfdisk --verify "${disk[0]}" > /dev/null || fail "the table is not sound"

	part "${disk[0]}" VARTMP
	e2fsck -fn "$scratch/part" > "$scratch/fsck" 2>&1 || fail "VARTMP is not sound" "$scratch/fsck"
	debugfs -R 'stat <2>' "$scratch/part" 2> /dev/null | grep -q 'Mode:  01777' || fail "/var/tmp has other rights"
	part "${disk[0]}" USR
	e2fsck -fn "$scratch/part" > "$scratch/fsck" 2>&1 || fail "USR is not sound" "$scratch/fsck"
	debugfs -R 'stat /bin/bash' "$scratch/part" 2>&1 | grep -q 'Type: regular' || fail "there is no bash in USR"
	part "${disk[0]}" ROOT
	e2fsck -fn "$scratch/part" > "$scratch/fsck" 2>&1 || fail "ROOT is not sound" "$scratch/fsck"
	dumpe2fs -h "$scratch/part" 2> /dev/null | grep -q '^Filesystem features:.* quota .*project' || fail "no quotas, which prjquota needs"
	[ "$(debugfs -R 'ls -p /usr' "$scratch/part" 2> /dev/null | grep -c '/[^/.]*//$')" -eq 0 ] || fail "ROOT has the files of USR too"
	printf '%s\n' '# <source> <place> <type> <options> <dump> <pass>' $'LABEL=EFI\t/efi\tvfat\tumask=0077\t0\t2' \
		$'LABEL=ROOT\t/\text4\trw,errors=remount-ro,prjquota,discard,x-systemd.growfs' \
		$'LABEL=VARTMP\t/var/tmp\text4\tdefaults,nosuid,noexec,nodev\t0\t2' $'LABEL=SWAP\tnone\tswap\tsw\t0\t0' \
		$'LABEL=USR\t/usr\text4\tro' > "$scratch/fstab"
	debugfs -R 'cat /etc/fstab' "$scratch/part" 2> /dev/null | diff - "$scratch/fstab" || fail "another fstab"
	part "${disk[0]}" SWAP
	[ "$(blkid -p -o value -s LABEL -s TYPE "$scratch/part" | paste -s)" = $'SWAP\tswap' ] || fail "no swap"
	part "${disk[0]}" EFI
	fsck.vfat -n "$scratch/part" > "$scratch/fsck" 2>&1 || fail "EFI is not sound" "$scratch/fsck"
	[ "$(mtype -i "$scratch/part" ::/EFI/Linux/a-long-name.efi)" = kernel ] || fail "nothing in EFI"
	rm "$scratch/part"

	# What no disk can be made of is told.
	echo 'LABEL=ROOT / ext4 rw verity' > "$folder/fstab"
	refused disks-word 'line 1, has verity behind the options' disks
	rm -r "$folder"
}

test_disk_starts() { # a disk of several partitions is mounted as its fstab says
	local folder="$scratch/features/parts"
	feature parts element
	echo a-package-that-does-not-exist > "$folder/pkg.exclude"
	printf '%s\n' 'LABEL=EFI /efi vfat umask=0077 type=uefi' 'LABEL=ROOT / ext4 rw,prjquota' 'LABEL=VAR /var ext4 defaults' 'LABEL=SWAP none swap sw size=16MiB' > "$folder/fstab"
	printf 'vfat\nnls_ascii\nnls_cp437\n' | install -D --mode=644 /dev/stdin "$folder/file.include/usr/share/initramfs-tools/modules.d/parts"
	# A system with a mount that failed is degraded, and then the build has failed.
	build parts --tests mini-parts_oci || fail "it does not start" "$scratch/parts.out"
	rm -r "$folder"
}

test_garden_linux_hooks() { # what its container and _pxe do, runs unchanged, and makes no disk that nobody wants
	local folder="$scratch/features" made
	feature boxed platform
	printf 'LABEL=EFI /efi vfat umask=0077 type=uefi\nLABEL=ROOT / ext4 rw\n' > "$folder/boxed/fstab"
	hook boxed image.oci <<- 'END'
		input="$(realpath -- "$1")" output="$(realpath -- "$2")"
		pushd "$(mktemp -d)" > /dev/null
		gzip < "$input" > layer
		tar c layer > "$output"
	END
	build boxed boxed || fail "no container" "$scratch/boxed.out"
	made="$(find "$scratch/boxed" -name '*.*' -printf '%f\n' | sed 's/^.*local\.//' | sort | paste -s -d ' ')"
	[ "$made" = '.lock log manifest oci os-release provenance.json spdx.json tar.xz tar.xz.sha256' ] || fail "it makes: $made"

	feature _net flag
	mkdir "$scratch/cert"
	echo certificate > "$scratch/cert/secure.crt"
	hook _net exec.config <<- 'END'
		ls /builder/features/_net/image.pxe.tar.gz /builder/cert/secure.crt
		echo lima > "/builder/.build/$BUILDER_CNAME-$BUILDER_COMMIT.lima.yaml"
	END
	hook _net exec.post <<< 'install -D --mode=644 /builder/cert/secure.crt "$1/etc/secure.crt"'
	hook _net image.pxe.tar.gz <<- 'END'
		input="$(realpath -- "$1")"
		output="$(realpath -- "$2")"
		dir="$(mktemp -d)"
		pushd "$dir" > /dev/null
		export PATH="/builder/image.d:$PATH"
		chroot_dir="$(mktemp -d)"
		mount -t tmpfs -o size="$TEMPFS_SIZE" tmpfs "$chroot_dir"
		tar --extract --xattrs --xattrs-include '*' --directory "$chroot_dir" < "$input"
		cp "$chroot_dir/etc/secure.crt" initrd
		mksquashfs "$chroot_dir/etc" root.squashfs -noappend -comp xz -mkfs-time "$BUILDER_TIMESTAMP" -all-time "$BUILDER_TIMESTAMP"
		sha256sum root.squashfs | head -c 64 > root.squashfs.sha256sum
		echo root.squashfs.sha256sum | cpio -H newc -o | xz --check=crc32 >> initrd
		umount "$chroot_dir"
		rmdir "$chroot_dir"
		tar --create --mtime="@$BUILDER_TIMESTAMP" --sort name --numeric-owner --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime initrd root.squashfs | gzip > "$output"
		popd > /dev/null
		rm -rf "$dir"
	END
	# As its feature _usi makes a disk out of a partition.
	hook _net convert.raw~esp <<- 'END'
		export PATH="/builder/image.d:$PATH"
		disk="$(mktemp -u)" part="$(mktemp)"
		cp --sparse always "$1" "$part"
		echo -e "$(echo -n "gardenlinux:$BUILDER_VERSION:efi" | uuid_hash)\tuefi\t36\t0\t$part\tEFI" | makedisk /dev/null "$disk"
		cp --sparse always "$disk" "$2"
	END
	hook _net image.esp <<< 'truncate -s 36MiB "$2"; PATH="/builder/image.d:$PATH" make_reproducible_vfat -l EFI /builder/cert "$2"'
	hook _net convert.qcow2 <<< 'qemu-img convert -f raw -O qcow2 "$1" "$2"'
	rm "$folder/boxed/image.oci"
	build netted boxed_net || fail "no files for the network" "$scratch/netted.out"
	made="$(find "$scratch/netted" -name '*.*' -printf '%f\n' | sed 's/^.*local\.//' | sort | paste -s -d ' ')"
	[ "$made" = '.lock esp lima.yaml log manifest os-release provenance.json pxe.tar.gz qcow2 raw spdx.json tar.xz tar.xz.sha256' ] || fail "it makes: $made"
	tar --extract --to-stdout --gzip --file "$scratch/netted/"*.pxe.tar.gz initrd | head -n 1 | grep -qx certificate || fail "the certificate did not get there"
	[ "$(sfdisk --json "$scratch/netted/"*.raw | jq -r '.partitiontable.partitions[].type')" = C12A7328-F81F-11D2-BA4B-00A0C93EC93B ] || fail "no disk of the partition"
	rm -r "$folder/"{boxed,_net} "$scratch/cert"
}

test_options() { # every option of ./build that needs no build: with a blank, with `=`, twice, at its edges
	local line option value
	# Each is taken in both forms, and the next thing is what is wrong.
	while read -r option value; do
		for line in "$option $value" "$option=$value" "$option $value $option=$value"; do
			# shellcheck disable=SC2086
			told_early 'there is no feature `nosuch`' $line mini-nosuch
		done
	done <<- END
		--suite bookworm
		--mirror http://mirror.invalid/debian
		--arch $(dpkg --print-architecture)
		--version 1.2
		--commit 0123456
		--kernel 6.1.0-1-amd64
		--profile ironcore
		--sbom cyclonedx
		--push localhost:1/me/os:1
		--sign-key env://KEY --push localhost:1/me/os:1
		--cache $scratch/cache
	END
	for option in --tests --tar-gz --timings; do
		told_early 'there is no feature `nosuch`' "$option" "$option" mini-nosuch
	done
	for option in --suite --mirror --arch --version --commit --target --cache --features-dir --kernel \
		--profile --sbom --push --sign-key; do
		told_early "$option needs a value" mini "$option"
		told_early "$option needs a value" "$option=" mini
	done
	# Each option of the help is in this test.
	for option in $("$here/build" --help | grep -o '^  --[a-z-]*'); do
		grep -q -e "${option}" "${BASH_SOURCE[0]}" || fail "$option is not tried"
	done
	"$here/build" --help > "$scratch/help"
	if ! "$here/build" -h | diff - "$scratch/help"; then fail "-h is another help"; fi
	for option in --help --tests --tar-gz --explain --timings; do
		told_early "$option takes no value" "$option=yes" mini
	done
	refused early 'there is no folder /nonexistent' --features-dir=/nonexistent mini
	build explained --explain "--target=$scratch/elsewhere" --explain mini || fail "nothing is explained" "$scratch/explained.out"
	[ ! -e "$scratch/elsewhere" ] || fail "something was made"
	# The last of two counts.
	told_early '"1.0_" is no version' --version 1 --version=1.0_ mini
}
