# shellcheck shell=bash
# Namespaces, in which everything runs that a feature or a package brings along. Sourced by ./build.

# enter_namespace COMMAND…: as root of a namespace of mounts and one of processes, by the first way
# that works; all its mounts and processes end with it, however it ends. (check_namespace has found
# the way.)
enter_namespace() {
	"${namespace_way[@]}" unshare --mount --pid --fork --kill-child "$@"
}

# in_namespace FOLDER COMMAND…: runs what must not touch this machine. It may write to FOLDER, one
# in $work, and sees the rest of $work. What it says on descriptor 3 goes through a pipe, since a
# terminal can be read from and typed into.
in_namespace() {
	local folder="$1" name shown=()
	shift
	for name in "$work"/*; do
		if [ "$name" != "$folder" ] && [ -e "$name" ]; then shown+=("$name"); fi
	done
	# Packages and keys of this machine that a mirror's line names.
	if [ -e "$work/local" ]; then
		while read -r name; do
			if [ -e "$name" ]; then shown+=("$name"); fi
		done < "$work/local"
	fi
	{
		enter_namespace "$here/builder/confine" "$folder" "${shown[@]}" -- "$@" \
			< /dev/null 3>&1 >&4 4>&- | cat >&3
	} 4>&1
}

# check_namespace: finds out how this machine lets a namespace be made, or says why it doesn't.
check_namespace() {
	local why ways way probe="$work/namespace"
	declare -ga namespace_way=()
	mkdir "$probe"
	# Root of a container may perhaps map users, and mount only then.
	if [ "$EUID" -eq 0 ]; then ways=(plain mapped); else ways=(user); fi
	for way in "${ways[@]}"; do
		case "$way" in
			plain) namespace_way=() ;;
			mapped) namespace_way=("$here/builder/users" same) ;;
			user) namespace_way=(unshare --user --map-root-user --map-auto) ;;
		esac
		if why="$(in_namespace "$probe" true 2>&1)"; then return; fi
	done
	if [ "$EUID" -eq 0 ]; then
		refuse "this machine lets root make no namespace: $why" \
			"a container needs --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt label=disable (docker and podman), or --privileged"
	fi
	refuse "this machine lets users make no namespace: $why" \
		"as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $(id -un); sysctl kernel.apparmor_restrict_unprivileged_userns and user.max_user_namespaces may also forbid it; or build as root"
}

# remove_work: also what other users of a namespace have made there.
remove_work() {
	if rm -rf "$work" 2> /dev/null; then return; fi
	"${namespace_way[@]}" rm -rf "$work"
}
