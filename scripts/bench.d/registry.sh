# shellcheck shell=bash disable=SC2154
# The tables of what goes over the network: a docker-registry on loopback, one more to copy to, and
# a proxy that is far away.
# Sourced by scripts/bench.

# free_port: a port that nobody listens on now.
free_port() {
	python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0))
print(s.getsockname()[1])'
}

# serve NAME: starts a registry with an empty store, and puts its port into $NAME.
serve() {
	local port dir="$work/registry-$1"
	port="$(free_port)"
	mkdir -p "$dir"
	cat > "$dir.yml" <<- CONFIG
		version: 0.1
		log: {level: error, accesslog: {disabled: true}}
		storage: {filesystem: {rootdirectory: $dir}, delete: {enabled: true}}
		http: {addr: 127.0.0.1:$port}
	CONFIG
	docker-registry serve "$dir.yml" > "$dir.log" 2>&1 &
	servers+=($!)
	answers "$port"
	printf -v "$1" %s "$port"
}

# answers PORT: waits until something listens there.
answers() {
	local try
	for ((try = 0; try < 100; try++)); do
		if (exec 3<> "/dev/tcp/127.0.0.1/$1") 2> /dev/null; then return; fi
		sleep 0.1
	done
	echo "bench: nothing listens on port $1" >&2 && exit 1
}

# far PORT: puts a proxy before a port that holds everything back for 50 ms each way, and its port
# into $far.
far() {
	far="$(free_port)"
	"$here/bench.d/delay" "$far" "$1" 50 &
	servers+=($!)
	answers "$far"
}

table_registry() {
	command -v docker-registry > /dev/null || {
		echo "bench: docker-registry is missing; scripts/peers target/peers gets it" >&2
		exit 1
	}
	local near other far id
	find_image
	serve near
	serve other
	far "$near"
	stat -L -c %s "$load/rootfs.raw" "$load/initrd" "$load/vmlinuz" | awk '{size[NR] = $1 / 1e6}
		END {printf "\n## A registry on loopback: "
			printf "rootfs %.0f MB, initrd %.0f MB, vmlinuz %.0f MB\n", size[1], size[2], size[3]}'
	local store="$work/pushed" archive="$work/pushed.oci.tar.xz"
	"$osimage" --store-path "$store" build --tag os:1 --rootfs-file "$load/rootfs.raw" \
		--initramfs-file "$load/initrd" --kernel-file "$load/vmlinuz" > /dev/null
	id="$("$osimage" --store-path "$store" list -q)"
	"$osimage" export --top pushed "$store" "$archive" > /dev/null 2>&1
	# One row of the index: crane pushes no layout with more.
	local at="localhost:$near" oras="oras cp --from-oci-layout $store@$id --to-plain-http"
	# skopeo remembers where it has seen a blob, and would take it over from there instead of sending
	# it.
	local skopeo="rm -f /var/lib/containers/cache/blob-info-cache-v1.*; skopeo copy -q \
		--dest-tls-verify=false oci:$store:os:1"

	local name="push, fresh repository"
	run "$name" osimage "$osimage push $store $at/osimage-\$id:1"
	peer oras && run "$name" "oras cp" "$oras $at/oras-\$id:1"
	peer crane && run "$name" "crane push" "crane push --insecure $store $at/crane-\$id:1"
	peer skopeo && run "$name" "skopeo copy" "$skopeo docker://$at/skopeo-\$id:1"
	go_tools "$name" "push" "$at"

	for where in near far; do
		name="push again"
		if [ "$where" = far ]; then name="push again, 50 ms away each way"; fi
		at="localhost:${!where}"
		"$osimage" push "$store" "$at/again:1" > /dev/null
		run "$name" osimage "$osimage push $store $at/again:1"
		peer oras && run "$name" "oras cp" "$oras $at/again:1"
		peer crane && run "$name" "crane push" "crane push --insecure $store $at/again:1"
		peer skopeo && run "$name" "skopeo copy" \
			"skopeo copy -q --dest-tls-verify=false oci:$store:os:1 docker://$at/again:1"
	done
	at="localhost:$near"

	many
	name="an index of 20 images to a layout, 50 ms away each way"
	at="localhost:$far"
	run "$name" osimage "$osimage pull $at/many:all --to \$out/layout"
	peer oras && run "$name" "oras cp" \
		"oras cp --from-plain-http $at/many:all --to-oci-layout \$out/layout:1"
	peer crane && run "$name" "crane pull" \
		"crane pull --insecure --format oci $at/many:all \$out/layout"
	at="localhost:$near"

	name="pull to a layout"
	run "$name" osimage "$osimage pull $at/again:1 --to \$out/layout"
	peer oras && run "$name" "oras cp" \
		"oras cp --from-plain-http $at/again:1 --to-oci-layout \$out/layout:1"
	peer crane && run "$name" "crane pull" \
		"crane pull --insecure --format oci $at/again:1 \$out/layout"
	peer skopeo && run "$name" "skopeo copy" \
		"skopeo copy -q --src-tls-verify=false docker://$at/again:1 oci:\$out/layout:1"
	run "pull to files" osimage "$osimage pull $at/again:1 -o \$out/files"
	local layer curl="curl -sf"
	for layer in rootfs initramfs kernel; do
		curl+=" -o \$out/$layer $("$osimage" url "$at/again:1" --layer "$layer" --format plain)"
	done
	run "pull to files" "curl" "$curl"

	name="copy to another registry"
	run "$name" osimage "$osimage copy $at/again:1 localhost:$other/osimage-\$id:1"
	peer oras && run "$name" "oras cp" \
		"oras cp --from-plain-http --to-plain-http $at/again:1 localhost:$other/oras-\$id:1"
	peer crane && run "$name" "crane copy" \
		"crane copy --insecure $at/again:1 localhost:$other/crane-\$id:1"
	peer skopeo && run "$name" "skopeo copy" \
		"rm -f /var/lib/containers/cache/blob-info-cache-v1.*; skopeo copy -q --src-tls-verify=false \
		--dest-tls-verify=false docker://$at/again:1 docker://localhost:$other/skopeo-\$id:1"

	name="an archive into a registry"
	run "$name" osimage "$osimage push $archive $at/archive-\$id:1"
	peer oras && run "$name" "tar xJf, oras cp" \
		"tar -C \$out -xJf $archive && oras cp --from-oci-layout \$out/pushed@$id --to-plain-http \
		$at/unpacked-\$id:1"

	name="attach three files"
	local text="$work/text" b="$work/b_oci-amd64-1-local" ending
	seq 1 20000 > "$text"
	run "$name" osimage "$osimage attach $at/again:1 --log $text --os-release $text \
		--package-manifest $text -a run=\$id"
	peer oras && run "$name" "oras attach, three times" \
		"cd $work && for t in log os-release manifest; do oras attach --plain-http $at/again:1 \
		--artifact-type build/\$t text:text/plain; done"

	name="copy to another repository with what is attached"
	run "$name" osimage "$osimage copy -r $at/again:1 $at/osimage-r\$id:1"
	peer oras && run "$name" "oras cp -r" \
		"oras cp -r --from-plain-http --to-plain-http $at/again:1 $at/oras-r\$id:1"

	name="publish a build: image and three files"
	ln -s "$archive" "$b.oci.tar.xz"
	for ending in log os-release manifest; do ln -s "$text" "$b.$ending"; done
	run "$name" osimage "$osimage publish $b $at/osimage-\$id"
	peer oras && run "$name" "tar xJf, oras cp, oras attach" \
		"tar -C \$out -xJf $archive && oras cp --from-oci-layout \$out/pushed@$id --to-plain-http \
		$at/hand-\$id:1 && cd $work && for t in log os-release manifest; do oras attach --plain-http \
		$at/hand-\$id:1 --artifact-type build/\$t text:text/plain; done"
	rows
	rm -rf "$store" "$archive" "$work"/registry-* "$text" "$b".*
}

