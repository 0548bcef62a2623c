# shellcheck shell=bash
# Installs Debian's packages. Sourced by what needs some; `step` and `refuse` are the caller's.

# apt_install WHY PACKAGE…: installs Debian packages as root, and otherwise says what root has to
# do. Nothing is removed for them: what cannot be beside a package of backports, as QEMU on a Debian
# 12 that has a part of it from there already, comes from backports too.
apt_install() {
	local why="$1" package apt=(apt-get -o DPkg::Lock::Timeout=600) plain=() later=()
	shift
	if [ "$EUID" -ne 0 ]; then
		refuse "not installed: $* ($why)" \
			"as root: apt-get update && apt-get install --no-install-recommends $*; then start this again"
	fi
	step "install $* ($why)"
	"${apt[@]}" update
	for package in "$@"; do
		if [ -z "$(removed_for "$package")" ]; then plain+=("$package"); else later+=("$package"); fi
	done
	if [ "${#plain[@]}" -gt 0 ]; then install_all_of "${plain[@]}"; fi
	if [ "${#later[@]}" -gt 0 ]; then install_from_backports "${later[@]}"; fi
}

# removed_for PACKAGE…: what would be removed for the packages.
removed_for() {
	"${apt[@]}" --simulate install --no-install-recommends "$@" | awk '$1 == "Remv" { print $2 }'
}

# install_all_of PACKAGE…: as $apt says.
install_all_of() {
	local removed
	removed="$(removed_for "$@")"
	if [ -n "$removed" ]; then
		refuse "installing $* would remove $removed" "put up with that by hand: apt-get install $*"
	fi
	DEBIAN_FRONTEND=noninteractive "${apt[@]}" install -y --no-install-recommends "$@"
}

# install_from_backports PACKAGE…: with lists and sources of our own: those of the machine stay as
# they are.
install_from_backports() (
	# shellcheck source=/dev/null
	suite="$(. /etc/os-release && printf '%s' "$VERSION_CODENAME")-backports"
	step "install $* from $suite (otherwise $(removed_for "$@") would be removed)"
	scratch="$(mktemp -d)"
	trap 'rm -r "$scratch"' EXIT
	# apt loads lists as a user of its own.
	chmod 755 "$scratch"
	mkdir -p "$scratch/parts" "$scratch/lists/partial"
	# shellcheck disable=SC2016
	uri="$(apt-get indextargets --no-release-info --format '$(REPO_URI) $(RELEASE)' \
		'Created-By: Packages' | awk -v suite="${suite%-backports}" '$2 == suite { print $1; exit }')"
	if [ -f /etc/apt/sources.list ]; then cp /etc/apt/sources.list "$scratch/parts/machine.list"; fi
	find /etc/apt/sources.list.d -maxdepth 1 \( -name '*.list' -o -name '*.sources' \) \
		-exec cp -t "$scratch/parts" {} +
	printf 'deb %s %s main\n' "$uri" "$suite" > "$scratch/parts/backports.list"
	apt+=(-o "Dir::Etc::SourceList=/dev/null" -o "Dir::Etc::SourceParts=$scratch/parts"
		-o "Dir::State::Lists=$scratch/lists" -t "$suite")
	"${apt[@]}" update
	install_all_of "$@"
)
