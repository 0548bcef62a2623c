# shellcheck shell=bash disable=SC2016,SC2034
# The project's features in Garden Linux's own builder. Sourced by scripts/test-build.d/all.sh.
# $GARDENLINUX_BUILDER names a git repository of that builder; without it there is nothing to test.

# Its container has tools that Debian has not. Those that matter for a kvm_oci are easy; a list of
# licences and SELinux labels don't matter.
gardenlinux_tools() {
	local bin="$1"
	printf '#!/bin/sh\nexit 0\n' > "$bin/chcon"
	printf '#!/bin/sh\necho "{}"\n' > "$bin/syft"
	cp "$OSIMAGE" "$bin/osimage"
	chmod 755 "$bin"/*
}

test_gardenlinux() { # Garden Linux's builder makes an archive that starts, out of the same folders
	local machine="$scratch/gardenlinux" repo
	if [ -z "${GARDENLINUX_BUILDER:-}" ]; then
		printf '    skipped: GARDENLINUX_BUILDER names no repository of the builder\n'
		return
	fi
	mkdir "$machine"
	(
		# shellcheck source=builder/mirror.sh
		. "$here/builder/mirror.sh"
		apt_settings > "$scratch/apt.conf"
		machine_sources trixie | mmdebstrap --mode=root --variant=minbase --aptopt="$scratch/apt.conf" \
			--include=bsdextrautils,ca-certificates,curl,e2fsprogs,fdisk,gpg,gpgv,jq,make,mmdebstrap,python3-networkx,python3-yaml,uidmap,xxd,xz-utils \
			trixie "$machine" - 2> "$scratch/machine.out"
	) || fail "no machine" "$scratch/machine.out"
	cp /etc/resolv.conf "$machine/etc/"
	echo root:1:65535 | tee "$machine/etc/subuid" > "$machine/etc/subgid"
	git -C "$GARDENLINUX_BUILDER" archive HEAD builder | tar --extract --directory "$machine"
	cp -r "$here/features" "$machine/builder/features"
	mkdir "$machine/builder/.build" "$machine/builder/cert"
	touch "$machine/builder/requirements.defs"
	cp "$(find "$machine/usr/share/keyrings" -name 'debian-archive-keyring.*' | head -n 1)" "$machine/builder/keyring.gpg"
	gardenlinux_tools "$machine/usr/local/bin"
	repo="$(. "$here/builder/mirror.sh" && machine_sources bookworm | awk '$3 == "bookworm" { print $2; exit }')"
	# Its versions are names of releases.
	in_machine "$machine" sh -c 'mount -t tmpfs tmpfs /tmp && exec make --no-print-directory -C /builder "$@"' make \
		"REPO=$repo" COMMIT=local TIMESTAMP=1700000000 DEFAULT_VERSION=bookworm TEMPFS_SIZE=3G kvm_oci > "$scratch/machine.out" 2>&1 ||
		fail "it builds no kvm_oci" "$scratch/machine.out"
	"$here/scripts/boot" "$machine/builder/.build/kvm_oci-$(dpkg --print-architecture)-bookworm-local.oci.tar.xz" > "$scratch/boot.out" 2>&1 ||
		fail "its system does not start" "$scratch/boot.out"
	rm -r "$machine"
}
