# shellcheck shell=bash disable=SC2016
# scripts/package: two checkouts give the same bytes, and what they give installs, runs and says no
# wrong things on machines that have nothing of ours. Sourced by scripts/test-build.d/all.sh.

test_packages() {
	local dist="$scratch/checkout/dist" file
	# Enough to be packed.
	for file in kernel initrd rootfs; do head -c 300000 /dev/urandom > "$scratch/$file"; done
	same_packages_twice
	good_bills
	program_alone
	a_job_publishes
	container_runs
	installs_on bookworm
	installs_on trixie
}

# same_packages_twice: from two clones in folders of different names, each with a toolchain of its
# own, into $scratch/checkout/dist.
same_packages_twice() {
	local clone begun difference
	for clone in checkout "another checkout"; do
		begun="$EPOCHSECONDS"
		git clone --quiet "file://$here" "$scratch/$clone" || fail "$here is no checkout of git"
		if [ "$clone" != checkout ]; then export TZ=Asia/Tokyo; fi
		(umask 077 && CARGO_TARGET_DIR="" "$scratch/$clone/scripts/package") > "$scratch/package.out" 2>&1 \
			|| fail "no packages in $clone" "$scratch/package.out"
		printf '    packages in "%s": %s s\n' "$clone" "$((EPOCHSECONDS - begun))"
		mv "$scratch/$clone/dist" "$scratch/$clone.dist"
		rm -r "${scratch:?}/$clone"
	done
	difference="$(diff --recursive --brief "$scratch/checkout.dist" "$scratch/another checkout.dist")" \
		|| fail "two checkouts give different packages: $difference"
	mkdir -p "$scratch/checkout"
	mv "$scratch/checkout.dist" "$dist"
	(cd "$dist" && sha256sum --quiet --check SHA256SUMS) || fail "the checksums are wrong"
	find "$dist" -type f -printf '    | %9s %f\n' | sort --key=3
}

