# shellcheck shell=bash disable=SC2016,SC2034,SC2054,SC2154
# Machines that boot by the network and from a disk that was deployed, out of a registry that wants
# to know who asks; and systemd-sysupdate, which takes versions from there. Sourced by
# scripts/test-build.

# boot_tools: what QEMU boots with.
boot_tools() {
	local missing=() program package
	while read -r program package; do
		if [ ! -e "$program" ]; then missing+=("$package"); fi
	done <<- 'END'
		/usr/bin/qemu-system-x86_64 qemu-system-x86
		/usr/share/OVMF/OVMF_CODE_4M.fd ovmf
		/usr/lib/ipxe/qemu/efi-virtio.rom ipxe-qemu
		/usr/lib/ipxe/snponly.efi ipxe
		/usr/sbin/dnsmasq dnsmasq-base
	END
	if [ "${#missing[@]}" -gt 0 ]; then
		apt-get -q -y --no-install-recommends install "${missing[@]}" > /dev/null 2>&1 || return 1
	fi
	python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore \
		--target "$scratch/python" virt-firmware > /dev/null 2>&1
}

# machine NAME SECONDS PATTERN ARGUMENT…: a machine without KVM starts, and its console says that in
# so much time. Nothing that it writes stays.
machine() {
	local name="$1" limit="$2" pattern="$3" console="$scratch/$1.console" pid begun="$EPOCHSECONDS" runs=yes
	shift 3
	: > "$console"
	timeout "$limit" qemu-system-x86_64 -accel tcg -cpu max -m 1536 -nodefaults -display none -serial stdio \
		-no-reboot -snapshot "$@" > "$console" 2>&1 < /dev/null &
	pid="$!"
	while [ -n "$runs" ]; do
		# What it says before it stops by itself counts too.
		kill -0 "$pid" 2> /dev/null || runs=""
		if grep --text --quiet "$pattern" "$console"; then
			kill "$pid" 2> /dev/null || true
			wait "$pid" || true
			printf '    %s: %s s\n' "$name" "$((EPOCHSECONDS - begun))"
			return
		fi
		sleep 1
	done
	tail --bytes 3000 "$console" | tr -d '\r' > "$scratch/console"
	return 1
}

# by_dhcp NAME SECONDS PATTERN ARGUMENT…: as `machine`, in a network of its own, where dnsmasq gives
# out what the server prints. No registry is there: the server has the image in its cache.
by_dhcp() (
	export -f machine
	export scratch
	unshare --net bash -euc '
		image="$1"
		shift
		ip link set lo up
		ip tuntap add mode tap name boot0
		ip address add 192.0.2.1/24 dev boot0
		ip link set boot0 up
		"$OSIMAGE" serve --offline --cache "$scratch/serve-cache" --listen 192.0.2.1:8080 "$image" 2> "$scratch/dhcp.log" &
		ended=("$!")
		{
			"$OSIMAGE" serve --listen 192.0.2.1:8080 --print-dnsmasq "$image" |
				sed "s|^tftp-root=.*|tftp-root=/usr/lib/ipxe|"
			echo dhcp-range=192.0.2.100,192.0.2.200
		} > "$scratch/dnsmasq.conf"
		if [ "$1" = dhcp-uefi-http ]; then
			# Firmware asks for its HTTP boot where nothing came by TFTP.
			sed -i /snponly/d "$scratch/dnsmasq.conf"
		fi
		dnsmasq --keep-in-foreground --conf-file="$scratch/dnsmasq.conf" --port=0 --interface=boot0 --bind-interfaces \
			--user=root --pid-file= --dhcp-leasefile="$scratch/leases" > "$scratch/dnsmasq.log" 2>&1 &
		ended+=("$!")
		status=0
		machine "$@" -netdev tap,id=net,ifname=boot0,script=no,downscript=no || status=1
		kill "${ended[@]}"
		wait
		exit "$status"' by_dhcp "$@"
)

# uefi: the arguments for a machine with UEFI; $vars are its variables.
uefi() {
	uefi=(-machine q35 -drive "if=pflash,format=raw,unit=0,file=/usr/share/OVMF/OVMF_CODE_4M.fd,readonly=on"
		-drive "if=pflash,format=raw,unit=1,file=$vars")
}

# listening WORDS LOG: waits until what was started last says where it listens; sets $port.
listening() {
	local line
	until line="$(grep -o "$1 .*127.0.0.1:[0-9]*" "$2")"; do
		kill -0 "${ended[-1]}" 2> /dev/null || fail "nothing is listening" "$2"
		sleep 0.1
	done
	port="${line##*:}"
}

