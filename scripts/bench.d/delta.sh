# shellcheck shell=bash disable=SC2154
# The tables of updates: three pairs of disks, made on the spot of a Debian and of the same Debian
# with its security updates; what each tool would fetch, and how long it takes.
# Sourced by scripts/bench; the servers are those of registry.sh.

# What is in the system beside the important packages.
DELTA_PACKAGES=openssh-server,nginx-light,python3,curl,krb5-user,perl,systemd-sysv

# disk NAME TREE SECONDS: makes $pairs/NAME.raw of a folder, as the feature _disk does.
disk() {
	truncate -s 800M "$pairs/$1.raw.new"
	features/_disk/tools/make_reproducible_ext4 -t "$3" -h bench "$2" "$pairs/$1.raw.new"
	mv "$pairs/$1.raw.new" "$pairs/$1.raw"
}

# What a week's security updates are, roughly.
DELTA_WEEK="openssl libssl3 curl libcurl4 libgnutls30 nginx-light krb5-user libkrb5-3"

# pairs: makes the disks: `old`; `week`, with a few packages upgraded; `security`, with all of them
# upgraded, since the last point release; `time`, the old one with another time; all without a kernel;
# and `old-kernel` and `kernel`, with a kernel that is upgraded too.
pairs() {
	local tree="$work/tree" from=http://deb.debian.org/debian security
	pairs="$PWD/target/bench-pairs"
	if [ -e "$pairs/done" ]; then return; fi
	[ "$EUID" -eq 0 ] || { echo "bench: the pairs of disks are made as root" >&2 && exit 1; }
	command -v mmdebstrap > /dev/null || {
		echo "bench: mmdebstrap is missing; apt-get install mmdebstrap" >&2 && exit 1
	}
	mkdir -p "$pairs"
	security="deb http://deb.debian.org/debian-security bookworm-security main"
	mmdebstrap --quiet --variant=important --format=directory \
		--include="$DELTA_PACKAGES,linux-image-cloud-amd64" bookworm "$tree" "$from"
	disk old-kernel "$tree" 1750000000
	upgrade "$tree" dist-upgrade "$security"
	# The kernel that was there before goes, as it does where there is room for one.
	chroot "$tree" apt-get -qq -y purge "$(basename "$(find "$tree/boot" -name 'vmlinuz-*' | sort -V |
		head -n 1)" | sed 's/^vmlinuz/linux-image/')" > /dev/null 2>&1
	clean "$tree" && disk kernel "$tree" 1750600000
	rm -rf "$tree"
	mmdebstrap --quiet --variant=important --format=directory --include="$DELTA_PACKAGES" \
		bookworm "$tree" "$from"
	clean "$tree" && disk old "$tree" 1750000000 && disk time "$tree" 1750600000
	upgrade "$tree" "install --only-upgrade $DELTA_WEEK" "$security"
	clean "$tree" && disk week "$tree" 1750600000
	upgrade "$tree" upgrade "$security"
	clean "$tree" && disk security "$tree" 1750600000
	rm -rf "$tree"
	touch "$pairs/done"
}