# good_bills: a validator finds no fault in the bills of materials, and what is linked by all means
# is there with its licence.
good_bills() {
	local bill python="$here/target/peers/bin/cyclonedx-lib-py"
	for bill in "$dist"/*.cdx.json; do
		jq --exit-status '[.components[].name] | index("ring") and index("liblzma-sys")
			and index("zstd-sys") and index("musl-dev") and (index("clap_derive") | not)
			and (index("proptest") | not)' "$bill" > /dev/null || fail "other crates than are linked" "$bill"
		jq --exit-status '(.dependencies | map(.ref)) as $known
			| ([.components[]["bom-ref"]] | length == (unique | length))
			and all(.components[]; .licenses[0].expression != "")
			and all(.dependencies[].dependsOn[]; . as $ref | $known | index($ref) or ($ref | startswith("pkg:deb")))' \
			"$bill" > /dev/null || fail "a reference leads nowhere" "$bill"
		if [ -x "$python" ]; then
			[ "$("$python" -c 'import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
print(JsonStrictValidator(SchemaVersion.V1_6).validate_str(open(sys.argv[1]).read()))' "$bill")" = None ] \
				|| fail "this is no CycloneDX" "$bill"
		else
			printf '    LEFT OUT: a validator of CycloneDX (scripts/peers brings it)\n'
		fi
	done
}

# program_alone: the programs of both architectures run, and pack the same archive.
program_alone() {
	local arch program
	for arch in amd64 arm64; do
		mkdir "$scratch/$arch"
		tar --extract --zstd --directory "$scratch/$arch" --file "$dist/"*-"$arch.tar.zst"
		program=("$scratch/$arch/usr/bin/osimage")
		if [ "$arch" = arm64 ]; then
			if ! command -v qemu-aarch64-static > /dev/null; then
				printf '    LEFT OUT: running the program for arm64 (there is no qemu-aarch64-static)\n'
				continue
			fi
			program=(qemu-aarch64-static "${program[@]}")
		fi
		[[ "$("${program[@]}" --version)" = "osimage "* ]] || fail "no version on $arch"
		(cd "$scratch" && "${program[@]}" build --kernel-file kernel --initramfs-file initrd --rootfs-file rootfs \
			--command-line 'root=LABEL=ROOT ro' --output "$arch.oci.tar.xz") > "$scratch/alone.out" 2>&1 \
			|| fail "nothing is packed on $arch" "$scratch/alone.out"
		cmp "$scratch/amd64.oci.tar.xz" "$scratch/$arch.oci.tar.xz" || fail "$arch packs otherwise"
	done
}

# a_job_publishes: where there is nothing but a name server, what CI systems call publishes an archive
# to a registry by its name, over TLS, with a password and a signature; and refuses a program that is
# not the one that was meant. The packages go beside it.
a_job_publishes() {
	if ! PATH="$here/target/peers/bin:$PATH" command -v docker-registry htpasswd > /dev/null; then
		printf '    LEFT OUT: publishing to a registry (there is no docker-registry or no htpasswd)\n'
		return
	fi
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=registry.example \
		-addext subjectAltName=DNS:registry.example -addext basicConstraints=critical,CA:FALSE \
		-keyout "$scratch/key.pem" -out "$scratch/cert.pem" 2> /dev/null
	"$here/target/peers/bin/htpasswd" -Bbn me s3cret > "$scratch/htpasswd"
	cat > "$scratch/registry.yml" <<- END
		version: 0.1
		storage: {filesystem: {rootdirectory: $scratch/registry}}
		http: {addr: "127.0.0.1:5443", tls: {certificate: $scratch/cert.pem, key: $scratch/key.pem}}
		auth: {htpasswd: {realm: test, path: $scratch/htpasswd}}
	END
	PATH="$here/target/peers/bin:$PATH" unshare --mount --net --pid --fork --kill-child --mount-proc \
		"$here/scripts/test-build.d/job" "$here" "$scratch" > "$scratch/job.out" 2>&1 \
		|| fail "a job does not publish" "$scratch/job.out"
}

# container_runs: podman and docker run the image, with the folder of the caller.
container_runs() {
	local image version podman run
	image="$(echo "$dist/"*.oci.tar)"
	version="$("$scratch/amd64/usr/bin/osimage" --version)"
	[ "$(tar --extract --to-stdout --file "$image" index.json | jq '.manifests | length')" = 1 ] || fail "not one index"
	if command -v podman > /dev/null; then
		podman=(podman --root "$scratch/podman/root" --runroot "$scratch/podman/run" --tmpdir "$scratch/podman/tmp"
			--storage-driver vfs --runtime runc --cgroup-manager cgroupfs)
		run=(run --rm --network none --ulimit nofile=1024:1024 --ulimit nproc=1000:1000)
		[ "$("${podman[@]}" "${run[@]}" "oci-archive:$image" --version 2> "$scratch/podman.out")" = "$version" ] \
			|| fail "podman does not run it" "$scratch/podman.out"
		"${podman[@]}" "${run[@]}" --volume "$scratch:/given:ro" "oci-archive:$image" \
			inspect /given/amd64.oci.tar.xz > "$scratch/podman.out" 2>&1 || fail "podman's is not of use" "$scratch/podman.out"
		grep -q 'root=LABEL=ROOT ro' "$scratch/podman.out" || fail "another image" "$scratch/podman.out"
		"${podman[@]}" rmi --all --force > /dev/null 2>&1
	else
		printf '    LEFT OUT: podman\n'
	fi
	if docker info > /dev/null 2>&1 && [ -x "$here/target/peers/bin/skopeo" ]; then
		"$here/target/peers/bin/skopeo" copy --quiet "oci-archive:$image" "docker-daemon:osimage-test:$$" 2> "$scratch/docker.out" \
			|| fail "docker does not take it" "$scratch/docker.out"
		docker run --rm --network none "osimage-test:$$" --version > "$scratch/docker.out" 2>&1 || true
		docker rmi "osimage-test:$$" > /dev/null
		[ "$(cat "$scratch/docker.out")" = "$version" ] || fail "docker does not run it" "$scratch/docker.out"
	else
		printf '    LEFT OUT: docker (there is no engine, or no skopeo)\n'
	fi
}

# installs_on RELEASE: on a minimal Debian the packages install by themselves and do what they are
# for; lintian of that release finds no error in them.
installs_on() {
	local release="$1" machine="$scratch/$1"
	make_machine "$release"
	cp "$dist"/*.deb "$scratch/"{kernel,initrd,rootfs} "$machine/root"
	in_machine "$machine" bash -euc '
		cd /root
		export DEBIAN_FRONTEND=noninteractive
		apt-get update
		apt-get install --yes --no-install-recommends ./osimage_*_amd64.deb ./osimage-compat_*.deb
		[ "$(dpkg-query --show --showformat "\${Package}\n" | grep -c osimage)" = 2 ]
		osimage --version
		onmetal-image build --kernel-file kernel --initramfs-file initrd --rootfs-file rootfs --command-line x --tag me/os:1
		ironcore-image list
		osimage build --kernel-file kernel --initramfs-file initrd --rootfs-file rootfs --command-line x --output os.oci.tar.xz
		osimage inspect os.oci.tar.xz | grep vmlinuz\\\|kernel
		dpkg --verify osimage osimage-compat
		test -s /usr/share/doc/osimage/copyright

		apt-get install --yes --no-install-recommends bash-completion zsh fish man-db groff-base lintian
		for name in osimage onmetal-image ironcore-image; do
			MANROFFOPT=-ww man --warnings "$name" 2>&1 | grep "^NAME"
			bash -euc ". /usr/share/bash-completion/bash_completion
				. /usr/share/bash-completion/completions/\$1
				function=\"\$(complete -p \$1 | sed \"s/.*-F \\([^ ]*\\).*/\\1/\")\"
				COMP_WORDS=(\$1 pu) COMP_CWORD=1
				\$function \$1 pu \$1
				printf \"%s\\n\" \"\${COMPREPLY[@]}\" | grep --line-regexp push" in_bash "$name"
			[ "$(zsh -fc "autoload -U compinit; compinit -u -D; autoload -U +X _$name; print \$_comps[$name]")" = "_$name" ]
			HOME=/tmp fish -c "complete -C \"$name pu\"" | grep "^push"
		done
		man osimage-push | grep oci.tar.xz > /dev/null

		lintian --fail-on error ./*.deb
		apt-get purge --yes osimage osimage-compat
		[ ! -e /usr/bin/osimage ] && [ ! -e /etc/default/osimage-serve ]' \
		> "$scratch/machine.out" 2>&1 || fail "the packages do not do on $release" "$scratch/machine.out"
	printf '    %s: %s\n' "$release" "$(grep -c '^W: ' "$scratch/machine.out") warnings of lintian"
	rm -r "$machine"
}
