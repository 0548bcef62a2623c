# shellcheck shell=bash disable=SC2016,SC2031,SC2034
# The longer tests of ./build: every platform, another release, without root, a fresh machine,
# another builder. Sourced by scripts/test-build.

# shellcheck source=scripts/test-build.d/gardenlinux.sh
. "$here/scripts/test-build.d/gardenlinux.sh"

# shellcheck source=scripts/test-build.d/netboot.sh
. "$here/scripts/test-build.d/netboot.sh"

# shellcheck source=scripts/test-build.d/package.sh
. "$here/scripts/test-build.d/package.sh"

# shellcheck source=scripts/test-build.d/self_update.sh
. "$here/scripts/test-build.d/self_update.sh"

all=(netboot sysupdate self_update local_mirror network places disk_starts platforms another_release unprivileged
	fresh_debian_12 fresh_debian_13 gardenlinux packages)

# build_and_boot ARGUMENT…: with the project's own features and their tests; the results are thrown
# away.
build_and_boot() {
	printf '    %s\n' "$*"
	"$here/build" --target "$scratch/built" --tests "$@" > "$scratch/built.out" 2>&1 || fail "$*" "$scratch/built.out"
	grep -q 'boot the packed image' "$scratch/built.out" || fail "$* was not booted" "$scratch/built.out"
	rm -r "$scratch/built"
}

test_local_mirror() { # packages and a key that lie in folders of this machine, and not in the image
	local pool="$scratch/pool" made="$scratch/local" line
	mkdir -p "$pool" "$scratch/package/DEBIAN"
	printf 'Package: from-here\nVersion: 1\nArchitecture: all\nMaintainer: A Test <a@example.org>\nDescription: a test\n' \
		> "$scratch/package/DEBIAN/control"
	dpkg-deb --root-owner-group --build "$scratch/package" "$pool/from-here_1_all.deb" > /dev/null
	{
		cat "$scratch/package/DEBIAN/control"
		printf 'Filename: ./from-here_1_all.deb\nSize: %s\nSHA256: %s\n' \
			"$(stat -c %s "$pool/from-here_1_all.deb")" "$(sha256sum < "$pool/from-here_1_all.deb" | cut -c 1-64)"
	} > "$pool/Packages"
	echo from-here > "$scratch/features/own/pkg.include"
	echo key > "$scratch/key.asc"
	line="deb [trusted=yes signed-by=$scratch/key.asc] copy:$pool ./"
	# shellcheck source=builder/mirror.sh
	(. "$here/builder/mirror.sh" && machine_sources "$(machine_suite)") > "$scratch/lines"
	local mirrors=()
	while read -r line_of_machine; do mirrors+=(--mirror "$line_of_machine"); done < "$scratch/lines"
	build local "${mirrors[@]}" --mirror "$line" bare-own || fail "no build" "$scratch/local.out"
	grep -q '^from-here 1$' "$made/"*.manifest || fail "the package is missing"
	tar --extract --to-stdout --xz --file "$made/"*.tar.xz etc/apt/sources.list > "$scratch/lines"
	grep -q "^# deb .*copy:$pool" "$scratch/lines" || fail "the folder is no comment" "$scratch/lines"
	if tar --list --xz --file "$made/"*.tar.xz | grep "^\.*${pool#/}"; then fail "the folder is in the image"; fi
}

test_platforms() { # each platform is built, tested and booted
	local target
	for target in gcp_oci kvm_oci gcp-gardener_oci azure-gardener_dev_oci metal_oci; do build_and_boot "$target"; done
}

test_another_release() { # not only the release of this machine
	build_and_boot --suite trixie --profile native --version 1.2 --commit 0123456789abcdef kvm_oci
	build_and_boot --suite bookworm kvm_oci
}

# as_user COMMAND…: as the new user.
as_user() {
	setpriv --reuid "$user" --regid "$user" --init-groups --reset-env "$@"
}

