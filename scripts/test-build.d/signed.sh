# shellcheck shell=bash disable=SC2016,SC2154
# A build that is pushed and signed on its way. Sourced by scripts/test-build.

# open_registry: an empty registry on loopback; sets $registry to HOST:PORT, and ends with the test.
open_registry() {
	local log="$scratch/registry.log" line
	printf '%s\n' 'version: 0.1' 'log: {level: info, accesslog: {disabled: true}}' \
		"storage: {filesystem: {rootdirectory: '$scratch/registry'}}" "http: {addr: '127.0.0.1:0'}" > "$scratch/registry.yml"
	docker-registry serve "$scratch/registry.yml" > "$log" 2>&1 &
	# Not local: it is ended when the functions have ended.
	registry_pid="$!"
	trap 'kill "$registry_pid"' EXIT
	until line="$(grep -o 'listening on 127.0.0.1:[0-9]*' "$log")"; do
		kill -0 "$registry_pid" 2> /dev/null || fail "no registry" "$log"
		sleep 0.1
	done
	registry="localhost:${line##*:}"
}

test_signed() { # what is pushed is signed and attested, and no hook and no log has what opens the key
	local registry image key="$scratch/release" push
	if ! command -v docker-registry > /dev/null; then
		printf '    LEFT OUT: there is no docker-registry\n'
		[ "${CI:-}" != true ]
		return
	fi
	open_registry
	COSIGN_PASSWORD=hunter2-secret "$OSIMAGE" keygen -o "$key" &> /dev/null
	COSIGN_PASSWORD='' "$OSIMAGE" keygen -o "$scratch/second" &> /dev/null
	feature _ships flag
	printf 'env\n' | hook _ships exec.config
	printf 'env\n' | hook _ships exec.post
	hook _ships image.oci.tar.xz <<- 'END'
		env
		cd "$(mktemp -d)"
		for file in kernel initrd rootfs; do echo "$file" > "$file"; done
		osimage build --rootfs-file rootfs --initramfs-file initrd --kernel-file kernel --command-line a --output "$2"
	END
	push=(--push "$registry/me" --version 1.0)
	# Two keys: a file with a passphrase, and one in the environment.
	COSIGN_PASSWORD=hunter2-secret SECOND_KEY="$(cat "$scratch/second.key")" build signed "${push[@]}" \
		--sign-key "$key.key" --sign-key=env://SECOND_KEY bare_ships || fail "no build" "$scratch/signed.out"
	image="$registry/me/bare_ships:1.0-$(dpkg --print-architecture)"
	for key in "$key" "$scratch/second"; do
		"$OSIMAGE" verify "$image" --key "$key.pub" &> "$scratch/verified" || fail "not signed" "$scratch/verified"
		"$OSIMAGE" verify "$image" --key "$key.pub" --attestation spdxjson > "$scratch/attested" 2> /dev/null || fail "not attested" "$scratch/signed.out"
		jq --exit-status --slurpfile bill "$(echo "$scratch/signed/"*.spdx.json)" '.predicate == $bill[0]' "$scratch/attested" > /dev/null ||
			fail "another bill is attested" "$scratch/attested"
	done
	"$OSIMAGE" verify "$image" --key "$scratch/second.pub" --attestation slsaprovenance1 > "$scratch/attested" 2> /dev/null ||
		fail "no provenance is attested" "$scratch/signed.out"
	jq --exit-status --slurpfile made "$(echo "$scratch/signed/"*.provenance.json)" '.predicate == $made[0]' "$scratch/attested" > /dev/null ||
		fail "another provenance is attested" "$scratch/attested"
	COSIGN_PASSWORD='' "$OSIMAGE" keygen -o "$scratch/third" &> /dev/null
	# Who would sign what is said before anything is sent.
	"$OSIMAGE" publish --dry-run --sign-key "$key.key" --sign-key "$scratch/third.key" \
		"$scratch/signed/"*.oci.tar.xz "$image" &> "$scratch/planned" || fail "a dry run fails" "$scratch/planned"
	for what in "would sign" "would attest" "signed already:" "attested already:"; do
		grep -q "^$what .*(bundle)$" "$scratch/planned" || fail "nothing $what" "$scratch/planned"
	done
	if "$OSIMAGE" verify "$image" --key "$scratch/third.pub" 2> /dev/null; then fail "it is signed by anybody"; fi
	grep -q '^BUILDER_CNAME=' "$scratch/signed/"*.log || fail "the hooks have shown no environment"
	if grep --recursive -l -e hunter2-secret -e COSIGN_PASSWORD -e SECOND_KEY -e "$(sed -n 2p "$scratch/second.key")" \
		"$scratch/signed" "$scratch/signed.out"; then
		fail "what opens the key is told"
	fi
	rm -r "$scratch/features/_ships"
}