# closed_registry: a registry with a password; sets $registry, and ends with the test.
closed_registry() {
	local log="$scratch/registry.log" port
	export HOME="$scratch/home"
	mkdir -p "$HOME"
	htpasswd -Bbn me secret > "$scratch/htpasswd" 2> /dev/null
	printf '%s\n' 'version: 0.1' 'log: {level: info}' \
		"storage: {filesystem: {rootdirectory: '$scratch/registry'}}" "http: {addr: '127.0.0.1:0'}" \
		"auth: {htpasswd: {realm: r, path: '$scratch/htpasswd'}}" > "$scratch/registry.yml"
	docker-registry serve "$scratch/registry.yml" > "$log" 2>&1 &
	ended+=("$!")
	listening 'listening on' "$log"
	registry="localhost:$port"
	"$OSIMAGE" login --username me --password-stdin "$registry" <<< secret &> /dev/null
}

# boot_server ARGUMENT…: a boot server on a free port of loopback; sets $server to its port.
boot_server() {
	local log="$scratch/serve.log" port
	: > "$log"
	"$OSIMAGE" serve --listen 127.0.0.1:0 --cache "$scratch/serve-cache" "$@" 2> "$log" &
	ended+=("$!")
	listening 'serving on' "$log"
	server="$port"
}

# What was started, and the disk that was set up. A trap sees no variables of functions.
ended=()
loop=""

# end_servers: ends what was started.
end_servers() {
	if [ -n "$loop" ]; then losetup --detach "$loop"; fi
	if [ "${#ended[@]}" -gt 0 ]; then kill "${ended[@]}" 2> /dev/null || true; fi
	wait
}

# left_out PROGRAM…: the test cannot run where one is missing, which is a failure of CI's.
left_out() {
	local program
	for program in "$@"; do
		if command -v "$program" > /dev/null; then continue; fi
		printf '    LEFT OUT: there is no %s\n' "$program"
		[ "${CI:-}" != true ]
		return 0
	done
	return 1
}