test_unprivileged() { # an ordinary user's build gives the same bytes as root's
	local name=kvm_oci extension
	# Not local: it is removed when the functions have ended.
	user="osimage-test-$$"
	command -v newuidmap > /dev/null || apt-get install -y --no-install-recommends uidmap > /dev/null
	useradd --create-home --home-dir "$scratch/home" --user-group "$user"
	trap 'userdel "$user"' EXIT
	mkdir "$scratch/home/checkout"
	tar --create --directory "$here" --exclude ./target --exclude ./.build --exclude ./.git . | tar --extract --directory "$scratch/home/checkout" --no-same-owner
	chown -R "$user:" "$scratch/home"
	"$here/build" --target "$scratch/root" "$name" > "$scratch/root.out" 2>&1 || fail "root's build failed" "$scratch/root.out"
	install --mode=755 "$OSIMAGE" "$scratch/osimage"
	as_user env PATH="$PATH" OSIMAGE="$scratch/osimage" "$scratch/home/checkout/build" "$name" > "$scratch/user.out" 2>&1 || fail "the user's build failed" "$scratch/user.out"
	name="$name-$(dpkg --print-architecture)-today-local"
	for extension in vmlinuz initrd raw tar.xz oci.tar.xz manifest spdx.json; do
		cmp "$scratch/root/$name.$extension" "$scratch/home/checkout/.build/$name.$extension" || fail "the user's build differs from root's"
	done
	[ -z "$(find "$scratch/home" ! -user "$user")" ] || fail "the build has left files that the user can't remove"
}

# in_machine FOLDER COMMAND…: in a Debian that lies in FOLDER, as if it were a machine: / is a mount
# point of its own there.
in_machine() {
	unshare --mount --pid --fork --kill-child --mount-proc bash -euc '
		mount --bind "$1" "$1"
		cd "$1"
		mount --rbind /dev dev
		mount --rbind /sys sys
		mount -t proc proc proc
		mkdir -p old
		pivot_root . old
		cd /
		umount --lazy old
		shift
		exec env --ignore-environment HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"' in_machine "$@"
}

# make_machine RELEASE: a minimal Debian in $scratch/RELEASE, with nothing but this machine's sources.
make_machine() {
	local release="$1" machine="$scratch/$1"
	mkdir "$machine"
	(
		# shellcheck source=builder/mirror.sh
		. "$here/builder/mirror.sh"
		apt_settings > "$scratch/apt.conf"
		machine_sources "$release" | mmdebstrap --mode=root --variant=minbase --aptopt="$scratch/apt.conf" "$release" "$machine" - 2> "$scratch/machine.out"
	) || fail "no machine" "$scratch/machine.out"
	# How this machine reaches the network: the test is not about that.
	cp /etc/resolv.conf "$machine/etc/"
	if [ -d /usr/local/share/ca-certificates ]; then cp -r /usr/local/share/ca-certificates "$machine/usr/local/share/"; fi
}

# fresh_machine RELEASE: on a minimal Debian `./build gcp_oci` does all of it.
fresh_machine() {
	local release="$1" machine="$scratch/$1" round begun
	make_machine "$release"
	mkdir "$machine/root/osimage"
	tar --create --directory "$here" --exclude ./target --exclude ./.build --exclude ./.git . | tar --extract --directory "$machine/root/osimage" --no-same-owner
	for round in first second; do
		begun="$EPOCHSECONDS"
		in_machine "$machine" /root/osimage/build gcp_oci > "$scratch/machine.out" 2>&1 || fail "the $round build on $release failed" "$scratch/machine.out"
		printf '    %s, the %s build: %s s\n' "$release" "$round" "$((EPOCHSECONDS - begun))"
		sed 's/^/    | /' "$scratch/machine.out"
	done
	OSIMAGE="$OSIMAGE" "$here/scripts/boot" "$machine/root/osimage/.build/gcp_oci-$(dpkg --print-architecture)-today-local.oci.tar.xz" > "$scratch/boot.out" 2>&1 || fail "it does not start" "$scratch/boot.out"
	rm -r "$machine"
}

test_fresh_debian_12() {
	fresh_machine bookworm
}

test_fresh_debian_13() {
	fresh_machine trixie
}
