# shellcheck shell=bash disable=SC2016,SC2154
# By which way a build reaches its mirrors, and where it works: names, certificates, proxies, and
# folders that can only be read. With a small mirror of the test's own. Sourced by scripts/test-build.

# frozen_mirror FOLDER PACKAGE…: a mirror of a minimal system and these packages, made of what this
# machine's mirrors have.
frozen_mirror() {
	local pool="$1" apt="$scratch/apt.frozen" file
	shift
	mkdir -p "$pool" "$apt/"{lists,archives}/partial
	(
		# shellcheck source=builder/mirror.sh
		. "$here/builder/mirror.sh"
		apt_settings > "$apt/conf"
		machine_sources "$(machine_suite)" > "$apt/sources"
	)
	printf '%s;\n' "Dir::Etc::SourceList \"$apt/sources\"" 'Dir::Etc::SourceParts "/dev/null"' "Dir::State::Lists \"$apt/lists\"" \
		"Dir::Cache \"$apt\"" 'Dir::State::Status "/dev/null"' 'APT::Install-Recommends "false"' 'APT::Get::List-Cleanup "false"' >> "$apt/conf"
	{
		APT_CONFIG="$apt/conf" apt-get update
		APT_CONFIG="$apt/conf" apt-get --download-only -y install apt '?essential' '?priority(required)' "$@"
	} > "$scratch/frozen.out" 2>&1 || fail "no mirror" "$scratch/frozen.out"
	mv "$apt/archives/"*.deb "$pool/"
	for file in "$pool/"*.deb; do
		# The mirror's word, which has priorities that packages lack.
		APT_CONFIG="$apt/conf" apt-cache show "$(dpkg-deb --showformat '${Package}=${Version}' --show "$file")" \
			| sed "s#^Filename: .*#Filename: ./${file##*/}#"
	done > "$pool/Packages"
	# mmdebstrap takes the essential packages of the release that the name of the suite says.
	printf 'Codename: %s\nDate: Thu, 01 Jan 2026 00:00:00 UTC\nSHA256:\n %s %s Packages\n' "$(. /etc/os-release && echo "$VERSION_CODENAME")" \
		"$(sha256sum < "$pool/Packages" | cut -c 1-64)" "$(stat -c %s "$pool/Packages")" > "$pool/Release"
	rm -r "$apt"
}

# own_authority FOLDER NAME: a certificate for NAME, and the authority that only the test knows.
own_authority() {
	mkdir -p "$1"
	openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj '/CN=An authority' -keyout "$1/ca.key" -out "$1/ca.crt" 2> /dev/null
	openssl req -newkey rsa:2048 -nodes -subj "/CN=$2" -keyout "$1/key" -out "$1/request" 2> /dev/null
	openssl x509 -req -in "$1/request" -CA "$1/ca.crt" -CAkey "$1/ca.key" -CAcreateserial -days 2 -out "$1/crt" \
		-extfile "$1/names" 2> /dev/null
}

# serve ARGUMENT…: starts a mirror and its proxy, and sets $mirror_port and $proxy_port. They end
# with the test.
serve() {
	coproc server { exec /usr/bin/python3 "$here/scripts/test-build.d/mirror.py" "$@"; }
	read -r mirror_port proxy_port <&"${server[0]}"
}

# stop_serving: the mirror and the proxy end.
stop_serving() {
	eval "exec ${server[1]}>&-"
	wait "$server_PID"
}

# with_etc SCRIPT COMMAND…: the command on this machine as it would be with an /etc that the script
# has changed.
with_etc() {
	rm -rf "$scratch/etc.new" "$scratch/etc.work"
	mkdir "$scratch/etc.new" "$scratch/etc.work"
	unshare --mount bash -euc '
		mount -t overlay overlay -o "lowerdir=/etc,upperdir=$1/etc.new,workdir=$1/etc.work" /etc
		eval "$2"
		"${@:3}"' with_etc "$scratch" "$@"
}