test_netboot() { # iPXE under BIOS and UEFI, UEFI alone, without a disk, and from a deployed disk
	local registry server uefi vars="$scratch/vars.fd" name archive folder net line
	if left_out docker-registry htpasswd; then return; fi
	boot_tools || fail "the tools to boot with could not be installed"
	trap end_servers EXIT
	build net kvm_netboot_oci_uefi || fail "no build" "$scratch/net.out"
	grep -q '^ *uefi-http *yes' "$scratch/net.out" || fail "not said what it is ready for" "$scratch/net.out"
	name="kvm_netboot_oci_uefi-$(dpkg --print-architecture)-today-local"
	archive="$scratch/net/$name.oci.tar.xz"
	closed_registry
	"$OSIMAGE" keygen --output "$scratch/netboot-key" &> /dev/null
	"$OSIMAGE" push "$archive" "$registry/fleet/os:1.0" --sign-key "$scratch/netboot-key.key" &> "$scratch/push.out" ||
		fail "not pushed" "$scratch/push.out"
	boot_server --require-signature "$scratch/netboot-key.pub" "$registry/fleet/os"
	folder="http://10.0.2.2:$server/boot/$registry/fleet/os/1.0"
	net=(-device virtio-net-pci,netdev=net,bootindex=1 -netdev "user,id=net,bootfile=$folder/boot.ipxe")

	# The root file system comes by the network too.
	machine bios 600 'login:' "${net[@]}" || fail "iPXE under BIOS" "$scratch/console"
	cp /usr/share/OVMF/OVMF_VARS_4M.fd "$vars"
	uefi
	machine ipxe-uefi 600 'login:' "${uefi[@]}" -netdev "user,id=net,bootfile=$folder/boot.ipxe" \
		-device virtio-net-pci,netdev=net,bootindex=1,romfile=/usr/lib/ipxe/qemu/efi-virtio.rom ||
		fail "iPXE under UEFI" "$scratch/console"

	# The disk of the machine is what was deployed, out of the same registry.
	"$OSIMAGE" deploy "$registry/fleet/os:1.0" "$scratch/disk.raw" --require-signature "$scratch/netboot-key.pub" \
		&> "$scratch/deploy.out" || fail "not deployed" "$scratch/deploy.out"
	cmp "$scratch/disk.raw" "$scratch/net/$name.raw" || fail "another disk"
	local disk=(-drive "if=none,id=disk,format=raw,file=$scratch/disk.raw" -device virtio-blk-pci,drive=disk)
	machine deployed 600 'login:' "${uefi[@]}" "${disk[@]}" || fail "a deployed disk" "$scratch/console"
	PYTHONPATH="$scratch/python" python3 -m virt.firmware.vars -i /usr/share/OVMF/OVMF_VARS_4M.fd -o "$vars" \
		--set-boot-uri "$folder/uki.efi" &> /dev/null
	machine uefi-http 600 'login:' "${uefi[@]}" "${disk[@]}" -netdev user,id=net \
		-device virtio-net-pci,netdev=net,romfile= || fail "UEFI's HTTP boot" "$scratch/console"
	grep -q 'GET /boot/.*/uki.efi 200' "$scratch/serve.log" || fail "it did not boot by HTTP" "$scratch/serve.log"

	# dnsmasq sends machines there: an iPXE, a firmware that loads one, and one that boots by HTTP.
	by_dhcp "$registry/fleet/os:1.0" dhcp-ipxe 600 'login:' -device virtio-net-pci,netdev=net,bootindex=1 ||
		fail "iPXE by DHCP" "$scratch/console"
	cp /usr/share/OVMF/OVMF_VARS_4M.fd "$vars"
	local plain=(-device virtio-net-pci,netdev=net,romfile=)
	by_dhcp "$registry/fleet/os:1.0" dhcp-tftp 300 'Linux version' "${uefi[@]}" "${plain[@]}" ||
		fail "iPXE by TFTP" "$scratch/console"
	by_dhcp "$registry/fleet/os:1.0" dhcp-uefi-http 400 'Linux version' "${uefi[@]}" "${plain[@]}" ||
		fail "UEFI's HTTP boot by DHCP" "$scratch/console"
	grep -q 'GET /boot/.*/uki.efi 200' "$scratch/dhcp.log" || fail "it did not boot by HTTP" "$scratch/dhcp.log"

	# What nobody has signed, and what is damaged, boots nowhere, and the log says why.
	"$OSIMAGE" copy "$registry/fleet/os:1.0" "$registry/fleet/unsigned:1.0" &> /dev/null
	boot_server --require-signature "$scratch/netboot-key.pub" "$registry/fleet/unsigned"
	net=(-device virtio-net-pci,netdev=net,bootindex=1
		-netdev "user,id=net,bootfile=http://10.0.2.2:$server/boot/$registry/fleet/unsigned/1.0/boot.ipxe")
	if machine unsigned 60 'Linux version' "${net[@]}"; then fail "an unsigned image has booted"; fi
	grep -q 'signed' "$scratch/serve.log" || fail "the log does not say why" "$scratch/serve.log"
	line="$("$OSIMAGE" resolve "$registry/fleet/os:1.0")"
	damage kernel "$line"
	rm -rf "$scratch/serve-cache"
	boot_server "$registry/fleet/os"
	net=(-device virtio-net-pci,netdev=net,bootindex=1
		-netdev "user,id=net,bootfile=http://10.0.2.2:$server/boot/$registry/fleet/os/1.0/boot.ipxe")
	if machine damaged 60 'Linux version' "${net[@]}"; then fail "a damaged kernel has booted"; fi
	grep -q 'sha256:' "$scratch/serve.log" || fail "the log does not say why" "$scratch/serve.log"
}

# damage LAYER DIGEST: changes a byte of a layer in the registry's folder.
damage() {
	local digest file
	digest="$("$OSIMAGE" url "$registry/fleet/os@$2" --layer "$1" --format json | jq -r .url)"
	digest="${digest##*:}"
	file="$scratch/registry/docker/registry/v2/blobs/sha256/${digest:0:2}/$digest/data"
	printf 'X' | dd of="$file" bs=1 seek=100000 conv=notrunc status=none
}

# trixie FOLDER: a Debian 13, whose systemd has systemd-sysupdate.
trixie() {
	# shellcheck source=builder/mirror.sh
	(
		. "$here/builder/mirror.sh"
		apt_settings > "$scratch/apt.conf"
		machine_sources trixie | mmdebstrap --mode=root --variant=minbase --include=systemd-container,ca-certificates \
			--aptopt="$scratch/apt.conf" trixie "$1" - 2> "$scratch/trixie.out"
	) || fail "no machine" "$scratch/trixie.out"
}

