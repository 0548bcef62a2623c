# shellcheck shell=bash disable=SC2016,SC2034
# Tests of what needs no build: command lines that are made by the system's own shell, and what is
# told before anything is downloaded. Sourced by scripts/test-build.

# command_line_of NAME…: the command line of these fragments, by the shell of this machine as if it
# were the system's.
command_line_of() {
	unshare --mount bash -euc '
		root="$1/root"
		mkdir -p "$root" "$1/cmdline.d"
		mount --rbind / "$root"
		mount -t tmpfs tmpfs "$root/etc/kernel"
		cp -r "$1/cmdline.d" "$root/etc/kernel/"
		"$OSIMAGE" features command-line "$root"' - "$scratch/fragments"
}

test_command_lines() { # Garden Linux's fragments have the meaning that they have there
	local folder="$scratch/fragments/cmdline.d" expected
	mkdir -p "$folder"
	echo 'ro a="b  c"' > "$folder/05-words.cfg"
	# As its features have them: variables, programs of the system, several lines, conditions.
	printf '# a comment\nCMDLINE_LINUX="$CMDLINE_LINUX consoleblank=0 rd.shell=1"\nDEVICE="LABEL=OTHER"\n# WARNING\nTIMEOUT=1\n' > "$folder/10-default.cfg"
	cat > "$folder/20-console.cfg" <<- 'END'
		serial_dev=ttyS0
		if [ "$(arch)" = "$(uname -m)" ]; then
			serial_dev=ttyS1
		fi
		CMDLINE_LINUX="console=$serial_dev $CMDLINE_LINUX"
		echo this is no part of it
	END
	echo "CMDLINE_LINUX=\"\$(echo \"\$CMDLINE_LINUX\" | sed -E 's/ *rd.(shell|emergency)(=[a-zA-Z0-9]*)?//g') rd.shell=0\"" > "$folder/99-rd.cfg"
	expected='root=LABEL=OTHER console=ttyS1 ro a="b  c" consoleblank=0 rd.shell=0'
	[ "$(secret=1 command_line_of)" = "$expected" ] || fail "the command line is: $(command_line_of)"
	# The environment of the build is not theirs, and they write nothing.
	local script
	for script in 'CMDLINE_LINUX="$secret"' 'CMDLINE_LINUX=a; echo a > /etc/kernel/a' 'CMDLINE_LINUX=$(exit 3)' 'CMDLINE_LINUX=(' 'CMDLINE_LINUX=a; exit 0'; do
		printf '%s\n' "$script" > "$folder/50-script.cfg"
		if secret=1 command_line_of > "$scratch/fragments/out" 2>&1; then fail "taken: $script" "$scratch/fragments/out"; fi
		grep -q '/etc/kernel/cmdline.d/50-script.cfg could not be run' "$scratch/fragments/out" || fail "not said: $script" "$scratch/fragments/out"
	done
}

# told_early EXPECTED ARGUMENT…: the build refuses before it downloads or bootstraps anything.
told_early() {
	refused early "$@"
	if grep -q '\] bootstrap' "$scratch/early.out"; then fail "told too late" "$scratch/early.out"; fi
}

test_told_early() { # what is wrong with a call is told before anything is downloaded
	local other=arm64 machine
	machine="$(dpkg --print-architecture)"
	if [ "$machine" = arm64 ]; then other=amd64; fi
	told_early 'there is no feature `nosuch`' mini-nosuch
	told_early 'there is no architecture "riscv64"' --arch riscv64 mini
	told_early 'two architectures are given' --arch "$other" "mini-$machine"
	told_early 'two versions are given' --version 2 "mini-$machine-1.0-rc1"
	told_early 'two commits are given' --commit 0123456 "mini-$machine-1.0-rc1-0a1b2c3"
	told_early '"1.0_" is no version' --version 1.0_ mini
	told_early '"main" is no commit id' --commit main mini
	told_early 'a/b is no version of a kernel' --kernel a/b mini
	told_early '"localhost:1" is no place to publish to' --push localhost:1 --version 1.0 mini_oci
	told_early 'there is nothing to push' --push localhost:1/me --version 1.0 mini
	told_early 'there is no --push' --sign-key "$scratch/none.key" mini_oci
	local push=(--push localhost:1/me --version 1.0)
	told_early 'cannot read .*none.key' "${push[@]}" --sign-key "$scratch/none.key" mini_oci
	told_early 'the program sigstore-kms-nosuch' "${push[@]}" --sign-key nosuch://key mini_oci
	told_early 'NO_SUCH_KEY' "${push[@]}" --sign-key env://NO_SUCH_KEY mini_oci
	COSIGN_PASSWORD=hunter2 "$OSIMAGE" keygen -o "$scratch/early" &> /dev/null
	told_early 'put its passphrase into COSIGN_PASSWORD' "${push[@]}" --sign-key "$scratch/early.key" mini_oci
	COSIGN_PASSWORD=wrong told_early 'the passphrase does not open the private key' "${push[@]}" --sign-key "$scratch/early.key" mini_oci
	rm "$scratch/early.key" "$scratch/early.pub"
	SOURCE_DATE_EPOCH=today told_early 'SOURCE_DATE_EPOCH is no number of seconds' mini
	feature _crlf flag
	printf 'jq\r\n' > "$scratch/features/_crlf/pkg.include"
	told_early '_crlf/pkg.include, line 1, has a line end of Windows' bare_crlf
	rm -r "$scratch/features/_crlf"
	# A feature that brings _oci along makes what is pushed; the next thing is wrong.
	feature brings element _oci
	if build early --push localhost:1/me --version 1.0 --suite nosuch mini-brings; then fail "it was built"; fi
	grep -q 'to be published as localhost:1/me/mini-brings:1.0-' "$scratch/early.out" || fail "not said" "$scratch/early.out"
	grep -q 'no release file can be fetched' "$scratch/early.out" || fail "not said" "$scratch/early.out"
	rm -r "$scratch/features/brings"
}

test_listed() { # what there is, and what a target is made of, without building
	"$here/build" > "$scratch/listed" || fail "no list"
	grep -q '^  gcp  .*Google.* makes .raw .tar.xz$' "$scratch/listed" || fail "gcp is not listed" "$scratch/listed"
	build explained --explain mini-own_oci || fail "nothing is explained" "$scratch/explained.out"
	grep -q 'hooks       exec.early, exec.config, exec.late, exec.post' "$scratch/explained.out" || fail "no hooks" "$scratch/explained.out"
	[ ! -e "$scratch/explained" ] || fail "something was built"
}

test_opened() { # a shell in what was built; what it changes is lost
	[ -d "$scratch/one" ] || test_same_bytes
	build one shell mini-own_oci sh -c 'cat /etc/own/executable; echo changed > /etc/own/executable; ls /dev' ||
		fail "no shell" "$scratch/one.out"
	diff "$scratch/one.out" - <<- 'END'
		run me
		fd
		full
		null
		ptmx
		pts
		random
		shm
		stderr
		stdin
		stdout
		urandom
		zero
	END
	if build one shell mini-own_oci mknod /tmp/disk b 8 0; then fail "a device was made"; fi
	if build one shell mini-own_oci false; then fail "the status is lost"; fi
	if build one shell bare sh; then fail "opened what is not there"; fi
	grep -q 'build it: ./build bare' "$scratch/one.out" || fail "not said" "$scratch/one.out"
}
