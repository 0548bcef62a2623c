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
