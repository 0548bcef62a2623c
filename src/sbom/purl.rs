//! Package URLs of Debian's packages (purl-spec, type `deb`).

use super::Package;
use super::system::System;

/// `pkg:deb/DISTRIBUTION/NAME@VERSION?arch=…&distro=…`. Where the source package is called
/// otherwise or has another version, `upstream` says that, as scanners expect: advisories name
/// sources.
pub(super) fn of(package: &Package, system: &System) -> String {
    let arch = ("arch", package.architecture.clone());
    let distro = ("distro", system.distribution());
    let (source, version) = (&package.source, &package.source_version);
    let upstream = match (*source == package.name, *version == package.version) {
        (true, true) => String::new(),
        (_, true) => source.clone(),
        _ => format!("{source}@{version}"),
    };
    let qualifiers = [arch, distro, ("upstream", upstream)];
    written(&system.id, &package.name, &package.version, &qualifiers)
}

/// That of the source package.
pub(super) fn of_source(package: &Package, system: &System) -> String {
    let qualifiers = [("arch", "source".to_owned()), ("distro", system.distribution())];
    written(&system.id, &package.source, &package.source_version, &qualifiers)
}

fn written(namespace: &str, name: &str, version: &str, qualifiers: &[(&str, String)]) -> String {
    let mut purl = format!("pkg:deb/{}/{}", encoded(namespace), encoded(name));
    if !version.is_empty() {
        purl += &format!("@{}", encoded(version));
    }
    let mut separator = '?';
    for (key, value) in qualifiers.iter().filter(|(_, value)| !value.is_empty()) {
        purl += &format!("{separator}{key}={}", encoded(value));
        separator = '&';
    }
    purl
}

/// Everything but what stands for itself in a package URL is written in percent.
pub(super) fn encoded(text: &str) -> String {
    let mut all = String::new();
    for byte in text.bytes() {
        match byte {
            b'.' | b'-' | b'_' | b'~' | b':' => all.push(char::from(byte)),
            byte if byte.is_ascii_alphanumeric() => all.push(char::from(byte)),
            byte => all += &format!("%{byte:02X}"),
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sbom::status::packages;

    #[test]
    fn names_and_versions_in_package_urls() {
        let system = System::parse("ID=debian\nVERSION_ID=\"12\"\n");
        for (fields, expected) in [
            ("a 1 amd64", "a@1?arch=amd64&distro=debian-12"),
            ("a 1:2.0~rc1-1 all", "a@1:2.0~rc1-1?arch=all&distro=debian-12"),
            ("libstdc++6 1+b1 i386", "libstdc%2B%2B6@1%2Bb1?arch=i386&distro=debian-12"),
            ("a 1 amd64 b", "a@1?arch=amd64&distro=debian-12&upstream=b"),
            ("a 1 amd64 a (1)", "a@1?arch=amd64&distro=debian-12"),
            ("a 1+b1 amd64 a (1)", "a@1%2Bb1?arch=amd64&distro=debian-12&upstream=a%401"),
            ("a 1 amd64 b++ (1:2)", "a@1?arch=amd64&distro=debian-12&upstream=b%2B%2B%401:2"),
        ] {
            let fields: Vec<_> = fields.splitn(4, ' ').collect();
            let mut status = format!(
                "Package: {}\nVersion: {}\nArchitecture: {}\nStatus: install ok installed\n",
                fields[0], fields[1], fields[2]
            );
            if let Some(source) = fields.get(3) {
                status += &format!("Source: {source}\n");
            }
            let packages = packages(status.as_bytes()).unwrap();
            assert_eq!(of(&packages[0], &system), format!("pkg:deb/debian/{expected}"));
        }
    }
}