# nothing_left NAME: the image of this build says nothing of how it was made, but for its sources.
nothing_left() {
	local root="$scratch/image"
	rm -rf "$root"
	mkdir "$root"
	tar --extract --xz --file "$scratch/$1/"*.tar.xz --directory "$root" --exclude './dev/*'
	rm "$root/etc/apt/sources.list"
	if grep --recursive --devices=skip -l -e mirror.test -e "localhost:$proxy_port" -e 'of the build machine' -e 'An authority' "$root" > "$scratch/left"; then
		fail "left in the image" "$scratch/left"
	fi
	find "$root/etc/apt/apt.conf.d" "$root/etc/hosts" "$root/etc/resolv.conf" "$root/etc/hostname" "$root/builder" \
		\( -name '*osimage*' -o -name '*mmdebstrap*' -o -not -path '*/apt.conf.d*' \) > "$scratch/left" 2> /dev/null || true
	[ ! -s "$scratch/left" ] || fail "left in the image" "$scratch/left"
}

# asked_proxy: how many packages and lists the proxy was asked for.
asked_proxy() {
	wc -l < "$scratch/proxy.log"
}

# net_build NAME ETC ARGUMENT…: a build with that /etc, with packages that come over the network.
net_build() {
	local name="$1" etc="$2"
	shift 2
	rm -rf "$scratch/cache/"*/packages
	: > "$scratch/proxy.log"
	with_etc "$etc" env "${net_environment[@]}" "$here/build" --target "$scratch/$name" --features-dir "$scratch/features" --cache "$scratch/cache" "$@" \
		> "$scratch/$name.out" 2>&1 || fail "the build $name failed" "$scratch/$name.out"
	grep -q '^jq ' "$scratch/$name/"*.manifest || fail "the package is missing"
	nothing_left "$name"
}

