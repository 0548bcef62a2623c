# shellcheck shell=bash
# What a build says: one line a step on the terminal, everything else in the log. Sourced by ./build
# and by what it starts.
#
# File descriptor 3 is the terminal. The name of the current step is kept in a file, $STEP_FILE,
# since steps run in several processes and whoever notices a failure must be able to name it.

# log_to FILE: from here on stdout and stderr go to FILE.
log_to() {
	export BUILD_LOG="$1"
	exec >> "$BUILD_LOG" 2>&1
}

# say TEXT: for the terminal and the log.
say() {
	printf '%s\n' "$1" >&3
	if [ -n "${BUILD_LOG:-}" ]; then printf '%s\n' "$1" >&2; fi
}

# step NAME: a new step begins.
step() {
	printf '%s\n' "$1" > "$STEP_FILE"
	say "$(printf '[%3d s] %s' "$((EPOCHSECONDS - BUILD_STARTED))" "$1")"
}

# refuse WHAT [HINT]: ends the build for a reason that needs no look into the log.
refuse() {
	say "build: error: $1"
	if [ -n "${2:-}" ]; then say "hint: $2"; fi
	if [ -n "${BUILD_LOG:-}" ]; then : > "$STEP_FILE.refused"; fi
	exit 1
}

# lines_of ARRAY COMMAND…: makes the lines that the command prints the elements of the array. Where
# the command fails, this fails, which bash would not notice of a command in `< <(…)`.
lines_of() {
	local output
	output="$("${@:2}")"
	if [ -n "$output" ]; then mapfile -t "$1" <<< "$output"; else mapfile -t "$1" < /dev/null; fi
}
