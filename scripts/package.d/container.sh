# shellcheck shell=bash
# The program as an ordinary container image of both architectures, from nothing but itself and the
# certificates of Debian, as an OCI layout in one archive. osimage checks it and writes the archive.
# Sourced by scripts/package.d/inside.

readonly OCI=application/vnd.oci.image

# make_container: /out/osimage-VERSION.oci.tar.
make_container() {
	local layout=/build/stage/layout arch tag
	mkdir -p "$layout/blobs/sha256"
	echo '{"imageLayoutVersion":"1.0.0"}' > "$layout/oci-layout"
	for arch in "${ARCHES[@]}"; do add_image "$arch" > "/build/stage/entry-$arch.json"; done
	jq --compact-output --slurp --arg type "$OCI.index.v1+json" \
		'{ schemaVersion: 2, mediaType: $type, manifests: . }' /build/stage/entry-*.json \
		> /build/stage/index.json
	# A tag has no `+`; `osimage publish` writes it so too.
	tag="${VERSION//+/_}"
	add_blob "$OCI.index.v1+json" /build/stage/index.json > /build/stage/index-entry.json
	jq --compact-output --arg tag "$tag" '{ schemaVersion: 2, manifests: [. + {
		annotations: { "org.opencontainers.image.ref.name": $tag } }] }' \
		/build/stage/index-entry.json > "$layout/index.json"
	/build/stage/osimage verify "$layout" > /dev/null
	/build/stage/osimage export --quiet "$layout" "/out/osimage-$VERSION.oci.tar" > /dev/null
}

# add_blob TYPE FILE: puts the file into the layout, and prints its descriptor.
add_blob() {
	local digest
	digest="$(sha256sum < "$2" | cut -c 1-64)"
	cp "$2" "$layout/blobs/sha256/$digest"
	jq --null-input --compact-output --arg type "$1" --arg digest "sha256:$digest" \
		--argjson size "$(stat --format=%s "$2")" '{ mediaType: $type, digest: $digest, size: $size }'
}

# add_image ARCH: puts the image of one architecture into the layout, and prints its entry.
add_image() {
	local arch="$1" root="/build/stage/container-$1" work="/build/stage/image-$1"
	mkdir -p "$root/etc/ssl/certs" "$root/usr/bin" "$root/usr/share/doc/osimage" "$work"
	# For files in the making.
	mkdir --mode=1777 "$root/tmp"
	cp "$(program_of "$arch")" "$root/usr/bin/osimage"
	cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
	cp "/build/stage/root-$arch/usr/share/doc/osimage/"{copyright,third-party.txt.gz} \
		"$root/usr/share/doc/osimage/"
	packed "$root" > "$work/layer.tar"
	gzip --best --no-name < "$work/layer.tar" > "$work/layer.tar.gz"
	jq --null-input --compact-output --arg arch "$arch" --arg version "$VERSION" \
		--arg commit "$COMMIT" --argjson time "$SOURCE_DATE_EPOCH" \
		--arg layer "sha256:$(sha256sum < "$work/layer.tar" | cut -c 1-64)" '{
			created: ($time | todate), architecture: $arch, os: "linux",
			config: {
				Env: ["PATH=/usr/bin"],
				Entrypoint: ["/usr/bin/osimage"],
				Labels: {
					"org.opencontainers.image.title": "osimage",
					"org.opencontainers.image.version": $version,
					"org.opencontainers.image.revision": $commit,
					"org.opencontainers.image.licenses": "MIT OR Apache-2.0"
				}
			},
			rootfs: { type: "layers", diff_ids: [$layer] },
			history: [{ created: ($time | todate), created_by: "scripts/package" }]
		}' > "$work/config.json"
	add_blob "$OCI.config.v1+json" "$work/config.json" > "$work/config-entry.json"
	add_blob "$OCI.layer.v1.tar+gzip" "$work/layer.tar.gz" > "$work/layer-entry.json"
	jq --compact-output --slurp --arg type "$OCI.manifest.v1+json" \
		'{ schemaVersion: 2, mediaType: $type, config: .[0], layers: .[1:] }' \
		"$work/config-entry.json" "$work/layer-entry.json" > "$work/manifest.json"
	add_blob "$OCI.manifest.v1+json" "$work/manifest.json" > "$work/entry.json"
	jq --compact-output --arg arch "$arch" '. + { platform: { os: "linux", architecture: $arch } }' \
		"$work/entry.json"
}
