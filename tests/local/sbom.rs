//! The bill of materials of a system, `osimage features sbom`: what other tools read in it, and
//! what dpkg says of the same system.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::common::{Scratch, peer};

/// The ending of the file, the name of the format, and where packages and their URLs stand in it.
const FORMATS: [(&str, &str, &str, &str); 2] = [
    ("spdx.json", "spdx", "packages", "/externalRefs/0/referenceLocator"),
    ("cdx.json", "cyclonedx", "components", "/purl"),
];

/// A system with all that a bill of materials has words for.
fn system(scratch: &Scratch) -> PathBuf {
    let status = "\
Package: base-files
Status: install ok installed
Essential: yes
Maintainer: A (Small) Team <team@lists.example.org>
Architecture: amd64
Version: 12.4+deb12u10
Depends: awk, libstdc++6 (>= 12) | gone
Homepage: https://example.org/base files
Description: what \"all\" need
 More of it, ä and 日本.
 .
 The end.

Package: mawk
Status: hold ok installed
Maintainer: nobody
Architecture: amd64
Multi-Arch: foreign
Source: mawk-src (1.3-1)
Version: 1.3-1+b1
Provides: awk
Description: a language

Package: libstdc++6
Status: install ok installed
Maintainer: GCC <gcc@example.org>
Architecture: amd64
Multi-Arch: same
Source: gcc-12
Version: 2:12.2.0~rc1-14
Homepage: not an address

Package: libstdc++6
Status: install ok unpacked
Architecture: i386
Multi-Arch: same
Source: gcc-12
Version: 2:12.2.0~rc1-14

Package: removed
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: begun
Status: install reinstreq half-installed
Architecture: all

";
    let format = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\n";
    let base = "Files: *\nLicense: GPL-2+ or Artistic, and public-domain\n\nFiles: x\n\
                License: own (with care)\n A text\u{1} of <its> own.\n .\n End.\n\n\
                License: public-domain\n Nobody's.\n\nFiles: y\nLicense: GPL-3+ with x exception\n";
    for (path, content) in [
        ("var/lib/dpkg/status", status.to_owned()),
        ("etc/os-release", "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian 12\"\n".to_owned()),
        ("usr/share/doc/base-files/copyright", format!("{format}{base}")),
        ("usr/share/doc/mawk/copyright", "You may copy it.\n".to_owned()),
        (
            "usr/share/doc/libstdc++6/copyright",
            format!("{format}Files: *\nLicense: GPL-3+ with GCC-exception-3.1\n"),
        ),
    ] {
        scratch.write(format!("rootfs/{path}"), content);
    }
    scratch.path("rootfs")
}

