# shellcheck shell=bash disable=SC2154
# The table of releases: promoting, bundling, and comparing two images.
# Sourced by scripts/bench; the servers are those of registry.sh.

table_release() {
	local near other far at port name n store="$work/released" oras tags="1,2,3,4,5" five=""
	find_image
	serve near
	serve other
	far "$near"
	printf '\n## Releases\n'
	# Five images that share all but the kernel; two differ in their rootfs too.
	head -c 1000000 /dev/urandom > "$work/kernel"
	for n in 1 2 3 4 5; do
		echo "$n" >> "$work/kernel"
		"$osimage" --store-path "$store" build --tag "os:$n" --rootfs-file "$load/rootfs.raw" \
			--initramfs-file "$load/initrd" --kernel-file "$work/kernel" > /dev/null
		"$osimage" push "$store:os:$n" "localhost:$near/me/os:$n" > /dev/null 2>&1
		"$osimage" push "$store:os:$n" "localhost:$near/me/own:$n" > /dev/null 2>&1
		five+=" localhost:$near/me/os:$n"
	done
	(cat "$load/rootfs.raw" && echo) > "$work/rootfs"
	"$osimage" --store-path "$store" build --tag os:6 --rootfs-file "$work/rootfs" \
		--initramfs-file "$load/initrd" --kernel-file "$work/kernel" > /dev/null
	"$osimage" push "$store:os:6" "localhost:$near/me/os:6" > /dev/null 2>&1

	for port in "$near" "$far"; do
		at="localhost:$port"
		name="promote within a repository"
		if [ "$port" = "$far" ]; then name+=", 50 ms away each way"; fi
		# osimage writes a record beside the tag.
		run "$name" osimage "$osimage promote $at/me/own:1 :stable-\$id"
		peer oras && run "$name" "oras tag, no record" \
			"oras tag --plain-http $at/me/own:1 oras-\$id"
		peer crane && run "$name" "crane tag, no record" "crane tag --insecure $at/me/own:1 crane-\$id"
	done
	at="localhost:$near"

	name="promote to another registry"
	run "$name" osimage "$osimage promote $at/me/os:1 localhost:$other/osimage-\$id:1"
	oras="oras cp -r --from-plain-http --to-plain-http"
	peer oras && run "$name" "oras cp -r, no record" "$oras $at/me/os:1 localhost:$other/oras-\$id:1"
	peer crane && run "$name" "crane cp, the image alone" \
		"crane cp --insecure $at/me/os:1 localhost:$other/crane-\$id:1"

	name="bundle five images, .oci.tar"
	oras="oras backup --plain-http --include-referrers $at/me/os:$tags"
	run "$name" osimage "$osimage bundle create$five -o \$out/os.oci.tar"
	peer oras && run "$name" "oras backup" "$oras -o \$out/os.tar"
	name="bundle five images, .oci.tar.zst"
	run "$name" osimage "$osimage bundle create$five -o \$out/os.oci.tar.zst"
	peer oras && peer zstd && run "$name" "oras backup, zstd -T0" \
		"$oras -o \$out/os.tar && zstd -q -T0 --rm \$out/os.tar"
	name="bundle five images, .oci.tar.xz"
	run "$name" osimage "$osimage bundle create$five -o \$out/os.oci.tar.xz"
	peer oras && run "$name" "oras backup, xz -T0 -1" \
		"$oras -o \$out/os.tar && xz -T0 -1 \$out/os.tar"

	"$osimage" bundle create "$at/me/os:1" -o "$work/base.oci.tar" > /dev/null 2>&1
	run "bundle what a base lacks" osimage \
		"$osimage bundle create $at/me/os:2 --base $work/base.oci.tar -o \$out/os.oci.tar"
	run "push a bundle of five images" osimage \
		"$osimage bundle create$five -o \$out/b.oci.tar && \
		$osimage bundle push \$out/b.oci.tar localhost:$other/pushed-\$id"
	peer oras && run "push a bundle of five images" "oras backup, oras restore" \
		"$oras -o \$out/b.tar && oras restore --plain-http --input \$out/b.tar \
		localhost:$other/restored-\$id/os"
	run "compare two images" osimage "$osimage diff $at/me/os:1 $at/me/os:6"
	rows
	rm -rf "$store" "$work"/registry-* "$work/kernel" "$work/rootfs" "$work/base.oci.tar"
}