test_network() { # hosts, certificates and proxies of the machine reach the whole build, and stay out of cache and image
	local pool="$scratch/frozen" tls="$scratch/tls" mirror tars net_environment=(-u http_proxy -u https_proxy -u no_proxy)
	local server server_PID mirror_port proxy_port
	frozen_mirror "$pool" jq
	feature net platform
	echo jq > "$scratch/features/net/pkg.include"
	cp "$scratch/features/bare/fstab" "$scratch/features/net/"
	# They have the times of the build.
	printf '/var/log/*.log\n/var/log/apt/*\n/var/cache/ldconfig/*\n' > "$scratch/features/net/file.exclude"
	mkdir "$tls"
	echo 'subjectAltName=DNS:mirror.test,DNS:localhost' > "$tls/names"
	own_authority "$tls" mirror.test

	serve "$pool" "$scratch/proxy.log" "$tls/crt" "$tls/key"
	mirror="deb [trusted=yes] https://mirror.test:$mirror_port ./"
	# A name of /etc/hosts, an authority in apt's settings, no name server.
	net_build in-hosts "rm -f /etc/resolv.conf; echo 127.0.0.1 mirror.test >> /etc/hosts
		cp $tls/ca.crt /etc/apt/own.crt; echo 'Acquire::https::CaInfo \"/etc/apt/own.crt\";' > /etc/apt/apt.conf.d/zz-own" --mirror "$mirror" net
	[ "$(asked_proxy)" -eq 0 ] || fail "a proxy was asked" "$scratch/proxy.log"
	tars="$(find "$scratch/cache" -name '*.tar' -printf '%f %T@\n')"
	# The same mirror by a proxy, which knows its name; an authority of the machine's; a name server
	# that is gone.
	net_build by-proxy "rm -f /etc/resolv.conf; ln -s /run/gone/resolv.conf /etc/resolv.conf
		cat $tls/ca.crt >> /etc/ssl/certs/ca-certificates.crt
		echo 'Acquire::https::Proxy \"http://localhost:$proxy_port\";' > /etc/apt/apt.conf.d/zz-own" --mirror "$mirror" net
	grep -q "^CONNECT mirror.test:$mirror_port" "$scratch/proxy.log" || fail "the proxy was not asked" "$scratch/proxy.log"
	# By a program that finds the proxy.
	net_build found-proxy "cat $tls/ca.crt >> /etc/ssl/certs/ca-certificates.crt
		printf '#!/bin/sh\necho http://localhost:$proxy_port\n' > /etc/find-proxy; chmod 755 /etc/find-proxy
		echo 'Acquire::https::Proxy-Auto-Detect \"/etc/find-proxy\";' > /etc/apt/apt.conf.d/zz-own" --mirror "$mirror" net
	grep -q "^CONNECT mirror.test:$mirror_port" "$scratch/proxy.log" || fail "the proxy that was found was not asked" "$scratch/proxy.log"
	# And by another file of settings, in the environment.
	printf 'Acquire::https::CaInfo "%s";\nAcquire::https::Proxy "http://localhost:%s";\n' "$tls/ca.crt" "$proxy_port" > "$scratch/own.conf"
	net_environment+=(APT_CONFIG="$scratch/own.conf")
	net_build by-file : --mirror "$mirror" net
	grep -q "^CONNECT mirror.test:$mirror_port" "$scratch/proxy.log" || fail "the proxy of APT_CONFIG was not asked" "$scratch/proxy.log"
	[ "$(find "$scratch/cache" -name '*.tar' -printf '%f %T@\n')" = "$tars" ] || fail "another way to the mirror made another minimal system"
	stop_serving

	serve "$pool" "$scratch/proxy.log"
	mirror="deb [trusted=yes] http://mirror.test:$mirror_port ./"
	net_environment=(http_proxy="http://localhost:$proxy_port" no_proxy=)
	net_build by-environment : --mirror "$mirror" net
	grep -q "^GET http://mirror.test:$mirror_port/.*jq_" "$scratch/proxy.log" || fail "the proxy of the environment was not asked" "$scratch/proxy.log"
	# The proxy is there no more, or is not for this name.
	net_environment=(http_proxy=http://localhost:1 no_proxy=mirror.test)
	net_build without-proxy 'echo 127.0.0.1 mirror.test >> /etc/hosts' --mirror "$mirror" net
	[ "$(asked_proxy)" -eq 0 ] || fail "a proxy was asked" "$scratch/proxy.log"
	net_environment=(-u http_proxy -u no_proxy)
	net_build at-localhost : --mirror "deb [trusted=yes] http://localhost:$mirror_port ./" net
	stop_serving
	cmp "$scratch/"{in-hosts,found-proxy}/net-*.tar.xz || fail "the way to the mirror changes the image"
}

test_places() { # the checkout is only read, results lie on another file system, and so does the cache
	local name
	name="bare-$(dpkg --print-architecture)-today-local"
	mkdir "$scratch/memory"
	unshare --mount bash -euc '
		here="$1" scratch="$2"
		mount -t tmpfs tmpfs "$scratch/memory"
		mount --bind "$here" "$here"
		mount -o remount,bind,ro "$here"
		if touch "$here/written" 2> /dev/null; then exit 1; fi
		cd /
		# Twice: from nothing, and from the cache.
		for round in 1 2; do
			"$here/build" --cache "$scratch/shared" --target "$scratch/memory/out" --features-dir "$scratch/features" bare
		done
		HOME="$scratch/home" "$here/build" --target "$scratch/memory/own" --features-dir "$scratch/features" bare
		[ -n "$(find "$scratch/home/.cache/osimage" -name "*.tar")" ]
		if "$here/build" --cache "$scratch/shared" bare; then exit 1; fi
		cmp "$scratch/memory/"{out,own}"/$3.manifest"
		ls "$scratch/memory/out/$3.raw"' places "$here" "$scratch" "$name" > "$scratch/places.out" 2>&1 || fail "no build" "$scratch/places.out"
	grep -q "may not write to $here/.build" "$scratch/places.out" || fail "not said" "$scratch/places.out"
}