/// Writes the bill of a system in both formats, and gives the files.
fn bills(scratch: &Scratch, rootfs: &Path) -> Vec<PathBuf> {
    let bill = |(ending, format, ..): &(&str, &str, &str, &str)| {
        let args = ["features", "sbom", "--timestamp", "1700000000", "--format", format];
        let named = ["--name", "gcp_oci ä", "--version", "1.0"];
        let text = scratch.osimage(args).args(named).arg(rootfs).ok();
        scratch.write(format!("os.{ending}"), text)
    };
    FORMATS.iter().map(bill).collect()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The packages of a bill, each as `NAME VERSION URL`.
fn packages(bill: &Value, list: &str, url: &str) -> BTreeSet<String> {
    let packages = bill[list].as_array().unwrap().iter();
    packages
        .filter_map(|package| {
            let version = package.get("versionInfo").or(package.get("version"));
            let version = version.and_then(Value::as_str).unwrap_or_default();
            let url = package.pointer(url)?.as_str()?;
            Some(format!("{} {version} {url}", package["name"].as_str()?))
        })
        .collect()
}

#[test]
fn packages_have_names_that_scanners_know() {
    let scratch = Scratch::new();
    let rootfs = system(&scratch);
    let expected = BTreeSet::from([
        "base-files 12.4+deb12u10 pkg:deb/debian/base-files@12.4%2Bdeb12u10?arch=amd64&distro=debian-12",
        "begun  pkg:deb/debian/begun?arch=all&distro=debian-12",
        "libstdc++6 2:12.2.0~rc1-14 pkg:deb/debian/libstdc%2B%2B6@2:12.2.0~rc1-14?arch=amd64&distro=debian-12&upstream=gcc-12",
        "libstdc++6 2:12.2.0~rc1-14 pkg:deb/debian/libstdc%2B%2B6@2:12.2.0~rc1-14?arch=i386&distro=debian-12&upstream=gcc-12",
        "mawk 1.3-1+b1 pkg:deb/debian/mawk@1.3-1%2Bb1?arch=amd64&distro=debian-12&upstream=mawk-src%401.3-1",
    ]);
    for (bill, (.., list, url)) in bills(&scratch, &rootfs).iter().zip(FORMATS) {
        let found = packages(&json(bill), list, url);
        assert_eq!(found.iter().map(String::as_str).collect::<BTreeSet<_>>(), expected);
    }
    let spdx = json(&scratch.path("os.spdx.json"));
    let relations = spdx["relationships"].as_array().unwrap().iter().map(|relation| {
        ["spdxElementId", "relationshipType", "relatedSpdxElement"]
            .map(|key| relation[key].as_str().unwrap().replace("SPDXRef-", ""))
            .join(" ")
    });
    let (base, library) = ("deb.amd64.base-files", "deb.amd64.libstdcPlusPlus6");
    let needed = relations.filter(|relation| !relation.contains("CONTAINS"));
    assert_eq!(
        needed.collect::<Vec<_>>(),
        [
            "DOCUMENT DESCRIBES system".to_owned(),
            format!("{base} DEPENDS_ON {library}"),
            format!("{base} DEPENDS_ON deb.amd64.mawk"),
        ]
    );
    assert_eq!(spdx["creationInfo"]["created"], "2023-11-14T22:13:20Z");
    let licences = spdx["packages"].as_array().unwrap().iter().map(|package| {
        let text = package["licenseDeclared"].as_str().unwrap();
        let words = text.split(' ').map(|word| match word.contains("LicenseRef-") {
            // Behind the name is a digest.
            true => word.trim_matches(['(', ')']).rsplit_once('-').unwrap().0,
            false => word,
        });
        words.collect::<Vec<_>>().join(" ")
    });
    assert_eq!(
        licences.collect::<Vec<_>>(),
        [
            "NOASSERTION",
            "(Artistic-1.0-Perl OR GPL-2.0-or-later) AND LicenseRef-GPL-3-with-x-exception AND \
             LicenseRef-own-with-care AND LicenseRef-public-domain",
            "NOASSERTION",
            "GPL-3.0-or-later WITH GCC-exception-3.1",
            "GPL-3.0-or-later WITH GCC-exception-3.1",
            "NOASSERTION",
        ]
    );
}

/// Reads the document, checks it with the project's own rules, and prints what is wrong.
const SPDX_READER: &str = "
import sys
from spdx_tools.spdx.parser.parse_anything import parse_file
from spdx_tools.spdx.validation.document_validator import validate_full_spdx_document
document = parse_file(sys.argv[1])
for flaw in validate_full_spdx_document(document):
    print(flaw.context.spdx_id, flaw.validation_message)
print('packages', len(document.packages))
";

#[test]
fn a_validator_of_spdx_finds_nothing() {
    let Some(python) = peer("spdx-tools-py") else { return };
    let scratch = Scratch::new();
    bills(&scratch, &system(&scratch));
    let read = |file: &str| scratch.program(&python).args(["-c", SPDX_READER, file]).ok();
    assert_eq!(read("os.spdx.json"), "packages 6\n");
    // It does find what is wrong.
    let mut broken = json(&scratch.path("os.spdx.json"));
    broken["packages"][1]["licenseDeclared"] = "no-such-licence".into();
    scratch.write("broken.spdx.json", broken.to_string());
    assert!(read("broken.spdx.json").contains("no-such-licence"));
}

/// Checks the document against the schema, and each package URL against how it is written.
const CYCLONEDX_READER: &str = "
import json, sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
text = open(sys.argv[1]).read()
print(JsonStrictValidator(SchemaVersion.V1_6).validate_str(text))
for component in json.loads(text)['components']:
    for part in [component] + component['pedigree']['ancestors']:
        assert PackageURL.from_string(part['purl']).to_string() == part['purl'], part['purl']
";

#[test]
fn a_validator_of_cyclonedx_finds_nothing() {
    let Some(python) = peer("cyclonedx-lib-py") else { return };
    let scratch = Scratch::new();
    bills(&scratch, &system(&scratch));
    let read = |file: &str| scratch.program(&python).args(["-c", CYCLONEDX_READER, file]).ok();
    assert_eq!(read("os.cdx.json"), "None\n");
    let mut broken = json(&scratch.path("os.cdx.json"));
    broken["components"][1]["type"] = "no-such-type".into();
    scratch.write("broken.cdx.json", broken.to_string());
    assert!(read("broken.cdx.json").contains("no-such-type"));
}

#[test]
fn dpkg_has_the_same_packages_of_this_machine() {
    if !Path::new("/var/lib/dpkg/status").exists() {
        eprintln!("LEFT OUT: this machine has no packages of Debian's");
        return;
    }
    let scratch = Scratch::new();
    let shown = "${db:Status-Status} ${Package} ${Version} arch=${Architecture}\n";
    let said = scratch.program("dpkg-query").args(["--show", "--showformat", shown]).ok();
    let here = said.lines().filter_map(|line| {
        let (state, rest) = line.split_once(' ')?;
        (!["config-files", "not-installed"].contains(&state)).then(|| rest.to_owned())
    });
    let here: BTreeSet<_> = here.collect();
    assert!(!here.is_empty());
    for (bill, (.., list, url)) in bills(&scratch, Path::new("/")).iter().zip(FORMATS) {
        let found = packages(&json(bill), list, url).into_iter().map(|package| {
            let (package, qualifiers) = package.split_once('?').unwrap();
            let (named, _) = package.rsplit_once(' ').unwrap();
            format!("{named} {}", qualifiers.split('&').next().unwrap())
        });
        assert_eq!(found.collect::<BTreeSet<_>>(), here, "{}", bill.display());
    }
}

#[test]
fn what_is_wrong_is_said() {
    let scratch = Scratch::new();
    scratch.write("empty/etc/os-release", "ID=debian\n");
    scratch.write("cut/var/lib/dpkg/status", "Package: a\nStatus: install ok inst");
    scratch.write("sound/var/lib/dpkg/status", "");
    for (code, said, args) in [
        (3, "has no /var/lib/dpkg/status", &["empty"][..]),
        (3, "cannot read nowhere", &["nowhere"]),
        (5, "/var/lib/dpkg/status of the system, line 2, is cut", &["cut"]),
        (2, "of no year that has four digits", &["--timestamp", "999999999999", "sound"]),
        (2, "of nothing is asked for", &["--name", "", "sound"]),
        (2, "invalid value 'pdf'", &["--format", "pdf", "sound"]),
    ] {
        scratch.osimage(["features", "sbom"]).args(args).run().says(&[said]).fails(code);
    }
}
