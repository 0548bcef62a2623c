# shellcheck shell=bash
# How a build reaches its mirrors: this machine's names, name servers, certificates and settings of
# apt. They are gathered in one folder, lent to the bootstrap and to the system for as long as these
# are made, and taken back. None of it is cached. Sourced by ./build and by builder/system.
#
#   hosts, resolv.conf   as the machine has them
#   apt.conf             the machine's settings of apt; files that they name are here, under numbers
#   first.conf           settings that others, of features too, go before
#
# In the system the folder is /builder/machine.

# What marks a line that is lent to the system's /etc/hosts.
readonly LENT='# of the build machine'

# gather_network FOLDER SOURCES: what this machine has, for mirrors in SOURCES.
gather_network() {
	local folder="$1" sources="$2" resolver
	mkdir -p "$folder"
	gather_hosts > "$folder/hosts"
	resolver="$(realpath --canonicalize-missing /etc/resolv.conf)"
	if [ -f "$resolver" ]; then cat "$resolver" > "$folder/resolv.conf"; fi
	apt_settings > "$folder/settings"
	proxies_found "$folder/settings" "$sources" > "$folder/found"
	cat "$folder/settings" "$folder/found" > "$folder/wanted"
	bring_files "$folder" < "$folder/wanted" > "$folder/apt.conf"
	rm "$folder/settings" "$folder/found" "$folder/wanted"
	# A minimal system has no certificates of its own.
	: > "$folder/first.conf"
	if [ -s /etc/ssl/certs/ca-certificates.crt ]; then
		cat /etc/ssl/certs/ca-certificates.crt > "$folder/ca-certificates.crt"
		printf 'Acquire::https::CaInfo "/builder/machine/ca-certificates.crt";\n' > "$folder/first.conf"
	fi
	chmod --recursive u+rw,go=u-w,a+X "$folder"
}

# gather_hosts: the names that need no server. A minimal system knows not even localhost.
gather_hosts() {
	if [ -f /etc/hosts ]; then sed -e 's/#.*//' -e '/^[[:space:]]*$/d' /etc/hosts; fi
	printf '127.0.0.1 localhost\n'
}

# proxies_found SETTINGS SOURCES: a program of the machine's that finds proxies (apt.conf(5),
# Proxy-Auto-Detect) is not in the system; it is asked here, for each mirror.
proxies_found() {
	local uri said host
	grep --quiet --ignore-case '::Proxy-\?Auto-\?Detect "[^"]' "$1" || return 0
	sed --in-place '/::Proxy-\?Auto-\?Detect "/Id' "$1"
	grep --only-matching --extended-regexp 'https?://[^ ]+' "$2" | while read -r uri; do
		said="$(/usr/lib/apt/apt-helper auto-detect-proxy "$uri")"
		host="$(sed -E 's#^https?://([^/@]*@)?([^/:]*).*#\2#' <<< "$uri")"
		sed -nE "s#^Using proxy '(.*)' for URL '.*'\$#Acquire::${uri%%:*}::Proxy::$host \"\\1\";#p" <<< "$said"
	done
}

# bring_files FOLDER: the settings, from stdin, with the files that they name brought to the folder.
# What only its owner may read stays where it is: whoever builds beside this would read it too.
bring_files() {
	local folder="$1" line file number=0
	while IFS= read -r line; do
		file="$(sed -nE 's/^[^"]*::(CaInfo|SslCert|SslKey|CrlFile) "(\/.*)";$/\2/Ip' <<< "$line")"
		if [ -f "$file" ] && [ -n "$(find -L "$file" -perm -o=r)" ]; then
			number=$((number + 1))
			cat "$file" > "$folder/$number"
			line="${line%% *} \"/builder/machine/$number\";"
		elif [ -n "$file" ]; then
			say "build: warning: apt's setting ${line%% *} names $file, which not everybody may read; the build does without it"
			continue
		fi
		printf '%s\n' "$line"
	done
}

# bootstrap_settings FOLDER: the settings for an apt outside of the system.
bootstrap_settings() {
	sed "s#\"/builder/machine/#\"$1/#" "$1/first.conf" "$1/apt.conf"
}

# lend_network: gives the folder in $work to the system in $rootfs.
lend_network() {
	local machine="$work/machine"
	mkdir -p "$rootfs/builder/machine"
	mount --bind "$machine" "$rootfs/builder/machine"
	cp "$machine/first.conf" "$rootfs/etc/apt/apt.conf.d/00osimage"
	cp "$machine/apt.conf" "$rootfs/etc/apt/apt.conf.d/99osimage"
	if [ -e "$machine/resolv.conf" ]; then cp "$machine/resolv.conf" "$rootfs/etc/resolv.conf"; fi
	lent_hosts=""
	if [ -e "$rootfs/etc/hosts" ]; then lent_hosts="$(cat "$rootfs/etc/hosts")"; fi
	{ sed "s/\$/ $LENT/" "$machine/hosts" && printf '%s' "${lent_hosts:+$lent_hosts$'\n'}"; } > "$rootfs/etc/hosts"
}

# take_network_back: what features have put in the place of it stays.
take_network_back() {
	local hosts="$rootfs/etc/hosts" resolver="$rootfs/etc/resolv.conf"
	umount "$rootfs/builder/machine"
	rm -f "$rootfs/etc/apt/apt.conf.d/"{00,99}osimage
	if [ ! -L "$resolver" ] && [ -e "$work/machine/resolv.conf" ] && cmp --quiet "$work/machine/resolv.conf" "$resolver"; then
		rm "$resolver"
	fi
	if [ ! -L "$hosts" ] && [ -f "$hosts" ]; then
		sed --in-place "/$LENT\$/d" "$hosts"
		if [ ! -s "$hosts" ] && [ -z "$lent_hosts" ]; then rm "$hosts"; fi
	fi
}