# many: puts an index over 20 small images into the near registry, as many:all.
many() {
	local n tiny="$work/tiny" index="$work/many.json"
	mkdir "$tiny" && printf i > "$tiny/initrd" && printf k > "$tiny/vmlinuz"
	for n in {1..20}; do
		printf '%s' "$n" > "$tiny/rootfs.raw"
		"$osimage" --store-path "$tiny/store" build --tag "localhost:$near/many:$n" \
			--rootfs-file "$tiny/rootfs.raw" --initramfs-file "$tiny/initrd" \
			--kernel-file "$tiny/vmlinuz" --command-line "n=$n" > /dev/null
	done
	"$osimage" --store-path "$tiny/store" push --all > /dev/null 2>&1
	jq -c '{schemaVersion: 2, mediaType: "application/vnd.oci.image.index.v1+json",
		manifests: [.manifests[] | {mediaType, digest, size}]}' "$tiny/store/index.json" > "$index"
	curl -sf -X PUT -H 'Content-Type: application/vnd.oci.image.index.v1+json' \
		--data-binary "@$index" "http://localhost:$near/v2/many/manifests/all"
	rm -r "$tiny" "$index"
}

# peer TOOL: whether it is there.
peer() {
	command -v "$1" > /dev/null
}

# go_tools ROW VERB HOST: onmetal-image and ironcore-image, where they are there.
go_tools() {
	local tool
	for tool in onmetal-image ironcore-image; do
		peer "$tool" || continue
		run "$1" "$tool" "$tool --store-path $store tag $id $3/$tool-\$id:1 && $tool --store-path \
			$store $2 $3/$tool-\$id:1"
	done
}
