# The bill of materials of the program, in CycloneDX 1.6: of what cargo says of all crates, those
# that are linked. scripts/package.d/linked.sh calls it and says what the inputs are.

def rows: split("\n") | map(select(. != "") | split("\t"));
def purl: "pkg:cargo/\(.name)@\(.version | @uri)";
def present: with_entries(select(.value != null and .value != []));

($linked | rows | map({ key: "\(.[0]) \(.[1])", value: .[2] }) | from_entries) as $licences
| ($sums | rows | map({ key: "\(.[0]) \(.[1])", value: .[2] }) | from_entries) as $digests
| $metadata[0] as $all
| ($all.packages | map({ key: .id, value: . }) | from_entries) as $packages
# Crates of the program, by their ids in cargo's graph.
| ($all.packages | map(select($licences["\(.name) \(.version)"]) | { key: .id, value: purl })
	| from_entries) as $refs
| ($beside | rows | map({
	type: "library",
	"bom-ref": "pkg:deb/debian/\(.[2])@\(.[1] | @uri)?arch=\($arch)",
	name: .[2], version: .[1], description: .[0],
	licenses: [{ expression: .[3] }],
	purl: "pkg:deb/debian/\(.[2])@\(.[1] | @uri)?arch=\($arch)"
})) as $others
| {
	"$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
	bomFormat: "CycloneDX",
	specVersion: "1.6",
	version: 1,
	metadata: {
		timestamp: ($time | todate),
		component: {
			type: "application",
			"bom-ref": "osimage",
			name: "osimage",
			version: $version,
			licenses: [{ expression: "MIT OR Apache-2.0" }],
			hashes: [{ alg: "SHA-256", content: $program }],
			properties: [
				{ name: "osimage:commit", value: $commit },
				{ name: "osimage:architecture", value: $arch }
			]
		}
	},
	components: ([$refs | keys[] | $packages[.] | . as $package | {
		type: "library",
		"bom-ref": purl,
		name, version, description,
		licenses: [{ expression: $licences["\(.name) \(.version)"] }],
		hashes: [$digests["\(.name) \(.version)"] | select(.) | { alg: "SHA-256", content: . }],
		purl: purl,
		externalReferences: [.repository | select(.) | { type: "vcs", url: . }]
	} | present] + $others),
	dependencies: ([$all.resolve.nodes[] | select($refs[.id] or .id == $all.resolve.root) | {
		ref: (if .id == $all.resolve.root then "osimage" else $refs[.id] end),
		dependsOn: ([.deps[] | select(any(.dep_kinds[]; .kind == null)) | $refs[.pkg]
			| select(.)] | unique)
	}] | map(if .ref == "osimage" then .dependsOn += ($others | map(.["bom-ref"])) else . end))
}
