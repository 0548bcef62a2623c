# shellcheck shell=bash disable=SC2154
# The table of deployments: a disk out of a registry onto a loop device, beside curl and dd, both of
# which end when all is on the disk. Sourced by scripts/bench; the disks are those of delta.sh.

table_deploy() {
	local near slow pairs at name url device
	[ "$EUID" -eq 0 ] || { echo "bench: loop devices are had as root" >&2 && exit 1; }
	pairs
	serve near
	slow="$(free_port)"
	"$here/bench.d/delay" "$slow" "$near" 5 100 &
	servers+=($!)
	answers "$slow"
	"$osimage" --store-path "$work/deploy" build --profile ironcore --tag os:1 --rootfs-file \
		"$pairs/week.raw" > /dev/null
	for name in raw chunks; do
		"$osimage" push "$work/deploy:os:1" "localhost:$near/$name:1" > /dev/null 2>&1
	done
	"$osimage" chunk -q "localhost:$near/chunks:1" > /dev/null
	truncate -s "$(stat -c %s "$pairs/week.raw")" "$work/disk"
	device="$(losetup --find --show "$work/disk")"
	loops+=("$device")
	printf '\n## Deploying: a disk of %s MB onto a loop device\n' \
		"$(megabytes "$(stat -c %s "$pairs/week.raw")")"
	for at in "$near" "$slow"; do
		name="onto a disk"
		if [ "$at" = "$slow" ]; then name+=", at 100 Mbit/s"; fi
		url="$("$osimage" url "localhost:$at/raw:1" --layer rootfs --format plain)"
		run "$name" osimage "$osimage deploy -q localhost:$at/raw:1 $device --yes"
		run "$name" "osimage, with chunks" "$osimage deploy -q localhost:$at/chunks:1 $device --yes"
		run "$name" "osimage, with a seed" \
			"$osimage deploy -q localhost:$at/chunks:1 $device --yes --seed $pairs/old.raw"
		run "$name" "curl, dd" "curl -sf $url | dd of=$device bs=4M conv=fsync status=none"
		run "$name" "curl, dd oflag=direct" \
			"curl -sf $url | dd of=$device bs=4M iflag=fullblock oflag=direct conv=fsync status=none"
	done
	rows
	losetup --detach "$device"
	loops=()
	rm -rf "$work/deploy" "$work/disk" "$work"/registry-*
}