test_sysupdate() { # systemd-sysupdate of Debian 13 takes versions from a registry, as files and into a slot
	local registry server machine="$scratch/trixie" version
	if left_out docker-registry htpasswd mmdebstrap; then return; fi
	trap end_servers EXIT
	trixie "$machine"
	closed_registry
	for version in 1.0 1.1 1.2-rc.1; do
		truncate --size 4M "$scratch/slot.raw"
		mkfs.ext4 -q -F -L "v$version" "$scratch/slot.raw"
		printf 'kernel %s' "$version" > "$scratch/slot.efi"
		"$OSIMAGE" build --profile native --rootfs-file "$scratch/slot.raw" --uki-file "$scratch/slot.efi" \
			--output "$scratch/slot.oci.tar" > /dev/null
		"$OSIMAGE" push "$scratch/slot.oci.tar" "$registry/fleet/os:$version" &> /dev/null
		sha256sum < "$scratch/slot.raw" > "$scratch/slot-$version.sum"
		rm "$scratch/slot.oci.tar"
	done
	"$OSIMAGE" copy "$registry/fleet/os:1.0" "$registry/fleet/os:stable" &> /dev/null
	"$OSIMAGE" copy "$registry/fleet/os:1.1" "$registry/fleet/os:latest" &> /dev/null
	boot_server "$registry/fleet/os"

	# As files; a channel offers what it stands for, and nothing newer.
	definitions --files /srv/os --channel stable
	in_trixie list > "$scratch/list" || fail "no list" "$scratch/list"
	if grep -q '1\.1' "$scratch/list"; then fail "stable offers what is newer" "$scratch/list"; fi
	in_trixie update > "$scratch/list" 2>&1 || fail "no update" "$scratch/list"
	[ "$(cd "$machine/srv/os" && echo *)" = 'os_1.0.rootfs.raw os_1.0.uki.efi' ] || fail "other files" "$scratch/list"
	definitions --files /srv/os
	in_trixie list > "$scratch/list" || fail "no list" "$scratch/list"
	grep -q '1\.1 .*candidate' "$scratch/list" || fail "not the newest" "$scratch/list"
	# This systemd knows no versions before a version, and must not take one for what comes behind.
	curl -sf "http://127.0.0.1:$server/sysupdate/$registry/fleet/os/SHA256SUMS" > "$scratch/list"
	grep -q 'os_1\.2~rc\.1\.uki\.efi$' "$scratch/list" || fail "not all versions" "$scratch/list"
	in_trixie update 1.1 > "$scratch/list" 2>&1 || fail "no update" "$scratch/list"
	sha256sum < "$machine/srv/os/os_1.1.rootfs.raw" | diff - "$scratch/slot-1.1.sum" || fail "another file"
	grep -q 'GET /sysupdate/.*/SHA256SUMS 200' "$scratch/serve.log" || fail "nothing was asked for" "$scratch/serve.log"

	# Into the empty one of two slots.
	truncate --size 32M "$scratch/slots"
	sfdisk --quiet "$scratch/slots" <<- 'END'
		label: gpt
		size=8MiB, type=4f68bce3-e8cd-4db1-96e7-fbcaf984b709, name=os_1.0
		size=8MiB, type=4f68bce3-e8cd-4db1-96e7-fbcaf984b709, name=_empty
	END
	loop="$(losetup --find --show --partscan "$scratch/slots")"
	definitions
	rm "$machine/etc/sysupdate.d/"*-uki.transfer
	sed -i "s|^Path=auto|Path=$loop|" "$machine/etc/sysupdate.d/"*.transfer
	in_trixie update 1.1 > "$scratch/list" 2>&1 || fail "no update of a slot" "$scratch/list"
	[ "$(sfdisk --part-label "$loop" 2)" = os_1.1 ] || fail "the slot has no name"
	dd if="$scratch/slots" bs=1M skip="$(($(sfdisk --json "$loop" | jq '.partitiontable.partitions[1].start') / 2048))" \
		count=4 status=none | sha256sum | diff - "$scratch/slot-1.1.sum" || fail "another slot"

	# What nobody has signed is not offered.
	"$OSIMAGE" keygen --output "$scratch/sysupdate-key" &> /dev/null
	boot_server --require-signature "$scratch/sysupdate-key.pub" "$registry/fleet/os"
	definitions --files /srv/os
	if in_trixie update > "$scratch/list" 2>&1 && [ -e "$machine/srv/os/os_1.2~rc.1.uki.efi" ]; then
		fail "something unsigned was installed" "$scratch/list"
	fi
}

# definitions ARGUMENT…: of transfers, on the machine.
definitions() {
	rm -rf "$machine/etc/sysupdate.d"
	mkdir -p "$machine/etc/sysupdate.d" "$machine/srv/os"
	"$OSIMAGE" sysupdate-config "$registry/fleet/os:1.1" --server "http://127.0.0.1:$server" \
		--output "$machine/etc/sysupdate.d" "$@" > /dev/null
}

# in_trixie ARGUMENT…: systemd-sysupdate there.
in_trixie() {
	unshare --mount bash -euc '
		mount --rbind /dev "$1/dev"
		mount --rbind /sys "$1/sys"
		mount -t proc proc "$1/proc"
		mount -t tmpfs tmpfs "$1/run"
		machine="$1"
		shift
		chroot "$machine" /usr/lib/systemd/systemd-sysupdate --no-pager "$@"' in_trixie "$machine" "$@"
}
