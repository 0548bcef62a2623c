# shellcheck shell=bash disable=SC2154
# A system that updates itself: the feature _sysupdate, from the build to the second slot. Sourced by
# scripts/test-build, after netboot.sh.

# fleet_feature: a feature that says where updates come from, and that tells the console what runs and
# what comes of an update.
fleet_feature() {
	local folder="$scratch/features/_fleet"
	mkdir -p "$folder"/file.include/{etc/osimage,etc/systemd/system,usr/local/sbin}
	printf 'type: flag\nfeatures:\n  include: [_sysupdate]\n' > "$folder/info.yaml"
	printf 'REPOSITORY=%s\nCHANNEL=stable\nKEY=/etc/osimage/release.pub\nOPTIONS=--plain-http\nREGISTRY_AUTH_FILE=%s\n' \
		"10.0.2.2:$port/fleet/os" /etc/osimage/auth.json > "$folder/file.include/etc/osimage/update.conf"
	printf '{"auths":{"10.0.2.2:%s":{"auth":"%s"}}}' "$port" "$(printf me:secret | base64)" \
		> "$folder/file.include/etc/osimage/auth.json"
	cp "$scratch/release.pub" "$folder/file.include/etc/osimage/"
	cat > "$folder/file.include/etc/systemd/system/report.service" <<- 'END'
		[Unit]
		After=network-online.target systemd-logind.service
		Wants=network-online.target
		[Service]
		Type=oneshot
		ExecStart=/usr/local/sbin/report
		[Install]
		WantedBy=multi-user.target
	END
	cat > "$folder/file.include/usr/local/sbin/report" <<- 'END'
		#!/bin/bash
		. /etc/os-release
		exec > /dev/console 2>&1
		echo "RUNS $IMAGE_VERSION in $(lsblk --noheadings --output PARTLABEL "$(realpath /run/systemd/volatile-root)")"
		if systemctl start --wait systemd-sysupdate.service; then echo "LOOKED"; else echo "NOT LOOKED"; fi
		exec 3<> /dev/tcp/127.0.0.1/8080
		printf 'GET /metrics HTTP/1.0\r\n\r\n' >&3
		grep '^osimage_' <&3
		journalctl --boot --no-pager --output cat --unit systemd-sysupdate --unit osimage-update
		systemctl poweroff
	END
	printf '#!/bin/bash\nsystemctl enable report.service\n' > "$folder/exec.config"
	chmod +x "$folder/exec.config" "$folder/file.include/usr/local/sbin/report"
}

# starts NAME: the disk starts, tells what it has to tell, and stops.
starts() {
	machine "$1" 600 'reboot: Power down' "${uefi[@]}" -netdev user,id=net -device virtio-net-pci,netdev=net,romfile= \
		-drive "if=none,id=disk,format=raw,file=$scratch/machine.raw,snapshot=off" -device virtio-blk-pci,drive=disk ||
		fail "it does not come up" "$scratch/console"
}

# release VERSION: builds it, and brings it into the registry, signed.
release() {
	local name="$1"
	build "$name" --suite trixie --version "$name" kvm_fleet_oci || fail "no build of $name" "$scratch/$name.out"
	"$OSIMAGE" publish "$scratch/$name/kvm_fleet_oci-$(dpkg --print-architecture)-$name-local" "$registry/fleet/os:$name" \
		"${@:2}" &> "$scratch/publish.out" || fail "$name is not published" "$scratch/publish.out"
	"$OSIMAGE" promote "$registry/fleet/os:$name" "$registry/fleet/os:stable" --move &>> "$scratch/publish.out" ||
		fail "$name is not promoted" "$scratch/publish.out"
}

# said PATTERN NAME: the console of that start has said it.
said() {
	grep --text --quiet "$1" "$scratch/$2.console" || {
		tr -d '\r' < "$scratch/$2.console" | sed -n '/^RUNS/,$p' | head -n 60 > "$scratch/console"
		fail "the console does not say $1" "$scratch/console"
	}
}

# given: how many bytes the registry has given until now.
given() {
	awk '/ "GET \/v2\// { sum += $10 } END { print sum + 0 }' "$scratch/registry.log"
}

test_self_update() { # a system with two slots takes the next version out of its registry, and starts it
	local registry port before uefi vars="$scratch/vars.fd"
	if left_out docker-registry htpasswd; then return; fi
	boot_tools || fail "the tools to boot with could not be installed"
	trap end_servers EXIT
	closed_registry
	port="${registry##*:}"
	"$OSIMAGE" keygen --output "$scratch/release" &> /dev/null
	fleet_feature
	release 1.0 --sign-key "$scratch/release.key"
	truncate --size=6G "$scratch/machine.raw"
	"$OSIMAGE" deploy "$registry/fleet/os:1.0" "$scratch/machine.raw" --yes --require-signature "$scratch/release.pub" \
		&> "$scratch/deploy.out" || fail "not deployed" "$scratch/deploy.out"
	mkdir -p "$scratch/features/_fleet/file.include/usr/share/fleet"
	seq 100000 > "$scratch/features/_fleet/file.include/usr/share/fleet/news"
	release 1.1 --sign-key "$scratch/release.key"
	cp /usr/share/OVMF/OVMF_VARS_4M.fd "$vars"
	uefi

	before="$(given)"
	starts first
	printf '    fetched for the update: %s bytes\n' "$(($(given) - before))"
	# The slot has hundreds of MB; what is new is the list and the initramfs in the kernel's image.
	[ "$(($(given) - before))" -lt 60000000 ] || fail "more was fetched than what changed" "$scratch/registry.log"
	said 'RUNS 1.0 in os_1.0' first
	said '^LOOKED' first
	sfdisk --dump "$scratch/machine.raw" 2> /dev/null | grep -q 'name="os_1.1"' || {
		tr -d '\r' < "$scratch/first.console" | sed -n '/^RUNS/,$p' | head -n 60 > "$scratch/console"
		fail "the second slot is not the new version" "$scratch/console"
	}
	starts second
	said 'RUNS 1.1 in os_1.1' second

	# What nobody has signed is not taken.
	release 1.2
	starts third
	said 'RUNS 1.1 in os_1.1' third
	said '^NOT LOOKED' third
	said 'signed' third
	starts fourth
	said 'RUNS 1.1 in os_1.1' fourth
}
