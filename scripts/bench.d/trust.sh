# shellcheck shell=bash disable=SC2154
# The table of signatures: signing and verifying an image of a docker-registry, near and far.
# Sourced by scripts/bench; the servers are those of registry.sh.

table_trust() {
	local near where at name key="$work/key" store="$work/signed" cosign
	serve near
	far "$near"
	for name in rootfs initrd vmlinuz; do head -c 100000 /dev/urandom > "$work/$name"; done
	"$osimage" --store-path "$store" build --tag os:1 --rootfs-file "$work/rootfs" \
		--initramfs-file "$work/initrd" --kernel-file "$work/vmlinuz" > /dev/null
	# cosign reads no private key that is not encrypted.
	export COSIGN_PASSWORD=bench
	"$osimage" keygen -o "$key" > /dev/null 2>&1
	printf '\n## Signatures, P-256\n'
	# Every run signs something else, beside what was signed before; each tool has an image of its
	# own. cosign makes a bundle, osimage a bundle and the text of simple signing.
	for where in near far; do
		at="localhost:${!where}"
		for name in osimage bundle cosign; do
			"$osimage" push "$store" "localhost:$near/$where-$name:1" > /dev/null 2>&1
		done
		cosign="--allow-http-registry --key $key"
		name="sign"
		if [ "$where" = far ]; then name="sign, 50 ms away each way"; fi
		run "$name" osimage "$osimage sign $at/$where-osimage:1 --key $key.key -a run=\$id"
		run "$name" "osimage --format bundle" \
			"$osimage sign $at/$where-bundle:1 --key $key.key --format bundle -a run=\$id"
		peer cosign && run "$name" "cosign sign" "cosign sign ${cosign}.key -y \
			--tlog-upload=false --use-signing-config=false -a run=\$id $at/$where-cosign:1"
		name="verify${name#sign}"
		run "$name" osimage "$osimage verify $at/$where-osimage:1 --key $key.pub"
		run "$name" "osimage, of bundles" "$osimage verify $at/$where-bundle:1 --key $key.pub"
		peer cosign && run "$name" "cosign verify" \
			"cosign verify ${cosign}.pub --insecure-ignore-tlog $at/$where-cosign:1"
	done
	rows
}