# upgrade TREE VERB SOURCE: upgrades the packages of a system.
upgrade() {
	echo "$3" > "$1/etc/apt/sources.list.d/security.list"
	cp /etc/resolv.conf "$1/etc/resolv.conf"
	cp /etc/apt/apt.conf.d/*proxy* "$1/etc/apt/apt.conf.d/" 2> /dev/null || true
	chroot "$1" apt-get -qq update
	DEBIAN_FRONTEND=noninteractive chroot "$1" sh -c "apt-get -qq -y $2" > /dev/null 2>&1
}

# clean TREE: takes away what differs from run to run.
clean() {
	rm -rf "$1"/var/lib/apt/lists/* "$1"/var/log/* "$1"/var/cache/apt/*.bin "$1"/var/cache/apt/archives/*.deb \
		"$1"/etc/apt/apt.conf.d/*proxy* "$1"/var/cache/ldconfig/* "$1"/var/lib/systemd/random-seed
}

# megabytes BYTES
megabytes() {
	awk "BEGIN {printf \"%.2f\", $1 / 1e6}"
}

# bytes_row PAIR TOOL BYTES RAW ZSTD: a row of the table of bytes.
bytes_row() {
	awk -v p="$1" -v t="$2" -v b="$3" -v r="$4" -v z="$5" 'BEGIN {
		printf "| %s | %s | %.2f | %.1f %% | %.1f %% |\n", p, t, b / 1e6, b * 100 / r, b * 100 / z}'
}

# bytes PAIR OLD NEW: what each tool fetches to make NEW of OLD.
bytes() {
	local raw one old="$pairs/$2.raw" new="$pairs/$3.raw" at="localhost:$near/delta" dir="$work/peers"
	raw="$(stat -c %s "$new")" one="$(zstd -q -3 -T0 -c "$new" | wc -c)"
	bytes_row "$1" "the raw layer" "$raw" "$raw" "$one"
	bytes_row "$1" "zstd -3" "$one" "$raw" "$one"
	bytes_row "$1" "osimage" "$("$osimage" pull "$at:$3" -o "$dir/none" --seed "$old" --dry-run \
		--layer rootfs --format json | jq .fetched)" "$raw" "$one"
	bytes_row "$1" "osimage, without a seed" "$("$osimage" pull "$at:$3" -o "$dir/none" \
		--dry-run --layer rootfs --format json | jq .fetched)" "$raw" "$one"
	mkdir -p "$dir"
	bytes_row "$1" "zstd --patch-from (a patch for each pair)" \
		"$(zstd -q -3 --long=31 --patch-from="$old" "$new" -c | wc -c)" "$raw" "$one"
	if peer rsync; then
		cp "$old" "$dir/rsync"
		bytes_row "$1" "rsync -z" "$(rsync -z --no-whole-file --inplace --stats "$new" "$dir/rsync" |
			sed -n 's/,//g; s/^Total bytes \(sent\|received\): //p' | paste -sd+ | bc)" "$raw" "$one"
		rm "$dir/rsync"
	fi
	if peer casync; then
		casync make --store="$dir/store" "$dir/old.caibx" "$old" > /dev/null
		find "$dir/store" -type f | sort > "$dir/before"
		casync make --store="$dir/store" "$dir/new.caibx" "$new" > /dev/null
		find "$dir/store" -type f | sort > "$dir/after"
		bytes_row "$1" "casync" "$({ comm -13 "$dir/before" "$dir/after" && echo "$dir/new.caibx"; } |
			xargs stat -c %s | paste -sd+ | bc)" "$raw" "$one"
	fi
	if peer zck_delta_size; then
		zck -o "$dir/old.zck" "$old" > /dev/null 2>&1 && zck -o "$dir/new.zck" "$new" > /dev/null 2>&1
		bytes_row "$1" "zchunk" "$(zck_delta_size "$dir/old.zck" "$dir/new.zck" |
			sed -n 's/^Would download \([0-9]*\) of .*/\1/p')" "$raw" "$one"
	fi
	rm -rf "$dir"
}

table_delta() {
	local near slow name pairs
	pairs
	serve near
	slow="$(free_port)"
	"$here/bench.d/delay" "$slow" "$near" 5 100 &
	servers+=($!)
	answers "$slow"
	printf '\n## Updates: disks of %s MB\n' "$(megabytes "$(stat -c %s "$pairs/old.raw")")"
	for name in old week security time old-kernel kernel; do
		# A profile that takes a root file system alone.
		"$osimage" --store-path "$work/delta" build --profile ironcore --tag "os:$name" \
			--rootfs-file "$pairs/$name.raw" > /dev/null
		"$osimage" push "$work/delta:os:$name" "localhost:$near/delta:$name" > /dev/null 2>&1
		"$osimage" push "$work/delta:os:$name" "localhost:$near/raw:$name" > /dev/null 2>&1
		"$osimage" chunk -q "localhost:$near/delta:$name" > /dev/null
	done
	printf '\n| update | tool | MB to fetch | of raw | of zstd -3 |\n|---|---|---|---|---|\n'
	bytes "a few packages" old week
	bytes "all packages since the point release" old security
	bytes "all packages and the kernel" old-kernel kernel
	bytes "another time stamp" old time

	local old="$pairs/old.raw" new="$pairs/week.raw" at
	run "pack in chunks" osimage "$osimage --store-path \$out/s build --profile native --compress --kernel-file \
		$0 --rootfs-file $new"
	run "pack in chunks" "zstd -3 -T0" "zstd -q -3 -T0 $new -o \$out/os.zst"
	for at in "$near" "$slow"; do
		name="a few packages"
		if [ "$at" = "$slow" ]; then name+=", at 100 Mbit/s"; fi
		run "$name" osimage "$osimage pull -q localhost:$at/delta:week -o \$out/files --seed $old"
		run "$name" "osimage, the raw layer" "$osimage pull -q localhost:$at/raw:week -o \$out/files"
		run "$name" "osimage, without a seed" "$osimage pull -q localhost:$at/delta:week -o \$out/files"
	done
	rows
	rm -rf "$work/delta" "$work"/registry-*
}
