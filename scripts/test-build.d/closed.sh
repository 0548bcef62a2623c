# shellcheck shell=bash disable=SC2016,SC2154
# What features bring along touches nothing of the machine that builds. Sourced by
# scripts/test-build.

# escape_script: tries what root can do to a machine, and says what has worked. Its first argument
# is a file of the machine's, the second a mark that names of files bear. Where it sees the machine it
# ends at once, and what it tries does no harm where it works.
escape_script() {
	cat > "$scratch/escape" <<- 'END'
		#!/usr/bin/env bash
		victim="$1" mark="$2" folder=""
		try() {
			local what="$1"
			shift
			if ("$@") > /dev/null 2>&1; then echo "$what"; fi
		}
		# Nothing is made where nothing was.
		over() { dd status=none conv=nocreat,notrunc of="$1" <<< over; }
		same() { local value; value="$(cat "$1")" && echo "$value" > "$1"; }
		descriptors() {
			local file
			for file in /proc/[0-9]*/fd/* /proc/[0-9]*/cwd /proc/[0-9]*/root; do
				if over "$file/$victim" || over "$file/../../../../../../..$victim"; then return; fi
			done
			return 1
		}
		if [ -e "$victim" ] || [ -e "/dev/$mark.victim" ]; then
			echo "the machine is in sight"
			exit 1
		fi
		try "a write" over "$victim"
		try "the first process" over "/proc/1/root$victim"
		try "an open file" descriptors
		try "a link" eval 'ln -s "$victim" "/tmp/$mark.link" && over "/tmp/$mark.link"'
		try "a setting" same /proc/sys/vm/swappiness
		try "a setting of the network" same /proc/sys/net/ipv4/ip_forward
		# It would show what keys there are.
		try "a key of the kernel's" eval 'echo h > /proc/sysrq-trigger'
		try "the messages of the kernel" test -e /dev/kmsg
		try "a disk" mknod "/tmp/$mark.disk" b 254 0
		try "memory" mknod "/tmp/$mark.memory" c 1 1
		try "all devices" eval 'mkdir -p "/tmp/$mark.d" && mount -t devtmpfs devtmpfs "/tmp/$mark.d"'
		for folder in /sys /proc /etc /usr /sys/fs/cgroup; do
			try "$folder again" mount -o remount,bind,rw "$folder"
			try "what is below $folder" unshare --mount sh -c 'umount --lazy "$1" && [ -n "$(ls -A "$1")" ]' sh "$folder"
		done
		for folder in /sys /sys/fs/cgroup /sys/fs/cgroup/*/; do
			try "a folder in $folder" mkdir "$folder/$mark"
		done
		for folder in null zero full random urandom; do
			try "the rights of $folder" chmod 666 "/dev/$folder"
		done
		for folder in /dev /dev/shm /run /tmp /var/tmp; do
			mkdir -p "$folder" && touch "$folder/$mark" && rm -rf "$folder/$mark.victim"
		done
		exit 0
	END
	chmod 755 "$scratch/escape"
}

# victims: files of the machine that an escape would change or remove.
victims() {
	echo kept > "$scratch/victim"
	chmod 666 "$scratch/victim"
	for folder in /dev /dev/shm /run /tmp /var/tmp; do touch "$folder/$mark.victim"; done
	stat -c '%n %a %U %t:%T' /dev/null /dev/zero /dev/full /dev/random /dev/urandom > "$scratch/devices"
	cat /proc/sys/kernel/hostname >> "$scratch/devices"
}

# untouched: the machine is as it was.
untouched() {
	local folder found
	[ "$(cat "$scratch/victim")" = kept ] || fail "a file of the machine was written to"
	for folder in /dev /dev/shm /run /tmp /var/tmp; do
		[ -e "$folder/$mark.victim" ] || fail "$folder/$mark.victim was removed from the machine"
	done
	found="$(find /dev /run /tmp /var/tmp /sys/fs/cgroup /etc /usr/local -maxdepth 2 -name "*$mark*" ! -name '*.victim' 2> /dev/null || true)"
	[ -z "$found" ] || fail "on the machine there is $found"
	{ stat -c '%n %a %U %t:%T' /dev/null /dev/zero /dev/full /dev/random /dev/urandom && cat /proc/sys/kernel/hostname; } | diff - "$scratch/devices" || fail "the machine has changed"
}

# remove_victims: also after a failure.
remove_victims() {
	local folder
	for folder in /dev /dev/shm /run /tmp /var/tmp; do rm -f "$folder/$mark.victim"; done
}

# closed_way COMMAND…: what is started so can't escape.
closed_way() {
	mkdir -m 777 "$scratch/way"
	"$@" bash -euo pipefail -c '
		here="$1" work="$2/way/work" scratch="$2" mark="$3"
		exec 3>&2
		refuse() { printf "%s\n" "$@" >&2; exit 1; }
		. "$here/builder/namespace.sh"
		mkdir -p "$work/system"
		check_namespace
		cp "$scratch/escape" "$work/escape"
		in_namespace "$work/system" "$work/escape" "$scratch/victim" "$mark"
		in_namespace "$work/system" sh -c "hostname $mark && echo kept > \"\$1\"" sh "$work/system/kept"
		[ "$(cat "$work/system/kept")" = kept ]
		remove_work' closed "$here" "$scratch" "$mark" > "$scratch/escaped" 2> "$scratch/closed.out" || fail "nothing runs: $*" "$scratch/closed.out"
	[ ! -s "$scratch/escaped" ] || fail "out of the reach of nobody: $*" "$scratch/escaped"
	untouched
	rm -rf "$scratch/way"
}

# as_user_maps COMMAND…: as root of a namespace that has ids as an ordinary user's has, in two ranges.
as_user_maps() (
	map="$(printf '0 1000 1\n1 100000 65536')"
	coproc holder { exec setpriv --reuid 1000 --regid 1000 --clear-groups unshare --user sh -c 'echo && read -r _'; }
	read -r _ <&"${holder[0]}"
	cat <<< "$map" > "/proc/$holder_PID/uid_map"
	cat <<< "$map" > "/proc/$holder_PID/gid_map"
	exec 9< "/proc/$holder_PID/ns/user"
	nsenter --user=/proc/self/fd/9 --setuid 0 --setgid 0 unshare --mount "$@"
)

test_closed() { # nothing that a feature brings along touches the machine: files, hooks, devices, mounts, links
	local folder
	mark="escape-$$"
	trap remove_victims EXIT
	escape_script
	victims
	# Root, root of a container without the right to mount, and users.
	closed_way env
	closed_way setpriv --bounding-set=-sys_admin --inh-caps=-all
	closed_way as_user_maps

	feature _escapes flag
	folder="$scratch/features/_escapes"
	mkdir -p "$folder/file.include/dev/shm" "$folder/file.include/run" "$folder/file.include/etc"
	touch "$folder/file.include/dev/$mark" "$folder/file.include/dev/shm/$mark" "$folder/file.include/run/$mark"
	ln -s "$scratch/victim" "$folder/file.include/etc/leak"
	printf '%s\n' "/dev/$mark.victim" "/dev/shm/$mark.victim" "/run/$mark.victim" '/dev/escape-*' > "$folder/file.exclude"
	cp "$scratch/escape" "$folder/escape"
	hook _escapes exec.config <<< "/builder/features/_escapes/escape $scratch/victim $mark > /etc/escaped; echo over > /etc/leak || true; ln -s $scratch/victim /var/cache/$mark; date > /var/cache/$mark || true"
	hook _escapes exec.post <<- END
		"\$(dirname "\$0")/escape" $scratch/victim $mark >> "\$1/etc/escaped"
		echo over > "\$1/etc/leak" || true
		touch /usr/$mark /etc/$mark && echo "the machine's folders" >> "\$1/etc/escaped" || true
	END
	hook _escapes image.escaped <<< 'tar --extract --to-stdout --file "$1" etc/escaped > "$2"'
	build closed bare_escapes || fail "the build failed" "$scratch/closed.out"
	cat "$scratch/closed/"*.escaped > "$scratch/escaped"
	[ ! -s "$scratch/escaped" ] || fail "a hook has got out" "$scratch/escaped"
	untouched

	# A result is no link that this user's shell writes through.
	feature _links flag
	hook _links image.link <<< "ln -s /etc/os-release \"\$2\"; ln -s $scratch/victim \"\${2%.link}.log\""
	refused links 'which is no file of' bare_links
	untouched
}
